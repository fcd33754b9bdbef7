"""`deploykit inspect MODEL|ENGINE`: what was compiled, kernel by kernel."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploykit.cli.command import Command, backend, output, precision
from deploykit.cli.given import refuse, require
from deploykit.cli.idle import check_exceptions, note_unread
from deploykit.cli.options import ANSWER_OPTIONS, BUILDER, INT8
from deploykit.cli.progress import StageProgress
from deploykit.cli.requests import BATCH, ENGINE, TF32, build_spec, precision_group, with_options
from deploykit.cli.types import COMPILER, OUTPUT, PRECISION
from deploykit.errors import UsageError
from deploykit.spec import BuildSpec, ModelSpec, Precision

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
PRECISION_OPTION = precision(
    "--precision",
    type=PRECISION,
    default="fp32",
    show_default=True,
    common=True,
    help="Precision of convolutions and matrix products.",
)


@click.command("inspect", cls=Command)
@backend("--backend", type=COMPILER, default="trt-rtx", show_default=True, common=True, help="Compiler.")
@build_spec(precision_group(PRECISION_OPTION), BATCH, *ENGINE, TF32)
@with_options(
    output(
        "--diff",
        "beside",
        common=True,
        metavar="OTHER",
        help="Compare with another plan: a precision of the same network, an engine file, or another MODEL.",
    ),
    output(
        "--top",
        type=click.IntRange(1, 10_000),
        default=10,
        show_default=True,
        metavar="N",
        help="Rows of each list.",
    ),
    output("--html", type=OUTPUT, common=True, help="Also write a page with the graph and the roofline."),
    output(
        "--trust-engine",
        is_flag=True,
        help="Open an engine file that this store did not build. An engine is native code: open only what you trust.",
    ),
    *ANSWER_OPTIONS,
)
def command(
    spec: BuildSpec,
    gpu: "Gpu | None",
    backend: str,
    beside: str | None,
    top: int,
    html: Path | None,
    trust_engine: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """Show what MODEL, or an engine file that deploykit built, was compiled into.

    Kernels by type and precision, memory traffic, memory; which layers are not in the precision asked for, and why;
    the cost of format conversions; and, where --target names a GPU, the lower bound of its roofline. A network is
    built first, and its plan compared with that of the next wider precision. An engine file is found in the store by
    its content, and is not opened.

    `deploykit inspect --diff A B` compares the plan of B with the baseline A.
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

    model = spec.model
    if spec.fusions.auto:
        raise UsageError("inspect shows one graph", hint="let `build --fuse auto` choose, then inspect its engine")
    if is_engine(model.name):
        _require_engine(model.name, beside)
    _require_shown(as_json=as_json, engines=is_engine(model.name) or (beside is not None and is_engine(beside)))
    precisions = [
        spec.precision,
        *((Precision(beside.lower()),) if beside and beside.lower() in list(Precision) else ()),
    ]
    check_exceptions(precisions, keep_fp32=spec.keep_fp32, policy=spec.policy)
    compiler = get_backend(backend)
    workspace = Workspace(Store.open(store), StageProgress())
    if not is_engine(model.name):
        spec, _ = decided_policy(workspace, settled(workspace, spec), gpu)
    found = inspect(
        _planned(workspace, model.name, spec, compiler, trusted=trust_engine),
        others=() if is_engine(model.name) else wider_plans(workspace, spec, compiler),
        beside=_beside(workspace, beside, spec, compiler, trusted=trust_engine),
        gpu=gpu,
        tf32=spec.tf32,
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
        refuse({"top"}, "cannot be combined with --json, which has all rows", hint="leave one of them out")
    if not engines:
        require({"trust_engine"}, "an engine file", hint="leave it out, or name an engine file")


def _require_engine(name: str, beside: str | None) -> None:
    """Raises UsageError for options that would be passed over: an engine is built already."""
    refuse(OF_BUILDS, f"cannot change the engine {name}, which is built", hint="leave it out, or name the network")
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
