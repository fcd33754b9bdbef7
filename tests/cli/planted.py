"""Graphs with one fault each: what goes wrong between a network and its engine, planted in a copy of a file."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper


def planted(source: Path, target: Path, fault, node: str = "") -> Path:
    """The graph of `source` with `fault` planted at `node`, in `target`."""
    model = onnx.load(source)
    fault(model.graph, next((each for each in model.graph.node if each.name == node), None))
    onnx.save(model, target)
    return target


def scaled_weight(graph, node) -> None:
    _change(graph, node, 1, lambda weight: weight * np.asarray(1.2, weight.dtype))


def dropped_bias(_graph, node) -> None:
    del node.input[2]


def transposed(graph, node) -> None:
    _change(graph, node, 1, lambda weight: np.swapaxes(weight, 2, 3))


def bgr(graph, node) -> None:
    _change(graph, node, 1, lambda weight: np.flip(weight, 1))


def wrong_scale(graph, node) -> None:
    """The pair in front of a layer quantizes in steps a hundred times too coarse."""
    makers = {name: each for each in graph.node for name in each.output}
    dequantize = makers[node.input[0]]
    scale = _constant(graph, dequantize.input[1])
    wrong = numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(100), f"{scale.name}_wrong")
    graph.initializer.append(wrong)
    dequantize.input[1] = wrong.name
    makers[dequantize.input[0]].input[1] = wrong.name


def normalization(graph, _node) -> None:
    """The network normalizes by itself what comes in."""
    (source,) = [value.name for value in graph.input]
    shape = (1, 3, 1, 1)
    mean, std = (np.full(shape, value, np.float32) for value in (0.4, 0.25))
    graph.initializer.extend([numpy_helper.from_array(mean, "mean"), numpy_helper.from_array(std, "std")])
    for node in graph.node:
        node.input[:] = ["normalized" if name == source else name for name in node.input]
    graph.node.insert(0, onnx.helper.make_node("Sub", [source, "mean"], ["centered"], "normalize/Sub"))
    graph.node.insert(1, onnx.helper.make_node("Div", ["centered", "std"], ["normalized"], "normalize/Div"))


def _change(graph, node, index, change) -> None:
    tensor = _constant(graph, node.input[index])
    array = np.ascontiguousarray(change(numpy_helper.to_array(tensor)))
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _constant(graph, name):
    """The stored tensor behind a value: itself, or what a DequantizeLinear or a Cast reads."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    if name in stored:
        return stored[name]
    maker = next(each for each in graph.node if name in each.output)
    return stored[maker.input[0]]
