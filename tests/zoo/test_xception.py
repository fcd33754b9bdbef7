"""Xception against figure 5 of arXiv 1610.02357 and timm."""

import pytest
import torch
from torch import Tensor, nn

from deploykit.spec import ModelSpec
from deploykit.zoo.registry import construct
from deploykit.zoo.xception import SeparableConv2d, XceptionBlock

MODEL = ModelSpec("xception")

# Figure 5: channels and side of the maps. The figure prints the sizes between the flows: 19x19x728, and 10x10.
GRIDS = {
    "act1": (32, 149),
    "act2": (64, 147),
    "block1": (128, 74),
    "block2": (256, 37),
    "block3": (728, 19),
    "block4": (728, 19),
    "block11": (728, 19),
    "block12": (1024, 10),
    "act3": (1536, 10),
    "act4": (2048, 10),
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def shapes_only():
    with torch.device("meta"):
        yield construct(MODEL)


def test_the_maps_have_the_papers_sizes(shapes_only):
    sizes = {}
    for name in GRIDS:
        shapes_only.get_submodule(name).register_forward_hook(
            lambda _, __, maps, name=name: sizes.update({name: (maps.shape[1], maps.shape[2])})
        )
    shapes_only(torch.empty(1, 3, 299, 299, device="meta"))
    assert sizes == GRIDS


def test_36_convolutions_in_14_modules_and_4_strided_shortcuts(shapes_only):
    stem, last = 2, 2
    residual = [layer for layer in shapes_only.modules() if isinstance(layer, XceptionBlock)]
    inside = [layer for block in residual for layer in block.modules() if isinstance(layer, SeparableConv2d)]
    assert stem + len(inside) + last == 36
    assert len(residual) == 14 - 2
    assert [number for number, block in enumerate(residual, start=1) if block.skip is not None] == [1, 2, 3, 12]


def test_a_separable_convolution_is_linear():
    layer = SeparableConv2d(6, 10).double()
    first, second = torch.randn(2, 1, 6, 7, 7, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(layer(first) + 3 * layer(second), layer(first + 3 * second), rtol=0, atol=1e-12)
        assert not layer(torch.zeros_like(first)).any()


def test_the_depthwise_half_keeps_channels_apart_and_the_pointwise_half_pixels():
    layer = SeparableConv2d(4, 3)
    dot = torch.zeros(1, 4, 5, 5)
    dot[0, 2, 2, 2] = 1
    with torch.no_grad():
        assert layer.conv1(dot).abs().sum((0, 2, 3)).nonzero().flatten().tolist() == [2]
        assert layer.pointwise(dot).abs().sum((0, 1)).nonzero().tolist() == [[2, 2]]


def test_an_identity_block_adds_the_input_as_it_came_in():
    block = XceptionBlock(8, 8, 8, 8).eval()
    maps = torch.randn(2, 8, 6, 6)
    given = maps.clone()
    with torch.no_grad():
        sums = block(maps)
        assert torch.equal(maps, given)
        torch.testing.assert_close(sums, block.rep(given) + given, rtol=0, atol=1e-6)
    assert (sums < 0).any()


def test_a_halving_block_projects_its_shortcut():
    block = XceptionBlock(4, 6, 9, halve=True).double().eval()
    maps = torch.randn(1, 4, 11, 11, dtype=torch.float64)
    with torch.no_grad():
        expected = block.rep(maps) + block.skipbn(nn.functional.conv2d(maps[..., ::2, ::2], block.skip.weight))
        torch.testing.assert_close(block(maps), expected, rtol=0, atol=1e-12)
    assert expected.shape == (1, 9, 6, 6)


def test_the_first_block_starts_without_a_relu(shapes_only):
    starts = [type(layer.rep[0]) for layer in shapes_only.modules() if isinstance(layer, XceptionBlock)]
    assert starts == [SeparableConv2d] + [nn.ReLU] * 11


def test_training_drops_half_of_the_pooled_features_and_has_no_auxiliary_outputs():
    with torch.device("meta"):
        module = construct(MODEL, training=True)
        logits = module(torch.empty(2, 3, 299, 299))
    assert isinstance(logits, Tensor)
    assert logits.shape == (2, 1000)
    kept = module.head_drop(torch.ones(1000, 100))
    assert (kept == 0).float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_7_pixels_are_the_least_that_leave_a_map(shapes_only):
    assert shapes_only(torch.empty(1, 3, 7, 7, device="meta")).shape == (1, 1000)
    with pytest.raises(RuntimeError):
        shapes_only(torch.empty(1, 3, 6, 6, device="meta"))
