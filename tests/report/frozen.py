"""Results as commands give them, with figures that never change: what pages and tables are tested on."""

import math
import random
from collections import Counter
from dataclasses import replace

from deploykit.bench import Interval, Latency, Ratio, TimedBlock
from deploykit.bench.environment import Cpu, Machine
from deploykit.parity import Distance, OutputParity, ParityResult
from deploykit.parity.accuracy import Flips, Share
from deploykit.plan.summary import PlanSummary
from deploykit.results.accuracy import AccuracyConditions, AccuracyEnvironment, AccuracyReport, AccuracyRow
from deploykit.results.comparison import ComparisonEnvironment, Conditions, Report
from deploykit.results.row import Row

HOSTILE = "\"><script>alert(1)</script>\x1b[31m\u202e&'" + "n" * 10_000
MACHINE = Machine(
    cpu=Cpu(model="Some CPU", cores=2, flags=("avx2",), governor=None, clock_mhz=2445.0, cache_bytes=32 * 2**20),
    memory_bytes=24 * 2**30,
    os="Linux",
    python="3.11",
    libraries={"torch": "2.14.1", "onnxruntime": "1.31.1"},
    gpu=None,
    git_revision="0123456789abcdef",
    threads=2,
    seed=0,
    tf32=False,
    load_average=0.42,
)
ORT, TORCH, RTX = "onnxruntime 1.31.1 CPUExecutionProvider", "torch 2.14.1 (cpu)", "tensorrt-rtx 1.7.1 (ahead of time)"
NO_GPU = "no NVIDIA GPU: the driver library libcuda.so.1 is not here; install NVIDIA's driver"
PLAN = PlanSummary(
    kernels=58, kinds={}, batch=1, bytes_moved=518_400_000, engine_bytes=51_200_000, weights_bytes=None,
    activation_bytes=None, scratch_bytes=None, weighted_nodes=54, weighted_matched=54, weighted_reads={},
    other_precision={}, unmatched=(),
)  # fmt: skip


def row(backend, precision, state="measured", *, batch=1, **options):
    return Row(model="resnet50", batch=batch, backend=backend, precision=precision, state=state, **options)


def blocks(median, *, seed, rounds=12, runs=8):
    """Runs around `median` milliseconds, skewed as times are."""
    draw = random.Random(seed)
    return tuple(
        TimedBlock(number, tuple(round(1e6 * median * draw.lognormvariate(0, 0.03)) for _ in range(runs)))
        for number in range(rounds)
    )


def timed(median, ratio, *, seed, spread=0.02):
    low, high = median * (1 - spread), median * (1 + spread)
    return {
        "latency_ms": Latency(median, Interval(low, high), median * 1.05, None, None, 84, 12, 0),
        "ratio_to_first": Ratio(ratio, _around(ratio, spread), 12),
        "blocks": blocks(median, seed=seed),
        "cold_ms": 812.4,
    }


def _around(ratio, spread):
    """The first row over itself is 1 in every round."""
    return Interval(1.0, 1.0) if ratio == 1.0 else Interval(ratio * (1 - spread), ratio * (1 + spread))


def judged(total, precision=None, backend=None, *, verdict="pass", reason="", limit=None):
    """A parity by its relative L2s."""
    near = (None if each is None else _distance(each) for each in (total, precision, backend))
    figures = dict(zip(("total", "precision_loss", "backend_loss"), near, strict=True))
    scope = "engine" if total is not None else "typed graph"
    said = "SQNR at least 30 dB"
    worst = OutputParity("logits", scope, verdict, reason, said, floor=1.1e-6, backend_limit=limit, **figures)
    return ParityResult((worst,), 12, "PyTorch module in float64", "given weights")


def _distance(relative):
    decibel = -20 * math.log10(relative) if relative else float("inf")
    return Distance(relative, decibel, relative, 1.0)


def report(*rows, **conditions):
    shared = Conditions(
        model="resnet50", batch=1, threads=2, tf32=False, weights="resnet50.pth", inputs="4 rotated, 2.4 MB",
        copies="outside the timed runs", stopped_by="the time limit of 60 s", rounds=12, seconds=58.7,
    )  # fmt: skip
    environment = ComparisonEnvironment(**MACHINE.facts(), conditions=replace(shared, **conditions))
    return Report(environment=environment, rows=tuple(rows))


BENCH = report(
    row("torch", "fp32", flavour=TORCH, **timed(140.9, 1.0, seed=1, spread=0.003), parity=judged(1.1e-6)),
    row("torch", "int8", "unavailable", reason="eager PyTorch has no INT8 path here"),
    row("ort", "fp32", flavour=ORT, **timed(58.2, 0.413, seed=2), parity=judged(1.4e-6, 9e-7, 8e-7, limit=4.1e-6)),
    row("ort", "fp16", flavour=ORT, note="computed in float32", **timed(139.9, 0.993, seed=3),
        parity=judged(1.5e-2, 1.6e-2, 4e-3, limit=3.3e-2)),
    row("ort", "int8", flavour=ORT, typed_digest="3f2a91c0aaaaaaaa", **timed(21.8, 0.155, seed=4),
        parity=judged(0.24, 0.24, 0.0, verdict="fail", reason="logits: 12.3 dB; at least 20", limit=0.48)),
    row("trt", "fp16", "built", flavour=RTX, reason=NO_GPU, build_seconds=0.4, plan=PLAN, parity=judged(None, 1.6e-2)),
    row("trt", "int8", "built", flavour=RTX, reason=NO_GPU, typed_digest="8c11d2aabbbb", build_seconds=0.6,
        from_store=True, plan=PLAN, parity=judged(None, 5e-2)),
)  # fmt: skip
PASSING = report(*(each for each in BENCH.rows if each.label not in ("ort int8", "torch int8")))
VERIFY = report(
    *(
        row(each.backend, each.precision, each.state, flavour=each.flavour, reason=each.reason, parity=each.parity)
        for each in BENCH.rows
    )
)
SWEEP = report(
    *(
        row(backend, precision, batch=batch, flavour=flavour, parity=judged(1e-6),
            **timed(one * batch**power, one / 140.9 * batch ** (power - 0.86), seed=batch, spread=0.04))
        for backend, precision, flavour, one, power in (
            ("torch", "fp32", TORCH, 140.9, 0.86), ("ort", "fp32", ORT, 58.2, 0.97), ("ort", "int8", ORT, 21.8, 0.93),
        )
        for batch in (1, 2, 4, 8, 16, 32)
    )
)  # fmt: skip


def accuracy(*rows):
    shared = AccuracyConditions(
        model="resnet50", weights="resnet50.pth", weights_digest=None, weights_notes=(), data="labeled",
        preprocessing="the network's card", classes=10, network_classes=10, skipped=(), excluded=0,
        calibration="minmax over 32", batch=64, threads=2, max_drop=None,
    )  # fmt: skip
    return AccuracyReport(environment=AccuracyEnvironment(**MACHINE.facts(), conditions=shared), rows=rows)


ACCURACY = accuracy(
    AccuracyRow(row("torch", "fp32", flavour=TORCH), Share(1523, 2000), Share(1858, 2000)),
    AccuracyRow(row("ort", "fp32", flavour=ORT, file_bytes=102_400_000), Share(1523, 2000), Share(1858, 2000),
                Flips(2000, 0, 0, Counter())),
    AccuracyRow(row("ort", "fp16", flavour=ORT, file_bytes=51_200_000), Share(1522, 2000), Share(1857, 2000),
                Flips(2000, 2, 1, Counter({(1, 2): 2, (3, 4): 1}))),
    AccuracyRow(row("ort", "int8", flavour=ORT, file_bytes=25_900_000), Share(1498, 2000), Share(1849, 2000),
                Flips(2000, 40, 15, Counter({(1, 2): 30, (3, 4): 25}))),
    AccuracyRow(row("trt", "int8", "built", flavour=RTX, reason=NO_GPU, file_bytes=26_100_000)),
)  # fmt: skip
