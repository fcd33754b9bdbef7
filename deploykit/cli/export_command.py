"""`deploykit export MODEL`: PyTorch to optimized ONNX, checked against float64, with the cost of each fusion."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from deploykit.cli.answers import answer
from deploykit.cli.command import Command, data, graph, output
from deploykit.cli.given import refuse, require
from deploykit.cli.idle import note_unshown, require_auto
from deploykit.cli.options import ANSWER_OPTIONS, FUSE_BUDGET_OPTIONS, TARGETS
from deploykit.cli.progress import StageProgress
from deploykit.cli.requests import batch_group, build_spec, precision_group, with_options
from deploykit.cli.types import OUTPUT, PRECISION, OneOf
from deploykit.spec import BuildSpec

if TYPE_CHECKING:
    from deploykit.api import Gpu
    from deploykit.results.build import ExportResult

OF_COSTS = {"precision", "batch", *TARGETS}
PRECISION_OPTION = graph(
    "--precision",
    type=PRECISION,
    default="fp16",
    show_default=True,
    help="Precision at which --fusion-report and --fuse auto estimate the cost.",
)
BATCH_OPTION = graph(
    "--batch",
    default="8",
    show_default=True,
    metavar="N|MIN:OPT:MAX",
    help="Batch size at which --fusion-report and --fuse auto estimate the cost.",
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
    output("-o", "--output", type=OUTPUT, common=True, help="Also copy the ONNX file to FILE."),
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
    stem: Literal["float", "uint8"],
    output: Path | None,
    check: bool,
    store: Path | None,
    as_json: bool,
) -> None:
    """Export MODEL to ONNX, cleaned up and with BatchNorm folded.

    A PyTorch network gets opset 20 and, unless --input-shape fixes it, a dynamic batch; an .onnx file keeps its batch,
    and its opset from 17 on.

    Unless --no-check is given, ONNX Runtime runs the file, and its error against the network (or .onnx file) in float64
    must stay within 3 times that of plain float32. Exit code 3 when it does not.

    --fusion-report compiles the graph with and without each fusion, and times both in ONNX Runtime. --fuse auto keeps,
    node by node, the fusions that lower the cost: that of TensorRT-RTX's plan for trt and trt-rtx, measured time for
    ort.
    """
    from deploykit.api import export

    _require_use(fusion_report=fusion_report, auto=spec.fusions.auto)
    note_unshown(spec.model, stem=stem == "uint8", checked=check, priced=fusion_report or spec.fusions.auto)
    graph = export(
        spec.model,
        fusions=spec.fusions,
        fusion_seconds=fuse_budget,
        fusion_report=fusion_report,
        precision=spec.precision,
        batch=spec.batch,
        backend=backend,
        target=(gpu, *spec.targets) if gpu else spec.targets,
        stem=stem,
        check=check,
        store=store,
        progress=StageProgress(),
    )
    _show(replace(graph.result, onnx=graph.save(output)) if output else graph.result, as_json=as_json)
    graph.raise_if_failed()


def _show(found: "ExportResult", *, as_json: bool) -> None:
    from deploykit.report.build import describe_export
    from deploykit.report.fusions import render_fusions

    answer(found, describe_export, as_json=as_json)
    if found.fusion_report and not as_json:
        render_fusions(found.fusion_report)


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
