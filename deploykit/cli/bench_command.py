"""`deploykit bench MODEL`: the side-by-side table, or one network step after step."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploykit.cli.command import Command, measurement, output
from deploykit.cli.comparison_options import ComparisonOptions, comparison_options, finish
from deploykit.cli.given import given, refuse, require
from deploykit.cli.idle import require_rows
from deploykit.cli.progress import StageProgress
from deploykit.cli.requests import with_options
from deploykit.cli.types import FILE, LOADS, OneOf
from deploykit.errors import UsageError
from deploykit.quote import quoted
from deploykit.spec import BatchRange, Precision, Scenario

if TYPE_CHECKING:
    from deploykit.api import Report

MODES = ("forward", "forward-backward")
MODE_BATCH = "32"
OF_BOTH = {  # parameters that the table and --mode read
    *("model", "weights", "weights_key", "num_classes", "in_channels", "init_from", "image_size", "width_mult"),
    *("input_shapes", "factory_args", "seed"),
    *("backends", "precisions", "batch", "threads", "mode", "as_json", "html", "save"),
}
OF_MODES = {"burn_in", "steps"}


@click.command("bench", cls=Command)
@partial(comparison_options, batch_default=f"1; {MODE_BATCH} with --mode")
@with_options(
    measurement(
        "--max-seconds",
        type=click.FloatRange(min=0, min_open=True),
        default=45.0,
        show_default=True,
        metavar="SECONDS",
        help="Time limit of the timed rounds and of the restarts between them.",
    ),
    measurement(
        "--processes",
        type=click.IntRange(1, 20),
        default=3,
        show_default=True,
        metavar="N",
        help="Worker processes for each row, one after the other. Of 1, the interval leaves out how much they differ.",
    ),
    measurement(
        "--quick",
        is_flag=True,
        common=True,
        help="For a first look: one process, 5 seconds of rounds, no parity verdict; the table says what it gave up.",
    ),
    measurement(
        "--throughput",
        is_flag=True,
        help="Also measure images/s: many launches, one synchronization.",
    ),
    measurement(
        "--percentiles",
        is_flag=True,
        help="Show p90, p95 and p99; each needs enough samples (64, 150 and 662).",
    ),
    measurement(
        "--accuracy",
        type=FILE,
        metavar="FILE.json",
        help="Show top-1 beside the rows whose graph and backend `evaluate --json` measured.",
    ),
    measurement(
        "--end-to-end",
        is_flag=True,
        help="Also time everything from an image file of --data to the top classes: decode, resize, normalize, copy, "
        "infer, top-k.",
    ),
    measurement(
        "--scenario",
        "scenarios",
        type=LOADS,
        default=(),
        help="Also run scenarios of MLPerf LoadGen, separated by commas: single-stream, multi-stream, server, offline. "
        "Requires pip install 'deploykit[loadgen]'.",
    ),
    measurement(
        "--server-qps",
        type=click.FloatRange(min=0, min_open=True),
        metavar="QPS",
        help="With --scenario server: target queries per second. Default: 70 % of the throughput of full batches.",
    ),
    measurement(
        "--server-bound",
        type=click.FloatRange(min=0, min_open=True),
        metavar="MS",
        help="With --scenario server: latency bound for the 99th percentile. Default: five times the time of a full "
        "batch.",
    ),
    measurement(
        "--mode",
        type=OneOf("mode", MODES),
        common=True,
        help="Instead of the table, time eager PyTorch alone in fp32: mean and standard deviation of --steps "
        "batches. forward: eval mode under inference_mode. forward-backward: training mode with auxiliary heads and "
        "dropout, loss and gradients, without an optimizer step.",
    ),
    measurement(
        "--burn-in",
        type=click.IntRange(min=0),
        default=10,
        show_default=True,
        metavar="N",
        help="With --mode: warm-up steps, untimed, before the timed ones.",
    ),
    measurement(
        "--steps",
        type=click.IntRange(min=2),
        default=100,
        show_default=True,
        metavar="N",
        help="With --mode: timed steps.",
    ),
    output(
        "--save",
        type=FILE,
        is_flag=False,
        flag_value="results",
        metavar="[DIR]",
        help="Also write the JSON into DIR, named by network, date and machine, for `deploykit compare`. Without "
        "DIR: results.",
    ),
)
def command(
    shared: ComparisonOptions,
    max_seconds: float,
    processes: int,
    quick: bool,
    throughput: bool,
    percentiles: bool,
    accuracy: Path | None,
    end_to_end: bool,
    scenarios: tuple[Scenario, ...],
    server_qps: float | None,
    server_bound: float | None,
    mode: str | None,
    burn_in: int,
    steps: int,
    save: Path | None,
) -> None:
    """Time every backend and precision of MODEL side by side, each in a process of its own, in interleaved rounds.

    Each row also has its parity verdict and, where TensorRT-RTX compiled it, figures of the compiled plan. Exit code 3
    when a row's parity fails or is inconclusive.

    With --mode, time the steps of eager PyTorch instead: batch 32, 10 steps of burn-in, 100 timed.
    """
    if save is not None:
        from deploykit.api.gate import require_results_folder

        require_results_folder(save)
    if mode is not None:
        _step(shared, mode, burn_in=burn_in, steps=steps, save=save)
        return
    require(OF_MODES, "--mode", hint="add --mode forward, or give --max-seconds")

    from deploykit.api import bench

    if quick:
        refuse(
            {"processes", "max_seconds"}, "cannot be combined with --quick", hint="leave it out, or leave out --quick"
        )
    require_rows(shared.spec, shared.precisions, shared.backends)
    report = bench(
        shared.spec.model,
        data=shared.spec.data,
        batches=shared.batches,
        max_seconds=max_seconds,
        processes=processes,
        quick=quick,
        throughput=throughput,
        accuracy=accuracy,
        end_to_end=end_to_end,
        scenarios=scenarios,
        server_qps=server_qps,
        server_bound_ms=server_bound,
        fusion_seconds=shared.fuse_budget,
        **shared.keywords(),
    )
    _save(report, save)
    finish(report, as_json=shared.as_json, html=shared.html, percentiles=percentiles)


def _save(report: "Report", folder: Path | None) -> None:
    """Keep the report where that was asked for, and say under which name."""
    if folder is not None:
        from deploykit.api import save_results

        click.echo(f"deploykit: saved {quoted(save_results(report, folder=folder))}", err=True)


def _step(shared: ComparisonOptions, mode: str, *, burn_in: int, steps: int, save: Path | None) -> None:
    """Time the steps and leave with their exit code; raises UsageError for every option that would be passed over."""
    from deploykit.api import bench_steps

    model = shared.spec.model
    both = OF_BOTH if not model.is_factory else {*OF_BOTH, "input_ranges"}  # which say a function's types
    parameters = {str(param.name) for param in click.get_current_context().command.params}
    idle = parameters - both - OF_MODES
    refuse(idle, f"cannot be combined with --mode {mode}", hint="leave it out, or leave out --mode")
    if given({"backends"}) and shared.backends != ("torch",):
        raise UsageError(
            f"--mode {mode} times eager PyTorch alone, not --backends {','.join(shared.backends)}",
            hint="leave out --backends, or leave out --mode",
        )
    if shared.precisions != (Precision.FP32,):
        said = ",".join(shared.precisions)
        raise UsageError(f"--mode {mode} computes in fp32 only, not in {said}", hint="leave out --precision")
    if shared.batches:
        said = ",".join(map(str, shared.batches))
        raise UsageError(f"--mode {mode} takes one batch, not {said}", hint=f"write a number: --batch {MODE_BATCH}")
    batch = shared.spec.batch if given({"batch"}) else BatchRange.parse(MODE_BATCH)
    if batch.minimum not in (1, batch.maximum) or batch.optimum != batch.maximum:
        raise UsageError(f"--mode {mode} takes one batch, not {batch}", hint=f"write a number: --batch {MODE_BATCH}")
    report = bench_steps(
        model,
        mode=mode,
        batch=batch.optimum,
        burn_in=burn_in,
        steps=steps,
        threads=shared.threads,
        progress=StageProgress(),
    )
    _save(report, save)
    finish(report, as_json=shared.as_json, html=shared.html)
