"""TensorRT: builds for the GPU that is here. Without TensorRT or without a GPU, TensorRT-RTX compiles in its place.

The substitute is the one exception to "never silently replaced": the flavour says `tensorrt-rtx ... (ahead of time)`,
the engine carries the reason why it cannot run, and so never a latency. `strict` forbids it.
"""

from importlib.util import find_spec
from typing import Any

from deploykit.backends.device import find_gpu, why_no_gpu
from deploykit.backends.protocol import (
    Engine,
    Session,
    Source,
    TypedGraph,
    typed_or_reason,
)
from deploykit.backends.tensorrt_rtx import NO_RTX, compile_with_rtx, describe_types, no_device
from deploykit.errors import BackendMissing, BuildFailed, ExecutionFailed
from deploykit.host import installed_version
from deploykit.plan.inspector import read_inspector
from deploykit.plan.model import EnginePlan
from deploykit.plan.summary import summarize
from deploykit.spec import (
    TENSORRT,
    EngineSettings,
    Placement,
    Progress,
    Reason,
)
from deploykit.spec.operators import WEIGHTED_OPS

OLDEST = (10, 3)  # JetPack 6.1 has it; the oldest release checked: docs/decisions/tensorrt-floor.md
INSTALL = "pip install 'deploykit[gpu]'"


class TensorRTBackend:
    """Full TensorRT, or TensorRT-RTX in its place.

    Full TensorRT times its kernels on the GPU that is here and builds for that one: the targets play no part. The
    substitute compiles for them.
    """

    name = "trt"
    compiles = True
    libraries: tuple[str, ...] = ("tensorrt", "tensorrt-rtx", "pycuda")  # TensorRT-RTX stands in where there is no GPU
    runs_module = False

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict

    @property
    def placement(self) -> Placement | None:
        return TENSORRT

    def unavailable(self) -> Reason | None:
        missing = self.lacking()
        if missing is None or (not self.strict and find_spec("tensorrt_rtx")):
            return None
        if self.strict:
            return missing
        return Reason(f"{missing.what}, and {NO_RTX.what} to compile in its place", NO_RTX.fix)

    def lacking(self) -> Reason | None:
        """What full TensorRT needs and does not find here; None when it can build and run."""
        if find_gpu() is None:
            return why_no_gpu()
        if find_spec("tensorrt") is None:
            return Reason("TensorRT is not installed", INSTALL)
        installed = installed_version("tensorrt")  # None: not by pip; the library itself will say when it is too old
        if installed and tuple(int(part) for part in installed.split(".")[:2]) < OLDEST:
            return Reason(f"TensorRT {installed} is older than {OLDEST[0]}.{OLDEST[1]}", INSTALL)
        return None

    def supports(self, source: Source) -> Reason | None:
        found = typed_or_reason(source, "TensorRT compiles")
        return found if isinstance(found, Reason) else None

    def build(self, source: Source, settings: EngineSettings, progress: Progress | None = None) -> Engine:
        """Raises BackendMissing, BuildFailed; UsageError where TensorRT-RTX compiles and lacks a target."""
        typed = typed_or_reason(source, "TensorRT compiles")
        if isinstance(typed, Reason):
            raise BackendMissing(typed.what, hint=typed.fix)
        if missing := self.lacking():
            if self.strict:
                raise BackendMissing(missing.what, hint=missing.fix)
            return compile_with_rtx(typed, settings, progress, backend=self.name, reason=missing)
        return _build_here(typed, settings, progress)

    def open(self, engine: Engine, *, threads: int = 0) -> Session:  # noqa: ARG002 - no CPU threads are involved
        if reason := engine.reason or self.lacking() or no_device():
            raise BackendMissing(f"this engine cannot run here: {reason.what}", hint=reason.fix)
        from deploykit.backends.nvinfer import load_library
        from deploykit.backends.nvinfer_session import NvinferSession

        return NvinferSession(load_library("tensorrt"), engine)


def _build_here(typed: TypedGraph, settings: EngineSettings, progress: Progress | None) -> Engine:
    """An engine for the GPU that is here, with the plan that TensorRT's inspector tells of it.

    An inspector that cannot be read costs the plan, not the engine: `note` says what it was.
    """
    from deploykit.backends.nvinfer import compile_engine, load_library

    tensorrt = load_library("tensorrt")
    compiled = compile_engine(tensorrt, typed, settings, progress=progress)
    flavour = f"tensorrt {'.'.join(tensorrt.__version__.split('.')[:3])}"
    layers, missing = None, ""
    try:
        layers = _inspected(tensorrt, compiled.content, typed, settings, compiler=flavour)
    except (BuildFailed, ExecutionFailed) as error:
        missing = f"no plan: {error}"
    plan = summarize(layers) if layers else None
    return Engine(
        backend=TensorRTBackend.name,
        flavour=flavour,
        precision=typed.precision,
        inputs=typed.inputs,
        outputs=typed.outputs,
        reason=no_device(),
        note="; ".join(filter(None, (describe_types(typed.precision, plan, tf32=settings.tf32), missing))),
        typed_digest=typed.digest,
        plan=plan,
        layers=layers,
        content=compiled.content,
        log=compiled.log,
    )


def _inspected(trt: Any, content: bytes, typed: TypedGraph, settings: EngineSettings, *, compiler: str) -> EnginePlan:
    """Raises ExecutionFailed, BuildFailed as TensorRT and the reader do."""
    import onnx_ir as ir

    from deploykit.backends.nvinfer_session import inspect_engine

    gpu = find_gpu()
    graph = ir.load(typed.path).graph
    return read_inspector(
        inspect_engine(trt, content, batch=settings.batch.optimum),
        compiler=compiler,
        precision=typed.precision,
        batch=settings.batch.optimum,
        targets=(str(gpu.capability),) if gpu else (),
        engine_bytes=len(content),
        weighted={node.name: node.op_type for node in graph if node.name and node.op_type in WEIGHTED_OPS},
        idle={str(value.name) for value in graph.inputs if not value.uses()},
    )
