"""MobileNet's cost law, held against what its blocks really take (arXiv 1704.04861, equation 7).

A depthwise D_K x D_K convolution of M channels and the 1x1 to N channels behind it, on D_F x D_F maps, take

    D_K^2 * aM * (r D_F)^2  +  aM * aN * (r D_F)^2

multiply-accumulates at width multiplier a and resolution multiplier r. M, N and D_F are those of the network at a = 1
and its own image size; D_F is the side of the block's *output*, which is where the two differ in a block with a stride
(the paper's own table 1 counts so). A network cannot have 7.2 channels or maps of 37.5: aM and aN are rounded, to
multiples of 8 in this zoo, and each halving rounds r D_F. `paper_law` takes the law at its word, `real_channels_law`
with the channels that there are; what then still differs from `counted` is the rounding of the maps.

Blocks are found by their structure, a depthwise convolution followed by a 1x1 over its output, in any network that has
a width multiplier: without one the law has no a, and nothing to compare with.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import prod

from deploykit.summary.rows import BlockCost, Convolution, LayerRow, Summary


@dataclass(frozen=True, slots=True)
class _Block:
    depthwise: LayerRow
    kernel: tuple[int, ...]
    channels: tuple[int, int]
    maps: tuple[int, ...]
    macs: int


def depthwise_costs(summary: Summary, full: Summary, *, width_mult: float) -> tuple[BlockCost, ...]:
    """The law for each block of `summary`, whose network at full width and resolution is `full`.

    Empty where there are no such blocks, or where the two networks do not have the same number of them.
    """
    blocks, wide = list(_blocks(summary)), list(_blocks(full))
    if len(blocks) != len(wide):
        return ()
    width = Fraction(str(width_mult))
    resolution = Fraction(summary.image[-1], full.image[-1])
    return tuple(_cost(*pair, width, resolution) for pair in zip(blocks, wide, strict=True))


def _cost(block: _Block, full: _Block, width: Fraction, resolution: Fraction) -> BlockCost:
    thinned = (width * full.channels[0], width * full.channels[1])
    positions = resolution ** len(full.maps) * prod(full.maps)
    return BlockCost(
        name=block.depthwise.name,
        paper_channels=(float(thinned[0]), float(thinned[1])),
        channels=block.channels,
        paper_side=float(resolution * full.maps[-1]),
        side=block.maps[-1],
        paper_law=float(_law(block.kernel, thinned, positions)),
        real_channels_law=float(_law(block.kernel, block.channels, positions)),
        counted=block.macs,
        full=full.macs,
    )


def _law(
    kernel: tuple[int, ...], channels: tuple[Fraction, Fraction] | tuple[int, int], positions: Fraction
) -> Fraction:
    """Equation 7 with the multipliers already in `channels` and `positions`."""
    inputs, outputs = channels
    return prod(kernel) * inputs * positions + inputs * outputs * positions


def _blocks(summary: Summary) -> Iterator[_Block]:
    convolutions = [(row, row.convolution) for row in summary.rows if row.convolution is not None]
    for (row, first), (following, second) in pairwise(convolutions):
        if _is_block(first, second) and row.output:
            macs = row.macs + following.macs
            yield _Block(row, first.kernel, (first.inputs, second.outputs), row.output[1:], macs)


def _is_block(first: Convolution, second: Convolution) -> bool:
    return first.is_depthwise and second.is_pointwise and second.inputs == first.outputs
