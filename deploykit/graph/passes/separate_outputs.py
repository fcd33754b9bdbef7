"""Every output of a graph becomes a value that a node of its own makes.

ONNX lets a graph hand back an input, hand out a weight, and list one value twice. Runtimes differ in what they make of
it: TensorRT takes no input for an output, and a value has only one name. An Identity stands for each such output:

    y = x                ->  y = Identity(x)          x a graph input or an initializer
    outputs (y, y)       ->  (y, y_1), y_1 = Identity(y)

An output keeps its name, except where an input bears it or an output before it does: those keep theirs.
"""

import onnx_ir as ir

from deploykit.graph.rewrite import names_in_use, unused


def separate_outputs(model: ir.Model) -> None:
    """Put an Identity in front of each output that is an input, an initializer, or listed before; in place."""
    graph, seen = model.graph, set[ir.Value]()
    for index, value in enumerate(list(graph.outputs)):
        if value.is_graph_input() or value.is_initializer() or value in seen:
            graph.outputs[index] = _copied(graph, value)
        seen.add(value)


def _copied(graph: ir.Graph, value: ir.Value) -> ir.Value:
    name, taken = value.name or "output", names_in_use(graph)
    if value.is_initializer():
        value.name = unused(f"{name}_value", taken)
    else:
        name = unused(name, taken)
    copy = ir.node("Identity", [value], name=unused(f"{name}_copy", taken))
    copy.outputs[0].name, copy.outputs[0].shape, copy.outputs[0].type = name, value.shape, value.type
    graph.append(copy)
    return copy.outputs[0]
