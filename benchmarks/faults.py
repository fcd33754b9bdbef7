"""Graphs with one fault each: what goes wrong between a network and its engine, planted in a copy of a file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

Fault = Callable[[onnx.GraphProto, onnx.NodeProto | None], None]


def planted(source: Path, target: Path, fault: Fault, node: str = "") -> Path:
    """The graph of `source` with `fault` planted at `node`, in `target`."""
    model = onnx.load(source)
    fault(model.graph, next((each for each in model.graph.node if each.name == node), None))
    onnx.save(model, target)
    return target


def scaled_weight(graph, node) -> None:
    """Each weight a fifth too large."""
    _change(graph, node, 1, lambda weight: weight * np.asarray(1.2, weight.dtype))


def dropped_bias(_graph, node) -> None:
    """No bias."""
    del node.input[2]


def transposed(graph, node) -> None:
    """Height and width of the kernels exchanged."""
    _change(graph, node, 1, lambda weight: np.swapaxes(weight, 2, 3))


def bgr(graph, node) -> None:
    """The input channels in reverse order."""
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
    """Not a fault: the network normalizes by itself what comes in."""
    (source,) = [value.name for value in graph.input]
    mean, std = (np.full((1, 3, 1, 1), value, np.float32) for value in (0.4, 0.25))
    graph.initializer.extend([numpy_helper.from_array(mean, "norm_mean"), numpy_helper.from_array(std, "norm_std")])
    for node in graph.node:
        node.input[:] = ["normalized" if name == source else name for name in node.input]
    graph.node.insert(0, onnx.helper.make_node("Sub", [source, "norm_mean"], ["centered"], "normalize/Sub"))
    graph.node.insert(1, onnx.helper.make_node("Div", ["centered", "norm_std"], ["normalized"], "normalize/Div"))


def overflow(graph, node) -> None:
    """A layer whose sums leave float16, though what follows brings them back: the network stays what it was.

    Weight and bias of `node` are taken times GAIN, and a product behind it takes that back.
    """
    for index in range(1, len(node.input)):
        _change(graph, node, index, lambda array: array * np.asarray(GAIN, array.dtype))
    result = node.output[0]
    node.output[0] = f"{result}_large"
    position = list(graph.node).index(node)
    graph.initializer.append(numpy_helper.from_array(np.float32(1 / GAIN), f"{result}_back"))
    back = onnx.helper.make_node("Mul", [node.output[0], f"{result}_back"], [result], f"{node.name}/Mul")
    graph.node.insert(position + 1, back)


GAIN = 2.0**17


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
