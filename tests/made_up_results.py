"""Results made up for the gate: a machine, rows with samples, parity, plans and accuracies that a test decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deploykit.bench import TimedBlock, latency, ratios_to_first
from deploykit.bench.environment import Cpu, Machine
from deploykit.parity import Distance, OutputParity, ParityResult
from deploykit.parity.accuracy import Share
from deploykit.plan.summary import PlanSummary
from deploykit.results.accuracy import AccuracyConditions, AccuracyEnvironment, AccuracyReport, AccuracyRow
from deploykit.results.comparison import ComparisonEnvironment, Conditions, Report
from deploykit.results.row import Row

MACHINE = Machine(
    cpu=Cpu(
        model="Some CPU", cores=2, flags=("avx2", "avx512_vnni"), governor=None, clock_mhz=2000.0, cache_bytes=2**20
    ),
    memory_bytes=2**33,
    os="Linux 6 x86_64",
    python="3.11.9",
    libraries={"torch": "2.10.0", "onnxruntime": "1.22.0"},
    gpu=None,
    git_revision=None,
    threads=2,
    seed=0,
    tf32=False,
    load_average=0.1,
)
CONDITIONS = Conditions(model="net", batch=1, threads=2, tf32=False, inputs="4 rotated", copies="none")


def blocks(milliseconds: float, *, processes=3, rounds: int = 12, runs: int = 8, noise: float = 0.005, seed: int = 0):
    """Rounds of a row whose runs take so long, give or take `noise`; the first run of a block is slow."""
    random = np.random.default_rng(seed)
    times = milliseconds * 1e6 * (1 + noise * random.standard_normal((rounds, runs)))
    times[:, 0] *= 1.5
    return tuple(
        TimedBlock(number, tuple(int(time) for time in part), process=number * processes // rounds)
        for number, part in enumerate(times)
    )


def plan(kernels: int = 58, *, moved: int = 500_000_000, engine: int = 50_000_000) -> PlanSummary:
    return PlanSummary(
        kernels=kernels,
        kinds={"kgen": kernels},
        batch=1,
        bytes_moved=moved,
        engine_bytes=engine,
        weights_bytes=None,
        activation_bytes=1_000_000,
        scratch_bytes=None,
        weighted_nodes=0,
        weighted_matched=0,
        weighted_reads={},
        other_precision={},
        unmatched=(),
    )


def parity(decibel: float, verdict: str = "pass", **output) -> ParityResult:
    distance = Distance(10 ** (-decibel / 20), decibel, 0.0, 1.0)
    found = OutputParity("logits", "engine", verdict, "", "", floor=1e-6, total=distance, **output)
    return ParityResult((found,), 12, "PyTorch module in float64", "given weights")


def row(backend: str = "ort", precision: str = "fp32", *, state: str = "measured", ms: float | None = None, **options):
    """A row; `ms` gives it samples around that."""
    reason = "" if state == "measured" else "no GPU here"
    found = Row(
        **{
            "model": "net",
            "backend": backend,
            "precision": precision,
            "batch": 1,
            "state": state,
            "reason": reason,
            "typed_digest": "ab" * 32,
            **options,
        }
    )
    return found if ms is None else replace(found, blocks=blocks(ms, seed=options.get("batch", 0)))


def table(*rows: Row, machine: Machine = MACHINE, **conditions) -> Report:
    """A report of `bench`, with what the samples say."""
    ratios = ratios_to_first([each.blocks for each in rows], seed=0)
    timed = [
        replace(each, latency_ms=latency(each.blocks, seed=0), ratio_to_first=ratio)
        for each, ratio in zip(rows, ratios, strict=True)
    ]
    environment = ComparisonEnvironment(**machine.facts(), conditions=replace(CONDITIONS, **conditions))
    return Report(environment=environment, rows=tuple(timed))


def accuracy(*right: list[bool], digest: str = "d1", machine: Machine = MACHINE) -> AccuracyReport:
    """A report of `evaluate`: one ORT row for each list of which images were right."""
    conditions = AccuracyConditions(
        model="net",
        weights="",
        weights_digest=None,
        weights_notes=(),
        data="images",
        preprocessing="",
        classes=10,
        network_classes=10,
        skipped=(),
        excluded=0,
        calibration="",
        batch=1,
        threads=2,
        images_digest=digest,
    )
    rows = [
        AccuracyRow(
            row("ort", precision), Share(sum(each), len(each)), right=np.packbits(np.array(each)).tobytes().hex()
        )
        for precision, each in zip(("fp32", "fp16", "int8"), right, strict=False)
    ]
    return AccuracyReport(environment=AccuracyEnvironment(**machine.facts(), conditions=conditions), rows=tuple(rows))
