"""Speed, measured honestly: worker processes, interleaved blocks, paired ratios, and the machine they ran on."""

from deploykit.bench.environment import fingerprint
from deploykit.bench.interleave import Measurement, RowJob, RowSamples, describe_inputs, run_outputs, run_rows
from deploykit.bench.settings import BenchSettings
from deploykit.bench.statistics import Block, Interval, Latency, Ratio, latency, ratios_to_first

__all__ = [
    "BenchSettings",
    "Block",
    "Interval",
    "Latency",
    "Measurement",
    "Ratio",
    "RowJob",
    "RowSamples",
    "describe_inputs",
    "fingerprint",
    "latency",
    "ratios_to_first",
    "run_outputs",
    "run_rows",
]
