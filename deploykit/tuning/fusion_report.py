"""`export --fusion-report`: what each rewrite did to a network, what it cost in exactness, and what it is worth.

Every fusion that is wanted is left out once, every other one is added once, and the two graphs are priced against each
other, everything else being equal: kernels and bytes of TensorRT-RTX's plan, and ONNX Runtime's paired time. That
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
from deploykit.spec import COST_BASED_FUSIONS, SAFE_FUSIONS, BatchRange, Feed, Fusions, Precision
from deploykit.spec.reports import PassRecord
from deploykit.tuning.cost import TIMED_SECONDS, PlanPrice, PlanPricing, TimePrice, TimePricing
from deploykit.tuning.fusions import Decision, Goal
from deploykit.workflow.export import Exported, traced
from deploykit.workflow.workspace import Workspace

if TYPE_CHECKING:
    import onnx_ir as ir

KNOWN = (*SAFE_FUSIONS, *COST_BASED_FUSIONS)
ALREADY, NOTHING, NOT_PRICED = "TensorRT already does this", "nothing to do", "not priced"
VERDICTS = {-1: "pays", 0: ALREADY, 1: "costs more"}
NOISE_SEED = 2

Priced = TypeVar("Priced")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One fusion. Pairs are (without it, with it), all other rewrites being those of the exported graph.

    `wanted`: it is among the rewrites of that graph. `kept` counts its sites there, `sites` those that it finds at
    all. Parameters are all floating-point numbers that the graph stores, MACs those of one image. `error` is the
    relative L2 distance that the pass adds in float64. `all_sites` is the plan with every site, where some were left
    out.
    """

    name: str
    summary: str
    wanted: bool
    sites: int
    kept: int
    refused: Mapping[str, int] = field(default_factory=dict)
    params: tuple[int, int] | None = None
    macs: tuple[int, int] | None = None
    error: float | None = None
    plan: tuple[PlanPrice, PlanPrice] | None = None
    all_sites: PlanPrice | None = None
    ort: TimePrice | None = None
    eager: TimePrice | None = None
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """What the plan says of it, with the figure where it costs."""
        if not self.sites:
            return NOTHING
        if self.plan is None:
            return NOT_PRICED
        without, with_it = self.plan
        said = _judged(without, with_it)
        if self.all_sites is not None:
            return f"{said} at {self.kept} sites; at all {self.sites}: {_judged(without, self.all_sites)}"
        return said if self.wanted else f"not applied: {said}"

    def as_dict(self) -> dict[str, Any]:
        """The line as JSON holds it."""
        found = {each: getattr(self, each) for each in ("name", "summary", "wanted", "sites", "kept", "error")}
        pairs = {"params": self.params, "macs": self.macs}
        plan = {
            "without": self.plan[0].as_dict() if self.plan else None,
            "with": self.plan[1].as_dict() if self.plan else None,
            "all_sites": self.all_sites.as_dict() if self.all_sites else None,
        }
        return {
            **found,
            "refused": [{"reason": reason, "count": count} for reason, count in self.refused.items()],
            **{each: {"before": pair[0], "after": pair[1]} if pair else None for each, pair in pairs.items()},
            "plan": plan if self.plan else None,
            "ort": self.ort.as_dict() if self.ort else None,
            "eager": self.eager.as_dict() if self.eager else None,
            "notes": list(self.notes),
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionLedger:
    """The lines in the order of the passes; `conditions` says of each column what it is of."""

    fusions: str
    conditions: Mapping[str, str]
    lines: tuple[Line, ...]

    def as_dict(self) -> dict[str, Any]:
        """The ledger as JSON holds it."""
        return {
            "fusions": self.fusions,
            "conditions": dict(self.conditions),
            "lines": [line.as_dict() for line in self.lines],
        }


def price_fusions(
    workspace: Workspace,
    exported: Exported,
    goal: Goal,
    decision: Decision | None = None,
    *,
    seconds: float = TIMED_SECONDS,
) -> FusionLedger:
    """The ledger of the graph that `exported` is, made with `goal.spec.fusions`; `seconds` of rounds a timed price.

    A figure that cannot be had here is left out, and a note says why.
    """
    network = traced(workspace, exported.model)
    graph.optimize(network, passes=graph.CLEAN_UP)
    ledger = _Ledger(workspace, exported, goal, network, seconds)
    fusions = decision.said if decision else str(goal.spec.fusions)
    with workspace.timed("price the rewrites"):
        lines = tuple(ledger.line(name) for name in KNOWN if name in graph.FUSIONS)
    return FusionLedger(fusions=fusions, conditions=ledger.conditions(), lines=lines)


@dataclass(frozen=True, slots=True)
class _Run:
    """A graph, with what each pass found, and the graph before and after each: the same one where it did nothing."""

    network: ir.Model
    records: Mapping[str, PassRecord]
    stages: Mapping[str, tuple[ir.Model, ir.Model]]


@dataclass
class _Ledger:
    workspace: Workspace
    exported: Exported
    goal: Goal
    base: ir.Model
    seconds: float
    exact: dict[int, Mapping[str, Any]] = field(default_factory=dict)  # by identity of a graph that lives as long
    prices: dict[Fusions, PlanPrice] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.batch = self.exported.fixed_batch or 1
        self.plan = PlanPricing(self.goal.spec, self.goal.gpu)
        timed = replace(self.goal.spec, precision=Precision.FP32, batch=BatchRange(self.batch, self.batch, self.batch))
        self.time = TimePricing(timed, self.seconds)
        self.chosen = self._run(self.goal.spec.fusions)

    def conditions(self) -> dict[str, str]:
        images = "image" if self.batch == 1 else "images"
        return {
            "plan": self.plan.objective,
            "ort": f"{self.time.objective}: time with the rewrite over time without, 95 % interval",
            "eager": "eager PyTorch: torch's own folding of BatchNorm over the plain module",
            "error": f"relative L2 that the pass adds, both graphs in float64, {self.batch} {images} of seeded noise",
        }

    def line(self, name: str) -> Line:
        """Left out of the graph where it is in it, else added to it."""
        fusions = self.goal.spec.fusions
        everywhere = replace(fusions, names=_with(fusions, name), without=_without(fusions, name))
        kept = self.chosen.records[name].rewritten if name in self.chosen.records else ()
        whole = self._run(everywhere) if not kept or fusions.sites_without(name) else self.chosen
        record = whole.records[name]
        found = Line(
            name=name,
            summary=graph.FUSIONS[name].summary,
            wanted=bool(kept),
            sites=max(len(record.rewritten), len(kept)),
            kept=len(kept),
            refused=dict(Counter(refusal.reason for refusal in record.refused).most_common()),
        )
        if not found.sites:
            return found
        self.workspace.progress(f"price the rewrites: {name}", KNOWN.index(name), len(KNOWN))
        self.notes = []
        without = replace(fusions, names=tuple(each for each in fusions.names if each != name))
        with_it, applied = (self.chosen, fusions) if kept else (whole, everywhere)
        partly = bool(kept) and len(kept) < len(record.rewritten)
        return replace(
            found,
            **self._costs(with_it, name),
            error=self._kept(lambda: self._error(*with_it.stages[name])),
            plan=self._kept(lambda: (self._price(without), self._price(applied))),
            all_sites=self._kept(lambda: self._price(everywhere)) if partly else None,
            ort=self._kept(lambda: self._timed(with_it, without)),
            eager=self._kept(self._eager) if name == "fold_batchnorm" else None,
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def _run(self, fusions: Fusions) -> _Run:
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
        return _Run(network, {record.name: record for record in ledger.passes}, stages)

    def _costs(self, run: _Run, name: str) -> dict[str, Any]:
        before, after = run.stages[name]
        macs = tuple(sum(cost.macs for cost in graph.weighted_costs(each).values()) for each in (before, after))
        return {"params": (_stored(before), _stored(after)), "macs": macs}

    def _price(self, fusions: Fusions) -> PlanPrice:
        if fusions not in self.prices:
            self.prices[fusions] = self.plan.price(self._run(fusions).network)
        return self.prices[fusions]

    def _timed(self, with_it: _Run, without: Fusions) -> TimePrice:
        return self.time.price(with_it.network, self._run(without).network)

    def _eager(self) -> TimePrice | None:
        from deploykit.tuning.eager import price_folding

        module = self.exported.module
        return price_folding(module, batch=self.batch, seconds=self.seconds) if module else None

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


def _judged(without: PlanPrice, with_it: PlanPrice) -> str:
    sign = with_it.sign(without)
    return VERDICTS[sign] + (f", {without.change_to(with_it)}" if sign > 0 else "")


def _with(fusions: Fusions, name: str) -> tuple[str, ...]:
    return tuple(each for each in KNOWN if each in {*fusions.names, name})


def _without(fusions: Fusions, name: str) -> tuple[str, ...]:
    """The sites that other fusions are left out at."""
    return tuple(site for site in fusions.without if not site.startswith(f"{name}@"))


def _stored(model: ir.Model) -> int:
    """Floating-point numbers among the constants."""
    tensors = [value.const_value for value in model.graph.initializers.values()]
    return sum(tensor.size for tensor in tensors if tensor is not None and tensor.dtype.is_floating_point())
