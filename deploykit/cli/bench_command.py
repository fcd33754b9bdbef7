"""`deploykit bench MODEL`: the side-by-side table, or one network step after step."""

from functools import partial

import click

from deploykit.cli.command import Command, measurement
from deploykit.cli.comparison_options import ComparisonOptions, comparison_options, finish
from deploykit.cli.given import given, refuse, require
from deploykit.cli.idle import require_rows
from deploykit.cli.progress import StageProgress
from deploykit.cli.requests import with_options
from deploykit.cli.types import OneOf
from deploykit.errors import UsageError
from deploykit.spec import BatchRange, Precision

MODES = ("forward", "forward-backward")
MODE_BATCH = "32"
OF_BOTH = {  # parameters that the table and --mode read
    *("model", "weights", "weights_key", "num_classes", "in_channels", "init_from", "image_size", "width_mult"),
    *("input_shapes", "factory_args", "seed"),
    *("backends", "precisions", "batch", "threads", "mode", "as_json", "html"),
}
OF_MODES = {"burn_in", "steps"}


@click.command("bench", cls=Command)
@partial(comparison_options, batch_default=f"1; {MODE_BATCH} with --mode")
@with_options(
    measurement(
        "--max-seconds",
        type=click.FloatRange(min=0, min_open=True),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        common=True,
        help="Time limit of the timed rounds.",
    ),
    measurement(
        "--throughput",
        is_flag=True,
        help="Also measure images/s: many launches, one synchronization.",
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
        help="With --mode: untimed steps before the timed ones.",
    ),
    measurement(
        "--steps",
        type=click.IntRange(min=2),
        default=100,
        show_default=True,
        metavar="N",
        help="With --mode: timed steps.",
    ),
)
def command(
    shared: ComparisonOptions, max_seconds: float, throughput: bool, mode: str | None, burn_in: int, steps: int
) -> None:
    """Time every backend and precision of MODEL side by side, each in a process of its own, in interleaved rounds.

    Each row also has its parity verdict and, where TensorRT-RTX compiled it, figures of the compiled plan. Exit code 3
    when a row's parity fails or is inconclusive.

    With --mode, time the steps of eager PyTorch instead: batch 32, 10 steps of burn-in, 100 timed.
    """
    if mode is not None:
        _step(shared, mode, burn_in=burn_in, steps=steps)
        return
    require(OF_MODES, "--mode", hint="add --mode forward, or give --max-seconds")

    from deploykit.api import bench

    require_rows(shared.spec, shared.precisions, shared.backends)
    report = bench(
        shared.spec.model,
        data=shared.spec.data,
        max_seconds=max_seconds,
        throughput=throughput,
        fusion_seconds=shared.fuse_budget,
        **shared.keywords(),
    )
    finish(report, as_json=shared.as_json, html=shared.html)


def _step(shared: ComparisonOptions, mode: str, *, burn_in: int, steps: int) -> None:
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
    finish(report, as_json=shared.as_json, html=shared.html)
