"""Check a quantized graph against its placement: what a strict compiler would reject, or quietly run in float."""

from collections.abc import Collection, Iterator

import numpy as np
import onnx_ir as ir

from deploykit.graph.rewrite import constant, node_name
from deploykit.precision.int8.weighted import channel_axis
from deploykit.spec import Placement
from deploykit.spec.operators import WEIGHTED_OPS


def lint(model: ir.Model, placement: Placement, *, excluded: Collection[str] = ()) -> list[str]:
    """What is wrong with `model` as a graph of `placement`, one line each; empty when all is well.

    `excluded` names weighted nodes known to stay in float (`Int8Report.excluded`). Checked: every other weighted node
    reads a quantized activation and an int8 weight with one scale per output channel; scales are finite and positive,
    zero-points of the placement's type; a bias is int32 at s_x * s_w or float, as the placement says; a value has one
    QuantizeLinear, and a QuantizeLinear one DequantizeLinear with the same scale.
    """
    complaints: list[str] = []
    for node in model.graph:
        if node.op_type in WEIGHTED_OPS and node.domain == "" and node_name(node) not in excluded:
            complaints += [f"{node_name(node)}: {what}" for what in _weighted_faults(node, placement)]
        elif node.op_type == "QuantizeLinear":
            complaints += [f"{node_name(node)}: {what}" for what in _pair_faults(node, placement)]
    return complaints


def _weighted_faults(node: ir.Node, placement: Placement) -> Iterator[str]:
    activation, weight, *bias = (_dequantize(value) for value in node.inputs)
    if activation is None or _dequantize_source(activation) != "QuantizeLinear":
        yield "its activation is not quantized"
    if weight is None:
        yield "its weight is not behind DequantizeLinear"
        return
    integers, scale = constant(weight.inputs[0]), constant(weight.inputs[1])
    if integers is None or scale is None:
        yield "its weight or the scale is not a constant"
        return
    axis = channel_axis(node)
    if integers.dtype != np.int8:
        yield f"its weight is {integers.dtype}, not int8"
    if scale.shape != (integers.shape[axis],) or _axis(weight) != axis:
        yield f"its weight has {scale.size} scales on axis {_axis(weight)}, not {integers.shape[axis]} on axis {axis}"
    yield from _scale_faults(weight)
    if np.any(_zero_point(weight)):
        yield "its weight's zero-point is not 0"
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        yield from _bias_faults(bias[0], activation, scale, placement)


def _bias_faults(
    bias: ir.Node | None, activation: ir.Node | None, weight_scale: np.ndarray, placement: Placement
) -> Iterator[str]:
    if not placement.int32_bias:
        if bias is not None:
            yield f"its bias is quantized, which the {placement.name} placement forbids"
        return
    if bias is None:
        yield f"its bias is float, the {placement.name} placement wants int32"
        return
    integers, scale = constant(bias.inputs[0]), constant(bias.inputs[1])
    if integers is None or integers.dtype != np.int32:
        yield "its bias is not an int32 constant"
    input_scale = constant(activation.inputs[1]) if activation is not None else None
    if scale is None or (input_scale is not None and not _same(scale, input_scale * weight_scale)):
        yield "its bias does not have the accumulator's scale s_x * s_w"


def _same(scale: np.ndarray, accumulator: np.ndarray) -> bool:
    return scale.shape == accumulator.shape and np.allclose(scale, accumulator, rtol=1e-6, atol=0)


def _pair_faults(quantize: ir.Node, placement: Placement) -> Iterator[str]:
    source = quantize.inputs[0]
    twins = [use.node for use in source.uses() if use.node.op_type == "QuantizeLinear"] if source is not None else []
    if len(twins) > 1 and twins[0] is quantize:
        yield f"{len(twins)} QuantizeLinear read the same value"
    readers = [use.node for use in quantize.outputs[0].uses()]
    if len(readers) != 1 or readers[0].op_type != "DequantizeLinear":
        yield "its reader is not one DequantizeLinear"
    elif list(readers[0].inputs[1:]) != list(quantize.inputs[1:]):
        yield "its DequantizeLinear has another scale or zero-point"
    yield from _scale_faults(quantize)
    zero = _zero_point(quantize)
    wanted = np.int8 if placement.symmetric else np.uint8
    if zero.dtype != wanted or zero.size != 1:
        yield f"its zero-point is {zero.dtype}{list(zero.shape)}, not one {np.dtype(wanted).name}"
    elif placement.symmetric and zero.any():
        yield f"its zero-point is {int(zero.flat[0])}, a symmetric placement has 0"


def _scale_faults(node: ir.Node) -> Iterator[str]:
    scale = constant(node.inputs[1])
    if scale is None:
        yield "its scale is not a constant"
    elif not (np.isfinite(scale) & (scale > 0)).all():
        yield "a scale is not finite and positive"


def _zero_point(node: ir.Node) -> np.ndarray:
    """The zero-point; ONNX's default, a uint8 0, where it is left out."""
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return np.zeros((), np.uint8) if zero is None else zero


def _dequantize(value: ir.Value | None) -> ir.Node | None:
    producer = value.producer() if value is not None else None
    return producer if producer is not None and producer.op_type == "DequantizeLinear" else None


def _dequantize_source(node: ir.Node) -> str:
    stored = node.inputs[0]
    producer = stored.producer() if stored is not None else None
    return producer.op_type if producer is not None else ""


def _axis(node: ir.Node) -> int:
    attribute = node.attributes.get("axis")
    return 1 if attribute is None else attribute.as_int()
