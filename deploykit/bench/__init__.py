"""Speed, measured honestly: worker processes, interleaved blocks, paired ratios, and the machine they ran on."""

from deploykit.bench.disturbance import Disturbance
from deploykit.bench.environment import fingerprint
from deploykit.bench.interleave import run_outputs, run_rows
from deploykit.bench.jobs import Measurement, RowJob, RowSamples, describe_inputs, describe_size
from deploykit.bench.settings import BenchSettings
from deploykit.bench.statistics import (
    Interval,
    Latency,
    PerBatch,
    Ratio,
    TimedBlock,
    latency,
    per_batch,
    ratios_to_first,
    step_latency,
)
from deploykit.bench.steps import StepSamples, StepSettings, time_steps
from deploykit.bench.stream import stream_outputs
from deploykit.bench.worker import Workload

__all__ = [
    "BenchSettings",
    "Disturbance",
    "Interval",
    "Latency",
    "Measurement",
    "PerBatch",
    "Ratio",
    "RowJob",
    "RowSamples",
    "StepSamples",
    "StepSettings",
    "TimedBlock",
    "Workload",
    "describe_inputs",
    "describe_size",
    "fingerprint",
    "latency",
    "per_batch",
    "ratios_to_first",
    "run_outputs",
    "run_rows",
    "step_latency",
    "stream_outputs",
    "time_steps",
]
