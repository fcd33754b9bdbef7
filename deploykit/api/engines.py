"""From a network or its graph to an engine, and from an engine to a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit.api.checked import checked
from deploykit.api.choices import (
    Batch,
    Data,
    Targets,
    backend_of,
    batch_range,
    build_spec,
    precision_of,
    require_read,
    targets_of,
    warn_unread,
)
from deploykit.api.graphs import ExportedGraph, network_of
from deploykit.api.models import Model, Network
from deploykit.api.modules import Example
from deploykit.api.workspace import StorePath, open_store, open_workspace, path_of, warn
from deploykit.backends.protocol import Engine, Session
from deploykit.errors import BackendMissing, PrecisionUndecided, UsageError
from deploykit.plan.model import EnginePlan
from deploykit.results.build import BuildResult
from deploykit.spec import (
    BuilderOptions,
    BuildSpec,
    Calibration,
    Fusions,
    Precision,
    Progress,
    QuantizationPolicy,
    Reason,
    Repair,
    TensorSpec,
    WeightsOrigin,
)

if TYPE_CHECKING:
    from deploykit.plan.gpus import Gpu
    from deploykit.workflow.engine import Built
    from deploykit.workflow.workspace import Workspace

UNDECIDED = "build on a GPU, give the precision fp16 or int8, or let TensorRT-RTX's plans decide: accept_rtx_plan"


@dataclass(frozen=True, kw_only=True)
class BuiltEngine:
    """One engine in the store, with the plan that was compiled.

    `model` is the network, `spec` what was built of it, with everything decided. `result` is what
    `deploykit build --json` prints.
    """

    model: Model
    spec: BuildSpec
    store: Path
    result: BuildResult = field(repr=False)
    built: Built = field(repr=False)

    @property
    def engine(self) -> Engine:
        """The engine as its backend made it."""
        return self.built.engine

    @property
    def path(self) -> Path | None:
        """The engine's file in the store, of ONNX Runtime the typed graph; None for eager PyTorch."""
        return self.engine.path

    @property
    def digest(self) -> str | None:
        """SHA-256 (hex) of the file; None for eager PyTorch."""
        return self.built.engine_digest or self.engine.typed_digest

    @property
    def typed_path(self) -> Path | None:
        """The ONNX file whose types are the precision; None for eager PyTorch."""
        return self.built.typed.graph.path if self.built.typed else None

    @property
    def typed_digest(self) -> str | None:
        """SHA-256 (hex) of that file."""
        return self.engine.typed_digest

    @property
    def plan(self) -> EnginePlan | None:
        """What was compiled, kernel by kernel; None where the compiler does not say."""
        return self.built.plan

    @property
    def backend(self) -> str:
        """The backend's name, such as `"trt"`."""
        return self.engine.backend

    @property
    def flavour(self) -> str:
        """Library, version and provider, such as `"tensorrt-rtx 1.7.1 (ahead of time)"`."""
        return self.engine.flavour

    @property
    def precision(self) -> Precision:
        """The precision of the typed graph."""
        return self.engine.precision

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and type of each input; a free dimension has a name in place of a size."""
        return self.engine.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Name, shape and type of each output."""
        return self.engine.outputs

    @property
    def weights(self) -> WeightsOrigin:
        """Where the weights are from."""
        return self.built.exported.weights

    @property
    def reason(self) -> Reason | None:
        """Why the engine cannot run on this machine; None when it can."""
        return self.engine.reason

    def save(self, path: str | PathLike[str]) -> Path:
        """Copy the engine to `path`, with its record beside it, which `open` and `inspect` read.

        Args:
            path: The file, or a folder for it. The record's name is the file's with `.json` added.

        Returns:
            The path of the copy.

        Raises:
            UsageError: The backend makes no file, or `path` cannot be written.
        """
        from deploykit.workflow.engine_file import save_engine

        return save_engine(self.built, self.spec, path_of("the path of the engine", path))

    def to_json(self) -> str:
        """What `deploykit build --json` prints."""
        return self.result.to_json()


@checked
def build(
    network: Network | ExportedGraph,
    *,
    example: Example | None = None,
    precision: str | Precision = "fp32",
    backend: str = "trt",
    batch: Batch = None,
    target: Targets = None,
    data: Data = None,
    calibration: Calibration | str | PathLike[str] | None = None,
    policy: str | QuantizationPolicy = "all",
    repair: str | Repair = "none",
    fusions: str | Fusions | None = None,
    fusion_seconds: float = 120.0,
    keep_io: bool = True,
    keep_fp32: str | Sequence[str] = (),
    tf32: bool = False,
    options: BuilderOptions | None = None,
    gpu_table: str | PathLike[str] | None = None,
    strict: bool = False,
    accept_rtx_plan: bool = False,
    store: StorePath = None,
    progress: Progress | None = None,
) -> BuiltEngine:
    """Build an engine at one precision. Without a GPU, TensorRT-RTX compiles ahead of time for `target`.

    Args:
        network: A network as `export` takes it, or an exported graph.
        example: Inputs of an `nn.Module`, as for `from_module`.
        precision: `"fp32"`, `"fp16"`, `"int8"`, or `"best"`: the faster of fp16 and int8.
        backend: `"trt"` or `"trt-rtx"` compile; `"ort"` and `"torch"` make an engine that only opens a session.
        batch: The largest batch, `8`, or `(1, 8, 32)`: smallest, the one to tune for, largest. None is 8.
        target: Compute capability `"sm_89"`, GPU `"rtx4090"`, or several; None is the GPU here, else sm_89.
        data: Images that INT8 is calibrated on and FP16 is tried on for overflow; None takes demo images.
        calibration: A table of `calibrate`, the path of one, or a `Calibration`; None is minmax on 32 images.
        policy: Which layers INT8 takes: `"all"`, `"plan"`, terms with commas between, or a `QuantizationPolicy`.
        repair: What is done for INT8's accuracy: `"none"`, `"all"`, or any of clip, equalize, bias: `"clip,bias"`.
        fusions: As for `export`; None is `"safe"`, or those of the exported graph.
        fusion_seconds: Seconds that the search of `fusions="auto"` may take.
        keep_io: FP16, and INT8 with rest=fp16: keep inputs and outputs float32.
        keep_fp32: FP16, and INT8 with rest=fp16: nodes, modules, globs of either or `"op=TYPE"` that stay float32.
        tf32: Let FP32 products round their operands to TF32.
        options: What TensorRT's builder is told beyond the graph.
        gpu_table: TOML file with peak rates and bandwidth of the GPUs that `target` names.
        strict: Never let TensorRT-RTX compile in place of TensorRT.
        accept_rtx_plan: With `"best"`: let TensorRT-RTX's plans decide for `"trt"` where there is no GPU.
        store: Folder of the artifact store; None is the graph's, $DEPLOYKIT_STORE, else `engines`.
        progress: Called with (stage, steps done, steps in all), perhaps from another thread; None is silent.

    Returns:
        The engine. Float16 overflow on sample images is warned of (DeploykitWarning).

    Raises:
        UsageError: An option is wrong or nothing would read it.
        BackendMissing: The backend cannot be used here, or not for this.
        BuildFailed: The compiler rejected the typed graph.
        CheckpointMismatch: Tensors of a checkpoint do not fit the network.
        ExportFailed: torch.onnx cannot trace the network, or a file cannot be converted.
        Float16Overflow: A weight does not fit in float16; a GateFailed.
        PrecisionUndecided: `"best"` cannot be decided without a GPU.
        StoreFailed: The artifact store cannot be written or is corrupt.
        UnsupportedGraph: The graph cannot be typed, or fed, as asked.
        UntrustedArtifact: A file is malformed or corrupt.
    """
    from deploykit.tuning.precision import BEST, CONTENDERS

    model, named, place = network_of(network, example, fusions, store)
    best = isinstance(precision, str) and precision.strip().lower() == BEST
    if accept_rtx_plan and not best:
        raise UsageError("accept_rtx_plan requires the precision best", hint="leave it out, or ask for best")
    targets, gpu = targets_of(target, gpu_table)
    spec = build_spec(
        model.spec,
        precision=CONTENDERS[0] if best else precision_of(precision),
        batch=batch_range(batch, 8),
        targets=targets,
        data=data,
        calibration=calibration,
        policy=policy,
        repair=repair,
        fusions=named,
        keep_io=keep_io,
        keep_fp32=keep_fp32,
        tf32=tf32,
        options=options,
    )
    precisions = CONTENDERS if best else (spec.precision,)
    require_read(spec, precisions)
    warn_unread(spec, precisions)
    request = _Request(
        model, spec, backend, gpu, fusion_seconds, strict=strict, best=best, accept_rtx_plan=accept_rtx_plan
    )
    return _built(open_workspace(place, progress), request)


@dataclass(frozen=True, slots=True)
class _Request:
    model: Model
    spec: BuildSpec
    backend: str
    gpu: Gpu | None
    fusion_seconds: float
    strict: bool
    best: bool
    accept_rtx_plan: bool


def _built(workspace: Workspace, request: _Request) -> BuiltEngine:
    from deploykit.tuning.fusions import Goal, decided
    from deploykit.tuning.int8_layers import decided_policy
    from deploykit.tuning.precision import choose_precision
    from deploykit.workflow.answer import build_result, undecided_result
    from deploykit.workflow.batch import with_batch
    from deploykit.workflow.engine import build as build_engine
    from deploykit.workflow.overflow import overflow_result

    backend, gpu = backend_of(request.backend, strict=request.strict), request.gpu
    spec = with_batch(workspace, request.spec)
    goal = Goal(spec=spec, backend=request.backend, gpu=gpu, budget_seconds=request.fusion_seconds)
    goal, decision = decided(workspace, goal)
    spec, layers = decided_policy(workspace, goal.spec, gpu, wanted=request.best)
    choice = None
    if request.best:
        choice = choose_precision(workspace, spec, backend, gpu=gpu, accept_rtx_plan=request.accept_rtx_plan)
        if choice.precision is None:
            found = undecided_result(workspace, spec, request.backend, choice)
            raise PrecisionUndecided("the precision is undecided, no engine was chosen", hint=UNDECIDED, result=found)
        spec = spec.with_precision(choice.precision)
    built = build_engine(workspace, spec, backend)
    overflow = overflow_result(workspace, built.exported, spec)
    facts = build_result(workspace, built, spec, decision=decision, choice=choice, layers=layers, overflow=overflow)
    if overflow and overflow.warning:
        warn(overflow.warning)
    return BuiltEngine(model=request.model, spec=spec, store=workspace.store.root, result=facts, built=built)


@checked
def open(  # noqa: A001 - what it does
    engine: BuiltEngine | str | PathLike[str],
    *,
    threads: int = 0,
    trust_engine: bool = False,
    store: StorePath = None,
) -> Session:
    """Open an engine for inference. Imports no PyTorch unless the engine is PyTorch's.

    Args:
        engine: What `build` returned, or the path of a file that `BuiltEngine.save` wrote.
        threads: CPU threads of the session; 0 is one per core. A GPU ignores it.
        trust_engine: Open a file that the store did not build. An engine is native code.
        store: Folder of the artifact store that knows the file; None is $DEPLOYKIT_STORE, else `engines`.

    Returns:
        A context manager with `run({input: array}) -> {output: array}`, host arrays in and out.

    Raises:
        BackendMissing: The engine cannot run on this machine; the message says what is missing.
        UntrustedArtifact: The file has no record, is not what its record says, or is not trusted.
        UsageError: There is no such file, or `threads` is negative.
    """
    from deploykit.backends import get_backend

    if threads < 0:
        raise UsageError(f"threads is {threads}", hint="give 0 or more")
    if isinstance(engine, BuiltEngine):
        found = engine.engine
    else:
        from deploykit.workflow.engine_file import open_record

        found = open_record(open_store(store), path_of("the engine", engine), trusted=trust_engine)
    if reason := found.reason:
        raise BackendMissing(f"this engine cannot run here: {reason.what}", hint=reason.fix)
    return get_backend(found.backend).open(found, threads=threads)
