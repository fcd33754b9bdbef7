"""`export --fusion-report`: what each rewrite did to a network, what it cost in exactness, and what it is worth.

Every fusion that is wanted is left out once, every other one is added once, and the costs of the two graphs are
compared, everything else being equal: kernels and bytes of TensorRT-RTX's plan, and ONNX Runtime's paired time. That
TensorRT does the same by itself, or that a rewrite costs more, are results like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from deploykit import graph
from deploykit.data.inputs import require_feedable
from deploykit.data.noise import noise_feeds
from deploykit.errors import DeploykitError
from deploykit.parity import distance, double_outputs
from deploykit.results.choices import FusionDecision
from deploykit.results.costs import PlanCost, PlanCosts, TimeCost
from deploykit.results.fusions import Change, FusionConditions, FusionLine, FusionReport, ReasonCount
from deploykit.spec import COST_BASED_FUSIONS, SAFE_FUSIONS, BatchRange, Feed, Fusions, Precision
from deploykit.spec.reports import PassRecord
from deploykit.tuning.cost import TIMED_SECONDS, PlanCostModel, TimeCostModel
from deploykit.tuning.fusions import Goal
from deploykit.workflow.export import Exported, traced
from deploykit.workflow.workspace import Workspace

if TYPE_CHECKING:
    import onnx_ir as ir

KNOWN = (*SAFE_FUSIONS, *COST_BASED_FUSIONS)
NOISE_SEED = 2

Priced = TypeVar("Priced")


def fusion_report_of(
    workspace: Workspace,
    exported: Exported,
    goal: Goal,
    decision: FusionDecision | None = None,
    *,
    seconds: float = TIMED_SECONDS,
) -> FusionReport:
    """The ledger of the graph that `exported` is, made with `goal.spec.fusions`; `seconds` of rounds for each time.

    A figure that cannot be had here is left out, and a note says why.
    """
    network = traced(workspace, exported.model)
    graph.optimize(network, passes=graph.CLEAN_UP)
    costs = _FusionCosts(workspace, exported, goal, network, seconds)
    fusions = decision.said if decision else str(goal.spec.fusions)
    with workspace.timed("compare costs of fusions"):
        lines = tuple(costs.line(name) for name in KNOWN if name in graph.FUSIONS)
    return FusionReport(fusions=fusions, conditions=costs.conditions(), lines=lines)


@dataclass(frozen=True, slots=True)
class _FusedGraph:
    """A graph, with what each pass found, and the graph before and after each: the same one where it did nothing."""

    network: ir.Model
    records: Mapping[str, PassRecord]
    stages: Mapping[str, tuple[ir.Model, ir.Model]]


@dataclass
class _FusionCosts:
    workspace: Workspace
    exported: Exported
    goal: Goal
    base: ir.Model
    seconds: float
    exact: dict[int, Mapping[str, Any]] = field(default_factory=dict)  # by identity of a graph that lives as long
    costs: dict[Fusions, PlanCost] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.batch = self.exported.fixed_batch or 1
        self.plan = PlanCostModel(self.goal.spec, self.goal.gpu)
        timed = replace(self.goal.spec, precision=Precision.FP32, batch=BatchRange(self.batch, self.batch, self.batch))
        self.time = TimeCostModel(timed, self.seconds)
        self.chosen = self._run(self.goal.spec.fusions)

    def conditions(self) -> FusionConditions:
        images = "image" if self.batch == 1 else "images"
        return FusionConditions(
            plan=self.plan.objective,
            ort=f"{self.time.objective}: time with the rewrite over time without, 95 % interval",
            eager="eager PyTorch: torch's own folding of BatchNorm over the plain module",
            error=f"relative L2 that the pass adds, both graphs in float64, {self.batch} {images} of seeded noise",
        )

    def line(self, name: str) -> FusionLine:
        """Left out of the graph where it is in it, else added to it."""
        fusions = self.goal.spec.fusions
        everywhere = replace(fusions, names=_with(fusions, name), without=_without(fusions, name))
        kept = self.chosen.records[name].rewritten if name in self.chosen.records else ()
        whole = self._run(everywhere) if not kept or fusions.sites_without(name) else self.chosen
        record = whole.records[name]
        found = FusionLine(
            name=name,
            summary=graph.FUSIONS[name].summary,
            wanted=bool(kept),
            sites=max(len(record.rewritten), len(kept)),
            kept=len(kept),
            skipped=tuple(ReasonCount(*each) for each in Counter(item.reason for item in record.skipped).most_common()),
        )
        if not found.sites:
            return found
        self.workspace.progress(f"compare costs of fusions: {name}", KNOWN.index(name), len(KNOWN))
        self.notes = []
        without = replace(fusions, names=tuple(each for each in fusions.names if each != name))
        with_it, applied = (self.chosen, fusions) if kept else (whole, everywhere)
        partly = bool(kept) and len(kept) < len(record.rewritten)
        return replace(
            found,
            params=Change(*map(_stored, with_it.stages[name])),
            macs=Change(*map(_macs, with_it.stages[name])),
            error=self._kept(lambda: self._error(*with_it.stages[name])),
            plan=self._kept(lambda: self._plans(without, applied, everywhere if partly else None)),
            ort=self._kept(lambda: self._timed(with_it, without)),
            eager=self._kept(self._eager) if name == "fold_batchnorm" else None,
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def _run(self, fusions: Fusions) -> _FusedGraph:
        network = self.base.clone()
        snapshots: list[ir.Model] = []
        ledger = graph.optimize(
            network,
            passes=graph.fusion_passes(fusions),
            observe=lambda _name, model: snapshots.append(model.clone()),
        )
        before, stages = self.base, {}
        for record, snapshot in zip(ledger.passes, snapshots, strict=True):
            after = snapshot if record.rewritten else before
            stages[record.name] = (before, after)
            before = after
        return _FusedGraph(network, {record.name: record for record in ledger.passes}, stages)

    def _plans(self, without: Fusions, applied: Fusions, everywhere: Fusions | None) -> PlanCosts:
        all_sites = None if everywhere is None else self._kept(lambda: self._cost(everywhere))
        return PlanCosts(self._cost(without), self._cost(applied), all_sites)

    def _cost(self, fusions: Fusions) -> PlanCost:
        if fusions not in self.costs:
            self.costs[fusions] = self.plan.cost(self._run(fusions).network)
        return self.costs[fusions]

    def _timed(self, with_it: _FusedGraph, without: Fusions) -> TimeCost:
        return self.time.cost(with_it.network, self._run(without).network)

    def _eager(self) -> TimeCost | None:
        from deploykit.tuning.eager import folding_cost

        module = self.exported.module
        return folding_cost(module, batch=self.batch, seconds=self.seconds) if module else None

    def _error(self, before: ir.Model, after: ir.Model) -> float:
        exact, found = self._evaluated(before), self._evaluated(after)
        return max(distance(found[name], exact[name]).relative_l2 for name in exact)

    def _evaluated(self, model: ir.Model) -> Mapping[str, Any]:
        """In float64; kept for the stages of the exported graph, each of which two passes share."""
        if id(model) in self.exact:
            return self.exact[id(model)]
        found = double_outputs(model, self._noise())
        if any(model in pair for pair in self.chosen.stages.values()):
            self.exact[id(model)] = found
        return found

    def _noise(self) -> list[Feed]:
        require_feedable(self.exported)
        return list(
            noise_feeds(
                self.exported.inputs,
                count=1,
                batch=self.batch,
                seed=NOISE_SEED,
                ranges=self.exported.model.input_ranges,
            )
        )

    def _kept(self, compute: Callable[[], Priced]) -> Priced | None:
        """The figure; None where it cannot be had, for a reason that is noted."""
        try:
            return compute()
        except DeploykitError as error:
            self.notes.append(str(error))
            return None


def _with(fusions: Fusions, name: str) -> tuple[str, ...]:
    return tuple(each for each in KNOWN if each in {*fusions.names, name})


def _without(fusions: Fusions, name: str) -> tuple[str, ...]:
    """The sites that other fusions are left out at."""
    return tuple(site for site in fusions.without if not site.startswith(f"{name}@"))


def _stored(model: ir.Model) -> int:
    """Floating-point numbers among the constants."""
    tensors = [value.const_value for value in model.graph.initializers.values()]
    return sum(tensor.size for tensor in tensors if tensor is not None and tensor.dtype.is_floating_point())


def _macs(model: ir.Model) -> int:
    return sum(cost.macs for cost in graph.weighted_costs(model).values())
