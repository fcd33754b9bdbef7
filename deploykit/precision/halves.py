"""A constant in float16: rounded to nearest even, and what is done with one that lies beyond 65504.

Where the constant only says "as small (or as large) as can be", the largest number of float16 says the same. Exact in
effect, so done and noted, are

1. what is compared or clipped with: a bound that no float16 number passes becomes infinite. Clip, Min, Max, Less,
   Greater, Equal and their kin, and the fill of a Pad;
2. a mask: what Add, Sub or Where put in the place of scores that a Softmax, a ReduceMax or an ArgMax is to pass over,
   reshaped or broadcast on its way, perhaps times a mask of zeros and ones. Added, it is half of 65504, so that the sum
   with a score stays finite (a row of -inf alone would come out of a Softmax as NaN).

exp(-32752) is 0 in float16 and in float32 alike. Everything else beyond 65504 is an error, for the result would be
another one.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import onnx_ir as ir

from deploykit.errors import Float16Overflow
from deploykit.graph.rewrite import constant, module_scope, node_name
from deploykit.precision.reports import Clamped
from deploykit.spec.arrays import Array
from deploykit.spec.operators import WEIGHTED_OPS

Use = tuple[ir.Node, int]  # who reads a value, at which input

LARGEST = float(np.finfo(np.float16).max)
BOUNDED = {
    **dict.fromkeys(("Clip", "Min", "Max"), "no bound"),
    **dict.fromkeys(("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"), "beyond every float16 number"),
    "Pad": "the neutral element of a max pooling",
}
PASSES_OVER = ("Softmax", "ReduceMax", "ArgMax")
MOVES = ("Reshape", "Expand", "Unsqueeze", "Squeeze", "Transpose", "Slice", "Identity", "Cast", "Tile", "Gather")
SUMS, MASKED = ("Add", "Sub"), "Where"


def rounded(exact: Array) -> Array:
    """The nearest float16; what is beyond becomes infinite."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return exact.astype(np.float16)


def to_half(name: str, exact: Array, readers: list[Use]) -> tuple[Array, Clamped | None]:
    """The constant `exact`, called `name`, for `readers`, and what was clamped of it.

    An infinity stays one, but in a weight. Raises Float16Overflow, with the option that keeps its readers in float32,
    where a value becomes infinite and that shows, or is NaN.
    """
    half = rounded(exact)
    is_weight = any(node.op_type in WEIGHTED_OPS for node, _ in readers)
    beyond = np.isinf(half) & (np.isfinite(exact) | is_weight)
    if np.isnan(half).any():
        raise _overflow(name, float("nan"), readers)
    if not beyond.any():
        return half, None
    worst = float(exact[beyond].flat[0])
    if all(node.op_type in BOUNDED for node, _ in readers):
        return half, Clamped(name, node_name(readers[0][0]), worst, "inf" if worst > 0 else "-inf", _why(readers))
    limit = _mask_limit(readers)
    if limit is None:
        raise _overflow(name, worst, readers)
    half[beyond] = np.copysign(np.float16(limit), half[beyond])
    reader, becomes = node_name(readers[0][0]), f"{np.copysign(limit, worst):g}"
    return half, Clamped(name, reader, worst, becomes, "it is a mask, whose exact value does not matter")


def _why(readers: list[Use]) -> str:
    return BOUNDED[readers[0][0].op_type]


def _overflow(name: str, worst: float, readers: list[Use]) -> Float16Overflow:
    said = f"{name!r} holds NaN"
    if not np.isnan(worst):
        said = f"{worst:g} in {name!r} is beyond float16's largest value, {LARGEST:.0f}"
    options = " ".join(dict.fromkeys(f"--keep-fp32 '{node_name(node)}'" for node, _ in readers))
    return Float16Overflow(
        f"{module_scope(readers[0][0])}: {said}",
        hint=_cure(worst, options),
    )


def _cure(worst: float, options: str) -> str:
    if np.isnan(worst):
        return "train this layer anew: no precision cures that"
    return f"add {options}" if np.isfinite(worst) else "rescale this layer, or build in fp32"


def _mask_limit(readers: Iterable[Use]) -> float | None:
    """The largest magnitude that a mask read by all of `readers` may have; None where it is no mask."""
    limits = [_limit_at(node, index) for node, index in readers]
    return min((limit for limit in limits if limit is not None), default=None) if None not in limits else None


def _limit_at(node: ir.Node, index: int) -> float | None:
    if node.domain:
        return None
    if node.op_type in SUMS or (node.op_type == MASKED and index > 0):
        return _limit_of_scores(node)
    if (node.op_type in MOVES and index == 0) or (node.op_type == "Mul" and _is_zero_or_one(node.inputs[1 - index])):
        return _mask_limit(_readers(node))
    return None


def _limit_of_scores(masked: ir.Node) -> float | None:
    """The limit of a mask that `masked` puts among the scores; None unless only the largest score counts."""
    summed, seen, left = False, {masked}, [masked]
    while left:
        node = left.pop()
        summed |= node.op_type in SUMS
        readers = [reader for reader, _ in _readers(node)]
        if not readers or any(not _looks_for_largest(reader) for reader in readers):
            return None
        left += [reader for reader in readers if reader.op_type not in PASSES_OVER and reader not in seen]
        seen.update(readers)
    return LARGEST / 2 if summed else LARGEST


def _looks_for_largest(node: ir.Node) -> bool:
    """Whether a node passes over the least scores, or hands them on to be passed over."""
    return not node.domain and node.op_type in (*PASSES_OVER, *MOVES, *SUMS, MASKED)


def _readers(node: ir.Node) -> Iterator[Use]:
    output = node.outputs[0]
    if output.is_graph_output():
        return iter(())
    return ((use.node, use.idx) for use in output.uses())


def _is_zero_or_one(value: ir.Value | None) -> bool:
    """Whether a value is a truth in numbers: cast from bool, or 1 minus one (as a mask of zeros and ones is)."""
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in MOVES and node.op_type != "Cast":
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    if node is None:
        return False
    if node.op_type == "Cast":
        source = node.inputs[0]
        return source is not None and source.dtype in (ir.DataType.BOOL, ir.DataType.INT64, ir.DataType.INT32)
    if node.op_type == "Sub":
        one = constant(node.inputs[0])
        return one is not None and bool((one == 1).all()) and _is_zero_or_one(node.inputs[1])
    return False
