"""A plan in figures: what tables, manifests and `--json` say of an engine."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from deploykit.codec import shown
from deploykit.plan.model import COMPUTE_TYPE, WEIGHTED_KINDS, EnginePlan


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """A plan in figures: sizes in bytes, or megabytes of 1e6, and None where the log keeps quiet about one.

    "Weighted" means the operators of `spec.operators`. Their layers are tallied by what they read (`weighted_reads`),
    and the nodes that ended up in another type than the precision's are listed with it (`other_precision`). A node that
    was folded into a constant, say, is in no layer, hence `unmatched`.
    """

    JSON_PROPERTIES = shown("mb_moved", "engine_mb")

    kernels: int
    kinds: Mapping[str, int]
    batch: int
    bytes_moved: int
    engine_bytes: int
    weights_bytes: int | None
    activation_bytes: int | None
    scratch_bytes: int | None
    weighted_nodes: int
    weighted_matched: int
    weighted_reads: Mapping[str, int]
    other_precision: Mapping[str, str]
    unmatched: tuple[str, ...]

    @property
    def mb_moved(self) -> float:
        return round(self.bytes_moved / 1e6, 1)

    @property
    def engine_mb(self) -> float:
        return round(self.engine_bytes / 1e6, 1)


def summarize(plan: EnginePlan) -> PlanSummary:
    computes_in = plan.computes_in()
    weighted_layers = [layer for layer in plan.layers if layer.kind in WEIGHTED_KINDS or layer.runs(plan.weighted)]
    wanted = COMPUTE_TYPE[plan.precision]
    return PlanSummary(
        kernels=len(plan.kernels),
        kinds=dict(sorted(Counter(layer.kind for layer in plan.layers).items())),
        batch=plan.batch,
        bytes_moved=plan.bytes_moved,
        engine_bytes=plan.engine_bytes,
        weights_bytes=plan.weights_bytes,
        activation_bytes=plan.activation_bytes,
        scratch_bytes=plan.scratch_bytes,
        weighted_nodes=len(plan.weighted),
        weighted_matched=len(computes_in),
        weighted_reads=dict(sorted(Counter(layer.reads for layer in weighted_layers).items())),
        other_precision={node: computes_in[node] for node in plan.weighted if computes_in.get(node, wanted) != wanted},
        unmatched=tuple(node for node in plan.weighted if node not in computes_in),
    )
