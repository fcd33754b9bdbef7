"""`deploykit export MODEL`: PyTorch to optimised ONNX, checked against float64."""

from pathlib import Path

import click

from deploykit.cli.options import check_output, fuse_option, json_option, model_options, store_option
from deploykit.cli.progress import StageProgress
from deploykit.spec import Fusions, ModelSpec


@click.command("export")
@model_options
@fuse_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Also copy the ONNX file here.")
@click.option(
    "--stem",
    type=click.Choice(["float", "uint8"]),
    default="float",
    show_default=True,
    help="Images the graph takes: normalised float32 (N, C, H, W), or bytes (N, H, W, C) that it normalises itself.",
)
@click.option("--check/--no-check", default=True, help="Run it and compare with float64. Default: check.")
@store_option
@json_option
def command(
    model: ModelSpec,
    fusions: Fusions,
    output: Path | None,
    stem: str,
    check: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """Export MODEL to ONNX: opset 20, dynamic batch, cleaned, BatchNorm folded.

    The file is checked by onnx and, unless --no-check is given, run by ONNX Runtime at batches 1 and 3, or at the one
    batch that an .onnx file allows. Its error against the network in float64 (of an .onnx file: the file as it came)
    may be 3 times that of plain float32. Exit code 3 when it is more, or when there is nothing to compare with.
    """
    from deploykit.pipeline.artefacts import Artefacts
    from deploykit.pipeline.export_check import check_export
    from deploykit.pipeline.outcome import copy_artefact, export_facts
    from deploykit.report.document import to_json
    from deploykit.report.outcome import describe_export
    from deploykit.report.text import render_facts
    from deploykit.store import Store

    check_output(output)
    artefacts = Artefacts(Store.open(store), StageProgress())
    exported = artefacts.export(model, fusions)
    if stem == "uint8":
        from deploykit.pipeline.stem import check_stem, with_uint8_stem

        plain, exported = exported, with_uint8_stem(artefacts, exported, fusions)
        checked = check_stem(artefacts, plain, exported) if check else None
    else:
        checked = check_export(artefacts, exported) if check else None
    facts = export_facts(artefacts, exported, checked)
    if output:
        facts["onnx"] = copy_artefact(exported.path, output)
    if as_json:
        click.echo(to_json(facts))
    else:
        render_facts(describe_export(facts))
    if checked and checked.verdict != "pass":
        click.echo(f"deploykit: {checked.worst.reason}", err=True)
        click.get_current_context().exit(3)
