"""`deploykit bench MODEL`: the side-by-side table."""

from pathlib import Path
from typing import Any

import click

from deploykit.cli.comparison_options import comparison_options, comparison_request, finish
from deploykit.cli.progress import StageProgress


@click.command("bench")
@comparison_options
@click.option("--max-seconds", type=float, default=60.0, show_default=True, help="Time limit of the timed rounds.")
@click.option("--throughput", is_flag=True, help="Also measure images/s: many launches, one synchronisation.")
def command(store: Path | None, as_json: bool, **options: Any) -> None:
    """Time every backend and precision of MODEL side by side, each in a process of its own, in interleaved rounds.

    Each row also has its parity verdict and, where TensorRT-RTX compiled it, what was compiled.
    """
    from deploykit.pipeline.artefacts import Artefacts
    from deploykit.pipeline.comparison import bench
    from deploykit.store import Store

    request = comparison_request(**options)
    finish(bench(Artefacts(Store.open(store), StageProgress()), request), as_json=as_json)
