"""`deploykit verify MODEL`: is it still right?"""

from pathlib import Path

import click

from deploykit.cli.command import Command, data, measurement, precision
from deploykit.cli.comparison_options import ComparisonOptions, comparison_options, finish
from deploykit.cli.from_bytes import compare_pipelines
from deploykit.cli.given import refuse, require
from deploykit.cli.idle import require_rows
from deploykit.cli.options import BUILDER, TARGETS
from deploykit.cli.types import FILE

OF_TYPING = {"keep_io", "int8_policy", "int8_repair", "table"}
OF_ROWS = {*OF_TYPING, "typed", "precisions", "backends", "strict_backend", *TARGETS, *BUILDER}
OF_BYTES = {"pipelines", "images"}


TEXTS = {"backends": "Backends to compare with float64, in this order."}


@click.command("verify", cls=Command, texts=TEXTS)
@comparison_options
@precision(
    "--typed",
    type=FILE,
    metavar="FILE",
    help="Verify this FP16 or Q/DQ ONNX file instead of the typed graph that deploykit makes of MODEL.",
)
@precision(
    "--against",
    type=FILE,
    metavar="FILE",
    common=True,
    help="Compare this ONNX file with MODEL in float64: what a simplifier, converter or quantizer made of it. It runs "
    "as it is, and its types decide the limits.",
)
@measurement(
    "--explain",
    is_flag=True,
    common=True,
    help="Find the layer where a loss begins, its cause where one is found and, for a row that fails, the options that "
    "cure it.",
)
@data(
    "--from-bytes",
    is_flag=True,
    help="Instead of backends, compare preprocessing pipelines, from the image files of --data to the network's input, "
    "step by step: Pillow, torchvision, the uint8 stem, and each --pipeline.",
)
@data(
    "--pipeline",
    "pipelines",
    multiple=True,
    metavar="MODULE:FUNCTION",
    help="With --from-bytes: a function that takes the path of an image and returns MODEL's input array; repeatable.",
)
@data(
    "--images",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    metavar="N",
    help="With --from-bytes: number of images, drawn by --seed.",
)
def command(
    shared: ComparisonOptions,
    typed: Path | None,
    against: Path | None,
    explain: bool,
    from_bytes: bool,
    pipelines: tuple[str, ...],
    images: int,
) -> None:
    """Compare every backend and precision of MODEL numerically with the network in float64.

    Precision loss (the FP16 or Q/DQ graph executed without runtime optimizations) and backend loss (the engine against
    that graph) have limits of their own. Exit code 3 when one is exceeded or a verdict is
    inconclusive, 4 when every row is unavailable.
    """
    if from_bytes:
        compare_pipelines(shared, pipelines, images)
        return
    require(OF_BYTES, "--from-bytes")
    from deploykit.api import verify

    if typed is not None:
        refuse(OF_TYPING, "cannot be combined with --typed, whose graph is typed already", hint="leave it out")
    if against is not None:
        refuse(OF_ROWS, "cannot be combined with --against, which is judged as it is", hint="leave it out")
    if typed is None and against is None:
        require_rows(shared.spec, shared.precisions, shared.backends)
    report = verify(
        shared.spec.model,
        data=shared.spec.data,
        batches=shared.batches,
        typed=typed,
        against=against,
        explain=explain,
        fusion_seconds=shared.fuse_budget,
        **shared.keywords(),
    )
    finish(report, as_json=shared.as_json, html=shared.html)
