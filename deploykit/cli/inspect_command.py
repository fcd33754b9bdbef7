"""`deploykit inspect MODEL|ENGINE`: what was compiled, kernel by kernel."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploykit.cli.idle import check_exceptions, note_unread
from deploykit.cli.options import (
    BUILDER,
    INT8,
    builder_options,
    check_output,
    data_option,
    fuse_option,
    int8_options,
    io_option,
    json_option,
    keep_option,
    model_options,
    parse_batch,
    refuse,
    store_option,
    target_options,
)
from deploykit.cli.progress import StageProgress
from deploykit.errors import UsageError
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
    from deploykit.backends.protocol import Backend
    from deploykit.plan.gpus import Gpu
    from deploykit.workflow.inspect import Planned
    from deploykit.workflow.workspace import Workspace


OF_BUILDS = {
    *("weights", "weights_key", "num_classes", "in_channels"),
    *("init_from", "image_size", "width_mult", "factory_args", "seed"),
    *("input_shapes", "input_ranges", "preprocess"),
    *("fusions", "backend", "keep_io", "keep_fp32", "data", *INT8, *BUILDER),
}


@click.command("inspect")
@model_options
@fuse_option
@click.option("--precision", default="fp32", show_default=True, help="fp32, fp16, int8.")
@click.option("--backend", default="trt-rtx", show_default=True, help="The compiler: trt, trt-rtx.")
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
@click.option(
    "--diff",
    "beside",
    metavar="OTHER",
    help="Compare with another plan: a precision of the same network, an engine file, or another MODEL.",
)
@click.option("--top", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Rows of each list.")
@click.option("--html", type=click.Path(path_type=Path), help="Also write a page with graph and roofline here.")
@click.option("--trust-engine", is_flag=True, help="Open an engine that this store did not build. It is native code.")
@store_option
@json_option
def command(
    model: ModelSpec,
    fusions: Fusions,
    precision: str,
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
    beside: str | None,
    top: int,
    html: Path | None,
    trust_engine: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """Show what MODEL, or an engine that deploykit built, was compiled into.

    Kernels by type and precision, bytes moved, memory; which layers are not in the precision asked for and why; what
    conversions cost; and where --target names a GPU, the roofline's lower bound. A network is built first, and its plan
    set beside that of the next wider precision. An engine is found in the store by its content and never opened.

    `deploykit inspect --diff A B` compares two plans, A being what B is measured against.
    """
    from deploykit.backends import get_backend
    from deploykit.report.inspection import render_inspection
    from deploykit.results.document import to_json
    from deploykit.store import Store
    from deploykit.tuning.int8_layers import decided_policy
    from deploykit.workflow.export import export
    from deploykit.workflow.inspect import inspect, is_engine, wider_plans
    from deploykit.workflow.settle import settled
    from deploykit.workflow.workspace import Workspace

    if fusions.auto:
        raise UsageError("inspect shows one graph", hint="let `build --fuse auto` choose, then inspect its engine")
    if is_engine(model.name):
        _require_engine(model.name, beside)
    _require_shown(as_json=as_json, engines=is_engine(model.name) or (beside is not None and is_engine(beside)))
    check_output(html)
    spec = BuildSpec(
        model=model,
        precision=Precision.parse(precision),
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
    precisions = [
        spec.precision,
        *((Precision(beside.lower()),) if beside and beside.lower() in list(Precision) else ()),
    ]
    check_exceptions(precisions, keep_fp32=keep_fp32, policy=policy)
    compiler = get_backend(backend)
    workspace = Workspace(Store.open(store), StageProgress())
    if not is_engine(model.name):
        spec, _ = decided_policy(workspace, settled(workspace, spec), gpu)
    found = inspect(
        _planned(workspace, model.name, spec, compiler, trusted=trust_engine),
        others=() if is_engine(model.name) else wider_plans(workspace, spec, compiler),
        beside=_beside(workspace, beside, spec, compiler, trusted=trust_engine),
        gpu=gpu,
        tf32=tf32,
    ).as_dict()
    if not is_engine(model.name):
        beside_int8 = {Precision.FP16} if Precision.INT8 in precisions else set()
        exported = export(workspace, spec.model, spec.fusions)
        note_unread(spec, {*precisions, *beside_int8}, quantized=exported.quantized, overflow=False)
    if html:
        from deploykit.io.files import write_text
        from deploykit.report.plan_html import plan_html

        write_text(html, plan_html(found))
    if as_json:
        click.echo(to_json(found))
    else:
        render_inspection(found, top=top)


def _require_shown(*, as_json: bool, engines: bool) -> None:
    """Raises UsageError for options of what is not shown."""
    if as_json:
        refuse({"top"}, "has no meaning with --json, which has all rows", hint="leave one of them out")
    if not engines:
        refuse({"trust_engine"}, "is for engine files", hint="leave it out, or name an engine")


def _require_engine(name: str, beside: str | None) -> None:
    """Raises UsageError for options that would be passed over: an engine is built already."""
    refuse(OF_BUILDS, f"has no meaning for the engine {name}", hint="leave it out, or name the network")
    if beside is not None and beside.lower() in list(Precision):
        raise UsageError(f"the engine {name} has one precision", hint="give --diff another engine, or a MODEL")


def _planned(workspace: "Workspace", name: str, spec: BuildSpec, compiler: "Backend", *, trusted: bool) -> "Planned":
    from deploykit.workflow.inspect import is_engine, planned_engine, planned_network

    if is_engine(name):
        return planned_engine(
            workspace, Path(name), trusted=trusted, precision=spec.precision, batch=spec.batch.optimum
        )
    return planned_network(workspace, spec, compiler)


def _beside(
    workspace: "Workspace", text: str | None, spec: BuildSpec, compiler: "Backend", *, trusted: bool
) -> "Planned | None":
    if text is None:
        return None
    if text.lower() in list(Precision):
        return _planned(
            workspace, spec.model.name, spec.with_precision(Precision.parse(text)), compiler, trusted=trusted
        )
    return _planned(workspace, text, replace(spec, model=ModelSpec(text)), compiler, trusted=trusted)
