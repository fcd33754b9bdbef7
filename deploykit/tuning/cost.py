"""What a graph costs on a backend, without the store: dozens of variants of one network are compared in a row.

A `PlanCost` is read from what TensorRT-RTX compiles the typed graph into, in this process: kernels, bytes, and on a
named GPU the roofline's lower bound. It is the same every time, and no time that anything was measured to take. A
`TimeCost` is measured: two graphs in ONNX Runtime, each in a worker process, in interleaved rounds.
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
from deploykit.bench import BenchSettings, Measurement, RowJob, latency, ratios_to_first, run_rows
from deploykit.data.noise import can_draw, noise_feeds
from deploykit.errors import BackendMissing, BuildFailed, ExecutionFailed, GateFailed, UnsupportedGraph
from deploykit.host import installed_version
from deploykit.plan.gpus import Gpu
from deploykit.plan.model import EnginePlan
from deploykit.plan.roofline import roofline
from deploykit.precision.calibrate.collect import collect
from deploykit.precision.float16 import to_float16
from deploykit.precision.int8.quantize import quantize
from deploykit.results.costs import PlanCost, TimeCost
from deploykit.spec import BuildSpec, InputRange, Precision
from deploykit.workflow.engine import require_usable
from deploykit.workflow.transforms import plan_with_costs, read_foreign

if TYPE_CHECKING:
    import onnx_ir as ir

RTX, ORT = "trt-rtx", "ort"
REFUSED = (BuildFailed, GateFailed, UnsupportedGraph)  # of one candidate, not of the search
ROTATED = 4  # timed inputs that take turns
TIMED_SECONDS = 8.0  # of rounds; starting two workers and warming them up comes on top


def plan_cost(plan: EnginePlan, gpu: Gpu | None, *, tf32: bool = False) -> PlanCost:
    """Of a plan, which has its MACs where a `gpu` is given."""
    bound = roofline(plan, gpu, tf32=tf32).total_us if gpu else None
    return PlanCost(len(plan.kernels), plan.bytes_moved, bound)


@dataclass(frozen=True, slots=True)
class PlanCostModel:
    """Prices graphs by their plans, for the first of `spec.targets`."""

    spec: BuildSpec
    gpu: Gpu | None = None

    @property
    def objective(self) -> str:
        """What a cost is of, in words."""
        version = ".".join((installed_version("tensorrt-rtx") or "of unknown version").split(".")[:3])
        by = f"roofline of {self.gpu.name}: a lower bound" if self.gpu else "bytes moved, then kernels"
        what = f"{self.spec.precision}, batch {self.spec.batch.optimum}, {self.spec.targets[0]}"
        return f"the TensorRT-RTX {version} ahead-of-time plan ({what}), {by}, not a measured time"

    def cost(self, network: ir.Model) -> PlanCost:
        """Of an optimized float graph, which is left alone. Raises as the typing and the compiler do."""
        backend, spec = usable(RTX), self.spec
        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
            typed = typed_graph(network, spec, backend, Path(folder) / "typed.onnx")
            plan = backend.build(typed, spec.engine_settings).layers
            if plan is None:
                raise BuildFailed("TensorRT-RTX told nothing of what it compiled")
            costed = _with_costs(plan, network, typed.path) if self.gpu else plan
        return plan_cost(costed, self.gpu, tf32=spec.tf32)


@dataclass(frozen=True, slots=True)
class TimeCostModel:
    """Prices pairs of graphs by ONNX Runtime's time here, `seconds` of rounds each."""

    spec: BuildSpec
    seconds: float = TIMED_SECONDS

    @property
    def objective(self) -> str:
        """What a cost is of, in words."""
        spec = self.spec
        version = installed_version("onnxruntime-gpu", "onnxruntime") or "of unknown version"
        return f"ONNX Runtime {version}'s time here ({spec.precision}, batch {spec.batch.optimum})"

    def cost(self, network: ir.Model, other: ir.Model) -> TimeCost:
        """Of an optimized float graph against another. Raises as the typing and the workers do."""
        backend, spec = usable(ORT), self.spec
        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
            jobs = []
            for label, each in (("without", other), ("with", network)):
                typed = typed_graph(each, spec, backend, Path(folder) / f"{label}.onnx")
                engine = backend.build(typed, spec.engine_settings)
                jobs.append(RowJob(label, engine, _feeds(engine, spec.batch.optimum)))
            return paired(jobs, seconds=self.seconds)


def paired(jobs: list[RowJob], *, seconds: float) -> TimeCost:
    """The second job against the first. Raises what ended either of them, ExecutionFailed for too little time."""
    settings = BenchSettings(max_seconds=seconds, processes=1)  # of dozens of variants, each starts two
    measured: Measurement = run_rows(jobs, settings)
    for row in measured.rows:
        if row.failure is not None:
            raise row.failure
    first, second = (latency(row.blocks, seed=settings.seed) for row in measured.rows)
    ratio = ratios_to_first([row.blocks for row in measured.rows], seed=settings.seed)[1]
    if first is None or second is None or ratio is None:
        raise ExecutionFailed(f"nothing could be timed within {seconds:g} s", hint="give more time")
    return TimeCost(second.median, first.median, ratio.value, ratio.ci95)


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
                raise BackendMissing(f"backend {backend.name} has no INT8 Q/DQ scheme")
            inputs, _ = graph.tensor_specs(copy)
            require_made_up(network, spec.model.input_ranges)
            ranges = spec.model.input_ranges
            feeds = noise_feeds(inputs, count=1, batch=1, seed=spec.model.seed, ranges=ranges)
            table = collect(copy, feeds, graph_digest="", data_digest="", preprocessing="noise")
            if not quantize(copy, table, placement, spec.policy, keep_fp32=spec.keep_fp32).quantized:
                raise UnsupportedGraph("no layer can be quantized to INT8", hint="use fp32 or fp16")
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
