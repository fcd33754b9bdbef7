"""What the tests of several families do to a network, or ask of one."""

import pytest
import torch
from torch import nn

from deploykit.spec import ModelSpec
from deploykit.zoo.registry import cards, construct


def scaled(module: nn.Module) -> nn.Module:
    """Seed `module`, in eval mode: weights keep the activations' scale, and no part of a BatchNorm is neutral."""
    torch.manual_seed(0)
    for layer in module.eval().modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.normal_(layer.weight, 1, 0.1)
            nn.init.normal_(layer.bias, 0, 0.1)
    return module


def assert_smallest_image(name: str, size: int) -> None:
    """The card's smallest image is the one that the network can take."""
    assert cards()[name].min_image_size == size
    with torch.device("meta"):
        module = construct(ModelSpec(name))
        assert module(torch.empty(1, 3, size, size)).shape == (1, 1000)
        with pytest.raises(RuntimeError, match="Kernel size"):
            module(torch.empty(1, 3, size - 1, size - 1))
