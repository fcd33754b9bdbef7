"""Does a graph normalize its input by itself?

Many exporters put the preprocessing into the file: pixels / 255, minus a mean, over a deviation, or a
BatchNormalization right on the input. Whoever then normalizes again gets wrong answers without an error. This follows
the input through casts, transposes and constant Sub, Add, Mul, Div and BatchNormalization nodes, and says what they
come to:

    y = a x + b,   mean = -b / a,   deviation = 1 / a,   per channel
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from deploykit.spec.arrays import Array

PASSED = ("Cast", "Transpose", "Identity")
SHAPE_OF = ("Shape", "Size")  # they read no pixel
AFFINE = ("Sub", "Add", "Mul", "Div", "BatchNormalization")
BYTES_FROM = 2.0  # a mean or a deviation above this is one of pixels from 0 to 255
MOST_CHANNELS = 4
UNTOUCHED = 1e-3  # a BatchNormalization that was never trained divides by the root of 1 + epsilon
SHOWN = 6  # significant digits


def own_normalization(model: ir.Model) -> str:
    """What the graph does to its one input, and which --preprocess is then likely right; "" where it does nothing."""
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    if len(inputs) != 1:
        return ""
    scale, offset, done = np.ones(1), np.zeros(1), []
    value = inputs[0]
    while (node := _only_reader(value)) is not None:
        if node.op_type in AFFINE:
            step = _affine(node, value)
            if step is None or max(step[0].size, step[1].size) > MOST_CHANNELS:
                break
            scale, offset = step[0] * scale, step[0] * offset + step[1]
            done.append(node)
        elif node.op_type not in PASSED:
            break
        value = node.outputs[0]
    if not done or not np.all(scale) or (np.allclose(scale, 1, rtol=UNTOUCHED) and np.allclose(offset, 0)):
        return ""
    return _said(done, -offset / scale, 1 / scale)


def _said(done: Sequence[ir.Node], mean: Array, deviation: Array) -> str:
    normed = any(node.op_type == "BatchNormalization" for node in done)
    does = [
        f"subtracts {_listed(mean)}" if np.any(mean) else "",
        f"divides by {_listed(deviation)}" if not np.allclose(deviation, 1, rtol=UNTOUCHED) else "",
    ]
    suggestion = "bytes" if max(np.abs(mean).max(), np.abs(deviation).max()) > BYTES_FROM else "unit"
    how = " (a BatchNormalization on the input)" if normed else ""
    return f"the graph {' and '.join(filter(None, does))} itself{how}: --preprocess {suggestion} is likely right"


def _listed(numbers: Array) -> str:
    shown = [f"{number:.{SHOWN}g}" for number in np.atleast_1d(numbers)]
    return "/".join(shown if len(set(shown)) > 1 else shown[:1])


def _only_reader(value: ir.Value) -> ir.Node | None:
    readers = {node for node, _ in value.uses() if node.op_type not in SHAPE_OF}
    return next(iter(readers)) if len(readers) == 1 and not value.is_graph_output() else None


def _affine(node: ir.Node, value: ir.Value) -> tuple[Array, Array] | None:
    """(a, b) of a node that computes a x + b per channel; None where an operand is no constant, or x the divisor."""
    if node.op_type == "BatchNormalization":
        return _norm(node)
    first, second = node.inputs
    other = second if first is value else first
    if other is None or other is value or (number := _constant(other)) is None:
        return None
    number = number.astype(np.float64).reshape(-1)
    zero, one = np.zeros_like(number), np.ones_like(number)
    leads = first is value
    match node.op_type:
        case "Add":
            return one, number
        case "Sub":
            return (one, -number) if leads else (-one, number)
        case "Mul":
            return number, zero
        case _:
            return (1 / number, zero) if leads and np.all(number) else None


def _norm(node: ir.Node) -> tuple[Array, Array] | None:
    tables = [_constant(operand) if operand is not None else None for operand in node.inputs[1:5]]
    if any(table is None for table in tables):
        return None
    gamma, beta, mean, variance = (np.asarray(table, np.float64) for table in tables)
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    a = gamma / np.sqrt(variance + epsilon)
    return a, beta - a * mean


def _constant(value: ir.Value) -> Array | None:
    if value.const_value is not None:
        return value.const_value.numpy()
    producer = value.producer()
    if producer is not None and producer.op_type == "Constant":
        tensor = producer.attributes.get_tensor("value")
        number = producer.attributes.get_float("value_float")
        return tensor.numpy() if tensor is not None else None if number is None else np.array(number)
    return None
