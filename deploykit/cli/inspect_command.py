"""`deploykit inspect MODEL|ENGINE`: what was compiled, kernel by kernel."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploykit.cli.answers import present
from deploykit.cli.command import Command, backend, output, precision
from deploykit.cli.given import refuse, require
from deploykit.cli.idle import check_exceptions, note_unread
from deploykit.cli.options import ANSWER_OPTIONS, BUILDER, COMPILER_HELP, DATA_KINDS, HTML_OPTION, INT8
from deploykit.cli.requests import BATCH, ENGINE, TF32, build_spec, keywords, precision_group, with_options
from deploykit.cli.types import COMPILER, PRECISION
from deploykit.spec import BuildSpec, Precision

if TYPE_CHECKING:
    from deploykit.api import Gpu
    from deploykit.results.inspection import Inspection


OF_BUILDS = {
    *("weights", "weights_key", "num_classes", "in_channels"),
    *("init_from", "image_size", "width_mult", "factory_args", "seed"),
    *("input_shapes", "input_ranges", "preprocess"),
    *("fusions", "backend", "keep_io", "keep_fp32", "data", *INT8, *BUILDER),
}
TEXTS = {"data": f"Images for INT8 calibration: {DATA_KINDS} Default: the demo images."}
PRECISION_OPTION = precision(
    "--precision",
    type=PRECISION,
    default="fp32",
    show_default=True,
    common=True,
    help="Precision that a network is built in.",
)


@click.command("inspect", cls=Command, texts=TEXTS)
@backend("--backend", type=COMPILER, default="trt-rtx", show_default=True, common=True, help=COMPILER_HELP)
@build_spec(precision_group(PRECISION_OPTION), BATCH, *ENGINE, TF32, search=False)
@with_options(
    output(
        "--diff",
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
    HTML_OPTION,
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
    diff: str | None,
    top: int,
    html: Path | None,
    trust_engine: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """Show what MODEL, or an engine file that deploykit built, was compiled into.

    A plan is the list of compiled layers and their tensors (TensorRT's layer information), not the engine file.

    Shown are kernels by type and precision, memory traffic, layers in another precision than asked for and why,
    conversions, and the roofline of a GPU named by --target. A network is built first, and its plan compared with that
    of the next wider precision. An engine file is found in the store by its content, or by the record beside it; it is
    opened only with --trust-engine.

    `deploykit inspect --diff A B` compares the plan of B with the baseline A.
    """
    from deploykit.api import inspect
    from deploykit.api.plans import engine_path

    engine, other = engine_path(spec.model.name), engine_path(diff)
    precisions = {spec.precision, *(each for each in Precision if diff and diff.lower() == each)}
    _require_read(spec, precisions, engine, as_json=as_json, engines=bool(engine or other))
    inspection = inspect(
        engine or spec.model,
        precision=spec.precision,
        backend=backend,
        diff=diff,
        data=spec.data,
        **keywords(spec, gpu, store),
        tf32=spec.tf32,
        trust_engine=trust_engine,
    )
    if not engine:
        quantized = spec.precision is Precision.INT8 and inspection.calibration is None
        compared = {Precision.FP16} if Precision.INT8 in precisions else set()
        note_unread(spec, precisions | compared, quantized=quantized, overflow=False)
    _show(inspection, top=top, html=html, as_json=as_json)


def _show(found: "Inspection", *, top: int, html: Path | None, as_json: bool) -> None:
    from deploykit.report.inspection import render_inspection

    present(found, partial(render_inspection, top=top), as_json=as_json, html=html)


def _require_read(
    spec: BuildSpec, precisions: set[Precision], engine: Path | None, *, as_json: bool, engines: bool
) -> None:
    """Raises UsageError for options that would be passed over: an engine is built already, and JSON has all rows."""
    if as_json:
        refuse({"top"}, "cannot be combined with --json, which has all rows", hint="leave one of them out")
    if not engines:
        require({"trust_engine"}, "an engine file", hint="leave it out, or name an engine file")
    if engine:
        refuse(OF_BUILDS, f"cannot change the engine {engine}, which is built", hint="leave it out, or name a network")
    else:
        check_exceptions(precisions, keep_fp32=spec.keep_fp32, policy=spec.policy)
