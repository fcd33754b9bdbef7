"""Which of the layers that INT8 can express it is to express: the choice, and a reason for each that is excluded."""

from collections.abc import Iterator, Sequence

from deploykit.errors import UnknownName
from deploykit.graph.rewrite import node_name, skip
from deploykit.precision.int8.weighted import WeightedOp
from deploykit.spec import QuantizationPolicy
from deploykit.spec.reports import SkippedNode

BY_POLICY = "excluded by the policy: "


def choose(ops: Sequence[WeightedOp], policy: QuantizationPolicy) -> tuple[list[WeightedOp], list[SkippedNode]]:
    """Those of `ops`, in graph order, that `policy` quantizes, and the others with the term that leaves them.

    Raises UnknownName for a node in `policy.exclude` that is none of them.
    """
    names = [node_name(op.node) for op in ops]
    for node in policy.exclude:
        if node not in names:
            raise UnknownName("layer with weights", node, names)
    kept, excluded = [], []
    for index, op in enumerate(ops):
        reasons = _reasons(op, policy, is_first=index == 0, is_last=index == len(ops) - 1)
        if reason := next(reasons, ""):
            excluded.append(skip(op.node, reason))
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


def _reasons(op: WeightedOp, policy: QuantizationPolicy, *, is_first: bool, is_last: bool) -> Iterator[str]:
    found = kind(op)
    if node_name(op.node) in policy.exclude:
        yield "excluded by --int8-exclude"
    if is_first and not policy.first:
        yield f"{BY_POLICY}no-first"
    if is_last and not policy.last:
        yield f"{BY_POLICY}no-last"
    if not getattr(policy, found):
        yield f"{BY_POLICY}no-{found}"
    if found in ("pointwise", "spatial") and min(op.weight.shape[:2]) < policy.min_channels:
        yield f"{BY_POLICY}min-channels={policy.min_channels}"
