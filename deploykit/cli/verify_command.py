"""`deploykit verify MODEL`: is it still right?"""

from pathlib import Path
from typing import Any

import click

from deploykit.cli.comparison_options import comparison_options, comparison_request, finish
from deploykit.cli.options import FILE
from deploykit.cli.progress import StageProgress


@click.command("verify")
@comparison_options
@click.option("--typed", type=FILE, help="Judge this ONNX file in place of the typed graph that deploykit makes.")
def command(store: Path | None, as_json: bool, **options: Any) -> None:
    """Compare every backend and precision of MODEL with the network in float64.

    Precision loss (the typed graph, run literally) and backend loss (the engine against its typed graph) are judged
    apart. Exit code 3 when one is too large, or nothing can be said.
    """
    from deploykit.pipeline.artefacts import Artefacts
    from deploykit.pipeline.comparison import verify
    from deploykit.store import Store

    request = comparison_request(**options)
    finish(verify(Artefacts(Store.open(store), StageProgress()), request), as_json=as_json)
