"""TensorRT-RTX: compiles ahead of time on any machine, runs on an RTX GPU of a compute capability it compiled for.

It installs from PyPI and compiles without a driver. What comes out is a plan: which nodes run together, in which type
and layout. An RTX GPU turns it into machine code when the engine is opened.
"""

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec

from deploykit.backends.device import find_gpu, why_no_gpu
from deploykit.backends.protocol import (
    Engine,
    Session,
    Source,
    TypedGraph,
    typed_or_reason,
)
from deploykit.errors import BackendMissing
from deploykit.plan.model import EnginePlan
from deploykit.plan.rtx_log import read_log
from deploykit.plan.summary import PlanSummary, summarize
from deploykit.spec import (
    TENSORRT,
    EngineSettings,
    Placement,
    Precision,
    Progress,
    Reason,
    Target,
)

NO_RTX = Reason("TensorRT-RTX is not installed", "pip install tensorrt-rtx (Linux x86-64 or Windows)")
NO_PYCUDA = Reason("pycuda is not installed", "pip install 'deploykit[gpu]'")

OF_OPTIMUM = "kernels and bytes are those at the optimum sizes: for free ones the compiler logs no plan"


class TensorRTRTXBackend:
    name = "trt-rtx"
    compiles = True
    libraries: tuple[str, ...] = ("tensorrt-rtx", "pycuda")
    runs_module = False

    @property
    def placement(self) -> Placement | None:
        return TENSORRT

    def unavailable(self) -> Reason | None:
        return None if find_spec("tensorrt_rtx") else NO_RTX

    def supports(self, source: Source) -> Reason | None:
        found = typed_or_reason(source, "TensorRT-RTX compiles")
        return found if isinstance(found, Reason) else None

    def build(self, source: Source, settings: EngineSettings, progress: Progress | None = None) -> Engine:
        """Compile for `settings.targets`. Raises BackendMissing, BuildFailed, UsageError (a target that RTX lacks)."""
        typed = typed_or_reason(source, "TensorRT-RTX compiles")
        if isinstance(typed, Reason):
            raise BackendMissing(typed.what, hint=typed.fix)
        return compile_with_rtx(typed, settings, progress, backend=self.name, reason=cannot_run(settings.targets))

    def open(self, engine: Engine, *, threads: int = 0) -> Session:  # noqa: ARG002 - no CPU threads are involved
        if reason := engine.reason or self.unavailable() or no_device():
            raise BackendMissing(f"this engine cannot run here: {reason.what}", hint=reason.fix)
        from deploykit.backends.nvinfer import load_library
        from deploykit.backends.nvinfer_session import NvinferSession

        return NvinferSession(load_library("tensorrt_rtx"), engine)


def compile_with_rtx(
    typed: TypedGraph, settings: EngineSettings, progress: Progress | None, *, backend: str, reason: Reason | None
) -> Engine:
    """An engine and its plan; `reason` says why it cannot run here, and marks it as compiled ahead of time."""
    from deploykit.backends.nvinfer import compile_engine, load_library

    tensorrt_rtx = load_library("tensorrt_rtx")
    compile_typed = partial(compile_engine, tensorrt_rtx, typed, settings, targets=settings.targets, verbose=True)
    compiled = compile_typed(progress=progress)
    flavour = f"tensorrt-rtx {'.'.join(tensorrt_rtx.__version__.split('.')[:3])}"
    ranged = any(spec.ranges for spec in typed.inputs)
    shown = compile_typed(at_optimum=True) if ranged else compiled
    layers = read_log(
        shown.log,
        compiler=flavour,
        precision=typed.precision,
        batch=settings.batch.optimum,
        targets=tuple(map(str, settings.targets)),
        engine_bytes=len(compiled.content),
    )
    plan = summarize(layers)
    in_other_types = describe_types(typed.precision, plan, tf32=settings.tf32)
    return Engine(
        backend=backend,
        flavour=f"{flavour} (ahead of time)" if reason else flavour,
        precision=typed.precision,
        inputs=typed.inputs,
        outputs=typed.outputs,
        reason=reason,
        note="; ".join(filter(None, (in_other_types, OF_OPTIMUM if ranged else ""))),
        typed_digest=typed.digest,
        plan=plan,
        layers=layers,
        content=compiled.content,
        log=compiled.log,
    )


def plan_with_probes(typed: TypedGraph, settings: EngineSettings, probes: Mapping[str, str]) -> EnginePlan:
    """What is compiled where values of the graph are outputs, too (`plan.probes`). Raises BuildFailed."""
    from deploykit.backends.nvinfer import compile_engine, load_library

    tensorrt_rtx = load_library("tensorrt_rtx")
    compiled = compile_engine(tensorrt_rtx, typed, settings, targets=settings.targets, verbose=True, probes=probes)
    return read_log(
        compiled.log,
        compiler=f"tensorrt-rtx {tensorrt_rtx.__version__}",
        precision=typed.precision,
        batch=settings.batch.optimum,
        targets=tuple(map(str, settings.targets)),
        engine_bytes=len(compiled.content),
    )


def describe_types(precision: Precision, plan: PlanSummary | None, *, tf32: bool) -> str:
    """Describe where a row computes in another type than its name says; "" where it does not."""
    if precision is Precision.FP32:
        return "TF32 allowed" if tf32 else ""
    if plan is None or not plan.other_precision:
        return ""
    types = ", ".join(sorted({dtype.lower() for dtype in plan.other_precision.values()}))
    return f"{len(plan.other_precision)} of {plan.weighted_nodes} layers with weights compute in {types}"


def no_device() -> Reason | None:
    """What a session on the GPU lacks here; None when it lacks nothing."""
    if find_gpu() is None:
        return why_no_gpu()
    return None if find_spec("pycuda") else NO_PYCUDA


def cannot_run(targets: tuple[Target, ...]) -> Reason | None:
    """Why an engine compiled for `targets` cannot run here; None when it can."""
    gpu = find_gpu()
    if gpu is not None and gpu.capability not in targets:
        names = ", ".join(map(str, targets))
        return Reason(
            f"compiled for {names}, and this machine's GPU is {gpu.capability}", f"add --target {gpu.capability}"
        )
    return no_device()
