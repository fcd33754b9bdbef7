"""The rows of a summary and their totals, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from deploykit.codec import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """The convolution behind a row: channels in and out, kernel and stride per image axis."""

    inputs: int
    outputs: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    groups: int

    @property
    def is_depthwise(self) -> bool:
        """One filter per channel."""
        return self.groups == self.inputs == self.outputs > 1

    @property
    def is_pointwise(self) -> bool:
        """1x1 over all channels."""
        return self.groups == 1 and set(self.kernel) == {1}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """One call of a layer, for one image.

    `name` is the module's path or the node's name. `call` counts the calls of a module that is used several times; it
    is 0 for one that has parameters and is never called. `output` is the shape without the batch axis, None where it
    is not known. `receptive_field` is in pixels per image axis: the image once a layer sees all of it (`whole_image`),
    before that not cut to it; None where it is not known. `params` follows PyTorch: running statistics are not counted,
    and what several layers share counts for the first. `macs` are those of convolutions and matrix products.
    """

    JSON_PROPERTIES = shown("activations")

    name: str
    kind: str
    call: int = 1
    output: tuple[int, ...] | None
    params: int = 0
    macs: int = 0
    receptive_field: tuple[int, ...] | None = None
    whole_image: bool = False
    convolution: Convolution | None = None

    @property
    def activations(self) -> int:
        """Elements of the output."""
        return 0 if self.output is None else prod(self.output)


@dataclass(frozen=True, slots=True)
class Summary:
    """Every row in the order of execution; `image` is the input's shape without the batch axis."""

    image: tuple[int, ...]
    rows: tuple[LayerRow, ...]

    @property
    def params(self) -> int:
        return sum(row.params for row in self.rows)

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.rows)

    @property
    def activations(self) -> int:
        return sum(row.activations for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCost:
    """A depthwise separable block and MobileNet's cost law for it (see `cost_law`).

    `name` is the depthwise layer's; channels are (in, out), sides in positions, costs in multiply-accumulates. `full`
    is what the block takes at full width and resolution, counted.
    """

    JSON_PROPERTIES = shown("of_full")

    name: str
    paper_channels: tuple[float, float]  # aM, aN
    channels: tuple[int, int]
    paper_side: float  # r D_F
    side: int
    paper_law: float
    real_channels_law: float
    counted: int
    full: int

    @property
    def of_full(self) -> float:
        return self.counted / self.full
