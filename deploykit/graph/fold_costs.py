"""What it costs to evaluate an operator on constants: the bound that is asked for before anything is computed.

Every operator of ONNX belongs to one class, by how its time and its memory grow. A node of a hostile file is folded
where its class bounds it; what has no bound, no single answer or no number is left in the graph.
"""

import math
from collections.abc import Sequence

import onnx_ir as ir

from deploykit.spec.arrays import Array

Shapes = Sequence[tuple[int, ...]]

# Time and memory linear in the operands and the result, but for a logarithm.
LINEAR = frozenset({
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh", "BatchNormalization",
    "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu",
    "Clip", "Compress", "Concat", "ConstantOfShape", "Cos", "Cosh", "CumProd", "CumSum", "DepthToSpace", "Div", "Elu",
    "Equal", "Exp", "Expand", "EyeLike", "Flatten", "Floor", "Gather",
    "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "GroupNormalization",
    "HardSigmoid", "HardSwish", "Hardmax", "Identity", "InstanceNormalization", "IsInf", "IsNaN",
    "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "LpNormalization", "Max", "Mean",
    "MeanVarianceNormalization", "Min", "Mish", "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot", "Or", "PRelu", "Pad",
    "Pow", "RMSNormalization", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape",
    "Round", "Selu", "Shape", "Shrink", "Sigmoid", "Sign",
    "Sin", "Sinh", "Size", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze",
    "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu",
    "Unique", "Unsqueeze", "Where", "Xor",
})  # fmt: skip
# As those, in a loop in Python.
LOOPED = frozenset({
    "Erf", "GatherElements", "GatherND", "Gelu", "LRN", "ReverseSequence", "Scatter", "ScatterElements", "ScatterND",
    "TensorScatter",
})  # fmt: skip
# As many multiplications as a product of sizes.
PRODUCTS = frozenset({"Einsum", "Gemm", "MatMul"})
# Windows over a padded image; attributes decide how large both are.
WINDOWED = frozenset({"AveragePool", "Conv", "ConvTranspose", "LpPool", "MaxPool"})
# Some tens of microseconds for each element, or steps one after the other.
SLOW = frozenset({"AffineGrid", "DFT", "Det", "GRU", "GridSample", "LSTM", "RNN", "Resize", "Upsample"})
# Results too long for their operands to tell, which inference leaves open: at most as long as the operand, per axis.
OPEN_ENDED = frozenset({"Compress", "NonZero", "Unique"})

MAX_WORK = 1 << 28  # multiplications of one product: a third of a second in double precision
MAX_WINDOW_WORK = 1 << 22
MAX_LOOPED_ELEMENTS = 1 << 18
MAX_SLOW_ELEMENTS = 1 << 10
MAX_OPEN_ELEMENTS = 1 << 16

# Nanoseconds, about, to evaluate a node at all and for each of its steps.
NODE, STEP, WINDOW_STEP, LOOPED_STEP, SLOW_STEP = 1 << 19, 4, 32, 1 << 10, 1 << 16


def is_bounded(node: ir.Node, operands: Sequence[Array | None], results: Shapes) -> bool:
    """Whether evaluating `node` takes no more than its class may. `results` are the shapes of its outputs."""
    given = [array for array in operands if array is not None]
    elements = sum(array.size for array in given) + sum(math.prod(shape) for shape in results)
    kind = node.op_type
    if kind in LINEAR:
        return True
    if kind in PRODUCTS:
        return _multiplications(node, given, results) <= MAX_WORK
    if kind in WINDOWED:
        return _window_work(node, given, results) <= MAX_WINDOW_WORK
    if kind in LOOPED:
        return elements <= MAX_LOOPED_ELEMENTS
    return kind in SLOW and elements <= MAX_SLOW_ELEMENTS


def nanoseconds(node: ir.Node, operands: Sequence[Array | None], results: Shapes) -> int:
    """How long evaluation takes, by its class and roughly: what many small nodes add up to is bounded by it."""
    given = [array for array in operands if array is not None]
    kind, elements = node.op_type, sum(array.size for array in given) + sum(math.prod(shape) for shape in results)
    if kind in WINDOWED:
        return NODE + WINDOW_STEP * _window_work(node, given, results)
    if kind in PRODUCTS:
        return NODE + STEP * elements + _multiplications(node, given, results)
    return NODE + elements * (LOOPED_STEP if kind in LOOPED else SLOW_STEP if kind in SLOW else STEP)


def _multiplications(node: ir.Node, operands: Sequence[Array], results: Shapes) -> int:
    if node.op_type == "Einsum":
        return _einsum_work(node.attributes.get_string("equation") or "", operands)
    axis = 0 if node.op_type == "Gemm" and node.attributes.get_int("transA") else -1
    inner = int(operands[0].shape[axis]) if operands[0].ndim else 1
    return math.prod(results[0]) * inner


def _einsum_work(equation: str, operands: Sequence[Array]) -> int:
    """The product of all sizes that the equation names; without a bound where an ellipsis stands for some."""
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    if "." in equation or len(terms) != len(operands):
        return MAX_WORK + 1
    sizes: dict[str, int] = {}
    for term, array in zip(terms, operands, strict=True):
        sizes |= dict(zip(term, array.shape, strict=False))
    return math.prod(sizes.values())


def _window_work(node: ir.Node, operands: Sequence[Array], results: Shapes) -> int:
    """Every element of the padded image (of the result, where that is larger) in every place of a window."""
    image = operands[0]
    sides = image.ndim - 2
    kernel = list(node.attributes.get_ints("kernel_shape") or (operands[1].shape[2:] if len(operands) > 1 else ()))
    spread = list(node.attributes.get_ints("dilations") or [1] * sides)
    pads = list(node.attributes.get_ints("pads") or [0] * 2 * sides)
    if sides < 1 or not (len(kernel) == len(spread) == sides) or len(pads) != 2 * sides:
        return MAX_WINDOW_WORK + 1
    padded = [
        size + abs(before) + abs(after) + abs(by) * width
        for size, before, after, by, width in zip(
            image.shape[2:], pads[:sides], pads[sides:], spread, kernel, strict=True
        )
    ]
    places = max(math.prod((*image.shape[:2], *padded)), *(math.prod(shape) for shape in results))
    channels = operands[1].shape[1] if len(operands) > 1 and operands[1].ndim > 1 else 1
    return int(places * math.prod(kernel) * channels)
