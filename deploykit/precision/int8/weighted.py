"""The operators that carry weights (`spec.operators`), and whether INT8 can express one of them.

| operator | weight | output channel |
|---|---|---|
| Conv, grouped and depthwise too | (out, in / group, ...) | axis 0 |
| ConvTranspose | (in, out / group, ...) | axis 1, ambiguous for group > 1 |
| Gemm | (in, out), with transB (out, in) | axis 1, axis 0 |
| MatMul | (in, out) | axis 1 |

Of the others no runtime has an integer kernel that Q/DQ pairs lead to, and of these not every one has all: a pair in
front of an operator without one costs accuracy and time and saves nothing (`Placement.without_integer_kernel`).
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from deploykit.graph.rewrite import Unmet, constant, skip
from deploykit.spec import Placement
from deploykit.spec.arrays import Array
from deploykit.spec.operators import WEIGHTED_OPS
from deploykit.spec.reports import SkippedNode


@dataclass(frozen=True, slots=True, eq=False)
class WeightedOp:
    """A node whose constant weight has its output channels along `axis`; `bias` is what becomes int32, if any."""

    node: ir.Node
    weight: Array
    axis: int
    bias: Array | None


def weighted_ops(model: ir.Model, placement: Placement) -> tuple[list[WeightedOp], list[SkippedNode]]:
    """Every weighted node of a float graph: those that INT8 can express under `placement`, and the others with why."""
    quantizable, excluded = [], []
    for node in model.graph:
        if node.op_type in WEIGHTED_OPS and node.domain == "":
            found = _describe(node, placement)
            if isinstance(found, Unmet):
                excluded.append(skip(node, found))
            else:
                quantizable.append(found)
    return quantizable, excluded


def _describe(node: ir.Node, placement: Placement) -> WeightedOp | Unmet:
    """The operator, or the first reason why it stays in float."""
    if node.op_type in placement.without_integer_kernel:
        return Unmet(f"the {placement.name} Q/DQ scheme has no integer kernel for {node.op_type}")
    value, weight = node.inputs[0], constant(node.inputs[1])
    if weight is None:
        return Unmet("its weight is not a constant")
    if value is None or constant(value) is not None:
        return Unmet("its first operand is a constant")
    if weight.dtype != np.float32:
        return Unmet(f"its weight is {weight.dtype}, not float32")
    if not np.isfinite(weight).all():
        return Unmet("its weight holds NaN or infinity")
    if node.op_type == "MatMul" and weight.ndim != 2:
        return Unmet(f"its weight has {weight.ndim} dimensions, not 2")
    if node.op_type == "ConvTranspose" and node.attributes.get_int("group", 1) > 1:
        return Unmet("a grouped ConvTranspose has no single channel axis")
    if node.op_type == "Gemm" and node.attributes.get_int("transA", 0) != 0:
        return Unmet("its activation is transposed")
    axis = channel_axis(node)
    bias = _bias(node, int(weight.shape[axis]), placement)
    return bias if isinstance(bias, Unmet) else WeightedOp(node, weight, axis, bias)


def channel_axis(node: ir.Node) -> int:
    """The weight's axis that counts output channels."""
    if node.op_type == "Conv" or (node.op_type == "Gemm" and node.attributes.get_int("transB", 0) != 0):
        return 0
    return 1


def _bias(node: ir.Node, channels: int, placement: Placement) -> Array | Unmet | None:
    """The bias, one element per channel, or why the placement's int32 bias cannot express it.

    A bias that stays float is not looked at: it may be computed, or of any shape that the operator accepts.
    """
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None or not placement.int32_bias:
        return None
    bias = constant(value)
    if bias is None:
        return Unmet("its bias is not a constant")
    if node.op_type == "Gemm" and any(node.attributes.get_float(name, 1.0) != 1 for name in ("alpha", "beta")):
        return Unmet("alpha or beta is not 1, so its bias does not have the accumulator's scale")
    if bias.shape not in {(), (1,), (1, 1), (channels,), (1, channels)}:
        return Unmet(f"a bias of shape {bias.shape} is not one value per channel")
    if not np.isfinite(bias).all():
        return Unmet("its bias holds NaN or infinity")
    return np.broadcast_to(bias.reshape(-1), (channels,))
