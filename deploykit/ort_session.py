"""One way to open ONNX Runtime: quiet, with a stated thread count and a pool that falls asleep between runs."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deploykit.errors import BackendMissing, BuildFailed, ExecutionFailed, one_line
from deploykit.host import usable_cores

if TYPE_CHECKING:
    import onnx_ir as ir

SILENT = 4  # ONNX Runtime's log severity "fatal"
PREAMBLE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (?:Load model from .*? failed:\s*)?(?:Fatal error: )?")
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# The CUDA provider rounds the operands of float32 products to TF32 unless told otherwise.
OPTIONS: dict[str, dict[str, str]] = {CPU: {}, CUDA: {"use_tf32": "0"}}


def open_session(
    model: Path | bytes | ir.Model,
    *,
    optimize: bool | Literal["basic"] = True,
    threads: int = 0,
    provider: str = CPU,
) -> Any:
    """An `onnxruntime.InferenceSession` (the library is untyped) on `threads` CPU threads (0: one per core).

    Where ONNX Runtime's optimizer fails on a valid graph, it is opened at the basic level once (`optimized_in_full`
    tells), as it is with `optimize="basic"`. `optimize=False` runs the graph node by node as it is written. Names
    that repeat in a graph in memory are made unique there, in place. float32 stays float32: TF32 is off. Raises
    BuildFailed with ONNX Runtime's own words, BackendMissing where another provider loads than was asked for.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(SILENT)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = threads or usable_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    missing = _load_cuda_libraries() if provider == CUDA else ""
    session = _opened(_readable(model), options, provider, optimize)
    if (loaded := session.get_providers()[0]) != provider:
        raise BackendMissing(
            f"ONNX Runtime loaded {loaded}, not {provider}" + (f" ({missing})" if missing else ""),
            hint="check CUDA and cuDNN with `deploykit doctor`",
        )
    return session


def _opened(content: Any, options: Any, provider: str, optimize: bool | Literal["basic"]) -> Any:
    """The session at the first optimization level that works; where none does, the first one's complaint is raised."""
    import onnxruntime

    level = onnxruntime.GraphOptimizationLevel
    levels = {True: (level.ORT_ENABLE_ALL, level.ORT_ENABLE_BASIC), "basic": (level.ORT_ENABLE_BASIC,)}
    complaints = []
    for options.graph_optimization_level in levels.get(optimize, (level.ORT_DISABLE_ALL,)):
        try:
            return onnxruntime.InferenceSession(content, options, providers=[(provider, OPTIONS[provider])])
        except Exception as error:  # noqa: BLE001 - raised below, unless a lower level works
            complaints.append(error)
    raise BuildFailed(f"ONNX Runtime rejects the graph: {_own_words(complaints[0])}") from complaints[0]


def optimized_in_full(session: Any) -> bool:
    """Whether a session that `open_session` optimized is at ONNX Runtime's highest level, not at the basic one."""
    import onnxruntime

    return bool(
        session.get_session_options().graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    )


def compute(session: Any, names: Sequence[str], feed: Mapping[str, Any]) -> dict[str, Any]:
    """The named outputs on a feed by input name. Raises ExecutionFailed with ONNX Runtime's own words."""
    try:
        return dict(zip(names, session.run(list(names), dict(feed)), strict=True))
    except Exception as error:
        raise ExecutionFailed(f"ONNX Runtime could not run the graph: {_own_words(error)}") from error


def _own_words(error: Exception) -> str:
    """What ONNX Runtime says, without its code and the path that it read, which would crowd out the reason."""
    said = PREAMBLE.sub("", " ".join(str(error).split()))
    return one_line(ExecutionFailed(said)) if said else one_line(error)


def _load_cuda_libraries() -> str:
    """Load CUDA and cuDNN from their pip packages, where the system has none, and say what could not be loaded.

    ONNX Runtime prints that, to stdout, which belongs to results.
    """
    import onnxruntime

    with redirect_stdout(io.StringIO()) as printed:
        onnxruntime.preload_dlls()
    return next((line for line in printed.getvalue().splitlines() if line.startswith("Failed to load")), "")


def _readable(model: Path | bytes | ir.Model) -> str | bytes:
    if isinstance(model, Path | bytes):
        return model if isinstance(model, bytes) else str(model)
    import onnx_ir as ir

    from deploykit.graph.passes.naming import separate_names

    separate_names(model)
    content: bytes = ir.to_proto(model).SerializeToString()
    return content
