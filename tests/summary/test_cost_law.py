"""MobileNet's cost law against the counted blocks (arXiv 1704.04861, equation 7, tables 6 and 7)."""

import pytest
from torch import nn

from deploykit.spec import ModelSpec
from deploykit.summary import depthwise_costs
from deploykit.summary.module import of_module
from deploykit.workflow.summarize import summarize
from deploykit.zoo.mobilenet import DepthwiseSeparable


def mobilenet(**options):
    return summarize(ModelSpec("mobilenet", **options))


@pytest.mark.parametrize("width_mult", [1.0, 0.75, 0.5, 0.25])
@pytest.mark.parametrize("image_size", [224, 192, 160, 128])
def test_at_the_papers_widths_and_sizes_nothing_is_rounded_and_the_law_holds(width_mult, image_size):
    for block in mobilenet(width_mult=width_mult, image_size=image_size).blocks:
        assert block.paper_law == block.real_channels_law == block.counted


def test_at_full_width_and_size_every_block_is_the_full_one():
    blocks = mobilenet().blocks
    assert len(blocks) == 13
    assert {block.of_full for block in blocks} == {1.0}


def test_rounded_channels_and_rounded_maps_show_apart():
    """The first block: 9.6 -> 19.2 channels become 8 -> 16, maps are 75x75; the second's would be 37.5, and are 38."""
    first, second, *_ = mobilenet(width_mult=0.3, image_size=150).blocks
    assert first.paper_law == pytest.approx(9 * 9.6 * 75**2 + 9.6 * 19.2 * 75**2, rel=1e-12)
    assert first.real_channels_law == first.counted == 9 * 8 * 75**2 + 8 * 16 * 75**2
    assert (second.channels, second.paper_side, second.side) == ((16, 40), 37.5, 38)
    assert second.paper_law == pytest.approx((9 * 19.2 + 19.2 * 38.4) * 37.5**2, rel=1e-12)
    assert second.real_channels_law == (9 * 16 + 16 * 40) * 37.5**2
    assert second.counted == (9 * 16 + 16 * 40) * 38**2


def test_blocks_are_found_by_structure():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        DepthwiseSeparable(8, 16, stride=2),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Conv2d(16, 16, 3, padding=1),  # not 1x1: no block
        nn.Conv2d(16, 4, 1),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Flatten(),
        nn.Unflatten(1, (144, 1, 1)),
        nn.Conv2d(144, 8, 1),  # 1x1, over something else than the depthwise convolution's channels: no block
    )
    found = of_module(lambda: network, (3, 16, 16))
    (block,) = depthwise_costs(found, found, width_mult=1.0)
    assert (block.name, block.channels, block.side) == ("1.conv_dw", (8, 16), 8)


def test_networks_of_another_number_of_blocks_are_not_compared():
    none = of_module(lambda: nn.Conv2d(3, 3, 1), (3, 8, 8))
    assert depthwise_costs(none, mobilenet().layers, width_mult=1.0) == ()


def test_a_network_without_a_width_multiplier_has_no_law():
    assert summarize(ModelSpec("test_mobilenet")).blocks == ()
