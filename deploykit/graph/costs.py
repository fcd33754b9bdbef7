"""What the weighted nodes of a graph cost: parameters, and multiply-accumulates for one batch.

    Conv           every output element takes one product per weight of its filter:   prod(output) * prod(W[1:])
    ConvTranspose  every input element is spread over one filter:                     prod(input) * prod(W[1:])
    Gemm, MatMul   every output element takes one product per element of a row:       prod(output) * K

Biases, additions and normalisation are not counted, as is the custom (models are compared by these figures).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from deploykit.graph.rewrite import module_scope

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
    """Of a convolution or a matrix product; 0 for every other node. Raises what `shape_of` raises."""
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
    """By node name, in graph order; every free dimension is taken as `batch`. MACs are 0 where a shape is not known.

    A parameter that several nodes read counts for the first. Constants behind a DequantizeLinear count as parameters.
    """
    counted: set[ir.Value] = set()

    def shape_of(value: ir.Value | None) -> Shape:
        if value is None or value.shape is None:
            raise LookupError
        return tuple(size if isinstance(size, int) else batch for size in value.shape)

    costs = {}
    for node in model.graph:
        if node.op_type not in (*CONVOLUTIONS, *PRODUCTS) or node.domain:
            continue
        constants = {found for value in node.inputs[1:] if (found := _stored(value)) is not None} - counted
        counted |= constants
        try:
            macs = multiply_accumulates(node, shape_of)
        except LookupError:
            macs = 0
        params = sum(value.const_value.size for value in constants if value.const_value is not None)
        costs[node.name or node.op_type] = NodeCost(node.op_type, module_scope(node), params, macs)
    return costs


def node_modules(model: ir.Model) -> Mapping[str, str]:
    """The PyTorch module that made each node, by node name."""
    return {node.name or node.op_type: module_scope(node) for node in model.graph}


def _stored(value: ir.Value | None) -> ir.Value | None:
    """The initialiser behind an operand, read directly or through a Cast or DequantizeLinear."""
    while value is not None and (node := value.producer()) is not None:
        if node.op_type not in ("Cast", "DequantizeLinear"):
            return None
        value = node.inputs[0]
    return value if value is not None and value.is_initializer() else None
