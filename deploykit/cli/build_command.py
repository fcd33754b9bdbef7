"""`deploykit build MODEL`: typed graph to engine."""

from pathlib import Path

import click

from deploykit.cli.options import (
    calibration_option,
    check_output,
    data_option,
    fuse_option,
    io_option,
    json_option,
    model_options,
    parse_targets,
    store_option,
    strict_option,
    target_option,
)
from deploykit.cli.progress import StageProgress
from deploykit.spec import BatchRange, BuildSpec, Fusions, ModelSpec, Precision


@click.command("build")
@model_options
@fuse_option
@click.option("--precision", default="fp32", show_default=True, help="fp32, fp16 or int8.")
@click.option("--backend", default="trt", show_default=True, help="The compiler: trt, trt-rtx.")
@click.option("--batch", default="8", show_default=True, help="Largest batch, or min:opt:max (1:8:32).")
@target_option
@io_option
@click.option("--tf32", is_flag=True, help="Let FP32 products round their operands to TF32.")
@data_option
@calibration_option
@strict_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Also copy the engine here.")
@store_option
@json_option
def command(
    model: ModelSpec,
    fusions: Fusions,
    precision: str,
    backend: str,
    batch: str,
    targets: tuple[str, ...],
    keep_io: bool,
    tf32: bool,
    data: Path | None,
    calibration_images: int,
    strict_backend: bool,
    output: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Build an engine of MODEL at one precision, and say what was compiled.

    Without a GPU, TensorRT-RTX compiles ahead of time for --target. INT8 is calibrated on --data.
    """
    from deploykit.backends import get_backend
    from deploykit.errors import UsageError
    from deploykit.pipeline.artefacts import Artefacts
    from deploykit.pipeline.outcome import build_facts, copy_artefact
    from deploykit.report.document import to_json
    from deploykit.report.outcome import describe_build
    from deploykit.report.text import render_facts
    from deploykit.store import Store

    spec = BuildSpec(
        model=model,
        precision=Precision.parse(precision),
        batch=BatchRange.parse(batch),
        targets=parse_targets(targets),
        keep_io=keep_io,
        tf32=tf32,
        data=data,
        calibration_images=calibration_images,
        fusions=fusions,
    )
    check_output(output)
    compiler = get_backend(backend, strict=strict_backend)
    if not compiler.compiles:
        raise UsageError(f"backend {backend} compiles no engine", hint="use trt or trt-rtx, or `deploykit export`")
    artefacts = Artefacts(Store.open(store), StageProgress())
    built = artefacts.build(spec, compiler)
    facts = build_facts(artefacts, built)
    if output and built.engine.path:
        facts["engine"] = copy_artefact(built.engine.path, output)
    if as_json:
        click.echo(to_json(facts))
    else:
        render_facts(describe_build(facts))
