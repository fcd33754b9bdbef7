"""`build --precision best`: FP16 or INT8, by time where the engines run, by TensorRT-RTX's plans where they do not.

Only speed is compared, so INT8 has to be the faster one by more than noise, and its error is for `verify` to judge. A
plan of TensorRT-RTX says nothing of full TensorRT, which fuses the requantization that costs INT8 its lead there: for
`trt` without a GPU the answer is undecided, unless the caller accepts that plan as evidence.
"""

from __future__ import annotations

from collections.abc import Mapping

from deploykit.backends.protocol import Backend
from deploykit.bench import RowJob
from deploykit.data.inputs import require_feedable
from deploykit.data.noise import noise_feeds
from deploykit.errors import BackendMissing, BuildFailed, DeploykitError, GateFailed, UnsupportedGraph
from deploykit.plan.gpus import Gpu
from deploykit.results.choices import PrecisionChoice
from deploykit.results.costs import PlanCost
from deploykit.spec import BuildSpec, Precision
from deploykit.tuning.cost import RTX, paired, plan_cost
from deploykit.workflow.engine import Built, build
from deploykit.workflow.workspace import Workspace

BEST = "best"
CONTENDERS = (Precision.FP16, Precision.INT8)
TIMED_SECONDS = 20.0
ROTATED = 4
JUDGED = "its error is not compared here: `deploykit verify --precision int8` judges it"


def choose_precision(
    workspace: Workspace, spec: BuildSpec, backend: Backend, *, gpu: Gpu | None, accept_rtx_plan: bool
) -> PrecisionChoice:
    """Build both through the store and compare them. Raises what keeps both from being built."""
    if lacking := backend.unavailable():
        raise BackendMissing(f"backend {backend.name} cannot be used here: {lacking.what}", hint=lacking.fix)
    built: dict[Precision, Built] = {}
    failures: dict[Precision, DeploykitError] = {}
    for precision in CONTENDERS:
        try:
            built[precision] = build(workspace, spec.with_precision(precision), backend)
        except (BackendMissing, BuildFailed, GateFailed, UnsupportedGraph) as error:
            failures[precision] = error
    if not built:
        raise failures[CONTENDERS[0]]
    if failures:
        ((failed, reason),) = failures.items()
        (left,) = built
        return PrecisionChoice(precision=left, why=f"{failed} cannot be built", contenders={failed.value: str(reason)})
    if all(each.engine.reason is None for each in built.values()):
        return _by_time(workspace, spec, built)
    return _by_plan(backend, built, gpu=gpu, tf32=spec.tf32, accepted=accept_rtx_plan)


def _by_time(workspace: Workspace, spec: BuildSpec, built: Mapping[Precision, Built]) -> PrecisionChoice:
    jobs = []
    for precision, each in built.items():
        require_feedable(each.exported)
        feeds = noise_feeds(
            each.engine.inputs,
            count=ROTATED,
            batch=spec.batch.optimum,
            seed=spec.model.seed,
            ranges=spec.model.input_ranges,
        )
        jobs.append(RowJob(f"{each.engine.backend} {precision}", each.engine, tuple(feeds)))
    with workspace.timed("time fp16 against int8"):
        cost = paired(jobs, seconds=TIMED_SECONDS)
    faster = cost.sign < 0
    figures = {Precision.FP16.value: f"{cost.other_ms:.3f} ms", Precision.INT8.value: f"{cost.ms:.3f} ms"}
    why = f"measured here, int8 over fp16: {cost}"
    return PrecisionChoice(
        precision=Precision.INT8 if faster else Precision.FP16,
        why=f"{why}; {JUDGED}" if faster else why,
        contenders=figures,
    )


def _by_plan(
    backend: Backend, built: Mapping[Precision, Built], *, gpu: Gpu | None, tf32: bool, accepted: bool
) -> PrecisionChoice:
    plans = {precision: each.plan for precision, each in built.items()}
    costs: dict[Precision, PlanCost] = {
        precision: plan_cost(plan, gpu, tf32=tf32) for precision, plan in plans.items() if plan is not None
    }
    figures = {precision.value: str(cost) for precision, cost in costs.items()}
    if len(costs) < len(CONTENDERS):
        return PrecisionChoice(
            precision=None, why=f"undecided: {backend.name} says nothing of what it compiled", contenders=figures
        )
    half, integer = (costs[precision] for precision in CONTENDERS)
    better = integer.sign(half) < 0
    compiler = next(plan.compiler for plan in plans.values() if plan is not None)
    by = f"the roofline of {gpu.name}, a lower bound" if gpu else "bytes moved, then kernels"
    why = f"by the plans of {compiler} ({by}; nothing was measured), fp16 to int8: {half.change_to(integer)}"
    if backend.name != RTX and not accepted:
        why = f"undecided: full TensorRT was not measured, as no GPU is here; {why}"
        return PrecisionChoice(precision=None, why=why, contenders=figures)
    return PrecisionChoice(
        precision=Precision.INT8 if better else Precision.FP16,
        why=f"{why}; {JUDGED}" if better else why,
        contenders=figures,
    )
