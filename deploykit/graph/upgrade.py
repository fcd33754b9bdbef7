"""An old graph in the words of a newer opset, operator by operator.

onnx's own version converter answers without an error and with another network for several operators (a linear Upsample
of opset 9 lands on another grid, a broadcast of opset 6 on other axes). So the changes stand here, one function each:
`CHANGES` lists every operator whose meaning, attributes or operands are not those of its newer version. Whatever is not
listed means the same at TARGET; a test reads that off ONNX's own history. What has no equivalent is refused by name.

Where the standard left a point open, ONNX Runtime's answer counts: it is what old files were tried with.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from deploykit.errors import ExportFailed

TARGET = 20  # the newest opset that `CHANGES` reaches
FLOAT_DEFAULT = ir.DataType.FLOAT
RESIZED_BY_COORDINATE = {"coordinate_transformation_mode": "asymmetric"}  # x_in = x_out / scale, before opset 11
BROADCAST_OPERATORS = ("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor")
KEEP_SHAPE = (*BROADCAST_OPERATORS, "BatchNormalization", "Dropout", "PRelu", "Softmax")
REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSumSquare",
)  # fmt: skip

Change = Callable[[ir.Node], None]


def upgrade(part: ir.Graph | ir.Function, opset: int, *, target: int = TARGET) -> None:
    """Rewrite every node of `part`, bodies included, from `opset` to `target`, in place; the caller sets the imports.

    Shapes of the values must have been inferred: a few changes need a rank. Raises ExportFailed, naming the node, for
    what has no equivalent.
    """
    for node in list(part.all_nodes()):
        if node.domain in ("", "ai.onnx"):
            if node.attributes.pop("consumed_inputs", None) is not None or node.op_type in KEEP_SHAPE:
                _keep_shape(node)
            for since, change in CHANGES.get(node.op_type, ()):
                if opset < since <= target and node.graph is not None:
                    change(node)


def _keep_shape(node: ir.Node) -> None:
    """ONNX infers nothing for the first versions of operators whose result is shaped like their first operand.

    `consumed_inputs`, opset 1's hint for computing in place, marks them.
    """
    first, output = node.inputs[0], node.outputs[0]
    if output.shape is None and first is not None:
        output.shape = first.shape


def _refuse(node: ir.Node, why: str) -> ExportFailed:
    return ExportFailed(
        f"node {node.name or node.outputs[0].name!r} ({node.op_type}) has no equivalent in a newer opset: {why}",
        hint="export the network again with opset 17 or newer",
    )


# Building blocks


def _insert(node: ir.Node, operator: str, inputs: Iterable[ir.Value | None], attributes: dict[str, Any]) -> ir.Value:
    """The output of a new node in front of `node`; it has no name yet."""
    made = ir.node(operator, list(inputs), attributes)
    assert node.graph is not None  # noqa: S101 - `upgrade` visits nodes of graphs only
    node.graph.insert_before(node, made)
    return made.outputs[0]


def _constant(node: ir.Node, values: Any, dtype: ir.DataType = ir.DataType.INT64) -> ir.Value:
    array = np.asarray(values, np.float64 if dtype.is_floating_point() else np.int64).astype(dtype.numpy())
    value = _insert(node, "Constant", [], {"value": ir.tensor(array)})
    value.shape, value.type = ir.Shape(array.shape), ir.TensorType(dtype)
    return value


def _take(node: ir.Node, name: str, default: Any = None) -> Any:
    """The attribute's value, taken off the node."""
    attribute = node.attributes.pop(name, None)
    return default if attribute is None else attribute.value


def _operand(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _set_operand(node: ir.Node, index: int, value: ir.Value | None) -> None:
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def _attribute_to_operand(name: str, index: int) -> Change:
    """A list of whole numbers that was an attribute; an empty list stands for a missing one."""

    def change(node: ir.Node) -> None:
        values = _take(node, name)
        if values is not None and len(values):
            _set_operand(node, index, _constant(node, list(values)))

    return change


def _drop(*names: str) -> Change:
    def change(node: ir.Node) -> None:
        for name in names:
            node.attributes.pop(name, None)

    return change


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _dtype(value: ir.Value | None) -> ir.DataType:
    """The type of a real operand; what has no type yet is float32."""
    return value.dtype if value is not None and value.dtype is not None else FLOAT_DEFAULT


def _become(node: ir.Node, value: ir.Value) -> None:
    """Let an Identity of `value` stand in the node's place, under its outputs' names."""
    node.op_type = "Identity"
    node.attributes.clear()
    node.resize_inputs(1)
    node.replace_input_with(0, value)


def _drop_outputs(node: ir.Node, kept: int) -> None:
    for value in node.outputs[kept:]:
        if value.uses() or value.is_graph_output():
            raise _refuse(node, f"its output {value.name!r} is for training only")
    node.resize_outputs(kept)


# The changes, by operator


def _broadcast_by_axis(node: ir.Node) -> None:
    """Before opset 7 the second operand's axes began at `axis` of the first; now they end with the last."""
    broadcast, axis = _take(node, "broadcast", 0), _take(node, "axis")
    if not broadcast or axis is None:
        return
    first, second = _rank(node.inputs[0]), _rank(node.inputs[1])
    if first is None or second is None:
        raise _refuse(node, f"it broadcasts from axis {axis} on, and the ranks of its operands are unknown")
    trailing = first - (axis + first if axis < 0 else axis) - second
    if trailing > 0:
        axes = _constant(node, list(range(second, second + trailing)))
        _set_operand(node, 1, _insert(node, "Unsqueeze", [node.inputs[1], axes], {}))


def _require_inference(node: ir.Node) -> None:
    if not _take(node, "is_test", 0):
        raise _refuse(node, "it normalizes by the statistics of its batch (is_test is 0)")


def _normalize_each_activation(node: ir.Node) -> None:
    """`spatial = 0`: one mean and variance for each activation, not for each channel."""
    if _take(node, "spatial", 1) or (_rank(node.inputs[3]) or 2) < 2:
        return
    _drop_outputs(node, 1)
    x, scale, bias, mean, variance = node.inputs
    kind = _dtype(x)
    epsilon = _constant(node, _take(node, "epsilon", 1e-5), kind)
    deviation = _insert(node, "Sqrt", [_insert(node, "Add", [variance, epsilon], {})], {})
    centered = _insert(node, "Sub", [x, mean], {})
    normal = _insert(node, "Div", [centered, deviation], {})
    _become(node, _insert(node, "Add", [_insert(node, "Mul", [normal, scale], {}), bias], {}))


def _inference_outputs(node: ir.Node) -> None:
    _drop_outputs(node, 1)


def _cast_by_number(node: ir.Node) -> None:
    named = _take(node, "to", "")
    name = named if isinstance(named, str) else named.decode()
    node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType[name.upper()]))


def _clip_bounds(node: ir.Node) -> None:
    for index, name in ((1, "min"), (2, "max")):
        bound = _take(node, name)
        if bound is not None:
            _set_operand(node, index, _constant(node, bound, _dtype(node.inputs[0])))


def _concat_axis(node: ir.Node) -> None:
    node.attributes.setdefault("axis", ir.AttrInt64("axis", 1))


def _drop_nothing(node: ir.Node) -> None:
    """A Dropout hands its input on; what it would have dropped is for training."""
    _drop_outputs(node, 1)
    source = node.inputs[0]
    assert source is not None  # noqa: S101 - an obligatory operand
    _become(node, source)


def _whole_power(node: ir.Node) -> None:
    power = _take(node, "p", 2.0)
    if power != int(power):
        raise _refuse(node, f"p is {power}, not a whole number")
    node.attributes["p"] = ir.AttrInt64("p", int(power))


def _last_axis(node: ir.Node) -> None:
    """Before opset 13 all axes from `axis` on were one: softmax over them together, one-hot at their one maximum."""
    axis = _take(node, "axis", 1)
    x = node.inputs[0]
    rank = _rank(x)
    if rank is not None:
        axis = axis + rank if axis < 0 else axis
        inner = list(x.shape or ())[axis + 1 :] if x is not None else []
        if all(size == 1 for size in inner) and axis < rank:
            node.attributes["axis"] = ir.AttrInt64("axis", axis)
            return
    node.attributes["axis"] = ir.AttrInt64("axis", -1)
    flat = _insert(node, "Flatten", [x], {"axis": axis})
    shape = _insert(node, "Shape", [x], {})
    found = _insert(node, node.op_type, [flat], {"axis": -1})
    node.op_type = "Reshape"
    node.attributes.clear()
    node.resize_inputs(2)
    node.replace_input_with(0, found)
    node.replace_input_with(1, shape)


def _pad_operands(node: ir.Node) -> None:
    pads, value = _take(node, "pads"), _take(node, "value", 0.0)
    _set_operand(node, 1, _constant(node, list(pads)))
    if value:
        _set_operand(node, 2, _constant(node, value, _dtype(node.inputs[0])))


def _pads_from_paddings(node: ir.Node) -> None:
    node.attributes["pads"] = ir.AttrInt64s("pads", list(_take(node, "paddings", ())))


def _slope_of_channels(node: ir.Node) -> None:
    """Before opset 7 a slope with one axis was one for each channel, axis 1; now it would go with the last axis."""
    rank, slope = _rank(node.inputs[0]), node.inputs[1]
    if _rank(slope) != 1 or slope is None or (slope.shape is not None and slope.shape[0] == 1):
        return
    if rank is None:
        raise _refuse(node, "the rank of its input is unknown")
    if rank > 2:
        axes = _constant(node, list(range(1, rank - 1)))
        _set_operand(node, 1, _insert(node, "Unsqueeze", [slope, axes], {}))


def _scalar_k(node: ir.Node) -> None:
    _set_operand(node, 1, _constant(node, [_take(node, "k")]))


def _selu_constants(node: ir.Node) -> None:
    for name, value in (("alpha", 1.6732), ("gamma", 1.0507)):
        node.attributes.setdefault(name, ir.AttrFloat32(name, value))


def _slice_operands(node: ir.Node) -> None:
    starts, ends, axes = (_take(node, name) for name in ("starts", "ends", "axes"))
    for index, values in enumerate((starts, ends, axes), start=1):
        if values is not None:
            _set_operand(node, index, _constant(node, list(values)))


def _equal_parts(node: ir.Node) -> None:
    if _operand(node, 1) is None:
        node.attributes.setdefault("num_outputs", ir.AttrInt64("num_outputs", len(node.outputs)))


def _scales_from_sides(node: ir.Node) -> None:
    height, width = _take(node, "height_scale", 1.0), _take(node, "width_scale", 1.0)
    node.attributes["scales"] = ir.AttrFloat32s("scales", [1.0, 1.0, height, width])
    if node.attributes.get_string("mode") == "bilinear":
        node.attributes["mode"] = ir.AttrString("mode", "linear")


def _scales_to_operand(node: ir.Node) -> None:
    _set_operand(node, 1, _constant(node, list(_take(node, "scales")), FLOAT_DEFAULT))


def _resize_asymmetrically(node: ir.Node) -> None:
    """Upsample, and Resize of opset 10: x_in = x_out / scale; the nearest pixel is below it, or above where an axis
    shrinks, as ONNX Runtime does it.
    """
    mode = (node.attributes.get_string("mode") or "nearest").removeprefix("bi")
    x, scales = node.inputs[0], node.inputs[1]
    node.op_type = "Resize"
    node.attributes.clear()
    attributes: dict[str, Any] = {"mode": mode, **RESIZED_BY_COORDINATE}
    if mode == "nearest":
        known = ir.convenience.get_const_tensor(scales) if scales is not None else None
        factors = None if known is None else known.numpy()
        if factors is None or ((factors < 1).any() and (factors > 1).any()):
            one = _constant(node, [1], FLOAT_DEFAULT)
            grown = _insert(node, "Max", [scales, one], {})
            x = _insert(node, "Resize", [x, None, grown], {**attributes, "nearest_mode": "floor"})
            scales = _insert(node, "Min", [scales, one], {})
        grows = factors is not None and bool((factors >= 1).all())
        attributes["nearest_mode"] = "floor" if grows else "ceil"
    for attribute in ir.convenience.convert_attributes(attributes):
        node.attributes[attribute.name] = attribute
    node.resize_inputs(3)
    for index, value in enumerate((x, None, scales)):
        node.replace_input_with(index, value)


def _half_pixel_of_output(node: ir.Node) -> None:
    name = "coordinate_transformation_mode"
    node.attributes.setdefault(name, ir.AttrString(name, "output_half_pixel"))


def _scatter_elements(node: ir.Node) -> None:
    node.op_type = "ScatterElements"


def _sampling_mode(node: ir.Node) -> None:
    mode = node.attributes.get_string("mode")
    if mode in ("bilinear", "bicubic"):
        node.attributes["mode"] = ir.AttrString("mode", mode.removeprefix("bi"))


def _axis_to_operand(node: ir.Node) -> None:
    _set_operand(node, 2, _constant(node, _take(node, "axis", 1)))


def _no_equivalent(why: str) -> Change:
    def change(node: ir.Node) -> None:
        raise _refuse(node, why)

    return change


_FLATTENED = ((13, _last_axis),)
_BROADCAST = ((7, _broadcast_by_axis),)
_AXES_18 = ((18, _attribute_to_operand("axes", 1)),)
_SEQUENCE = ((7, _drop("output_sequence")),)

# By operator: from which opset on it is as the function leaves it, in ascending order.
CHANGES: dict[str, tuple[tuple[int, Change], ...]] = {
    **dict.fromkeys(BROADCAST_OPERATORS, _BROADCAST),
    **dict.fromkeys(("Hardmax", "LogSoftmax", "Softmax"), _FLATTENED),
    **dict.fromkeys(REDUCTIONS, _AXES_18),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _SEQUENCE),
    "BatchNormalization": ((7, _require_inference), (9, _normalize_each_activation), (14, _inference_outputs)),
    "Cast": ((6, _cast_by_number),),
    "Clip": ((11, _clip_bounds),),
    "Concat": ((4, _concat_axis),),
    "DFT": ((20, _axis_to_operand),),
    "Dropout": ((12, _drop_nothing),),
    "Gemm": ((7, _drop("broadcast")),),
    "GlobalLpPool": ((2, _whole_power),),
    "GridSample": ((20, _sampling_mode),),
    "LpPool": ((2, _whole_power),),
    "PRelu": ((7, _slope_of_channels),),
    "Pad": ((2, _pads_from_paddings), (11, _pad_operands)),
    "ReduceSum": ((13, _attribute_to_operand("axes", 1)),),
    "Reshape": ((5, _attribute_to_operand("shape", 1)),),
    "Resize": ((11, _resize_asymmetrically),),
    "RoiAlign": ((16, _half_pixel_of_output),),
    "Scan": ((9, _no_equivalent("a Scan of opset 8 runs over a batch of sequences")),),
    "Scatter": ((11, _scatter_elements),),
    "Selu": ((6, _selu_constants),),
    "Slice": ((10, _slice_operands),),
    "Split": ((13, _attribute_to_operand("split", 1)), (18, _equal_parts)),
    "Squeeze": ((13, _attribute_to_operand("axes", 1)),),
    "Tile": ((6, _no_equivalent("a Tile of opset 1 repeats along one axis")),),
    "TopK": ((10, _scalar_k),),
    "Unsqueeze": ((13, _attribute_to_operand("axes", 1)),),
    "Upsample": ((7, _scales_from_sides), (9, _scales_to_operand), (10, _resize_asymmetrically)),
}
