"""`deploykit bench MODEL`: the side-by-side table."""

import click

from deploykit.cli.comparison_options import ComparisonOptions, comparison_options, finish
from deploykit.cli.progress import StageProgress


@click.command("bench")
@comparison_options
@click.option("--max-seconds", type=float, default=60.0, show_default=True, help="Time limit of the timed rounds.")
@click.option("--throughput", is_flag=True, help="Also measure images/s: many launches, one synchronisation.")
def command(shared: ComparisonOptions, max_seconds: float, throughput: bool) -> None:
    """Time every backend and precision of MODEL side by side, each in a process of its own, in interleaved rounds.

    Each row also has its parity verdict and, where TensorRT-RTX compiled it, what was compiled.
    """
    from deploykit.pipeline.artefacts import Artefacts
    from deploykit.pipeline.comparison import bench
    from deploykit.store import Store

    request = shared.request(max_seconds=max_seconds, throughput=throughput)
    finish(bench(Artefacts(Store.open(shared.store), StageProgress()), request), as_json=shared.as_json)
