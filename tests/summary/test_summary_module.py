"""Summaries of PyTorch modules: the zoo against its cards, published receptive fields, and modules of odd build."""

import pytest
import torch
from torch import nn

from deploykit.errors import DeploykitError
from deploykit.spec import ModelSpec
from deploykit.summary.module import of_module
from deploykit.workflow.summarize import summarize
from deploykit.zoo.registry import cards

# Araujo, Norris, Sim's own table (github.com/google-research/receptive_field): the side before the global pooling.
# BN-Inception is their inception_v2. Where kernels are not square it gives the longer side.
PUBLISHED = {
    "alexnet": 195,
    "vgg16": 212,
    "bn_inception": 699,
    "inception_v3": 1311,
    "inception_v4": 2071,
    "inception_resnet_v2": 3039,
    "mobilenet": 315,
}


def layers(name, **options):
    return summarize(ModelSpec(name, **options)).layers


def rows_by_name(summary):
    return {row.name: row for row in summary.rows if row.call <= 1}


@pytest.mark.parametrize("name", cards())
def test_totals_are_those_of_the_card(name):
    found = layers(name)
    assert (found.params, found.macs) == (cards()[name].params, cards()[name].macs)
    assert all(row.receptive_field for row in found.rows)
    assert found.rows[-1].whole_image


@pytest.mark.parametrize("name", PUBLISHED)
def test_receptive_fields_before_the_global_pooling_are_the_published_ones(name):
    maps = [row for row in layers(name).rows if not row.whole_image]
    assert max(max(row.receptive_field) for row in maps) == PUBLISHED[name]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        # 5; 5 + 1 = 6, jump 2; 6 + 4 * 2 = 14; 14 + 2 = 16, jump 4; all 5 positions: 16 + 4 * 4 = 32
        ("lenet5", {"c1": 5, "s2": 6, "c3": 14, "s4": 16, "c5": 32}),
        # blocks of 2, 2, 3, 3, 3 convolutions, each adding 2 jumps, and poolings that add one and double it
        ("vgg16", {"features.28": 196, "features.30": 212}),
        # 7, pooling 7 + 2 * 2 = 11 at jump 4. A 3x3 adds 2 jumps; v1.5's first 3x3 of a stage still has the old jump:
        # 11 + 3 * 8 = 35; 35 + 8 + 3 * 16 = 91; 91 + 16 + 5 * 32 = 267; 267 + 32 + 2 * 64 = 427 (the form with the
        # stride at a stage's end, as in the published table, has 483)
        ("resnet50", {"maxpool": 11, "layer1.2.conv3": 35, "layer2.3.conv3": 91, "layer3.5.bn3": 267}),
        ("resnet50", {"layer4.2.conv3": 427, "layer4.0.downsample.0": 267}),
    ],
)
def test_receptive_fields_computed_by_hand(name, known):
    rows = rows_by_name(layers(name))
    assert {layer: rows[layer].receptive_field for layer in known} == {
        layer: (side, side) for layer, side in known.items()
    }


def test_a_module_that_is_used_again_counts_its_parameters_once_and_its_work_each_time():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    found = of_module(lambda: nn.Sequential(shared, nn.ReLU(), shared), (3, 8, 8))
    first, _, second = found.rows
    assert [(row.name, row.call) for row in (first, second)] == [("0", 1), ("0", 2)]
    assert (first.params, second.params) == (84, 0)
    assert first.macs == second.macs == 3 * 64 * 27
    assert (first.receptive_field, second.receptive_field) == ((3, 3), (5, 5))


def test_tied_weights_count_once():
    def make():
        network = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False))
        network[1].weight = network[0].weight
        return network

    assert of_module(make, (3, 8, 8)).params == 9


class Functional(nn.Module):
    """Parameters of its own, functional calls, a branch, and a head that is never called."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(4, 3, 3, 3))
        self.activation = nn.ReLU()
        self.unused = nn.Linear(2, 3)

    def forward(self, images):
        maps = nn.functional.conv2d(images, self.kernel, stride=2, padding=1)
        maps = torch.cat([maps, nn.functional.avg_pool2d(maps, 3, 1, 1)], 1)
        return self.activation(maps).mean((2, 3))


def test_functional_calls_own_parameters_and_unused_modules_have_rows():
    found = of_module(Functional, (3, 8, 8))
    convolution, activation, network, unused = found.rows
    assert (convolution.name, convolution.macs, convolution.params) == ("convolution", 4 * 16 * 27, 0)
    assert activation.receptive_field == (3 + 2 * 2,) * 2
    assert (network.name, network.params, network.output, network.whole_image) == ("Functional", 108, (8,), True)
    assert (unused.name, unused.call, unused.output, unused.params, unused.macs) == ("unused", 0, None, 9, 0)
    assert (found.params, found.macs) == (117, convolution.macs)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(3, 3, 1, 1))

    def forward(self, images):
        return nn.functional.conv2d(nn.functional.conv2d(images, self.kernel), self.kernel)


def test_a_module_without_children_has_one_row_for_all_that_it_computes():
    (row,) = of_module(Twice, (3, 8, 8)).rows
    assert (row.name, row.macs, row.params, row.convolution) == ("Twice", 2 * 9 * 64, 9, None)


@pytest.mark.parametrize(
    ("layer", "whole_image"),
    [
        (nn.BatchNorm2d(4), False),
        (nn.InstanceNorm2d(4), True),
        (nn.GroupNorm(2, 4), True),
        (nn.BatchNorm2d(4, track_running_stats=False), True),
        (nn.LayerNorm(8), False),
    ],
)
def test_normalizations_see_what_they_take_statistics_of(layer, whole_image):
    row = of_module(lambda: layer, (4, 8, 8)).rows[0]
    assert row.whole_image == whole_image
    assert row.receptive_field == {"LayerNorm": (1, 8)}.get(row.kind, (8, 8) if whole_image else (1, 1))


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), 8 * 64 * 9),
        (nn.Conv2d(8, 16, 3, padding=1, groups=2), 16 * 64 * 4 * 9),
        (nn.ConvTranspose2d(8, 4, 2, stride=2), 8 * 64 * 4 * 4),
        (nn.ConvTranspose2d(8, 4, 2, stride=2, groups=4), 8 * 64 * 1 * 4),
        (nn.Sequential(nn.Flatten(2), nn.Linear(64, 5)), 8 * 64 * 5),
    ],
)
def test_multiply_accumulates_by_hand(layer, macs):
    assert of_module(lambda: layer, (8, 8, 8)).macs == macs


REACH = {
    "dilated": lambda: nn.Conv2d(2, 2, 3, dilation=3),
    "transposed": lambda: nn.Sequential(nn.Conv2d(2, 2, 3, stride=2), nn.ConvTranspose2d(2, 2, 4, stride=2)),
    "ceil": lambda: nn.Sequential(nn.AvgPool2d(3, 2, ceil_mode=True), nn.Conv2d(2, 2, 3)),
    "adaptive": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Conv2d(2, 2, 3)),
    "response normalization": lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.LocalResponseNorm(3)),
    "reflected": lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
    "pixel shuffled": lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.ChannelShuffle(2), nn.Conv2d(4, 2, 3)),
    "upsampled": lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(2, 2, 3)),
}


@pytest.mark.parametrize("build", REACH.values(), ids=REACH)
def test_the_field_is_what_pixels_really_reach(build):
    """Each pixel of a row is changed on its own; the widest stretch that changes one output is the field, or inside."""
    torch.manual_seed(0)
    network, size = build().eval(), 32
    claimed = of_module(build, (2, size, size)).rows[-1].receptive_field[1]
    image = torch.randn(1, 2, size, size, requires_grad=True)
    output = network(image)
    middle = output[0, :, output.shape[2] // 2]
    spans = []
    for column in range(middle.shape[1]):
        (gradient,) = torch.autograd.grad(middle[:, column].sum(), image, retain_graph=True)
        touched = gradient[0].abs().sum((0, 1)).nonzero()
        spans.append(int(touched.max() - touched.min()) + 1)
    assert claimed - 1 <= max(spans) <= claimed  # one pixel of play where the jump is no whole number


class Reads(nn.Module):
    def forward(self, images):
        return images * float(images.sum())


def test_a_forward_that_reads_values_is_refused_in_one_line():
    with pytest.raises(DeploykitError, match="Reads cannot be run on shapes alone") as refused:
        of_module(Reads, (3, 8, 8))
    assert "\n" not in str(refused.value)


def test_a_constructor_that_reads_values_gets_real_ones():
    def make():
        rates = [rate.item() for rate in torch.linspace(0, 0.2, 3)]
        return nn.Sequential(*(nn.Dropout(rate) for rate in rates), nn.Conv2d(3, 4, 1))

    before = torch.random.get_rng_state()
    assert of_module(make, (3, 8, 8)).params == 16
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_cannot_be_followed_is_not_known_instead_of_guessed():
    found = of_module(lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 3)), (3, 8, 8))
    assert [row.receptive_field for row in found.rows] == [None, None]
    assert found.macs == 4 * 4 * 12 * 9
