"""Eager PyTorch step after step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploykit.api.checked import checked
from deploykit.api.models import Network, model_of
from deploykit.api.modules import Example
from deploykit.results.comparison import Report
from deploykit.spec import Progress, silent

if TYPE_CHECKING:
    from deploykit.bench.torch_steps import Mode


@checked
def bench_steps(
    network: Network,
    *,
    example: Example | None = None,
    mode: str | Mode = "forward",
    batch: int = 32,
    burn_in: int = 10,
    steps: int = 100,
    threads: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Time eager PyTorch alone, step after step, as training frameworks are compared.

    Args:
        network: A network as `export` takes it, other than an `.onnx` file.
        example: Inputs of an `nn.Module`, as for `from_module`.
        mode: `"forward"` (eval mode, inference_mode) or `"forward-backward"` (training mode, loss and gradients).
        batch: Images per step.
        burn_in: Steps before the timed ones.
        steps: Timed steps, at least 2.
        threads: CPU threads; 0 is one per core.
        progress: Called with (stage, steps done, steps in all); None is silent.

    Returns:
        A report of one row: mean and standard deviation of a step, milliseconds.

    Raises:
        UsageError: An option is wrong, or the network has no PyTorch module.
    """
    from deploykit.bench import StepSettings
    from deploykit.bench.torch_steps import Mode
    from deploykit.workflow.torch_modes import ModeRequest, bench_mode

    model = model_of(network, example)
    settings = StepSettings(burn_in=burn_in, steps=steps, threads=threads)
    request = ModeRequest(model=model.spec, mode=Mode.parse(mode), batch=batch, settings=settings)
    return bench_mode(request, progress or silent)
