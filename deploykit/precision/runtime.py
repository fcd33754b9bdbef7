"""ONNX Runtime on the CPU as the precision stage uses it: on graphs in memory, quiet, without spinning threads."""

from typing import TYPE_CHECKING

import onnx_ir as ir

from deploykit.errors import ExecutionFailed

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

ERRORS_ONLY = 3  # ONNX Runtime's log severity


def session(model: ir.Model, *, optimise: bool, threads: int = 0) -> "InferenceSession":
    """A session on `threads` threads (0: one per core). `optimise=False` runs the graph node by node as written.

    Raises ExecutionFailed when ONNX Runtime rejects the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    content = ir.to_proto(model).SerializeToString()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ExecutionFailed(f"ONNX Runtime rejected the graph: {error}") from error
