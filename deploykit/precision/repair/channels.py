"""A figure for each channel of a value, as an output of the graph: no activation leaves ONNX Runtime."""

import numpy as np
import onnx_ir as ir

from deploykit.graph.rewrite import new_initializer


def add_channel_output(graph: ir.Graph, op_type: str, value: ir.Value, rank: int, name: str) -> None:
    """Make `op_type` (ReduceMax, ReduceMean) of `value` over all axes but the channels, axis 1, the output `name`."""
    axes = new_initializer(graph, f"{name}_axes", np.array([axis for axis in range(rank) if axis != 1], np.int64))
    output = ir.Value(name=name, shape=ir.Shape([None]), type=ir.TensorType(ir.DataType.FLOAT))
    graph.append(ir.node(op_type, [value, axes], {"keepdims": 0}, outputs=[output]))
    graph.outputs.append(output)
