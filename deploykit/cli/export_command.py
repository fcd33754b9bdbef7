"""`deploykit export MODEL`: PyTorch to optimized ONNX, checked against float64, each rewrite priced."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploykit.cli.idle import note_unshown, require_auto
from deploykit.cli.options import (
    TARGETS,
    budget_option,
    check_output,
    fuse_option,
    json_option,
    model_options,
    parse_batch,
    refuse,
    store_option,
    target_options,
)
from deploykit.cli.progress import StageProgress
from deploykit.spec import BuildSpec, Fusions, ModelSpec, Precision, Target

if TYPE_CHECKING:
    from deploykit.plan.gpus import Gpu

OF_PRICES = {"precision", "batch", *TARGETS}
IN_DOUBT = "; that was on noise: `deploykit verify` judges the network on images"


@click.command("export")
@model_options
@fuse_option
@click.option("--ledger", is_flag=True, help="Price every rewrite: what it did, what it added, whether it pays.")
@click.option("--precision", default="fp16", show_default=True, help="Of the plans behind --ledger and --fuse auto.")
@click.option("--batch", default="8", show_default=True, help="Of the plans behind --ledger and --fuse auto.")
@click.option("--backend", default="trt-rtx", show_default=True, help="What --fuse auto pays for: trt-rtx or ort.")
@target_options
@budget_option
@click.option(
    "--stem",
    type=click.Choice(["float", "uint8"]),
    default="float",
    show_default=True,
    help="Images the graph takes: normalized float32 (N, C, H, W), or bytes (N, H, W, C) that it normalizes itself.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Also copy the ONNX file here.")
@click.option("--check/--no-check", default=True, help="Run it and compare with float64. Default: check.")
@store_option
@json_option
def command(
    model: ModelSpec,
    fusions: Fusions,
    ledger: bool,
    precision: str,
    batch: str,
    backend: str,
    targets: tuple[Target, ...],
    gpu: "Gpu | None",
    fuse_budget: float,
    stem: str,
    output: Path | None,
    check: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """Export MODEL to ONNX: opset 20, dynamic batch, cleaned, BatchNorm folded.

    The file is checked by onnx and, unless --no-check is given, run by ONNX Runtime at batches 1 and 3, or at the one
    batch that an .onnx file allows. Its error against the network in float64 (of an .onnx file: the file as it came)
    may be 3 times that of plain float32. Exit code 3 when it is more, or when there is nothing to compare with.

    --ledger compiles the graph with and without each rewrite, and times both in ONNX Runtime. --fuse auto keeps the
    rewrites that pay for --backend, --precision and --target, site by site; without a GPU they pay in TensorRT-RTX's
    plan or in ONNX Runtime's time, and the answer says in which.
    """
    from deploykit.io.files import copy_artifact
    from deploykit.report.ledger import render_ledger
    from deploykit.report.outcome import describe_export
    from deploykit.report.text import render_facts
    from deploykit.results.document import to_json
    from deploykit.store import Store
    from deploykit.tuning.fusion_report import price_fusions
    from deploykit.tuning.fusions import Goal, decided
    from deploykit.tuning.outcome import export_facts
    from deploykit.workflow.check_export import check_export
    from deploykit.workflow.check_stem import check_stem, with_uint8_stem
    from deploykit.workflow.export import export, traced
    from deploykit.workflow.settle import settled
    from deploykit.workflow.workspace import Workspace

    _require_use(ledger=ledger, auto=fusions.auto)
    check_output(output)
    note_unshown(model, stem=stem == "uint8", checked=check, priced=ledger or fusions.auto)
    asked = BuildSpec(
        model=model,
        precision=Precision.parse(precision),
        batch=parse_batch(batch),
        targets=targets,
        fusions=fusions,
    )
    workspace = Workspace(Store.open(store), StageProgress())
    goal = Goal(spec=settled(workspace, asked), backend=backend, gpu=gpu, budget_seconds=fuse_budget)
    goal, decision = decided(workspace, goal)
    if ledger:
        traced(workspace, model)  # which is where both the export and the ledger start
    exported = export(workspace, model, goal.spec.fusions)
    priced = price_fusions(workspace, exported, goal, decision) if ledger else None
    if stem == "uint8":
        plain, exported = exported, with_uint8_stem(workspace, exported, goal.spec.fusions)
        checked = check_stem(workspace, plain, exported) if check else None
    else:
        checked = check_export(workspace, exported) if check else None
    facts = export_facts(workspace, exported, checked, "random bytes" if stem == "uint8" else "seeded noise")
    facts |= {"decision": decision.as_dict() if decision else None, "ledger": priced.as_dict() if priced else None}
    if output:
        facts["onnx"] = copy_artifact(exported.path, output)
    if as_json:
        click.echo(to_json(facts))
    else:
        render_facts(describe_export(facts))
        if priced:
            render_ledger(priced.as_dict())
    if checked and checked.verdict != "pass":
        doubt = IN_DOUBT if checked.verdict == "inconclusive" and checked.images else ""
        click.echo(f"deploykit: {checked.worst.reason}{doubt}", err=True)
        click.get_current_context().exit(3)


def _require_use(*, ledger: bool, auto: bool) -> None:
    """Raises UsageError for options that would be passed over."""
    require_auto(auto=auto)
    if not auto:
        refuse({"backend"}, "has a meaning with --fuse auto only", hint="add --fuse auto, or leave it out")
    if not (auto or ledger):
        refuse(
            OF_PRICES,
            "prices rewrites, and an exported graph is float32 for any batch and target",
            hint="add --ledger or --fuse auto, or leave it out",
        )
