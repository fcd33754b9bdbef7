"""BN-Inception against figure 5 of its paper."""

import pytest
import torch
from torch import nn

from deploykit.spec import ModelSpec
from deploykit.zoo.bn_inception import bn_inception
from deploykit.zoo.registry import build_module

# Figure 5: channels (those of the branches together) and side behind each stage.
GRIDS = {
    "conv1": (64, 112),
    "maxpool1": (64, 56),
    "conv2": (64, 56),
    "conv3": (192, 56),
    "maxpool2": (192, 28),
    "inception3a": (64 + 64 + 96 + 32, 28),
    "inception3b": (64 + 96 + 96 + 64, 28),
    "inception3c": (160 + 96 + 320, 14),
    "inception4a": (224 + 96 + 128 + 128, 14),
    "inception4b": (192 + 128 + 128 + 128, 14),
    "inception4c": (160 + 160 + 160 + 128, 14),
    "inception4d": (96 + 192 + 192 + 128, 14),
    "inception4e": (192 + 256 + 608, 7),
    "inception5a": (352 + 320 + 224 + 128, 7),
    "inception5b": (352 + 320 + 224 + 128, 7),
    "avgpool": (1024, 1),
}

# Figure 5, the columns "#3x3 reduce" and "double #3x3 reduce".
REDUCED = {
    "3a": (64, 64),
    "3b": (64, 64),
    "3c": (128, 64),
    "4a": (64, 96),
    "4b": (96, 96),
    "4c": (128, 128),
    "4d": (128, 160),
    "4e": (128, 192),
    "5a": (192, 160),
    "5b": (192, 192),
}
HALVING = ("3c", "4e")


def images(batch, size):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_stages_put_out_what_figure_5_says_in_its_order():
    found = {}
    with torch.device("meta"):
        module = bn_inception().eval()
        for stage in GRIDS:
            module.get_submodule(stage).register_forward_hook(
                lambda _, __, output, stage=stage: found.update({stage: output.shape[1:]})
            )
        module(torch.empty(2, 3, 224, 224))
    assert found == {stage: (channels, side, side) for stage, (channels, side) in GRIDS.items()}
    assert list(found) == list(GRIDS)


@pytest.mark.parametrize("stage", REDUCED)
def test_a_reduction_precedes_one_3x3_and_two(stage):
    module = bn_inception().get_submodule(f"inception{stage}")
    branches = (module.branch1, module.branch2) if stage in HALVING else (module.branch2, module.branch3)
    layers = [[block.conv for block in branch] for branch in branches]
    assert [[layer.kernel_size[0] for layer in branch] for branch in layers] == [[1, 3], [1, 3, 3]]
    assert tuple(branch[0].out_channels for branch in layers) == REDUCED[stage]
    last = 2 if stage in HALVING else 1
    assert [[layer.stride[0] for layer in branch] for branch in layers] == [[1, last], [1, 1, last]]


def test_only_the_last_module_and_the_halving_ones_take_a_maximum():
    kinds = {}
    for stage in REDUCED:
        module = bn_inception().get_submodule(f"inception{stage}")
        kinds[stage] = type(module.branch3 if stage in HALVING else module.branch4[0])
    assert {stage for stage, kind in kinds.items() if kind is nn.MaxPool2d} == {"3c", "4e", "5b"}
    assert set(kinds.values()) == {nn.MaxPool2d, nn.AvgPool2d}


def test_halving_modules_pass_their_pooled_input_through():
    module = bn_inception().eval().inception3c
    maps = images(2, 8)[:, :1].repeat(1, 320, 1, 1) * torch.linspace(-1, 1, 320)[:, None, None]
    passed = module(maps)[:, 160 + 96 :]
    padded = nn.functional.pad(maps, (1, 1, 1, 1), value=-torch.inf)
    windows = [padded[:, :, i : i + 7 : 2, j : j + 7 : 2] for i in range(3) for j in range(3)]
    assert torch.equal(passed, torch.stack(windows).amax(0))


def test_averages_leave_the_padding_out():
    pool = bn_inception().inception3a.branch4[0]
    assert torch.equal(pool(torch.ones(1, 1, 5, 5)), torch.ones(1, 1, 5, 5))


def test_every_convolution_has_a_bias_and_a_batchnorm_that_takes_it_out_again():
    module = build_module(ModelSpec("bn_inception")).double().train()
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(convolutions) == len(norms) == 69
    with torch.no_grad():
        before = module(images(3, 64).double())
        for layer in convolutions:
            layer.bias += 1.5
        after = module(images(3, 64).double())
    assert before.std() > 0.1
    torch.testing.assert_close(after, before, rtol=0, atol=1e-9)


def test_the_classifier_is_the_only_linear_layer_and_training_gives_logits_alone():
    module = bn_inception().train()
    assert [key for key, layer in module.named_modules() if isinstance(layer, nn.Linear)] == ["fc"]
    assert not [layer for layer in module.modules() if isinstance(layer, nn.Dropout)]
    assert module(images(2, 64)).shape == (2, 1000)


@pytest.mark.parametrize("size", [1, 2, 31, 33, 47, 95])
def test_images_of_any_size_fit(size):
    assert bn_inception().eval()(images(1, size)).shape == (1, 1000)
