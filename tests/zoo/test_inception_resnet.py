"""Inception-ResNet v1 against the figures of arXiv 1602.07261, v2 against timm."""

import pytest
import torch
from torch import Tensor, nn

from deploykit.errors import UsageError
from deploykit.spec import ModelSpec
from deploykit.zoo.inception_resnet import ResidualInception, inception_resnet_v1, inception_resnet_v2
from deploykit.zoo.registry import construct

FACTORIES = {"inception_resnet_v1": inception_resnet_v1, "inception_resnet_v2": inception_resnet_v2}

# Channels and side of the maps behind each stage: v1 as in figures 14 and 15, v2 as in the authors' network.
GRIDS = {
    "inception_resnet_v1": {
        "conv2d_2b": (64, 147),
        "maxpool_3a": (64, 73),
        "conv2d_3b": (80, 73),
        "conv2d_4a": (192, 71),
        "conv2d_4b": (256, 35),
        "repeat": (256, 35),
        "mixed_6a": (896, 17),
        "repeat_1": (896, 17),
        "mixed_7a": (1792, 8),
        "repeat_2": (1792, 8),
    },
    "inception_resnet_v2": {
        "conv2d_4a": (192, 71),
        "maxpool_5a": (192, 35),
        "mixed_5b": (320, 35),
        "repeat": (320, 35),
        "mixed_6a": (1088, 17),
        "repeat_1": (1088, 17),
        "mixed_7a": (2080, 8),
        "repeat_2": (2080, 8),
        "block8": (2080, 8),
        "conv2d_7b": (1536, 8),
    },
}

# Figures 10 to 13 with table 1's row of v1: (width, kernel) of each convolution, branch by branch, in our order.
FIGURES_OF_V1 = {
    "repeat.0": [(32, (1, 1)), (32, (1, 1)), (32, (3, 3)), (32, (1, 1)), (32, (3, 3)), (32, (3, 3)), (256, (1, 1))],
    "mixed_6a": [(384, (3, 3)), (192, (1, 1)), (192, (3, 3)), (256, (3, 3))],
    "repeat_1.0": [(128, (1, 1)), (128, (1, 1)), (128, (1, 7)), (128, (7, 1)), (896, (1, 1))],
    "mixed_7a": [(256, (1, 1)), (384, (3, 3)), (256, (1, 1)), (256, (3, 3)), (256, (1, 1)), *[(256, (3, 3))] * 2],
    "repeat_2.0": [(192, (1, 1)), (192, (1, 1)), (192, (1, 3)), (192, (3, 1)), (1792, (1, 1))],
}  # fmt: skip


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def shapes_only(name: str, **options: float) -> nn.Module:
    with torch.device("meta"):
        return FACTORIES[name](**options).eval()


def blocks(module: nn.Module) -> list[ResidualInception]:
    return [layer for layer in module.modules() if isinstance(layer, ResidualInception)]


@pytest.mark.parametrize("name", FACTORIES)
def test_the_maps_have_the_sizes_of_the_tables(name):
    maps, sizes = torch.empty(1, 3, 299, 299, device="meta"), {}
    for stage, layer in shapes_only(name).named_children():
        maps = layer(maps)
        if stage in GRIDS[name]:
            sizes[stage] = (maps.shape[1], maps.shape[2])
    assert sizes == GRIDS[name]


@pytest.mark.parametrize("part", FIGURES_OF_V1)
def test_v1_is_built_as_the_figures_draw_it(part):
    layers = shapes_only("inception_resnet_v1").get_submodule(part).modules()
    found = [(layer.out_channels, layer.kernel_size) for layer in layers if isinstance(layer, nn.Conv2d)]
    assert found == FIGURES_OF_V1[part]


@pytest.mark.parametrize(
    ("name", "depths"), [("inception_resnet_v1", (5, 10, 5)), ("inception_resnet_v2", (10, 20, 10))]
)
def test_each_grid_has_its_number_of_blocks(name, depths):
    widths = [block.conv2d.out_channels for block in blocks(shapes_only(name))]
    assert tuple(widths.count(width) for width in sorted(set(widths))) == depths


@pytest.mark.parametrize("name", FACTORIES)
def test_only_the_expansion_of_a_residual_has_a_bias_and_no_batchnorm(name):
    module = shapes_only(name)
    layers = dict(module.named_modules())
    bare = {path for path, layer in layers.items() if isinstance(layer, nn.Conv2d) and layer.bias is not None}
    assert bare == {f"{path}.conv2d" for path, layer in layers.items() if isinstance(layer, ResidualInception)}
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in layers.values())
    norms = [layer for layer in layers.values() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == convolutions - len(bare)
    assert {layer.eps for layer in norms} == {0.001}


@pytest.mark.parametrize(("part", "scale"), [("repeat.3", 0.17), ("repeat_1.5", 0.10), ("repeat_2.1", 0.20)])
def test_a_block_adds_its_scaled_residual_before_the_relu(part, scale):
    block = inception_resnet_v1().get_submodule(part).double().eval()
    maps = torch.randn(2, block.conv2d.out_channels, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        branches = torch.cat([block.get_submodule(name)(maps) for name in block.names], 1)
        expected = torch.relu(maps + scale * block.conv2d(branches))
        torch.testing.assert_close(block(maps), expected, rtol=0, atol=1e-12)


def test_the_last_block_of_v2_neither_scales_nor_rectifies():
    block = inception_resnet_v2(residual_scale=0.3).block8.double().eval()
    maps = torch.randn(1, 2080, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        branches = torch.cat([block.branch0(maps), block.branch1(maps)], 1)
        sums = block(maps)
        torch.testing.assert_close(sums, maps + block.conv2d(branches), rtol=0, atol=1e-12)
    assert (sums < 0).any()


def test_by_default_each_grid_has_its_own_scale():
    assert [block.scale for block in blocks(shapes_only("inception_resnet_v1"))] == [0.17] * 5 + [0.1] * 10 + [0.2] * 5
    expected = [0.17] * 10 + [0.1] * 20 + [0.2] * 9 + [1.0]
    assert [block.scale for block in blocks(shapes_only("inception_resnet_v2"))] == expected


@pytest.mark.parametrize("scale", [1e-6, 0.3, 1])
def test_a_given_scale_replaces_that_of_all_grids(scale):
    assert {block.scale for block in blocks(shapes_only("inception_resnet_v1", residual_scale=scale))} == {scale}
    *scaled, last = (block.scale for block in blocks(shapes_only("inception_resnet_v2", residual_scale=scale)))
    assert set(scaled) == {scale}
    assert last == 1


@pytest.mark.parametrize("scale", [0, -0.1, 1.01, float("nan"), float("inf"), "0.2", True])
@pytest.mark.parametrize("name", FACTORIES)
def test_scales_out_of_range_are_refused(name, scale):
    expected = rf"residual_scale {scale!r} is not a number above 0 and at most 1; the paper uses 0.1 to 0.3"
    with pytest.raises(UsageError, match=expected):
        construct(ModelSpec(name, factory_args=(("residual_scale", scale),)))


@pytest.mark.parametrize("name", FACTORIES)
def test_training_drops_a_fifth_of_the_pooled_features_and_has_no_auxiliary_outputs(name):
    with torch.device("meta"):
        module = construct(ModelSpec(name), training=True)
        logits = module(torch.empty(2, 3, 299, 299))
    assert isinstance(logits, Tensor)
    assert logits.shape == (2, 1000)
    kept = module.head_drop(torch.ones(1000, 100))
    assert (kept == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("name", FACTORIES)
def test_75_pixels_are_the_least_that_leave_a_map(name):
    module = shapes_only(name)
    assert module(torch.empty(1, 3, 75, 75, device="meta")).shape == (1, 1000)
    with pytest.raises(RuntimeError):
        module(torch.empty(1, 3, 74, 74, device="meta"))
