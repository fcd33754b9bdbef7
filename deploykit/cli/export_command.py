"""`deploykit export MODEL`: PyTorch to optimized ONNX, checked against float64, each rewrite priced."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploykit.cli.command import Command, data, graph, output
from deploykit.cli.given import refuse, require
from deploykit.cli.idle import note_unshown, require_auto
from deploykit.cli.options import ANSWER_OPTIONS, FUSE_BUDGET_OPTIONS, TARGETS
from deploykit.cli.progress import StageProgress
from deploykit.cli.requests import batch_group, build_spec, precision_group, with_options
from deploykit.cli.types import OUTPUT, PRECISION, OneOf
from deploykit.spec import BuildSpec

if TYPE_CHECKING:
    from deploykit.plan.gpus import Gpu

OF_COSTS = {"precision", "batch", *TARGETS}
IN_DOUBT = "; that was on noise: `deploykit verify` judges the network on images"
PRECISION_OPTION = graph(
    "--precision",
    type=PRECISION,
    default="fp16",
    show_default=True,
    help="Precision at which --fusion-report and --fuse auto cost the graph.",
)
BATCH_OPTION = graph(
    "--batch",
    default="8",
    show_default=True,
    metavar="N|MIN:OPT:MAX",
    help="Batch size at which --fusion-report and --fuse auto cost the graph.",
)


@click.command("export", cls=Command)
@build_spec(precision_group(PRECISION_OPTION), batch_group(BATCH_OPTION))
@with_options(
    graph(
        "--fusion-report",
        is_flag=True,
        common=True,
        formerly=("--ledger",),
        help="Show what each fusion did, the error it added, and its cost or benefit on each backend.",
    ),
    graph(
        "--backend",
        type=OneOf("backend of --fuse auto", ("trt-rtx", "trt", "ort")),
        default="trt-rtx",
        show_default=True,
        help="Backend whose cost --fuse auto minimizes.",
    ),
    *FUSE_BUDGET_OPTIONS,
    data(
        "--stem",
        type=OneOf("stem", ("float", "uint8")),
        default="float",
        show_default=True,
        common=True,
        help="Image input of the graph: float32 (N, C, H, W), normalized before, or uint8 (N, H, W, C), normalized by "
        "the graph.",
    ),
    output("-o", "--output", type=OUTPUT, common=True, help="Also copy the ONNX file to this place."),
    output(
        "--check/--no-check",
        default=True,
        common=True,
        help="Run the file and compare it with float64. Default: --check.",
    ),
    *ANSWER_OPTIONS,
)
def command(
    spec: BuildSpec,
    gpu: "Gpu | None",
    fusion_report: bool,
    backend: str,
    fuse_budget: float,
    stem: str,
    output: Path | None,
    check: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """Export MODEL to ONNX: opset 20, dynamic batch, cleaned up, BatchNorm folded.

    The file is checked by onnx and, unless --no-check is given, run by ONNX Runtime at batches 1 and 3, or at the fixed
    batch of an .onnx file. Its error against the network in float64 (for an .onnx file: the file as it came) may be 3
    times that of plain float32. Exit code 3 when it is larger, or when there is nothing to compare with.

    --fusion-report compiles the graph with and without each fusion, and times both in ONNX Runtime. --fuse auto keeps
    the fusions that reduce the cost for --backend, --precision and --target, node by node. The cost is the roofline or
    the memory traffic of TensorRT-RTX's plan, or the time measured in ONNX Runtime; the output says which.
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

    model, auto = spec.model, spec.fusions.auto
    _require_use(fusion_report=fusion_report, auto=auto)
    note_unshown(model, stem=stem == "uint8", checked=check, priced=fusion_report or auto)
    workspace = Workspace(Store.open(store), StageProgress())
    goal = Goal(spec=settled(workspace, spec), backend=backend, gpu=gpu, budget_seconds=fuse_budget)
    goal, decision = decided(workspace, goal)
    if fusion_report:
        traced(workspace, model)  # which is where both the export and the ledger start
    exported = export(workspace, model, goal.spec.fusions)
    priced = price_fusions(workspace, exported, goal, decision) if fusion_report else None
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


def _require_use(*, fusion_report: bool, auto: bool) -> None:
    """Raises UsageError for options that would be passed over."""
    require_auto(auto=auto)
    if not auto:
        require({"backend"}, "--fuse auto")
    if not (auto or fusion_report):
        refuse(
            OF_COSTS,
            "applies to the cost of fusions, and an exported graph is float32 for any batch and target",
            hint="add --fusion-report or --fuse auto, or leave it out",
        )
