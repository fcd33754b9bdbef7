"""What the weighted nodes of a graph cost: parameters, and multiply-accumulates for one batch.

    Conv           every output element takes one product per weight of its filter:   prod(output) * prod(W[1:])
    ConvTranspose  every input element is spread over one filter:                     prod(input) * prod(W[1:])
    Gemm, MatMul   every output element takes one product per element of a row:       prod(output) * K

Biases, additions and normalization are not counted, as is the custom (models are compared by these figures).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from deploykit.graph.passes.cleanup import infer_missing_shapes
from deploykit.graph.passes.constants import fold_constants
from deploykit.graph.rewrite import module_scope
from deploykit.graph.serialize import tensor_specs
from deploykit.spec import BATCH

Shape = tuple[int, ...]

# The positions of the image and the weight, or of the two factors, among a node's inputs.
CONVOLUTIONS = {"Conv": (0, 1), "ConvTranspose": (0, 1), "ConvInteger": (0, 1), "QLinearConv": (0, 3)}
PRODUCTS = {"Gemm": (0, 1), "MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3)}


@dataclass(frozen=True, slots=True)
class NodeCost:
    """One weighted node: its operator, the PyTorch module that made it, parameters, and MACs of one batch."""

    op: str
    module: str
    params: int
    macs: int


def multiply_accumulates(node: ir.Node, shape_of: Callable[[ir.Value | None], Shape]) -> int:
    """The count for a convolution or a matrix product; 0 for every other node. Raises what `shape_of` raises."""
    if node.op_type in CONVOLUTIONS:
        image, weight = (shape_of(node.inputs[index]) for index in CONVOLUTIONS[node.op_type])
        spread = image if node.op_type == "ConvTranspose" else shape_of(node.outputs[0])
        return prod(spread) * prod(weight[1:])
    if node.op_type in PRODUCTS:
        left = shape_of(node.inputs[PRODUCTS[node.op_type][0]])
        row = left[0 if node.attributes.get_int("transA", 0) else -1]
        return prod(shape_of(node.outputs[0])) * row
    return 0


def weighted_costs(model: ir.Model, *, batch: int = 1) -> Mapping[str, NodeCost]:
    """The costs by node name, in graph order, for `batch` images; a size that is free within a range is at its optimum.

    MACs are 0 where a shape is not known. A parameter that several nodes read counts for the first. Constants behind a
    DequantizeLinear count as parameters.
    """
    counted: set[ir.Value] = set()

    def shape_of(value: ir.Value | None) -> Shape:
        if value is None or value.shape is None:
            raise LookupError
        return tuple(map(size_of, value.shape))

    def size_of(size: int | ir.SymbolicDim) -> int:
        if isinstance(size, int):
            return size
        if size.value != BATCH:
            raise LookupError
        return batch

    if any(_depends_on_free_sizes(node) for node in _weighted(model)):
        sized = model.clone()
        fix_sizes(sized, batch=batch)
        fold_constants(sized)
        infer_missing_shapes(sized)
        macs_of = {node.name: _macs(node, shape_of) for node in _weighted(sized)}
    else:
        macs_of = {node.name: _macs(node, shape_of) for node in _weighted(model)}
    costs = {}
    for node in _weighted(model):
        constants = {found for value in node.inputs[1:] if (found := _stored(value)) is not None} - counted
        counted |= constants
        params = sum(value.const_value.size for value in constants if value.const_value is not None)
        macs = macs_of.get(node.name, 0)
        costs[node.name or node.op_type] = NodeCost(node.op_type, module_scope(node), params, macs)
    return costs


def fix_sizes(model: ir.Model, *, batch: int) -> None:
    """Give the inputs `batch` images and the optimum of every range, in place, and infer all other shapes anew."""
    specs = {spec.name: spec for spec in tensor_specs(model)[0]}
    for value in model.graph.inputs:
        if value.name in specs:
            value.shape = ir.Shape(specs[value.name].at_batch(batch))
    for value in model.graph.outputs:
        value.shape = None
    for node in model.graph.all_nodes():
        for made in node.outputs:
            made.shape = None
    infer_missing_shapes(model)


def _weighted(model: ir.Model) -> Iterator[ir.Node]:
    return (node for node in model.graph if node.op_type in (*CONVOLUTIONS, *PRODUCTS) and not node.domain)


def _depends_on_free_sizes(node: ir.Node) -> bool:
    """Whether a shape has another free size than the batch itself: one in a range, or one computed from a free one."""
    shapes = [value.shape for value in (*node.inputs, *node.outputs) if value is not None and value.shape is not None]
    return any(isinstance(size, ir.SymbolicDim) and size.value != BATCH for shape in shapes for size in shape)


def _macs(node: ir.Node, shape_of: Callable[[ir.Value | None], Shape]) -> int:
    try:
        return multiply_accumulates(node, shape_of)
    except LookupError:
        return 0


def node_modules(model: ir.Model) -> Mapping[str, str]:
    """The PyTorch module that made each node, by node name."""
    return {node.name or node.op_type: module_scope(node) for node in model.graph}


def _stored(value: ir.Value | None) -> ir.Value | None:
    """The initializer behind an operand, read directly or through a Cast or DequantizeLinear."""
    while value is not None and (node := value.producer()) is not None:
        if node.op_type not in ("Cast", "DequantizeLinear"):
            return None
        value = node.inputs[0]
    return value if value is not None and value.is_initializer() else None
