"""`deploykit bench MODEL`: the side-by-side table, or one network step after step."""

from dataclasses import fields
from functools import partial

import click

from deploykit.cli.comparison_options import ComparisonOptions, comparison_options, finish
from deploykit.cli.options import BUILDER, INT8, TARGETS, given, parse_backends, parse_precisions, refuse
from deploykit.cli.progress import StageProgress
from deploykit.errors import UsageError
from deploykit.spec import BatchRange

MODE_BATCH = "32"
MODE_TAKES = {"model", "backends", "precision", "batch", "threads", "as_json"}  # of the shared options
OF_TABLES = {
    "max_seconds",
    "throughput",
    "preprocess",
    *BUILDER,
    *INT8,
    *TARGETS,
    *(field.name for field in fields(ComparisonOptions)),
} - MODE_TAKES
OF_MODES = {"burn_in", "steps"}


@click.command("bench")
@partial(comparison_options, batch_default=f"1; {MODE_BATCH} with --mode")
@click.option("--max-seconds", type=float, default=60.0, show_default=True, help="Time limit of the timed rounds.")
@click.option("--throughput", is_flag=True, help="Also measure images/s: many launches, one synchronization.")
@click.option(
    "--mode",
    help="In place of the table, eager PyTorch alone in fp32, mean and standard deviation of --steps steps of one "
    "batch each. forward: eval mode, inference_mode. forward-backward: training mode with auxiliary heads and dropout, "
    "loss and gradients, no optimizer step.",
)
@click.option("--burn-in", type=int, default=10, show_default=True, help="With --mode: steps before the timed ones.")
@click.option("--steps", type=int, default=100, show_default=True, help="With --mode: timed steps, at least 2.")
def command(
    shared: ComparisonOptions, max_seconds: float, throughput: bool, mode: str | None, burn_in: int, steps: int
) -> None:
    """Time every backend and precision of MODEL side by side, each in a process of its own, in interleaved rounds.

    Each row also has its parity verdict and, where TensorRT-RTX compiled it, what was compiled.

    With --mode, time the steps of PyTorch's own network instead: batch 32, 10 steps of burn-in, 100 timed.
    """
    if mode is not None:
        _step(shared, mode, burn_in=burn_in, steps=steps)
        return
    refuse(OF_MODES, "has a meaning with --mode only", hint="give --mode forward, or --max-seconds")

    from deploykit.store import Store
    from deploykit.workflow.compare import bench
    from deploykit.workflow.workspace import Workspace

    request = shared.request(max_seconds=max_seconds, throughput=throughput)
    workspace = Workspace(Store.open(shared.store), StageProgress())
    finish(bench(workspace, shared.decided(workspace, request)), as_json=shared.as_json)


def _step(shared: ComparisonOptions, mode: str, *, burn_in: int, steps: int) -> None:
    """Time the steps and leave with their exit code; raises UsageError for every option that would be passed over."""
    from deploykit.bench import StepSettings
    from deploykit.bench.torch_steps import Mode
    from deploykit.workflow.torch_modes import ModeRequest, bench_mode

    parsed = Mode.parse(mode)
    idle = OF_TABLES if shared.model.is_factory else {*OF_TABLES, "input_ranges"}  # which say a function's types
    refuse(idle, f"has no meaning with --mode {parsed}", hint="leave it out, or leave out --mode")
    if given({"backends"}) and parse_backends(shared.backends) != ("torch",):
        raise UsageError(
            f"--mode {parsed} times eager PyTorch alone, not --backends {shared.backends}",
            hint="leave out --backends, or leave out --mode",
        )
    if [precision.value for precision in parse_precisions(shared.precision)] != ["fp32"]:
        raise UsageError(
            f"--mode {parsed} computes in fp32 alone, not --precision {shared.precision}", hint="leave out --precision"
        )
    batch = shared.batch if given({"batch"}) else MODE_BATCH
    if ":" in batch:
        raise UsageError(f"--mode {parsed} takes one batch, not {batch}", hint=f"write a number: --batch {MODE_BATCH}")
    settings = StepSettings(burn_in=burn_in, steps=steps, threads=shared.threads)
    request = ModeRequest(model=shared.model, mode=parsed, batch=BatchRange.parse(batch).optimum, settings=settings)
    finish(bench_mode(request, StageProgress()), as_json=shared.as_json)
