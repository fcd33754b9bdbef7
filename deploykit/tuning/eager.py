"""What folding BatchNorm is worth in eager PyTorch, the one rewrite that torch has a counterpart for.

`torch.fx.experimental.optimization.fuse` traces the module and folds each BatchNorm into the convolution or linear
layer before it (`fuse_conv_bn_eval`). Its time is paired with that of the plain module, each in a worker process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploykit.backends.protocol import ModuleSource
from deploykit.backends.quoted import quoted
from deploykit.backends.torch import configure, flavour_here
from deploykit.bench import RowJob
from deploykit.bench.torch_steps import TorchStep
from deploykit.data.noise import noise_feeds
from deploykit.modules.calling import call
from deploykit.results.costs import TimeCost
from deploykit.tuning.cost import TIMED_SECONDS, paired

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class EagerForward:
    """One batch of seeded noise forward, under inference_mode; `folded` by torch's own means."""

    source: ModuleSource
    batch: int
    flavour: str
    folded: bool

    @quoted("PyTorch")
    def prepare(self, *, threads: int) -> TorchStep:
        """Raises ExecutionFailed for a module that torch.fx cannot trace."""
        import torch
        from torch.fx.experimental.optimization import fuse

        device = configure(self.flavour, threads=threads)
        module = self.source.load()
        if self.folded:
            module = fuse(module, inplace=True)
        module = module.to(device)
        ranges = self.source.model.input_ranges
        (feed,) = noise_feeds(self.source.inputs, count=1, batch=self.batch, seed=0, ranges=ranges)
        images = {spec.name: torch.from_numpy(feed[spec.name]).to(device) for spec in self.source.inputs}

        def work() -> Tensor:
            with torch.inference_mode():
                found: Tensor = call(module, images)
            return found

        return TorchStep(work, device)


def folding_cost(source: ModuleSource, *, batch: int, seconds: float = TIMED_SECONDS) -> TimeCost:
    """The module with its BatchNorms folded against the plain one. Raises what ended either worker."""
    flavour = flavour_here()
    jobs = [
        RowJob("eager PyTorch, folded" if folded else "eager PyTorch", EagerForward(source, batch, flavour, folded))
        for folded in (False, True)
    ]
    return paired(jobs, seconds=seconds)
