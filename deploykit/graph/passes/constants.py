"""Constant folding with a budget: a graph of 114 bytes may otherwise unfold into 10 GB.

What depends on constants alone is a constant, whatever operators made it: a weight that a module computes from its
parameters (normalized, standardized, kept positive) ends as the weight that a convolution of its own would have. What
a node would cost is asked beforehand (`fold_costs`), from the shape that ONNX infers for it.

Real weights are computed in double precision and rounded once, at the end: the chain of a standardized weight would
else lose a little at each step. Symbolic shapes (`Shape(x)[1:]`) are onnxscript's to simplify.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from deploykit.graph.fold_costs import MAX_OPEN_ELEMENTS, OPEN_ENDED, is_bounded, nanoseconds
from deploykit.graph.rewrite import discard_unused, new_initializer
from deploykit.spec.arrays import Array

MAX_TENSOR_ELEMENTS = 1 << 22  # 16 MiB of float32: the largest convolution of a ResNet-152 has 2.4 M elements
MAX_GROWTH_BYTES = 1 << 27  # 128 MiB that one graph may gain in all
MAX_NANOSECONDS = 10 * 10**9  # that folding one graph may take, by the estimate of `fold_costs`
SEEN_BY_INFERENCE = 1 << 10  # elements of an operand whose values shape inference may need

# A result that jumps where its operand is rounded is computed from what the file's own types hold.
JUMPS = frozenset({
    "ArgMax", "ArgMin", "Cast", "CastLike", "Ceil", "Equal", "Floor", "Hardmax", "Mod", "Range", "Round", "Shrink",
    "Sign", "ThresholdedRelu", "TopK", "Unique",
})  # fmt: skip


@dataclass
class Budget:
    """What folding may still add to a graph and may still compute."""

    growth: int = MAX_GROWTH_BYTES
    nanoseconds: int = MAX_NANOSECONDS


def fold_constants(model: ir.Model, budget: Budget | None = None) -> None:
    """Replace what depends on constants alone by its value, within the budget; nothing random, nothing quantized.

    Q/DQ pairs are left: they say in which type a weight is read.
    """
    budget = budget or Budget()
    _fold(model, budget)
    while True:
        _simplify_shapes(model)
        if not _fold(model, budget):
            return


def _simplify_shapes(model: ir.Model) -> None:
    """Shapes known in part, no-op Expands and Casts, sequences: by onnxscript's rules, none of which evaluates."""
    from onnxscript.optimizer import fold_constants_ir

    fold_constants_ir(model, onnx_shape_inference=True, should_fold=lambda _: False)


def _fold(model: ir.Model, budget: Budget) -> int:
    """One walk in graph order; how many nodes went."""
    walk = _Walk(model.opset_imports.get("", 0), budget)
    for node in list(model.graph):
        walk.visit(node)
    for node in walk.folded:
        for output in node.outputs:
            if output in walk.values and output.uses():
                walk.store(model.graph, output)
    for node in reversed(walk.folded):
        operands = tuple(node.inputs)
        model.graph.remove(node, safe=True)
        for operand in operands:
            discard_unused(model.graph, operand)
    return len(walk.folded)


@dataclass
class _Walk:
    """The constants of a graph on one walk through it; `values` are those that it computed itself."""

    opset: int
    budget: Budget
    values: dict[ir.Value, Array] = field(default_factory=dict)
    open_uses: dict[ir.Value, int] = field(default_factory=dict)
    folded: list[ir.Node] = field(default_factory=list)

    def visit(self, node: ir.Node) -> None:
        """Evaluate the node where everything that it reads is constant."""
        if node.domain not in ("", "ai.onnx") or node.op_type == "Constant" or not node.inputs:
            return
        if any(output.is_graph_output() for output in node.outputs):  # callers ask for it by its name
            return
        if not all(value is None or self._is_constant(value) for value in node.inputs):
            return
        operands = [None if value is None else self._array(value) for value in node.inputs]
        types = self._result_types(node, operands)
        if types is None or not self._admits(node, operands, types):
            return
        results = self._evaluate(node, operands, types)
        if results is None:
            return
        for output, result, (dtype, _) in zip(node.outputs, results, types, strict=True):
            self.values[output] = result
            output.shape, output.type = ir.Shape(result.shape), ir.TensorType(dtype)
        self._settle(node)
        self.folded.append(node)

    def store(self, graph: ir.Graph, value: ir.Value) -> None:
        """An initializer in the value's place, rounded to its type."""
        array = self.values[value].astype(_numpy(value.dtype))
        stored = new_initializer(graph, value.name or "constant", array)
        if value.dtype is not None and stored.dtype != value.dtype:
            stored.type = ir.TensorType(value.dtype)
        value.replace_all_uses_with(stored)

    def _is_constant(self, value: ir.Value) -> bool:
        """Numbers that neither a caller nor an image decides."""
        if value in self.values or value.is_graph_input():
            return value in self.values
        tensor = ir.convenience.get_const_tensor(value)
        return tensor is not None and tensor.dtype != ir.DataType.STRING

    def _array(self, value: ir.Value) -> Array:
        if value in self.values:
            return self.values[value]
        tensor = ir.convenience.get_const_tensor(value)
        assert tensor is not None  # noqa: S101 - it is constant
        return tensor.numpy()

    def _result_types(
        self, node: ir.Node, operands: Sequence[Array | None]
    ) -> list[tuple[ir.DataType, tuple[int, ...]]] | None:
        """Type and shape of each output, as ONNX infers them from these operands; None where it cannot."""
        try:
            found = _inferred(node, self._declared(node), operands, self.opset)
        except Exception:  # noqa: BLE001 - the C++ side raises what it likes; then the node stays
            return None
        types = []
        for index, output in enumerate(node.outputs):
            kind = found.get(f"o{index}")
            if kind is None or kind.elem_type in (0, onnx.TensorProto.STRING):
                return None
            sizes = [size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim]
            if not kind.HasField("shape") or min(sizes, default=0) < 0:
                first = operands[0]
                if node.op_type not in OPEN_ENDED or first is None or first.size > MAX_OPEN_ELEMENTS or output is None:
                    return None
                sizes = [first.size * max(1, first.ndim)]
            types.append((ir.DataType(kind.elem_type), tuple(sizes)))
        return types

    def _declared(self, node: ir.Node) -> list[ir.DataType | None]:
        return [None if value is None else _dtype_of(value) for value in node.inputs]

    def _admits(
        self, node: ir.Node, operands: Sequence[Array | None], types: Sequence[tuple[ir.DataType, tuple[int, ...]]]
    ) -> bool:
        """Take what the node needs from the budget, or refuse."""
        shapes = [shape for _, shape in types]
        made = sum(math.ceil(dtype.itemsize * math.prod(shape)) for dtype, shape in types)
        read = sum(_stored_bytes(value) for value in set(node.inputs) if value is not None)
        growth = made - self._freed_by(node)
        if any(math.prod(shape) > MAX_TENSOR_ELEMENTS for shape in shapes) and made > read:
            return False
        if growth > self.budget.growth or not is_bounded(node, operands, shapes):
            return False
        time = nanoseconds(node, operands, shapes)
        if time > self.budget.nanoseconds:
            return False
        self.budget.growth -= growth
        self.budget.nanoseconds -= time
        return True

    def _freed_by(self, node: ir.Node) -> int:
        """The bytes of operands that nothing else is still going to read."""
        return sum(
            _stored_bytes(value)
            for value in set(node.inputs)
            if value is not None and not value.is_graph_output() and self._open(value) == _reads(node, value)
        )

    def _settle(self, node: ir.Node) -> None:
        """Note that the node has read its operands; what nobody reads any more is let go."""
        for value in set(node.inputs):
            if value is not None:
                self.open_uses[value] = self._open(value) - _reads(node, value)
                if not self.open_uses[value]:
                    self.values.pop(value, None)

    def _open(self, value: ir.Value) -> int:
        return self.open_uses.get(value, len(value.uses()))

    def _evaluate(
        self, node: ir.Node, operands: Sequence[Array | None], types: Sequence[tuple[ir.DataType, tuple[int, ...]]]
    ) -> list[Array] | None:
        """The results, real ones in double precision where that is finer; None where ONNX's evaluator cannot."""
        real = all(dtype.is_floating_point() for dtype, _ in types) and node.op_type not in JUMPS
        large = any(array is not None and array.size > MAX_TENSOR_ELEMENTS for array in operands)
        taken: list[Array | None] = []
        for array, dtype in zip(operands, self._declared(node), strict=True):
            if array is None or dtype is None:
                taken.append(None)
            elif dtype.is_floating_point() and real and not large:
                taken.append(array.astype(np.float64))
            else:
                taken.append(array.astype(_numpy(dtype), copy=False))
        try:
            results = _by_evaluator(node, taken, self.opset)
        except Exception:  # noqa: BLE001 - operators are Python code, each raising its own kind; then the node stays
            return None
        if len(results) != len(types):
            return None
        kept = []
        for result, (dtype, shape) in zip(results, types, strict=True):
            if result.shape != shape and node.op_type not in OPEN_ENDED:
                return None
            exact = dtype == ir.DataType.FLOAT and result.dtype == np.float64  # rounded when it is stored
            kept.append(result if exact else result.astype(_numpy(dtype), copy=False))
        return kept


def _inferred(
    node: ir.Node, declared: Sequence[ir.DataType | None], operands: Sequence[Array | None], opset: int
) -> Mapping[str, Any]:
    """ONNX's inference for one node on constants: tensor types by `o0`, `o1`, ..."""
    message = _message(node)
    types, data = {}, {}
    for index, (array, dtype) in enumerate(zip(operands, declared, strict=True)):
        if array is None or dtype is None:
            continue
        types[f"i{index}"] = onnx.helper.make_tensor_type_proto(int(dtype), array.shape)
        if array.size <= SEEN_BY_INFERENCE and not dtype.is_floating_point():
            data[f"i{index}"] = onnx.numpy_helper.from_array(np.ascontiguousarray(array), f"i{index}")
        elif node.op_type == "Range":
            data[f"i{index}"] = onnx.numpy_helper.from_array(array.astype(_numpy(dtype)), f"i{index}")
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    imports = [onnx.helper.make_opsetid("", opset)]
    found = onnx.shape_inference.infer_node_outputs(schema, message, types, data, opset_imports=imports, ir_version=10)
    return {name: kind.tensor_type for name, kind in found.items()}


def _message(node: ir.Node) -> onnx.NodeProto:
    attributes = [ir.serde.serialize_attribute(attribute) for attribute in node.attributes.values()]
    message = onnx.NodeProto(op_type=node.op_type, attribute=attributes)
    message.input.extend("" if value is None else f"i{index}" for index, value in enumerate(node.inputs))
    message.output.extend(f"o{index}" for index in range(len(node.outputs)))
    return message


def _by_evaluator(node: ir.Node, operands: Sequence[Array | None], opset: int) -> list[Array]:
    from onnx.reference import ReferenceEvaluator

    message = _message(node)
    graph = onnx.helper.make_graph(
        [message],
        "folded",
        [onnx.ValueInfoProto(name=name) for name in message.input if name],
        [onnx.ValueInfoProto(name=name) for name in message.output],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    feed = {f"i{index}": array for index, array in enumerate(operands) if array is not None}
    with np.errstate(all="ignore"):
        found = ReferenceEvaluator(model).run(None, feed)
    return [np.asarray(array) for array in found]


def _dtype_of(value: ir.Value) -> ir.DataType | None:
    if value.dtype is not None:
        return value.dtype
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.dtype


def _numpy(dtype: ir.DataType | None) -> np.dtype[Any]:
    return np.dtype(np.float32) if dtype is None else dtype.numpy()


def _stored_bytes(value: ir.Value) -> int:
    dtype = _dtype_of(value)
    if dtype is None or value.shape is None or not value.shape.is_static():
        tensor = ir.convenience.get_const_tensor(value)
        return 0 if tensor is None else tensor.nbytes
    return math.ceil(dtype.itemsize * math.prod(value.shape.numpy()))


def _reads(node: ir.Node, value: ir.Value) -> int:
    return sum(operand is value for operand in node.inputs)
