"""`deploykit evaluate MODEL --data LABELLED`: how often is it right?"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from deploykit.cli.comparison_options import ComparisonOptions, comparison_options
from deploykit.cli.options import FILE, given, parse_precisions, refuse
from deploykit.cli.progress import StageProgress
from deploykit.errors import UsageError
from deploykit.spec import Precision

BATCH = "64"


@click.command("evaluate")
@partial(comparison_options, batch_default=BATCH)
@click.option("--calibration-data", type=FILE, help="What INT8 is calibrated on. Default: a part of --data, left out.")
@click.option("--limit", type=click.IntRange(min=1), help="Judge by so many images only, taken by seed.")
@click.option("--max-drop", type=float, help="Exit code 3 where a row loses more points of top-1 against the first.")
def command(
    shared: ComparisonOptions, calibration_data: Path | None, limit: int | None, max_drop: float | None
) -> None:
    """Top-1 and top-5 of MODEL on labeled images, for every backend and precision, and which images flip.

    --data is a folder with a subfolder for each class, a folder of MNIST's idx files, or an .npz with `images` and
    `labels`. All rows see the same images; INT8 was calibrated on none of them.
    """
    from deploykit.report.accuracy import render_accuracy
    from deploykit.results.document import to_json
    from deploykit.store import Store
    from deploykit.workflow.evaluate import EvaluationRequest, evaluate
    from deploykit.workflow.rows import exit_code
    from deploykit.workflow.workspace import Workspace

    if not isinstance(shared.data, Path):
        raise UsageError("evaluate needs labeled images", hint="name them with --data FOLDER or .npz")
    if Precision.INT8 not in parse_precisions(shared.precision):
        refuse({"calibration_data"}, "is for INT8", hint="leave it out, or add int8 to --precision")
    if shared.calibration.table is not None and not (shared.repair.equalize or shared.repair.bias):
        refuse({"calibration_data"}, "has no meaning with --table", hint="the table has its ranges: leave it out")
    request = replace(shared, batch=shared.batch if given({"batch"}) else BATCH).request()
    found = evaluate(
        Workspace(Store.open(shared.store), StageProgress()),
        EvaluationRequest(
            spec=replace(request.spec, data=calibration_data or shared.data),
            labeled=shared.data,
            backends=request.backends,
            precisions=request.precisions,
            settings=request.settings,
            strict=request.strict,
            limit=limit,
            max_drop=max_drop,
        ),
    )
    if shared.as_json:
        click.echo(to_json(found.as_json()))
    else:
        render_accuracy(found)
    click.get_current_context().exit(exit_code([line.row for line in found.rows], compared=False))
