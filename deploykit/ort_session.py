"""One way to open ONNX Runtime: quiet, with a stated thread count and a pool that falls asleep between runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.errors import BuildFailed

if TYPE_CHECKING:
    import onnx_ir as ir

SILENT = 4  # ONNX Runtime's log severity "fatal"


def usable_cores() -> int:
    """The cores this process may use, which in a container is fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_session(
    model: Path | bytes | ir.Model,
    *,
    optimise: bool = True,
    threads: int = 0,
    provider: str = "CPUExecutionProvider",
) -> Any:
    """An `onnxruntime.InferenceSession` (the library is untyped) on `threads` CPU threads (0: one per core).

    `optimise=False` runs the graph node by node as it is written. Raises BuildFailed with ONNX Runtime's own words.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(SILENT)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = threads or usable_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(_readable(model), options, providers=[provider])
    except Exception as error:
        raise BuildFailed(f"ONNX Runtime rejects the graph: {' '.join(str(error).split())}") from error


def _readable(model: Path | bytes | ir.Model) -> str | bytes:
    if isinstance(model, bytes):
        return model
    if isinstance(model, Path):
        return str(model)
    import onnx_ir as ir

    content: bytes = ir.to_proto(model).SerializeToString()
    return content
