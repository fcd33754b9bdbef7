"""Parameters and multiply-accumulates of every network, recounted, against the cards and published figures."""

import pytest
import torch
from torch import nn

from deploykit.spec import ModelSpec
from deploykit.zoo.registry import cards, construct, input_spec

# Counted on torchvision 0.29 and timm 1.0.31; LeNet-5 from its layer table.
PUBLISHED = {
    "lenet5": (61_706, 416_520),
    # C1 28^2 x 6 x 25, C3 10^2 x (6 x 3 + 9 x 4 + 6) x 25, C5 16 x 25 x 120, F6 120 x 84; subsampling and output apart.
    "lenet5_1998": (60_000, 117_600 + 150_000 + 48_000 + 10_080),
    "alexnet": (61_100_840, 714_188_480),
    "alexnet_2012": (60_965_224, 724_406_816),
    "vgg11": (132_863_336, 7_609_090_048),
    "vgg13": (133_047_848, 11_308_466_176),
    "vgg16c": (133_638_952, 11_770_888_192),
    "vgg16": (138_357_544, 15_470_264_320),
    "vgg19": (143_667_240, 19_632_062_464),
    "vgg11_bn": (132_868_840, 7_609_090_048),
    "vgg13_bn": (133_053_736, 11_308_466_176),
    "vgg16_bn": (138_365_992, 15_470_264_320),
    "vgg19_bn": (143_678_248, 19_632_062_464),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
    "resnext50_32x4d": (25_028_904, 4_230_479_872),
    "resnext101_32x4d": (44_177_704, 7_969_996_800),
    "resnext101_32x8d": (88_791_336, 16_414_015_488),
    "resnext101_64x4d": (83_455_272, 15_460_270_080),
    "mobilenet": (4_231_976, 568_740_352),
    "inception_v4": (42_679_816, 12_253_974_624),
    "inception_resnet_v1": (22_756_328, 6_206_361_696),
    "inception_resnet_v2": (55_843_464, 13_155_794_016),
    "xception": (22_855_952, 8_357_403_496),
    # Stem 1_627_898_976, 3 x 287_884_800 at 35x35, 373_791_744, 5 x 374_063_104 at 17x17, 237_735_936, 322_633_728 and
    # 388_300_800 at 8x8, classifier 2_048_000; each layer is the product that test_inception_v2.py writes out.
    "inception_v2": (23_468_104, 5_686_379_104),
    "inception_v3": (23_834_568, 5_713_216_096),
    "googlenet": (6_624_904, 1_498_376_192),
    "googlenet_paper": (6_998_552, 1_582_671_872),
    "bn_inception": (11_295_240, 2_032_600_064),
}

# width multiplier, parameters, then image size -> multiply-accumulates (arXiv 1704.04861, tables 6 and 7, exact).
MOBILENET = [
    (1.0, 4_231_976, {224: 568_740_352, 192: 418_121_728, 160: 290_675_200, 128: 186_400_768}),
    (0.75, 2_585_560, {224: 325_400_448, 192: 239_273_472, 160: 166_396_800, 128: 106_770_432}),
    (0.5, 1_331_592, {224: 149_497_088, 192: 109_970_432, 160: 76_524_800, 128: 49_160_192}),
    (0.25, 470_072, {224: 41_030_272, 192: 30_212_608, 160: 21_059_200, 128: 13_570_048}),
]
CELLS = [(width, size, params, macs) for width, params, row in MOBILENET for size, macs in row.items()]


def counted(spec: ModelSpec) -> tuple[int, int]:
    """(parameters, multiply-accumulates) of the real module, run on shapes alone."""
    macs = 0

    def count(layer, _, output):
        nonlocal macs
        macs += output.numel() * layer.weight[0].numel()

    with torch.device("meta"):
        module = construct(spec)
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.register_forward_hook(count)
        module(torch.empty(input_spec(spec).at_batch(1)))
    return sum(parameter.numel() for parameter in module.parameters()), macs


@pytest.mark.parametrize("name", cards())
def test_the_card_states_what_the_module_has(name):
    assert counted(ModelSpec(name)) == (cards()[name].params, cards()[name].macs)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_card_states_the_published_figures(name):
    assert (cards()[name].params, cards()[name].macs) == PUBLISHED[name]


def test_every_full_size_network_has_a_published_figure():
    assert {card.name for card in cards().values() if not card.is_miniature} == set(PUBLISHED)


@pytest.mark.parametrize(("width_mult", "image_size", "params", "macs"), CELLS)
def test_mobilenet_at_every_width_and_size(width_mult, image_size, params, macs):
    assert counted(ModelSpec("mobilenet", width_mult=width_mult, image_size=image_size)) == (params, macs)


@pytest.mark.parametrize("name", [card.name for card in cards().values() if card.is_miniature])
def test_miniatures_have_a_few_thousand_parameters(name):
    assert 1_000 < cards()[name].params < 20_000
