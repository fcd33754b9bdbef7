"""What ONNX operators do to receptive fields.

Shapes are those that inference gave the graph's values. An operator that is not in RULES has an unknown field.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import onnx_ir as ir

from deploykit.graph.costs import CONVOLUTIONS, PRODUCTS
from deploykit.graph.rewrite import constant
from deploykit.summary import field as fields
from deploykit.summary.field import Field, Shape, Untraceable
from deploykit.summary.rows import Convolution

FieldOf = Callable[[ir.Value], Field | None]

# The inputs that hold parameters; of Add and its like whichever is one.
PARAMETERS = {
    **dict.fromkeys(("Conv", "ConvTranspose", "ConvInteger"), (1, 2)),
    "QLinearConv": (3, 8),
    "Gemm": (0, 1, 2),
    **dict.fromkeys(("MatMul", "MatMulInteger"), (0, 1)),
    "QLinearMatMul": (0, 3),
    **dict.fromkeys(
        ("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"), (1, 2)
    ),
    "PRelu": (1,),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), (0, 1)),
}
POINTWISE = (
    "Abs", "Add", "And", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "Cos", "DequantizeLinear", "Div",
    "Dropout", "Elu", "Equal", "Erf", "Exp", "Expand", "Floor", "Gelu", "Greater", "HardSigmoid", "HardSwish",
    "Identity", "LRN", "LeakyRelu", "Less", "Log", "Max", "Mean", "Min", "Mish", "Mul", "Neg", "Not", "Or", "PRelu",
    "Pow", "QLinearAdd", "QuantizeLinear", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus",
    "Softsign", "Sqrt", "Sub", "Sum", "Tanh", "ThresholdedRelu", "Where", "Xor",
)  # fmt: skip
REDUCTIONS = tuple(f"Reduce{kind}" for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Sum"))


def shape_of(value: ir.Value | None) -> Shape:
    """The static shape of a value. Raises Untraceable where a dimension is not known."""
    if value is None or value.shape is None:
        raise Untraceable
    sizes = tuple(size for size in value.shape if isinstance(size, int))
    if len(sizes) != len(value.shape):
        raise Untraceable
    return sizes


@dataclass(frozen=True)
class NodeCall:
    """One node with one of its outputs' `shape`, and the fields that are known."""

    node: ir.Node
    shape: Shape
    field_of: FieldOf

    def field(self, index: int = 0) -> Field:
        """The field of an input that has to depend on the image."""
        found = self.maybe_field(index)
        if found is None:
            raise Untraceable
        return found

    def maybe_field(self, index: int) -> Field | None:
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        return None if value is None else self.field_of(value)

    @property
    def fields(self) -> list[Field]:
        """Those of all inputs that depend on the image."""
        found = (self.maybe_field(index) for index in range(len(self.node.inputs)))
        return [field for field in found if field is not None]

    def integer(self, name: str, default: int) -> int:
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_int()

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        attribute = self.node.attributes.get(name)
        return list(default if attribute is None else attribute.as_ints())

    def axes(self, index: int, default: Sequence[int]) -> list[int]:
        """Axes that stand in an attribute, or from opset 13 and 18 on in an input, where they must be constant."""
        if "axes" in self.node.attributes:
            return self.integers("axes", default)
        if index >= len(self.node.inputs) or self.node.inputs[index] is None:
            return list(default)
        given = constant(self.node.inputs[index])
        if given is None:
            raise Untraceable
        return [int(axis) for axis in given.reshape(-1)] or list(default)


def propagate(call: NodeCall) -> Field:
    """The output's field. Raises Untraceable."""
    if call.node.domain != "" or call.node.op_type not in RULES:
        raise Untraceable
    return RULES[call.node.op_type](call)


def convolution_of(call: NodeCall) -> Convolution | None:
    """The geometry of a plain convolution; None for other nodes. Raises Untraceable."""
    if call.node.op_type not in CONVOLUTIONS or call.node.op_type == "ConvTranspose":
        return None
    image, weight = (shape_of(call.node.inputs[index]) for index in CONVOLUTIONS[call.node.op_type])
    return Convolution(
        inputs=image[1],
        outputs=weight[0],
        kernel=weight[2:],
        stride=tuple(call.integers("strides", [1] * len(weight[2:]))),
        groups=call.integer("group", 1),
    )


def _convolution(call: NodeCall) -> Field:
    image, weight = CONVOLUTIONS[call.node.op_type]
    if call.maybe_field(weight) is not None:  # a filter that is computed from the image
        raise Untraceable
    kernel = shape_of(call.node.inputs[weight])[2:]
    ones = [1] * len(kernel)
    slide = fields.slide_transposed if call.node.op_type == "ConvTranspose" else fields.slide
    seen = fields.span(call.field(image), [1])
    stride, dilation = call.integers("strides", ones), call.integers("dilations", ones)
    return slide(seen, call.shape, kernel, stride=stride, dilation=dilation)


def _pool(call: NodeCall) -> Field:
    kernel = call.integers("kernel_shape", [])
    ones = [1] * len(kernel)
    stride, dilation = call.integers("strides", ones), call.integers("dilations", ones)
    return fields.slide(call.field(), call.shape, kernel, stride=stride, dilation=dilation)


def _global_pool(call: NodeCall) -> Field:
    return fields.span(call.field(), range(2, len(call.shape)))


def _product(call: NodeCall) -> Field:
    """Gemm's operands may be transposed; a vector is not followed."""
    sides = [call.maybe_field(index) for index in PRODUCTS[call.node.op_type]]
    for place, name in enumerate(("transA", "transB")):
        side = sides[place]
        if side is not None and call.integer(name, 0):
            sides[place] = fields.permute(side, [1, 0])
    if any(side is not None and len(side.layout) < 2 for side in sides) or len(call.shape) < 2:
        raise Untraceable
    return fields.multiply(sides[0], sides[1], call.shape)


def _reduce(call: NodeCall) -> Field:
    field = call.field()
    axes = call.axes(1, [] if call.integer("noop_with_empty_axes", 0) else range(len(field.layout)))
    return fields.span(field, axes, drop=not call.integer("keepdims", 1))


def _softmax(call: NodeCall) -> Field:
    return fields.span(call.field(), [call.integer("axis", -1)], keep=True)


def _layer_norm(call: NodeCall) -> Field:
    field = call.field()
    return fields.span(field, range(call.integer("axis", -1) % len(field.layout), len(field.layout)), keep=True)


def _resize(call: NodeCall) -> Field:
    """Nearest takes one neighbor per axis, linear two, cubic four."""
    mode = call.node.attributes.get("mode")
    neighbors = {"nearest": 1, "linear": 2, "cubic": 4}[mode.as_string() if mode else "nearest"]
    return fields.interpolate(call.field(), call.shape, neighbors=neighbors)


def _slice(call: NodeCall) -> Field:
    """Starts and ends show in the shape; steps widen the jump. `axes` defaults to the first ones."""
    field = call.field()
    steps = constant(call.node.inputs[4]) if len(call.node.inputs) > 4 else None
    if len(call.node.inputs) > 4 and steps is None:
        raise Untraceable
    strides = [1] * len(field.layout)
    for axis, step in zip(call.axes(3, range(len(strides))), [] if steps is None else steps, strict=False):
        strides[axis] = abs(int(step))
    return fields.slide(field, call.shape, [1] * len(strides), stride=[Fraction(step) for step in strides])


def _gather(call: NodeCall) -> Field:
    """Chosen channels, or one slice of an axis. Chosen positions of the image need not be evenly apart."""
    field, indices = call.field(), shape_of(call.node.inputs[1])
    if call.maybe_field(1) is not None or len(indices) > 1:
        raise Untraceable
    axis = call.integer("axis", 0) % len(field.layout)
    if indices and any(run.along is not None for run in field.layout[axis]):
        raise Untraceable
    if indices:
        return fields.resize(field, call.shape)
    return Field(field.reaches, (*field.layout[:axis], *field.layout[axis + 1 :]))


def _concatenate(call: NodeCall) -> Field:
    return fields.join([fields.resize(field, call.shape) for field in call.fields], call.shape)


def _transpose(call: NodeCall) -> Field:
    field = call.field()
    return fields.permute(field, call.integers("perm", range(len(field.layout))[::-1]))


RULES: Mapping[str, Callable[[NodeCall], Field]] = {
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(PRODUCTS, _product),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _global_pool),
    **dict.fromkeys(POINTWISE, lambda call: fields.join(call.fields, call.shape)),
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("InstanceNormalization", "GroupNormalization"), lambda call: fields.span_image(call.field())),
    "LayerNormalization": _layer_norm,
    "Resize": _resize,
    "Slice": _slice,
    "Gather": _gather,
    "Concat": _concatenate,
    "Transpose": _transpose,
    **dict.fromkeys(
        ("Reshape", "Flatten", "Squeeze", "Unsqueeze"), lambda call: fields.reshape(call.field(), call.shape)
    ),
    **dict.fromkeys(("Pad", "Split"), lambda call: fields.resize(call.field(), call.shape)),
}
