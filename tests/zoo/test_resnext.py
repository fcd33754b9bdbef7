"""ResNeXt against torchvision and timm, its options, and the paper's arithmetic."""

from functools import partial

import pytest
import timm
import torch
import torchvision
from torch import nn

from deploykit.errors import UsageError
from deploykit.modules.state import write_state
from deploykit.spec import ModelSpec
from deploykit.weights import load_module
from deploykit.zoo.registry import cards, construct
from deploykit.zoo.resnet import Bottleneck
from deploykit.zoo.resnext import resnext50_32x4d, resnext101_32x4d, resnext101_32x8d, resnext101_64x4d

FACTORIES = {"resnext50_32x4d": resnext50_32x4d, "resnext101_32x4d": resnext101_32x4d,
             "resnext101_32x8d": resnext101_32x8d, "resnext101_64x4d": resnext101_64x4d}  # fmt: skip


def twin(name):
    library, _, theirs = cards()[name].twin.partition(":")
    make = {"torchvision": partial(torchvision.models.get_model, weights=None), "timm": timm.create_model}[library]
    return make(theirs).eval()


def randomize(module):
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            nn.init.normal_(layer.weight, 0.7, 0.1)
            nn.init.normal_(layer.bias, 0, 0.1)


@pytest.mark.parametrize(
    "name",
    [
        "resnext50_32x4d",
        pytest.param("resnext101_32x4d", marks=pytest.mark.full),
        pytest.param("resnext101_32x8d", marks=pytest.mark.full),
        pytest.param("resnext101_64x4d", marks=pytest.mark.full),
    ],
)
def test_the_twins_weights_give_its_logits(name, tmp_path):
    torch.manual_seed(0)
    theirs = twin(name)
    randomize(theirs)
    write_state(theirs.state_dict(), tmp_path / "weights.safetensors")
    ours = load_module(ModelSpec(name), tmp_path / "weights.safetensors")
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected, logits = theirs(images), ours(images)
    assert 0.01 < expected.std() < 100
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FACTORIES)
def test_parameters_are_registered_in_the_twins_order(name):
    with torch.device("meta"):
        ours, theirs = FACTORIES[name](), twin(name)
    assert [key for key, _ in ours.named_parameters()] == [key for key, _ in theirs.named_parameters()]


@pytest.mark.parametrize("name", FACTORIES)
def test_the_name_says_cardinality_and_width(name):
    depth, _, template = name.removeprefix("resnext").partition("_")
    cardinality, width = map(int, template.removesuffix("d").split("x"))
    with torch.device("meta"):
        module = FACTORIES[name]()
        same = FACTORIES[name](cardinality=cardinality, width_per_group=width)
    blocks = [layer for layer in module.modules() if isinstance(layer, Bottleneck)]
    assert 3 * len(blocks) + 2 == int(depth)
    assert {block.conv2.groups for block in blocks} == {cardinality}
    assert [getattr(module, f"layer{n}")[0].conv2.weight.shape[1] for n in (1, 2, 3, 4)] == [
        width * 2**n for n in range(4)
    ]
    assert {key: tensor.shape for key, tensor in module.state_dict().items()} == {
        key: tensor.shape for key, tensor in same.state_dict().items()
    }


def test_one_group_of_64_is_resnet50():
    with torch.device("meta"):
        ours, resnet = resnext50_32x4d(cardinality=1, width_per_group=64), construct(ModelSpec("resnet50"))
    assert [(key, tensor.shape) for key, tensor in ours.state_dict().items()] == [
        (key, tensor.shape) for key, tensor in resnet.state_dict().items()
    ]


# Cardinality and width per group.
@pytest.mark.parametrize(("cardinality", "width"), [(1, 64), (2, 40), (4, 24), (8, 14), (32, 4)])
def test_blocks_of_table_2_cost_about_the_same(cardinality, width):
    """One block of conv2 on 256 maps: about 70 thousand parameters each (section 3.3, equation 4)."""
    block = Bottleneck(256, 64, stride=1, cardinality=cardinality, width_per_group=width)
    weights = sum(layer.weight.numel() for layer in (block.conv1, block.conv2, block.conv3))
    assert weights == cardinality * (256 * width + 9 * width * width + width * 256)
    assert weights == pytest.approx(70_000, rel=0.025)


def test_a_grouped_bottleneck_is_the_sum_of_its_branches():
    """Figure 3: (c), the form computed here, equals (a), branches of their own whose outputs are added."""
    torch.manual_seed(0)
    block = Bottleneck(256, 64, stride=1, cardinality=4, width_per_group=24).double().eval()
    randomize(block)
    maps = torch.randn(2, 256, 5, 5, dtype=torch.float64)

    def affine(layer, values, part):
        scale = layer.weight / (layer.running_var + layer.eps).sqrt()
        shift = layer.bias - layer.running_mean * scale
        return (values * scale[part].view(-1, 1, 1) + shift[part].view(-1, 1, 1)).relu()

    with torch.no_grad():
        total = 0
        for group in range(4):
            part = slice(24 * group, 24 * (group + 1))
            branch = affine(block.bn1, nn.functional.conv2d(maps, block.conv1.weight[part]), part)
            branch = affine(block.bn2, nn.functional.conv2d(branch, block.conv2.weight[part], padding=1), part)
            total = total + nn.functional.conv2d(branch, block.conv3.weight[:, part])
        expected = (block.bn3(total) + maps).relu()
        torch.testing.assert_close(block(maps), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("option", ["cardinality", "width_per_group"])
@pytest.mark.parametrize("value", [0, -1, 1025, 4.0, True, "32", None])
@pytest.mark.parametrize("name", FACTORIES)
def test_options_out_of_range_are_refused(name, option, value):
    spoken = option.replace("_", " ")
    with pytest.raises(UsageError, match=rf"{spoken} {value} is not a whole number from 1 to 1024"):
        FACTORIES[name](**{option: value})


@pytest.mark.parametrize(
    "options", [{"cardinality": 1024, "width_per_group": 1}, {"cardinality": 1, "width_per_group": 1}]
)
def test_the_ends_of_the_range_are_taken(options):
    with torch.device("meta"):
        module = resnext50_32x4d(**options)
        logits = module(torch.empty(2, 3, 64, 64))
    assert logits.shape == (2, 1000)
    assert module.layer4[0].conv2.groups == options["cardinality"]


@pytest.mark.parametrize("name", FACTORIES)
def test_cards_list_the_options(name):
    assert cards()[name].options == ("num_classes", "in_channels", "cardinality", "width_per_group")


def test_a_single_pixel_is_enough():
    assert construct(ModelSpec("resnext50_32x4d"))(torch.zeros(1, 3, 1, 1)).shape == (1, 1000)
