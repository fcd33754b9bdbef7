"""Constant folding with a budget: a graph of 114 bytes may otherwise unfold into 10 GB.

The folding itself is onnxscript's. It evaluates a node first and measures the result afterwards, so its own limits
protect the file but not the memory; the answer to "may this node be folded?" is therefore given here, beforehand,
from the inferred shape of what would come out.
"""

import math

import onnx_ir as ir

MAX_TENSOR_ELEMENTS = 1 << 22  # 16 MiB of float32: the largest convolution of a ResNet-152 has 2.4 M elements
MAX_GROWTH_BYTES = 1 << 27  # 128 MiB that one graph may gain in all

# Shape arithmetic and the ways a file spells a weight. Everything here takes time linear in its operands and its
# result. Not here: what a later stage must still see (BatchNormalization, Conv, Gemm, MatMul, Q/DQ), what is not
# linear (Einsum, Loop), and what draws random numbers.
FOLDABLE = frozenset({
    "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Expand",
    "Flatten", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max",
    "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Range", "Reciprocal", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Shape", "Size", "Slice", "Sqrt", "Squeeze", "Sub",
    "Tile", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip


def fold_constants(model: ir.Model) -> None:
    """Evaluate what depends on constants alone, within MAX_TENSOR_ELEMENTS a tensor and MAX_GROWTH_BYTES in all."""
    from onnxscript.optimizer import fold_constants_ir

    fold_constants_ir(
        model, onnx_shape_inference=True, output_size_limit=MAX_TENSOR_ELEMENTS, should_fold=_Budget().admits
    )


class _Budget:
    def __init__(self) -> None:
        self._left = MAX_GROWTH_BYTES

    def admits(self, node: ir.Node) -> bool:
        """Whether `node`, all of whose inputs are constant, may be replaced by its value.

        A graph output's shape is what the file claims, not what was inferred, so its node stays.
        """
        output = node.outputs[0]
        if node.domain not in ("", "ai.onnx") or node.op_type not in FOLDABLE or output.is_graph_output():
            return False
        if output.shape is None or not output.shape.is_static() or output.dtype in (None, ir.DataType.STRING):
            return False
        elements = math.prod(output.shape.numpy())
        growth = elements * math.ceil(output.dtype.itemsize) - _bytes_freed(node)
        if growth <= 0:
            return True
        if elements > MAX_TENSOR_ELEMENTS or growth > self._left:
            return False
        self._left -= growth
        return True


def _bytes_freed(node: ir.Node) -> int:
    """What the constants that nobody else reads occupy."""
    return sum(
        value.const_value.nbytes
        for value in set(node.inputs)
        if value is not None and value.const_value is not None and len(value.uses()) == 1
    )
