"""`--fuse auto`: keep exactly the fusions that are beneficial for one backend, target and precision, site by site.

A search that improves one graph step by step; every step is judged by the cost of the whole graph it leads to:

1. Start from the safe fusions. Drop each of them whose removal makes the cost better, and add its sites again in
   halves, as far as they cost nothing.
2. Add the sites of each cost-based fusion as a group. A group that improves is kept; one that does not is cut in half
   and each half tried by itself, down to single sites.
3. Refine what was kept: leave out half of a fusion's sites, then the other half, and so on down to single sites;
   what is not missed stays out. Larger groups come first, so that little is lost when the budget ends the search.

A group that leaves the cost as it is, or changes it within noise, is not cut any further: the compiler does the same by
itself. The outcome is a local optimum: fusions that are beneficial only together are not found. What the
compiler or the typing refuses is no improvement, and the reason is kept.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING

from deploykit import graph
from deploykit.errors import BackendMissing, BuildFailed, DeploykitError, GateFailed, UnsupportedGraph, UsageError
from deploykit.host import cpu_facts, library_versions, usable_cores
from deploykit.plan.gpus import Gpu
from deploykit.results.choices import FusionDecision, FusionTrial
from deploykit.results.costs import PlanCost
from deploykit.spec import (
    COST_BASED_FUSIONS,
    SAFE_FUSIONS,
    BuildSpec,
    Fusions,
    Progress,
    silent,
)
from deploykit.spec.reports import PassLedger
from deploykit.store import Writer
from deploykit.tuning.cost import ORT, REFUSED, RTX, TIMED_SECONDS, PlanCostModel, TimeCostModel
from deploykit.workflow.batch import with_batch
from deploykit.workflow.compare import Request
from deploykit.workflow.export import identity, traced
from deploykit.workflow.workspace import COMPILERS, Workspace

if TYPE_CHECKING:
    import onnx_ir as ir

COST_BACKENDS = {"trt": RTX, RTX: RTX, ORT: ORT}  # the backend whose figures decide
BUDGET_SECONDS = 120.0
STAGE = "search for fusions by cost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the fusions have to be beneficial for: the backend, and precision, batch and first target of `spec`.

    `gpu` has plans compared by its roofline. The search ends after `budget_seconds`, tracing the network not counted.
    """

    spec: BuildSpec
    backend: str = RTX
    gpu: Gpu | None = None
    budget_seconds: float = BUDGET_SECONDS

    def __post_init__(self) -> None:
        if not 0 < self.budget_seconds < float("inf"):
            raise UsageError(
                f"fusion_seconds (--fuse-budget) is {self.budget_seconds:g}", hint="give a number of seconds above 0"
            )

    @property
    def cost_backend(self) -> str:
        """The backend whose figures decide. Raises UsageError."""
        if self.backend not in COST_BACKENDS:
            raise UsageError(
                f"fusions (--fuse) auto cannot estimate a cost for {self.backend}",
                hint=f"it can for {', '.join(COST_BACKENDS)}",
            )
        return COST_BACKENDS[self.backend]

    @property
    def cost_model(self) -> PlanCostModel | TimeCostModel:
        """How candidates are compared."""
        if self.cost_backend == RTX:
            return PlanCostModel(self.spec, self.gpu)
        return TimeCostModel(self.spec, min(TIMED_SECONDS, self.budget_seconds))


def decide(workspace: Workspace, goal: Goal) -> FusionDecision:
    """The fusions that are beneficial for `goal`, searched for once and kept in the store.

    Raises BackendMissing where the backend tells no cost here, and what the graph with the safe fusions alone raises.
    """
    spec = goal.spec

    def make(_: Writer) -> FusionDecision:
        network = traced(workspace, spec.model)
        with workspace.timed(STAGE):
            return _search(network, goal, workspace.progress)

    timed = goal.cost_backend == ORT
    parts = {
        **identity(workspace, spec.model),
        "precision": spec.precision,
        "batch": spec.batch,
        "target": None if timed else spec.targets[0],
        "gpu": goal.gpu,
        "keep_io": spec.keep_io,
        "keep_fp32": spec.keep_fp32,
        "tf32": spec.tf32,
        "options": spec.options,
        "cost by": goal.cost_backend,
        "budget": goal.budget_seconds,
        "compilers": library_versions(COMPILERS),
        "machine": [cpu_facts().get("model name"), usable_cores()] if timed else None,
    }
    entry, _ = workspace.get_or_make("fusing", parts, make, request={"goal": goal}, facts=FusionDecision)
    return entry.facts_as(FusionDecision)


def decided(workspace: Workspace, goal: Goal) -> tuple[Goal, FusionDecision | None]:
    """`goal` with `auto` replaced by what it stands for; as it is, and None, where nothing is to be decided."""
    if not goal.spec.fusions.auto:
        return goal, None
    decision = decide(workspace, goal)
    return replace(goal, spec=replace(goal.spec, fusions=decision.fusions)), decision


def decided_for_rows(workspace: Workspace, request: Request, *, gpu: Gpu | None, budget_seconds: float) -> Request:
    """`request` with `auto` decided for its first row that has a cost: one table compares one graph.

    Raises as `decide` does for that row, or UsageError where no row has a cost.
    """
    if not request.spec.fusions.auto:
        return request
    refusal: DeploykitError = UsageError(
        "fusions (--fuse) auto cannot estimate a cost for any of the rows",
        hint=f"it can for {', '.join(COST_BACKENDS)}",
    )
    spec = with_batch(workspace, request.spec)
    for backend, precision in product(request.backends, request.precisions):
        if backend not in COST_BACKENDS:
            continue
        goal = Goal(spec=spec.with_precision(precision), backend=backend, gpu=gpu, budget_seconds=budget_seconds)
        try:
            decision = decide(workspace, goal)
        except (BackendMissing, BuildFailed, GateFailed, UnsupportedGraph) as error:
            refusal = error
            continue
        said = f"{decision}, for {backend} {precision} and all rows alike"
        return replace(request, spec=replace(spec, fusions=decision.fusions), fusions=said)
    raise refusal


@dataclass(frozen=True, slots=True)
class Candidate:
    """A graph made with `fusions`; `cost` is None where graphs are only ever compared in pairs."""

    fusions: Fusions
    network: ir.Model
    ledger: PassLedger
    cost: PlanCost | None = None

    def sites(self, name: str) -> tuple[str, ...]:
        """Where the fusion `name` rewrote."""
        return next((record.rewritten for record in self.ledger.passes if record.name == name), ())


def candidate(base: ir.Model, fusions: Fusions) -> Candidate:
    """`fusions` applied to a copy of the cleaned graph `base`."""
    network = base.clone()
    return Candidate(fusions, network, graph.optimize(network, passes=graph.fusion_passes(fusions)))


def without_sites(fusions: Fusions, name: str, sites: Collection[str]) -> Fusions:
    return replace(fusions, without=(*fusions.without, *(f"{name}@{site}" for site in sites)))


def only_sites(base: ir.Model, fusions: Fusions, name: str, sites: Collection[str]) -> Candidate:
    """`fusions` and of the fusion `name` these sites alone, also where leaving out others makes room for new ones."""
    known = (*SAFE_FUSIONS, *COST_BASED_FUSIONS)
    wanted = {*fusions.names, name}
    found = replace(fusions, names=tuple(each for each in known if each in wanted))
    found = replace(found, without=tuple(site for site in found.without if not site.startswith(f"{name}@")))
    made = candidate(base, found)
    while extra := [site for site in made.sites(name) if site not in sites]:
        made = candidate(base, without_sites(made.fusions, name, extra))
    return made


def _search(network: ir.Model, goal: Goal, progress: Progress) -> FusionDecision:
    graph.optimize(network, passes=graph.CLEAN_UP)
    search = _FusionSearch(network, goal, progress)
    search.run()
    return search.decision()


@dataclass
class _FusionSearch:
    base: ir.Model
    goal: Goal
    progress: Progress = silent
    steps: list[FusionTrial] = field(default_factory=list)
    ran_out: bool = False
    without_effect: set[str] = field(default_factory=set)  # fusions that leave the cost as it is

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.longest = 0.0
        self.cost_model = self.goal.cost_model
        self.first = self.best = self._with_cost(candidate(self.base, Fusions()))

    def run(self) -> None:
        for name in SAFE_FUSIONS:
            self._question(name)
        for name in COST_BASED_FUSIONS:
            self._introduce(name)
        self._refine()

    def decision(self) -> FusionDecision:
        change = self._change(self.best, self.first)[1] if self.best is not self.first else "nothing is better"
        return FusionDecision(
            fusions=_tidy(self.best),
            rewritten={name: len(self.best.sites(name)) for name in self.best.fusions.names},
            objective=self.cost_model.objective,
            change=change,
            steps=tuple(self.steps),
            ran_out=self.ran_out,
            seconds=time.monotonic() - self.began,
            budget_seconds=self.goal.budget_seconds,
        )

    def _question(self, name: str) -> None:
        """Does the cost get better without a safe fusion? Then which of its sites are beneficial by themselves?"""
        sites = self.best.sites(name)
        names = tuple(each for each in self.best.fusions.names if each != name)
        if not sites:
            return
        sign = self._try(name, sites, candidate(self.base, replace(self.best.fusions, names=names)), added=False)
        if sign < 0:
            self._add_halves(name, sites)
        elif sign == 0:
            self.without_effect.add(name)

    def _introduce(self, name: str) -> None:
        names = tuple(each for each in (*SAFE_FUSIONS, *COST_BASED_FUSIONS) if each in {*self.best.fusions.names, name})
        whole = candidate(self.base, replace(self.best.fusions, names=names))
        sites = whole.sites(name)
        if sites and self._try(name, sites, whole, added=True) > 0:
            self._add_halves(name, sites)

    def _add_halves(self, name: str, sites: Sequence[str]) -> None:
        """Both halves of a group that is not beneficial as a whole, breadth first."""
        groups = list(_halves(sites))
        for group in groups:  # grows as it is walked through
            made = only_sites(self.base, self.best.fusions, name, {*self.best.sites(name), *group})
            if self._try(name, group, made, added=True) > 0:
                groups += _halves(group)

    def _refine(self) -> None:
        """Leave out halves of what is there, the largest groups first, cost-based fusions before safe ones."""
        order = itertools.count()
        queue: list[tuple[bool, int, int, str, tuple[str, ...]]] = []

        def look_at(name: str, sites: Sequence[str]) -> None:
            for half in _halves(sites):
                heapq.heappush(queue, (name in SAFE_FUSIONS, -len(half), next(order), name, tuple(half)))

        for name in (name for name in self.best.fusions.names if name not in self.without_effect):
            look_at(name, self.best.sites(name))
        while queue and not self.ran_out:
            *_, name, half = heapq.heappop(queue)
            left = set(half) & set(self.best.sites(name))
            made = candidate(self.base, without_sites(self.best.fusions, name, sorted(left)))
            if left and self._try(name, half, made, added=False) > 0:
                look_at(name, half)

    def _try(self, name: str, sites: Sequence[str], made: Candidate, *, added: bool) -> int:
        """Take `made` for the best where its cost is better (-1). 0: nothing changes, or time is up; 1: worse."""
        began = time.monotonic()
        spent = began - self.began
        if self.ran_out or spent + self.longest > self.goal.budget_seconds:
            self.ran_out = True
            return 0
        verb = "with" if added else "without"
        doing = f"{STAGE}: {verb} {name} at {len(sites)} sites"
        self.progress(doing, int(spent), max(int(self.goal.budget_seconds), int(spent) + 1))
        try:
            made = self._with_cost(made)
            sign, figures = self._change(made, self.best)
        except REFUSED as error:
            sign, figures = 1, str(error)
        kept = sign < 0 or (sign == 0 and added and name in SAFE_FUSIONS)
        self.steps.append(FusionTrial(name, added, tuple(sites), figures, kept))
        if kept:
            self.best = made
        self.longest = max(self.longest, time.monotonic() - began)
        return sign

    def _with_cost(self, made: Candidate) -> Candidate:
        if isinstance(self.cost_model, PlanCostModel):
            return replace(made, cost=self.cost_model.cost(made.network))
        return made

    def _change(self, made: Candidate, other: Candidate) -> tuple[int, str]:
        """-1 where `made` costs less than `other`, 1 where it costs more, 0 where neither; and the figures."""
        if made.cost is not None and other.cost is not None:
            return made.cost.sign(other.cost), other.cost.change_to(made.cost)
        assert isinstance(self.cost_model, TimeCostModel)  # noqa: S101 - plans have a cost each
        found = self.cost_model.cost(made.network, other.network)
        return found.sign, str(found)


def _halves(sites: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Two halves in graph order; none of a single site."""
    middle = len(sites) // 2
    return (tuple(sites[:middle]), tuple(sites[middle:])) if middle else ()


def _tidy(best: Candidate) -> Fusions:
    """The choice without names that do nothing and sites that are not there: safe fusions stay where they have none."""
    names = tuple(name for name in best.fusions.names if name in SAFE_FUSIONS or best.sites(name))
    without = tuple(sorted({site for site in best.fusions.without if site.partition("@")[0] in names}))
    return Fusions(names, without)
