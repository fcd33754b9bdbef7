"""What a network takes and gives: all that whoever feeds it has to know."""

import re
from dataclasses import dataclass

from deploykit.errors import UsageError
from deploykit.spec.network import ModelSpec, TensorSpec
from deploykit.spec.shapes import BATCH
from deploykit.spec.types import BatchRange


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The inputs and outputs of the graph of `model`.

    `preprocess` is the note that a graph of ours carries on how its images are prepared, `normalizes` what the graph
    does to its input by itself; None and "" where there is nothing to say.
    """

    model: ModelSpec
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocess: str | None = None
    normalizes: str = ""

    @property
    def fixed_batch(self) -> int | None:
        """The one batch that the graph takes; None where the batch is free."""
        return fixed_batch_of(self.inputs)

    @property
    def batch_axes(self) -> dict[str, int | None]:
        """The axis of each output along which the images of a batch lie; None where it has no such axis.

        It is the axis whose size has the name that the batch has among the inputs, else the first free one; where the
        batch is fixed, the first of that size.
        """
        free = next((spec.shape[0] for spec in self.inputs if spec.shape and isinstance(spec.shape[0], str)), None)
        return {spec.name: _axis_of(spec.shape, free, self.fixed_batch) for spec in self.outputs}

    def run_length(self, batch: int, preferred: int) -> int:
        """Images a run where `preferred` would do best: an input or output that has no free batch needs whole ones."""
        whole = any(not spec.shape or isinstance(spec.shape[0], int) for spec in self.inputs) or None in (
            self.batch_axes.values()
        )
        return (self.fixed_batch or batch) if whole else preferred

    def require_batch(self, batch: BatchRange) -> None:
        """Raises UsageError for a batch that the graph does not take, or a size other than the batch that is free."""
        self.require_sizes()
        fixed = self.fixed_batch
        if fixed is not None and not fixed == batch.optimum == batch.maximum:
            raise UsageError(f"{self.model.name} takes batches of {fixed} only", hint=f"give --batch {fixed}")

    def require_sizes(self) -> None:
        """Raises UsageError where a size other than the batch is free, and nobody said within which range."""
        for spec in self.inputs:
            if not spec.open:
                continue
            fixed = ["224" if size in spec.open else str(size) for size in spec.shape]
            ranged = ["[32:224:512]" if size in spec.open else str(size) for size in spec.shape]
            raise UsageError(
                f"{self.model.name}: input {spec.name} leaves {', '.join(dict.fromkeys(spec.open))} open",
                hint=f"fix it: --input-shape {spec.name}={'x'.join(_pasted(fixed))}, or keep it free within a range of "
                f"min:opt:max: --input-shape '{spec.name}={'x'.join(_pasted(ranged))}'",
            )


def _axis_of(shape: tuple[int | str, ...], free: int | str | None, fixed: int | None) -> int | None:
    texts = {axis: size for axis, size in enumerate(shape) if isinstance(size, str)}
    named = [axis for axis, size in texts.items() if free in re.split(r"\W+", size)]
    return next(iter(named or [axis for axis, size in enumerate(shape) if size == fixed] or texts), None)


def _pasted(sizes: list[str]) -> list[str]:
    """The sizes as --input-shape takes them: a free batch by that name."""
    return [sizes[0] if sizes[0].isdecimal() else BATCH, *sizes[1:]]


def fixed_batch_of(inputs: tuple[TensorSpec, ...]) -> int | None:
    """The one batch that these inputs take; None where it is free. A first dimension is the batch."""
    sizes = [spec.shape[0] for spec in inputs if spec.shape]
    return None if any(isinstance(size, str) for size in sizes) else next(iter(sizes), 1)  # type: ignore[return-value]
