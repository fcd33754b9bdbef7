"""Compiling a typed graph, for TensorRT and TensorRT-RTX alike (`nvinfer_session.py` runs what comes out).

Both are the same C++ library under two names, and what is here takes the imported module as `trt`, so that one
process can use either. Networks are always strongly typed: the graph alone says what is computed in which type.

TensorRT calls back into Python while it builds, and its bindings swallow what a callback raises: they print it and go
on, so that a Ctrl-C which arrives in `log` is lost, and one in `step_complete` comes out as a failed build. So nothing
may leave a callback: errors and signals are held back, the build is asked to stop, and they are raised when TensorRT
has returned.
"""

import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from deploykit.backends.protocol import TypedGraph
from deploykit.errors import BuildFailed, UsageError
from deploykit.plan.probes import CHANNELS_LAST
from deploykit.spec import BuilderOptions, EngineSettings, Progress, Target
from deploykit.spec.shapes import End

FREE = -1  # TensorRT's free dimension
ENDS: tuple[End, ...] = ("minimum", "optimum", "maximum")  # of an optimization profile
SYMMETRIC = "it takes zero-points of 0 alone: quantize the float network for it, or run this file with ort"
IN_SOURCE = re.compile(r"\.? In \w+ at [^ ()]+:\d+")  # ". In checkType at /_src/optimizer/common/nodeBase.cpp:456"


@dataclass(frozen=True, slots=True)
class Compiled:
    content: bytes
    log: str
    seconds: float  # parsing and building


def compile_engine(
    trt: Any,
    typed: TypedGraph,
    settings: EngineSettings,
    *,
    targets: tuple[Target, ...] = (),
    verbose: bool = False,
    progress: Progress | None = None,
    at_optimum: bool = False,
    probes: Mapping[str, str] | None = None,
) -> Compiled:
    """Compile a typed graph for `targets` (TensorRT-RTX; full TensorRT builds for the GPU that is here: none).

    `verbose` keeps the finest lines of the log: TensorRT-RTX's plan is among them, full TensorRT's try every tactic.
    With `at_optimum`, sizes that are free within a range are fixed at its optimum: the plan then has all its sizes.
    `probes` are values that become outputs, too, each in its layout (`plan.probes`).

    `progress` may be called from threads of TensorRT's own. If it raises, or a SIGINT or SIGTERM arrives, the build
    stops and the exception (or what the signal's handler does) follows. Raises BuildFailed with the compiler's own
    words, UsageError for a target that TensorRT-RTX does not know.
    """
    began = time.perf_counter()
    log = new_log(trt, verbose=verbose)
    with held_back() as held:
        builder = created(log, "builder", lambda: trt.Builder(log))
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        _parse(trt, network, typed, log)
        _mark(trt, network, probes or {})
        if at_optimum:
            typed = _at_optimum(network, typed)
        config = _configure(trt, builder, network, typed, settings)
        _set_targets(trt, config, targets)
        monitor = _new_monitor(trt, held, progress)
        config.progress_monitor = monitor
        content = builder.build_serialized_network(network, config)
        if content is None and not held:
            complaint = log.complaint()
            turing = "TensorRT-RTX has no FP32 GEMM for sm_75: give another --target, or --precision fp16"
            raise BuildFailed(
                f"{trt.__name__} could not build the {typed.precision} graph {typed.path.stem[:12]}: {complaint}",
                hint=turing if "Turing" in complaint else "",
            )
    return Compiled(bytes(content), "\n".join(log.lines), time.perf_counter() - began)


class _Held:
    """The first error or signal that a callback must not let through."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.error is not None or self.signal is not None

    def take_signal(self, number: int, frame: object) -> None:  # noqa: ARG002 - the signature of signal handlers
        self.signal = number


@contextmanager
def held_back() -> Iterator[_Held]:
    """Hold signals and the errors of callbacks back until the block is left, then let them happen."""
    held = _Held()
    previous: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) not in (None, signal.SIG_IGN):
                previous[number] = signal.signal(number, held.take_signal)
    try:
        yield held
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if held.signal is not None:
            signal.raise_signal(held.signal)
    if held.error is not None:
        raise held.error


def load_library(name: str) -> Any:
    """The Python module `tensorrt` or `tensorrt_rtx`.

    Signals wait until it is imported: a Ctrl-C in the middle of that comes out of the bindings as an ImportError.
    """
    with held_back():
        return import_module(name)


def new_log(trt: Any, *, verbose: bool = False) -> Any:
    """An ILogger that prints nothing and collects every line, those of severity VERBOSE only if `verbose`."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lines: list[str] = []
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity == trt.ILogger.VERBOSE and not verbose:
                return
            self.lines.append(message)
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

        def complaint(self) -> str:
            """The errors so far, or the last line where there is none."""
            return " | ".join(self.errors) or (self.lines[-1] if self.lines else "it does not say why")

    return Log()


def _new_monitor(trt: Any, held: _Held, progress: Progress | None) -> Any:
    totals: dict[str, int] = {}

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
            totals[phase_name] = num_steps
            self._report(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._report(phase_name, step + 1)
            return not held

        def phase_finish(self, phase_name: str) -> None:
            self._report(phase_name, totals.get(phase_name, 1))

        def _report(self, phase: str, done: int) -> None:
            if progress is None or held:
                return
            try:
                progress(phase, done, totals.get(phase, done))
            except BaseException as error:  # noqa: BLE001 - raised again when the build is over
                held.error = error

    return Monitor()


def created(log: Any, what: str, create: Any) -> Any:
    """TensorRT's factories answer a failure with a TypeError or with None; the reason is in the log."""
    try:
        made = create()
    except TypeError as error:
        raise BuildFailed(f"TensorRT could not make a {what}: {log.complaint()}") from error
    if made is None:
        raise BuildFailed(f"TensorRT could not make a {what}: {log.complaint()}")
    return made


def _parse(trt: Any, network: Any, typed: TypedGraph, log: Any) -> None:
    parser = trt.OnnxParser(network, log)
    if parser.parse_from_file(str(typed.path)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    texts = [
        (f"{error.node_operator()} node {error.node_name()!r}: " if error.node_operator() else "") + _own_words(error)
        for error in errors
    ]
    said = " | ".join(texts) or log.complaint()
    raise BuildFailed(
        f"{trt.__name__} rejects the {typed.precision} graph {typed.path.stem[:12]}: {said}",
        hint=SYMMETRIC if "Non-zero zero point" in said else "",
    )


def _mark(trt: Any, network: Any, probes: Mapping[str, str]) -> None:
    """Make values of the graph outputs of the network. Raises BuildFailed for one that it has not."""
    layers = [network.get_layer(index) for index in range(network.num_layers)] if probes else []
    tensors = {tensor.name: tensor for layer in layers for tensor in map(layer.get_output, range(layer.num_outputs))}
    for name, layout in probes.items():
        if name not in tensors:
            raise BuildFailed(f"{trt.__name__} has no value {name} to observe")
        tensor = tensors[name]
        network.mark_output(tensor)
        if layout == CHANNELS_LAST:
            tensor.allowed_formats = 1 << int(trt.TensorFormat.HWC)


def _own_words(error: Any) -> str:
    """What the parser says, in one line: no positions in its source, nor what follows about the driver it lacks."""
    said = [line for line in error.desc().splitlines() if not line.lstrip().startswith("[checkMacros")]
    return " ".join(IN_SOURCE.sub("", " ".join(said)).split())


def _configure(trt: Any, builder: Any, network: Any, typed: TypedGraph, settings: EngineSettings) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if settings.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    _apply(trt, config, settings.options)
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    dynamic = [tensor for tensor in tensors if -1 in tuple(tensor.shape)]
    if not dynamic:
        return config
    profile = builder.create_optimization_profile()
    known = {each.name: each for each in typed.inputs}
    for tensor in dynamic:
        at = [known[tensor.name].at_batch(getattr(settings.batch, end), end) for end in ENDS]
        profile.set_shape(tensor.name, *at)
    if config.add_optimization_profile(profile) < 0:
        raise BuildFailed(
            f"{trt.__name__} does not take the batches {settings.batch} of {', '.join(map(str, typed.inputs))}"
        )
    return config


def _at_optimum(network: Any, typed: TypedGraph) -> TypedGraph:
    """Fix the network's ranges, in place; the graph's inputs as they then are."""
    inputs = tuple(spec.fixed_at("optimum") for spec in typed.inputs)
    known = {spec.name: spec for spec in inputs}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        tensor.shape = known[tensor.name].at_batch(FREE)
    return replace(typed, inputs=inputs)


def _apply(trt: Any, config: Any, options: BuilderOptions) -> None:
    """A setter may refuse a value without raising, so what was set is read back."""
    if options.max_aux_streams is not None:
        config.max_aux_streams = options.max_aux_streams
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    taken = {
        "max_aux_streams": config.max_aux_streams,
        "optimization_level": config.builder_optimization_level,
        "workspace_bytes": config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE),
    }
    for name, found in taken.items():
        wanted = getattr(options, name)
        if wanted is not None and found != wanted:
            raise BuildFailed(f"{trt.__name__} does not take {name} {wanted}: it stays at {found}")


def _set_targets(trt: Any, config: Any, targets: tuple[Target, ...]) -> None:
    """One engine for several GPUs: TensorRT-RTX alone makes such, for a few compute capabilities."""
    unique = tuple(dict.fromkeys(targets))
    if not unique:
        return
    if not hasattr(trt, "ComputeCapability"):
        raise UsageError(
            f"{trt.__name__} compiles for the GPU that is here, not for {', '.join(map(str, unique))}",
            hint="leave the targets out, or compile with the backend trt-rtx",
        )
    config.num_compute_capabilities = len(unique)
    for index, target in enumerate(unique):
        member = getattr(trt.ComputeCapability, f"SM{target.major}{target.minor}", None)
        if member is None:
            known = sorted(
                (name for name in dir(trt.ComputeCapability) if name.startswith("SM")), key=lambda name: int(name[2:])
            )
            raise UsageError(
                f"TensorRT-RTX compiles for {', '.join(name.replace('SM', 'sm_') for name in known)}, not for {target}",
                hint=f"for {target}, install deploykit[gpu] on that machine and build there; to see a plan here, use "
                "--target sm_89",
            )
        if not config.set_compute_capability(member, index):
            raise BuildFailed(f"{trt.__name__} rejected the target {target}")
