"""`deploykit verify MODEL`: is it still right?"""

from pathlib import Path

import click

from deploykit.cli.command import Command, precision
from deploykit.cli.comparison_options import ComparisonOptions, comparison_options, finish
from deploykit.cli.given import refuse
from deploykit.cli.idle import require_rows
from deploykit.cli.types import FILE

OF_TYPING = {"keep_io", "keep_fp32", "int8_policy", "int8_repair", "int8_exclude", "table"}


TEXTS = {"backends": "Backends to compare with float64, in this order."}


@click.command("verify", cls=Command, texts=TEXTS)
@comparison_options
@precision(
    "--typed",
    type=FILE,
    metavar="FILE",
    help="Verify this FP16 or Q/DQ ONNX file instead of the typed graph that deploykit makes of MODEL.",
)
def command(shared: ComparisonOptions, typed: Path | None) -> None:
    """Compare every backend and precision of MODEL numerically with the network in float64.

    Precision loss (the FP16 or Q/DQ graph executed without runtime optimizations) and backend loss (the engine against
    that graph) have limits of their own. Exit code 3 when one is exceeded or a verdict is
    inconclusive, 4 when every row is unavailable.
    """
    from deploykit.api import verify

    if typed is not None:
        refuse(OF_TYPING, "cannot be combined with --typed, whose graph is typed already", hint="leave it out")
    require_rows(shared.spec, shared.precisions, shared.backends)
    report = verify(
        shared.spec.model, data=shared.spec.data, typed=typed, fusion_seconds=shared.fuse_budget, **shared.keywords()
    )
    finish(report, as_json=shared.as_json, html=shared.html)
