"""What a graph costs on a backend, without the store: dozens of variants of one network are priced in a row.

A `PlanPrice` is read from what TensorRT-RTX compiles the typed graph into, in this process: kernels, bytes, and on a
named GPU the roofline's lower bound. It is the same every time, and no time that anything was measured to take. A
`TimePrice` is measured: two graphs in ONNX Runtime, each in a worker process, in interleaved rounds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit import graph
from deploykit.backends import get_backend
from deploykit.backends.protocol import (
    Backend,
    Engine,
    TypedGraph,
)
from deploykit.bench import BenchSettings, Measurement, Ratio, RowJob, latency, ratios_to_first, run_rows
from deploykit.data.noise import can_draw, noise_feeds
from deploykit.errors import BackendMissing, BuildFailed, ExecutionFailed, GateFailed, UnsupportedGraph
from deploykit.host import installed_version
from deploykit.plan.gpus import Gpu
from deploykit.plan.model import EnginePlan
from deploykit.plan.roofline import roofline
from deploykit.precision.calibrate.collect import collect
from deploykit.precision.float16 import to_float16
from deploykit.precision.int8.quantize import quantize
from deploykit.spec import BuildSpec, InputRange, Precision
from deploykit.workflow.engine import require_usable
from deploykit.workflow.transforms import plan_with_costs, read_foreign

if TYPE_CHECKING:
    import onnx_ir as ir

RTX, ORT = "trt-rtx", "ort"
REFUSED = (BuildFailed, GateFailed, UnsupportedGraph)  # of one candidate, not of the search
WORTH = 5e-4  # a difference below this share of a figure, which reads as 0.0 %, is none
ROTATED = 4  # timed inputs that take turns
TIMED_SECONDS = 8.0  # of rounds; starting two workers and warming them up comes on top


@dataclass(frozen=True, slots=True)
class PlanPrice:
    """A compiled plan in figures; `roofline_us` is the lower bound on the GPU that was named, else None."""

    kernels: int
    bytes_moved: int
    roofline_us: float | None = None

    @property
    def leading(self) -> float:
        """The figure that comes first: the roofline in microseconds where there is one, else bytes."""
        return self._figures()[0]

    def sign(self, other: PlanPrice) -> int:
        """-1 where this is cheaper, 1 where it is dearer, 0 where neither: by the roofline where there is one, then by
        bytes, then by kernels."""
        for mine, theirs in zip(self._figures(), other._figures(), strict=True):
            if abs(mine - theirs) > WORTH * theirs:
                return -1 if mine < theirs else 1
        return 0

    def as_dict(self) -> dict[str, Any]:
        """The price as JSON holds it."""
        return {"kernels": self.kernels, "bytes_moved": self.bytes_moved, "roofline_us": self.roofline_us}

    def change_to(self, other: PlanPrice) -> str:
        """`219.2 -> 252.0 MB (+15.0 %), 74 -> 65 kernels`, and the lower bounds where they are known."""
        moved = f"{self.bytes_moved / 1e6:.1f} -> {other.bytes_moved / 1e6:.1f} MB"
        share = f"({other.bytes_moved / self.bytes_moved - 1:+.1%})".replace("%", " %")
        kernels = f"{self.kernels} -> {other.kernels} kernels"
        bound = (
            f", lower bound {self.roofline_us:.1f} -> {other.roofline_us:.1f} us"
            if self.roofline_us is not None and other.roofline_us is not None
            else ""
        )
        return f"{moved} {share}, {kernels}{bound}"

    def __str__(self) -> str:
        bound = "" if self.roofline_us is None else f", at least {self.roofline_us:.1f} us"
        return f"{self.kernels} kernels, {self.bytes_moved / 1e6:.1f} MB{bound}"

    def _figures(self) -> tuple[float, ...]:
        bound = () if self.roofline_us is None else (self.roofline_us,)
        return (*bound, self.bytes_moved, self.kernels)


def price_of(plan: EnginePlan, gpu: Gpu | None, *, tf32: bool = False) -> PlanPrice:
    """Of a plan, which has its MACs where a `gpu` is given."""
    bound = roofline(plan, gpu, tf32=tf32).total_us if gpu else None
    return PlanPrice(len(plan.kernels), plan.bytes_moved, bound)


@dataclass(frozen=True, slots=True)
class TimePrice:
    """Milliseconds of a graph beside those of another, and the paired ratio of the first to the second."""

    ms: float
    other_ms: float
    ratio: Ratio

    @property
    def sign(self) -> int:
        """-1 where the first is surely faster, 1 where it is surely slower, 0 within noise."""
        interval = self.ratio.ci95
        if interval is None or interval.covers(1.0):
            return 0
        return -1 if interval.high < 1.0 else 1

    def as_dict(self) -> dict[str, Any]:
        """The price as JSON holds it."""
        interval = self.ratio.ci95
        return {
            "ms": self.ms,
            "other_ms": self.other_ms,
            "ratio": self.ratio.value,
            "ci95": [interval.low, interval.high] if interval else None,
            "within_noise": self.sign == 0,
        }

    def __str__(self) -> str:
        interval = self.ratio.ci95
        said = f"[{interval.low:.3f}, {interval.high:.3f}]" if interval else "[too few rounds]"
        noise = ", within noise" if self.sign == 0 else ""
        return f"{self.ms:.2f} against {self.other_ms:.2f} ms, {self.ratio.value:.3f} {said} times{noise}"


@dataclass(frozen=True, slots=True)
class PlanPricing:
    """Prices graphs by their plans, for the first of `spec.targets`."""

    spec: BuildSpec
    gpu: Gpu | None = None

    @property
    def objective(self) -> str:
        """What a price is of, in words."""
        version = ".".join((installed_version("tensorrt-rtx") or "of unknown version").split(".")[:3])
        by = f"roofline of {self.gpu.name}: a lower bound" if self.gpu else "bytes moved, then kernels"
        what = f"{self.spec.precision}, batch {self.spec.batch.optimum}, {self.spec.targets[0]}"
        return f"the TensorRT-RTX {version} ahead-of-time plan ({what}), {by}, not a measured time"

    def price(self, network: ir.Model) -> PlanPrice:
        """Of an optimized float graph, which is left alone. Raises as the typing and the compiler do."""
        backend, spec = usable(RTX), self.spec
        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
            typed = typed_graph(network, spec, backend, Path(folder) / "typed.onnx")
            plan = backend.build(typed, spec.engine_settings).layers
            if plan is None:
                raise BuildFailed("TensorRT-RTX told nothing of what it compiled")
            costed = _with_costs(plan, network, typed.path) if self.gpu else plan
        return price_of(costed, self.gpu, tf32=spec.tf32)


@dataclass(frozen=True, slots=True)
class TimePricing:
    """Prices pairs of graphs by ONNX Runtime's time here, `seconds` of rounds each."""

    spec: BuildSpec
    seconds: float = TIMED_SECONDS

    @property
    def objective(self) -> str:
        """What a price is of, in words."""
        spec = self.spec
        version = installed_version("onnxruntime-gpu", "onnxruntime") or "of unknown version"
        return f"ONNX Runtime {version}'s time here ({spec.precision}, batch {spec.batch.optimum})"

    def price(self, network: ir.Model, other: ir.Model) -> TimePrice:
        """Of an optimized float graph against another. Raises as the typing and the workers do."""
        backend, spec = usable(ORT), self.spec
        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
            jobs = []
            for label, each in (("without", other), ("with", network)):
                typed = typed_graph(each, spec, backend, Path(folder) / f"{label}.onnx")
                engine = backend.build(typed, spec.engine_settings)
                jobs.append(RowJob(label, engine, _feeds(engine, spec.batch.optimum)))
            return paired(jobs, seconds=self.seconds)


def paired(jobs: list[RowJob], *, seconds: float) -> TimePrice:
    """The second job against the first. Raises what ended either of them, ExecutionFailed for too little time."""
    settings = BenchSettings(max_seconds=seconds)
    measured: Measurement = run_rows(jobs, settings)
    for row in measured.rows:
        if row.failure is not None:
            raise row.failure
    first, second = (latency(row.blocks, seed=settings.seed) for row in measured.rows)
    ratio = ratios_to_first([row.blocks for row in measured.rows], seed=settings.seed)[1]
    if first is None or second is None or ratio is None:
        raise ExecutionFailed(f"nothing could be timed within {seconds:g} s", hint="give more time")
    return TimePrice(second.median, first.median, ratio)


def usable(name: str) -> Backend:
    """The backend `name`. Raises BackendMissing where it cannot be used here."""
    backend = get_backend(name)
    require_usable(backend)
    return backend


def typed_graph(network: ir.Model, spec: BuildSpec, backend: Backend, path: Path) -> TypedGraph:
    """`network` at `spec.precision`, written to `path`; `network` itself is left alone.

    For INT8 the ranges come from one image of seeded noise: kernels, types and bytes do not depend on the scales.
    Raises Float16Overflow, UnsupportedGraph, BackendMissing.
    """
    copy = network.clone()
    placement = None
    match spec.precision:
        case Precision.FP32:
            pass
        case Precision.FP16:
            to_float16(copy, keep_io=spec.keep_io, keep=spec.keep_fp32)
        case Precision.INT8:
            placement = backend.placement
            if placement is None:
                raise BackendMissing(f"backend {backend.name} names no INT8 placement")
            inputs, _ = graph.tensor_specs(copy)
            require_made_up(network, spec.model.input_ranges)
            ranges = spec.model.input_ranges
            feeds = noise_feeds(inputs, count=1, batch=1, seed=spec.model.seed, ranges=ranges)
            table = collect(copy, feeds, graph_digest="", data_digest="", preprocessing="noise")
            if not quantize(copy, table, placement, spec.policy, keep_fp32=spec.keep_fp32).quantized:
                raise UnsupportedGraph("no layer can read int8", hint="use fp32 or fp16")
    content = graph.serialize(copy)
    path.write_bytes(content)
    inputs, outputs = graph.tensor_specs(copy)
    name = placement.name if placement else None
    return TypedGraph(path, graph.graph_digest(content), spec.precision, name, inputs, outputs)


def require_made_up(network: ir.Model, ranges: Sequence[InputRange] = ()) -> None:
    """Raises UnsupportedGraph where noise cannot stand for an input."""
    for spec in graph.tensor_specs(network)[0]:
        if spec.open or not can_draw(spec, ranges):
            raise UnsupportedGraph(f"cannot generate test data for input {spec}, so nothing can be timed")


def _with_costs(plan: EnginePlan, network: ir.Model, typed: Path) -> EnginePlan:
    """The plan with its MACs; the file is read for shapes only where a rewrite left one out."""
    costs = graph.weighted_costs(network, batch=plan.batch)
    if not all(cost.macs for cost in costs.values()):
        return plan_with_costs(plan, read_foreign(typed))  # which infers them
    return plan.with_costs({name: (cost.macs, cost.module) for name, cost in costs.items()})


def _feeds(engine: Engine, batch: int) -> tuple[Any, ...]:
    return tuple(noise_feeds(engine.inputs, count=ROTATED, batch=batch, seed=0))
