"""`deploykit build MODEL`: typed graph to engine."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploykit.cli.idle import check_exceptions, note_unread, require_auto
from deploykit.cli.options import (
    CALIBRATION,
    INT8,
    budget_option,
    builder_options,
    check_output,
    data_option,
    defaults,
    fuse_option,
    given,
    int8_options,
    io_option,
    json_option,
    keep_option,
    model_options,
    parse_batch,
    store_option,
    strict_option,
    target_options,
)
from deploykit.cli.progress import StageProgress
from deploykit.spec import (
    BuilderOptions,
    BuildSpec,
    Calibration,
    DataSource,
    Fusions,
    ModelSpec,
    Precision,
    QuantizationPolicy,
    Repair,
    Target,
)

if TYPE_CHECKING:
    from deploykit.plan.gpus import Gpu

UNDECIDED = "build on a GPU, give --precision fp16 or int8, or let TensorRT-RTX's plans decide: --accept-rtx-plan"


@click.command("build")
@model_options
@fuse_option
@budget_option
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    help="fp32, fp16, int8, or best: the faster of fp16 and int8 by measured time, or by plan for trt-rtx.",
)
@click.option(
    "--accept-rtx-plan",
    is_flag=True,
    help="With --precision best: let TensorRT-RTX's plans decide for trt where there is no GPU to measure on.",
)
@click.option("--backend", default="trt", show_default=True, help="The compiler: trt, trt-rtx.")
@click.option(
    "--batch",
    default="8",
    show_default=True,
    help="Largest batch, or min:opt:max (1:8:32); the network's where it is fixed.",
)
@target_options
@io_option
@keep_option
@click.option("--tf32", is_flag=True, help="Let FP32 products round their operands to TF32.")
@builder_options
@data_option
@int8_options
@strict_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Also copy the engine here.")
@store_option
@json_option
def command(
    model: ModelSpec,
    fusions: Fusions,
    fuse_budget: float,
    precision: str,
    accept_rtx_plan: bool,
    backend: str,
    batch: str,
    targets: tuple[Target, ...],
    gpu: "Gpu | None",
    keep_io: bool,
    keep_fp32: tuple[str, ...],
    tf32: bool,
    options: BuilderOptions,
    data: DataSource,
    calibration: Calibration,
    policy: QuantizationPolicy,
    repair: Repair,
    strict_backend: bool,
    output: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Build an engine of MODEL at one precision, and say what was compiled.

    Without a GPU, TensorRT-RTX compiles ahead of time for --target. INT8 is calibrated on --data.

    --precision best for trt without a GPU is undecided, exit code 1, unless --accept-rtx-plan is given: both candidates
    are shown, and no engine is answered with.
    """
    from deploykit.backends import get_backend
    from deploykit.errors import DeploykitError, UsageError
    from deploykit.io.files import copy_artifact
    from deploykit.report.outcome import describe_build, describe_undecided
    from deploykit.store import Store
    from deploykit.tuning.fusions import Goal, decided
    from deploykit.tuning.int8_layers import decided_policy
    from deploykit.tuning.outcome import build_facts, undecided_facts
    from deploykit.tuning.precision import BEST, CONTENDERS, choose_precision
    from deploykit.workflow.engine import build
    from deploykit.workflow.overflow import overflow_facts, overflow_warning
    from deploykit.workflow.settle import settled
    from deploykit.workflow.workspace import Workspace

    best = precision.strip().lower() == BEST
    if accept_rtx_plan and not best:
        raise UsageError("--accept-rtx-plan is for --precision best", hint="leave it out, or give --precision best")
    spec = BuildSpec(
        model=model,
        precision=CONTENDERS[0] if best else Precision.parse(precision),
        batch=parse_batch(batch),
        targets=targets,
        keep_io=keep_io,
        keep_fp32=keep_fp32,
        tf32=tf32,
        data=data,
        calibration=calibration,
        policy=policy,
        repair=repair,
        fusions=fusions,
        options=options,
    )
    check_exceptions(CONTENDERS if best else (spec.precision,), keep_fp32=keep_fp32, policy=policy)
    require_auto(auto=fusions.auto)
    check_output(output)
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
        facts["defaults"]["--target"] = ", ".join(map(str, targets))
    if output and built.engine.path:
        facts["engine"] = copy_artifact(built.engine.path, output)
    _print(facts, describe_build, as_json=as_json)
    precisions = CONTENDERS if best else (spec.precision,)
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
