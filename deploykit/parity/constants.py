"""What a layer's weights are beside the network's: the causes of a loss that no choice of types explains.

scaled       w' = s w
transposed   w' = w with two axes exchanged
reversed     w' = w with its input channels in reverse order, as for BGR in place of RGB
missing      there is no bias where the network has one
other        anything else that is further from w than rounding takes it
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from deploykit.graph.rewrite import constant
from deploykit.spec.arrays import Array
from deploykit.spec.operators import WEIGHTED_OPS

if TYPE_CHECKING:
    import onnx_ir as ir

ROUNDED = {"float32": 1e-5, "float16": 2e-3, "int8": 0.12}  # relative L2 that a type's rounding takes a weight away
LEVELS = 255  # steps of eight bits, at most
CUT_OFF, COARSEST = 4.0, 16.0  # the largest value beside the range, and steps of it, that no calibration would choose
TAKES_ITS_PLACE = 0.5  # of the plain distance: another reading of the weight has to be nearer by so much
FAINT = ("Cast", "DequantizeLinear", "Identity", "QuantizeLinear")  # what typing puts in between


def unlike_constants(ours: ir.Node, theirs: ir.Node) -> str:
    """How the weights and biases of `theirs` differ from those of `ours`, in words; "" where rounding explains it."""
    if ours.op_type != theirs.op_type or ours.op_type not in WEIGHTED_OPS:
        return ""
    return "; ".join(_differences(ours, theirs))


def unlike_scale(theirs: ir.Node, peak: float) -> str:
    """How the steps in which an operand is quantized fit the values, which reach `peak`; "" where they do."""
    value = theirs.inputs[0] if theirs.inputs else None
    maker = value.producer() if value is not None else None
    scale = constant(maker.inputs[1]) if maker is not None and maker.op_type == "DequantizeLinear" else None
    if scale is None or scale.size != 1 or peak <= 0:
        return ""
    step = float(scale.reshape(()))
    if LEVELS * step < peak / CUT_OFF:
        return f"its operand is quantized in steps of {step:.3g}, {LEVELS} of which end far below its {peak:.3g}"
    if step > peak / COARSEST:
        return f"its operand is quantized in steps of {step:.3g}, too coarse for values up to {peak:.3g}"
    return ""


def unlike_operators(ours: list[str], theirs: list[str]) -> str:
    """Operators that one of two ways between the same tensors has and the other has not, in words."""
    mine, others = ([kind for kind in kinds if kind not in FAINT] for kinds in (ours, theirs))
    missing, more = _without(mine, others), _without(others, mine)
    said = [f"the network computes {', '.join(missing)} there, and this graph does not"] if missing else []
    said += [f"this graph computes {', '.join(more)} there, and the network does not"] if more else []
    return "; ".join(said)


def _without(these: list[str], those: list[str]) -> list[str]:
    left = list(those)
    found = []
    for kind in these:
        if kind in left:
            left.remove(kind)
        else:
            found.append(kind)
    return found


def _differences(ours: ir.Node, theirs: ir.Node) -> Iterator[str]:
    for index, what in ((1, "weight"), (2, "bias")):
        mine = _stored(ours, index)
        if mine is None:
            continue
        found = _stored(theirs, index)
        if found is None:
            if what == "bias" and np.any(mine[0]) and (len(theirs.inputs) <= index or theirs.inputs[index] is None):
                yield "its bias is missing"
            continue
        if said := _difference(mine[0], found[0], ROUNDED[found[1]]):
            yield f"its {what} {said}"


def _difference(mine: Array, found: Array, rounding: float) -> str:
    size = float(np.linalg.norm(mine)) or 1.0

    def apart(candidate: Array) -> float:
        return float(np.linalg.norm(found - candidate)) / size if candidate.shape == found.shape else np.inf

    plain = apart(mine)
    if plain <= rounding:
        return ""
    for first, second in combinations(range(mine.ndim), 2):
        if apart(np.swapaxes(mine, first, second)) <= min(rounding, TAKES_ITS_PLACE * plain):
            return f"is transposed: axes {first} and {second} of the network's are exchanged"
    if mine.shape != found.shape:
        return f"has the shape {list(found.shape)}, the network's {list(mine.shape)}"
    if mine.ndim > 1 and apart(np.flip(mine, 1)) <= min(rounding, TAKES_ITS_PLACE * plain):
        return "has its input channels in reverse order (BGR for RGB)"
    scale = float(np.vdot(mine, found)) / size**2
    if apart(scale * mine) <= max(rounding, 1e-6) * max(abs(scale), 1.0) and apart(scale * mine) < plain / 2:
        return f"is {scale:.4g} times the network's"
    return f"is {plain:.2g} relative L2 from the network's"


def _stored(node: ir.Node, index: int) -> tuple[Array, str] | None:
    """A constant operand in float64, through the Cast or the DequantizeLinear that makes it, and the type it is in."""
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None:
        return None
    maker = value.producer()
    if maker is not None and maker.op_type == "Cast":
        value, maker = maker.inputs[0], None
    if maker is not None and maker.op_type == "DequantizeLinear":
        integers, scale, *zero = (constant(operand) for operand in maker.inputs)
        if integers is None or scale is None:
            return None
        axis = maker.attributes["axis"].as_int() if "axis" in maker.attributes else 1
        return _dequantized(integers, scale, zero[0] if zero else None, axis), "int8"
    array = constant(value)
    if array is None:
        return None
    return array.astype(np.float64), array.dtype.name if array.dtype.name in ROUNDED else "float16"


def _dequantized(integers: Array, scale: Array, zero: Array | None, axis: int) -> Array:
    def along(values: Array) -> Array:
        wide = values.astype(np.float64)
        if values.size == 1:
            return wide.reshape(())
        return wide.reshape([-1 if each == axis % integers.ndim else 1 for each in range(integers.ndim)])

    shifted = integers.astype(np.float64) - (0.0 if zero is None else along(zero))
    return shifted * along(scale)
