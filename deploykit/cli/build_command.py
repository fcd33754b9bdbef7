"""`deploykit build MODEL`: typed graph to engine."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploykit.cli.command import Command, backend, output, precision
from deploykit.cli.given import defaults, given, require
from deploykit.cli.idle import check_exceptions, note_unread, require_auto
from deploykit.cli.options import ANSWER_OPTIONS, CALIBRATION, FUSE_BUDGET_OPTIONS, INT8, STRICT_OPTIONS
from deploykit.cli.progress import StageProgress
from deploykit.cli.requests import BATCH, ENGINE, TF32, build_spec, with_options
from deploykit.cli.types import COMPILER, OUTPUT, Parsed, words
from deploykit.spec import BuildSpec, Precision

if TYPE_CHECKING:
    from deploykit.plan.gpus import Gpu

BEST = "best"
UNDECIDED = "build on a GPU, give --precision fp16 or int8, or let TensorRT-RTX's plans decide: --accept-rtx-plan"


def parse_precision(text: str) -> Precision | None:
    """None for the best one, which is still to be found."""
    return None if text.strip().lower() == BEST else Precision.parse(text)


@click.command("build", cls=Command)
@with_options(
    precision(
        "--precision",
        "asked",
        type=Parsed(parse_precision, words(*Precision, BEST), metavar="[fp32|fp16|int8|best]"),
        default="fp32",
        show_default=True,
        common=True,
        help="Precision of convolutions and matrix products. best: the faster of fp16 and int8, measured on the GPU, "
        "or by the compiled plan for trt-rtx.",
    ),
    precision(
        "--accept-rtx-plan",
        is_flag=True,
        help="With --precision best and trt, and no GPU to measure on: let TensorRT-RTX's plans decide.",
    ),
    backend(
        "--backend",
        type=COMPILER,
        default="trt",
        show_default=True,
        common=True,
        help="Compiler: trt (TensorRT; without a GPU, TensorRT-RTX compiles in its place) or trt-rtx.",
    ),
)
@build_spec(BATCH, *ENGINE, TF32)
@with_options(
    *STRICT_OPTIONS,
    *FUSE_BUDGET_OPTIONS,
    output("-o", "--output", type=OUTPUT, common=True, help="Also copy the engine to this file."),
    *ANSWER_OPTIONS,
)
def command(
    spec: BuildSpec,
    gpu: "Gpu | None",
    asked: Precision | None,
    accept_rtx_plan: bool,
    backend: str,
    strict_backend: bool,
    fuse_budget: float,
    output: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Build an engine for MODEL and report what was compiled.

    Without a GPU, TensorRT-RTX compiles ahead of time for --target. INT8 is calibrated on --data, or takes its ranges
    from --table.

    --precision best with trt needs a GPU: without one, and without --accept-rtx-plan, it shows both candidates, builds
    nothing and exits 1.
    """
    from deploykit.backends import get_backend
    from deploykit.errors import DeploykitError, UsageError
    from deploykit.io.files import copy_artifact
    from deploykit.report.outcome import describe_build, describe_undecided
    from deploykit.store import Store
    from deploykit.tuning.fusions import Goal, decided
    from deploykit.tuning.int8_layers import decided_policy
    from deploykit.tuning.outcome import build_facts, undecided_facts
    from deploykit.tuning.precision import CONTENDERS, choose_precision
    from deploykit.workflow.engine import build
    from deploykit.workflow.overflow import overflow_facts, overflow_warning
    from deploykit.workflow.settle import settled
    from deploykit.workflow.workspace import Workspace

    best = asked is None
    if not best:
        require({"accept_rtx_plan"}, "--precision best")
    spec = spec.with_precision(asked or CONTENDERS[0])
    precisions = CONTENDERS if best else (spec.precision,)
    check_exceptions(precisions, keep_fp32=spec.keep_fp32, policy=spec.policy)
    require_auto(auto=spec.fusions.auto)
    compiler = get_backend(backend, strict=strict_backend)
    if not compiler.compiles:
        raise UsageError(f"backend {backend} compiles no engine", hint="use trt or trt-rtx, or `deploykit export`")
    workspace = Workspace(Store.open(store), StageProgress())
    spec = settled(workspace, spec)
    goal, decision = decided(workspace, Goal(spec=spec, backend=backend, gpu=gpu, budget_seconds=fuse_budget))
    spec, layers = decided_policy(workspace, goal.spec, gpu, wanted=best)
    choice = None
    if best:
        choice = choose_precision(workspace, spec, compiler, gpu=gpu, accept_rtx_plan=accept_rtx_plan)
        if choice.precision is None:
            _print(undecided_facts(workspace, spec, backend, choice), describe_undecided, as_json=as_json)
            raise DeploykitError("the precision is undecided, nothing was built", hint=UNDECIDED)
        spec = spec.with_precision(choice.precision)
    built = build(workspace, spec, compiler)
    overflow = overflow_facts(workspace, built.exported, spec)
    facts = build_facts(workspace, built, spec, decision=decision, choice=choice, layers=layers, overflow=overflow)
    facts["defaults"] = defaults(unasked=_unread(spec))
    if "--batch" in facts["defaults"]:
        facts["defaults"]["--batch"] = str(spec.batch)
    if not given({"targets"}):
        facts["defaults"]["--target"] = ", ".join(map(str, spec.targets))
    if output and built.engine.path:
        facts["engine"] = copy_artifact(built.engine.path, output)
    _print(facts, describe_build, as_json=as_json)
    note_unread(spec, precisions, quantized=built.exported.quantized, overflow=True)
    if warning := overflow_warning(overflow):
        click.echo(f"deploykit: warning: {warning}", err=True)


def _unread(spec: BuildSpec) -> set[str]:
    """Options that nothing reads at this precision: no default of theirs was chosen."""
    unread = set() if spec.precision is Precision.INT8 else set(INT8)
    if spec.calibration.table is not None:
        unread |= set(CALIBRATION)
    if spec.calibration.method != "percentile":
        unread.add("percentile")
    return unread if spec.precision is Precision.FP16 else {*unread, "keep_io"}


def _print(facts: dict[str, Any], describe: Callable[[Mapping[str, Any]], dict[str, str]], *, as_json: bool) -> None:
    from deploykit.report.text import render_facts
    from deploykit.results.document import to_json

    if as_json:
        click.echo(to_json(facts))
    else:
        render_facts(describe(facts))
