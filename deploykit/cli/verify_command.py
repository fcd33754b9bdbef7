"""`deploykit verify MODEL`: is it still right?"""

from pathlib import Path

import click

from deploykit.cli.comparison_options import ComparisonOptions, comparison_options, finish
from deploykit.cli.options import FILE, refuse
from deploykit.cli.progress import StageProgress

OF_TYPING = {"keep_io", "keep_fp32", "int8_policy", "int8_repair", "int8_leave", "table"}


@click.command("verify")
@comparison_options
@click.option("--typed", type=FILE, help="Judge this ONNX file in place of the typed graph that deploykit makes.")
def command(shared: ComparisonOptions, typed: Path | None) -> None:
    """Compare every backend and precision of MODEL with the network in float64.

    Precision loss (the typed graph, run literally) and backend loss (the engine against its typed graph) are judged
    apart. Exit code 3 when one is too large, or nothing can be said.
    """
    from deploykit.store import Store
    from deploykit.workflow.compare import verify
    from deploykit.workflow.workspace import Workspace

    if typed is not None:
        refuse(OF_TYPING, "has no meaning with --typed: that graph is typed already", hint="leave it out")
    request = shared.request(typed=typed)
    workspace = Workspace(Store.open(shared.store), StageProgress())
    finish(verify(workspace, shared.decided(workspace, request)), as_json=shared.as_json)
