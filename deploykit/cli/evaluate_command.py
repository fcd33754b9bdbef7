"""`deploykit evaluate MODEL --data LABELED`: accuracy on labeled images."""

from functools import partial
from pathlib import Path

import click

from deploykit.cli.answers import present
from deploykit.cli.command import Command, data, output
from deploykit.cli.comparison_options import ComparisonOptions, comparison_options
from deploykit.cli.given import refuse, require
from deploykit.cli.idle import require_rows
from deploykit.cli.requests import with_options
from deploykit.cli.types import FILE
from deploykit.errors import UsageError
from deploykit.spec import Precision

BATCH = "64"
TEXTS = {
    "data": "Labeled images: a folder with one subfolder per class, an .npz with `images` and `labels`, or MNIST idx "
    "files. Required."
}


@click.command("evaluate", cls=Command, texts=TEXTS, metavars={"data": "PATH"})
@partial(comparison_options, batch=BATCH, several=False, search=False)
@with_options(
    data(
        "--calibration-data",
        type=FILE,
        metavar="PATH",
        help="Images that INT8 is calibrated on. Default: a part of --data, which is then not counted.",
    ),
    data(
        "--limit",
        type=click.IntRange(min=1),
        metavar="N",
        common=True,
        help="Evaluate on N images only, drawn by --seed.",
    ),
    output(
        "--max-drop",
        type=float,
        metavar="POINTS",
        common=True,
        help="Exit code 3 when a row loses more points of top-1 than this against the first row.",
    ),
)
def command(
    shared: ComparisonOptions, calibration_data: Path | None, limit: int | None, max_drop: float | None
) -> None:
    """Measure top-1 and top-5 of MODEL on labeled images for every backend and precision, and which predictions change.

    --data is a folder with one subfolder per class, a folder of MNIST idx files, or an .npz with `images` and `labels`.
    All rows are evaluated on the same images, and INT8 is calibrated on none of them.
    """
    from deploykit.api import evaluate
    from deploykit.report.accuracy import render_accuracy

    spec, labeled = shared.spec, shared.spec.data
    if not isinstance(labeled, Path):
        raise UsageError("evaluate requires labeled images", hint="name them with --data FOLDER or .npz")
    if Precision.INT8 not in shared.precisions:
        require({"calibration_data"}, "int8", hint="add int8 to --precision, or leave it out")
    if spec.calibration.table is not None and not (spec.repair.equalize or spec.repair.bias):
        hint = "the table already holds the ranges: leave out --calibration-data"
        refuse({"calibration_data"}, "cannot be combined with --table", hint=hint)
    require_rows(spec, shared.precisions, shared.backends)
    found = evaluate(
        spec.model, data=labeled, calibration_data=calibration_data, limit=limit, max_drop=max_drop, **shared.keywords()
    )
    present(found, render_accuracy, as_json=shared.as_json, html=shared.html)
    click.get_current_context().exit(found.failure.exit_code if found.failure else 0)
