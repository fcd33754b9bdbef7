"""Which of the layers that INT8 can express it is to express: the choice, and a reason for each that is excluded."""

from collections.abc import Iterator, Sequence

from deploykit.errors import UnknownName
from deploykit.graph.rewrite import node_name, skip
from deploykit.precision.int8.weighted import WeightedOp
from deploykit.spec import QuantizationPolicy
from deploykit.spec.reports import SkippedNode


def choose(ops: Sequence[WeightedOp], policy: QuantizationPolicy) -> tuple[list[WeightedOp], list[SkippedNode]]:
    """Those of `ops`, in graph order, that `policy` quantizes, and the others with the term that leaves them.

    Raises UnknownName for a node in `policy.exclude` that is none of them.
    """
    names = [node_name(op.node) for op in ops]
    for node in policy.exclude:
        if node not in names:
            raise UnknownName("weighted layer", node, names)
    kept, excluded = [], []
    for index, op in enumerate(ops):
        terms = _terms(op, policy, is_first=index == 0, is_last=index == len(ops) - 1)
        if term := next(terms, ""):
            excluded.append(skip(op.node, f"excluded by {term}"))
        else:
            kept.append(op)
    return kept, excluded


def kind(op: WeightedOp) -> str:
    """`pointwise`, `depthwise`, `spatial` or `dense`."""
    if op.node.op_type not in ("Conv", "ConvTranspose"):
        return "dense"
    groups = op.node.attributes.get_int("group", 1)
    if groups > 1 and groups == op.weight.shape[0] and op.weight.shape[1] == 1:
        return "depthwise"
    return "pointwise" if groups == 1 and set(op.weight.shape[2:]) == {1} else "spatial"


def _terms(op: WeightedOp, policy: QuantizationPolicy, *, is_first: bool, is_last: bool) -> Iterator[str]:
    found = kind(op)
    if node_name(op.node) in policy.exclude:
        yield "--int8-exclude"
    if is_first and not policy.first:
        yield "no-first"
    if is_last and not policy.last:
        yield "no-last"
    if not getattr(policy, found):
        yield f"no-{found}"
    if found in ("pointwise", "spatial") and min(op.weight.shape[:2]) < policy.min_channels:
        yield f"min-channels={policy.min_channels}"
