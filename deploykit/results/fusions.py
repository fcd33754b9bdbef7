"""What `export --fusion-report` answers: what each fusion did to a network, its cost in exactness, and its benefit."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.codec import shown
from deploykit.results.costs import PlanCost, PlanCosts, TimeCost

ALREADY, NOTHING, UNKNOWN = "TensorRT-RTX already does this", "nothing to do", "cost not known"
VERDICTS = {-1: "beneficial", 0: ALREADY, 1: "costs more"}


@dataclass(frozen=True, slots=True)
class Change:
    """A count before and after."""

    before: int
    after: int


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """Why a fusion left nodes as they were, and how many."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionLine:
    """One fusion, all others being those of the exported graph.

    `wanted`: it is among the rewrites of that graph. `kept` counts its sites there, `sites` those that it finds at
    all. Parameters are all floating-point numbers that the graph stores, MACs those of one image. `error` is the
    relative L2 distance that the pass adds in float64.
    """

    JSON_PROPERTIES = shown("verdict")

    name: str
    summary: str
    wanted: bool
    sites: int
    kept: int
    skipped: tuple[ReasonCount, ...] = ()
    params: Change | None = None
    macs: Change | None = None
    error: float | None = None
    plan: PlanCosts | None = None
    ort: TimeCost | None = None
    eager: TimeCost | None = None
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """What the plan says of it, with the figure where it costs."""
        if not self.sites:
            return NOTHING
        if self.plan is None:
            return UNKNOWN
        without, with_it = self.plan.without, self.plan.with_it
        said = _judged(without, with_it)
        if self.plan.all_sites is not None:
            return f"{said} at {self.kept} sites; at all {self.sites}: {_judged(without, self.plan.all_sites)}"
        return said if self.wanted else f"not applied: {said}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionConditions:
    """What each column of figures was measured on or computed for."""

    plan: str
    ort: str
    eager: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionReport:
    """The lines in the order of the passes."""

    fusions: str
    conditions: FusionConditions
    lines: tuple[FusionLine, ...]


def _judged(without: PlanCost, with_it: PlanCost) -> str:
    sign = with_it.sign(without)
    return VERDICTS[sign] + (f", {without.change_to(with_it)}" if sign > 0 else "")
