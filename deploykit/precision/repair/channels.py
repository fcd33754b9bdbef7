"""A figure for each channel of a value, as an output of the graph: no activation leaves ONNX Runtime."""

import numpy as np
import onnx_ir as ir

from deploykit.graph.rewrite import new_initializer

AXES_AS_INPUT = 18  # the opset from which on the axes of these operators are an input


def add_channel_output(graph: ir.Graph, op_type: str, value: ir.Value, rank: int, name: str) -> None:
    """Make `op_type` (ReduceMax, ReduceMean) of `value` over all axes but the channels, axis 1, the output `name`."""
    axes = [axis for axis in range(rank) if axis != 1]
    output = ir.Value(name=name, shape=ir.Shape([None]), type=ir.TensorType(ir.DataType.FLOAT))
    if graph.opset_imports.get("", AXES_AS_INPUT) < AXES_AS_INPUT:
        node = ir.node(op_type, [value], {"keepdims": 0, "axes": axes}, outputs=[output])
    else:
        over = new_initializer(graph, f"{name}_axes", np.array(axes, np.int64))
        node = ir.node(op_type, [value, over], {"keepdims": 0}, outputs=[output])
    graph.append(node)
    graph.outputs.append(output)
