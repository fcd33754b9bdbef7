"""BN-Inception (Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift", arXiv 1502.03167, figure 5), the network that BatchNorm was shown on.

GoogLeNet with a BatchNorm behind each convolution, two 3x3 in place of a 5x5, and a third module at 28x28. Two modules
halve the size themselves, where GoogLeNet pools between modules:

    y = concat(1x1, 1x1 -> 3x3, 1x1 -> 3x3 -> 3x3, 3x3 pooling -> 1x1)
    y = concat(1x1 -> 3x3/2, 1x1 -> 3x3 -> 3x3/2, 3x3/2 max pooling)         modules 3c and 4e

TF-slim calls this network Inception v2; deploykit's `inception_v2` is that of arXiv 1512.00567.

There are no auxiliary heads: apart from the classifier the paper's network has no linear layer (section 4.2), and each
of GoogLeNet's heads has two. The paper does not say how it pads. Here 3x3 poolings are padded as 3x3 convolutions are,
so that all branches of a module are centered on the same pixels and images may have any size; averages leave the
padding out.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from deploykit.zoo.googlenet import ConvBN

biased = partial(ConvBN, bias=True)


class Inception(nn.Module):
    """Four branches at stride 1. `widths`: #1x1, #3x3 reduce, #3x3, double #3x3 reduce, double #3x3, projection."""

    def __init__(
        self, in_channels: int, widths: tuple[int, int, int, int, int, int], *, pool: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        ones, reduce, threes, reduce_double, doubles, projected = widths
        self.branch1 = biased(in_channels, ones, 1)
        self.branch2 = nn.Sequential(biased(in_channels, reduce, 1), biased(reduce, threes, 3, padding=1))
        self.branch3 = _double3x3(in_channels, reduce_double, doubles, stride=1)
        self.branch4 = nn.Sequential(pool(), biased(in_channels, projected, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat((self.branch1(maps), self.branch2(maps), self.branch3(maps), self.branch4(maps)), 1)


class Halving(nn.Module):
    """Three branches at stride 2; the pooled one keeps all input channels ("pass through").

    `widths`: #3x3 reduce, #3x3, double #3x3 reduce, double #3x3.
    """

    def __init__(self, in_channels: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        reduce, threes, reduce_double, doubles = widths
        self.branch1 = nn.Sequential(biased(in_channels, reduce, 1), biased(reduce, threes, 3, stride=2, padding=1))
        self.branch2 = _double3x3(in_channels, reduce_double, doubles, stride=2)
        self.branch3 = nn.MaxPool2d(3, stride=2, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat((self.branch1(maps), self.branch2(maps), self.branch3(maps)), 1)


def _double3x3(in_channels: int, reduce: int, out_channels: int, *, stride: int) -> nn.Sequential:
    """1x1 -> 3x3 -> 3x3: what a 5x5 convolution sees, with fewer weights; the last one has the stride."""
    return nn.Sequential(
        biased(in_channels, reduce, 1),
        biased(reduce, out_channels, 3, padding=1),
        biased(out_channels, out_channels, 3, stride=stride, padding=1),
    )


class BNInception(nn.Module):
    """Images (N, C, H, W) -> logits (N, classes). Five halvings, each rounding up."""

    def __init__(self, *, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        averaging = partial(Inception, pool=partial(nn.AvgPool2d, 3, stride=1, padding=1, count_include_pad=False))
        maximum = partial(Inception, pool=partial(nn.MaxPool2d, 3, stride=1, padding=1))

        self.conv1 = biased(in_channels, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = biased(64, 64, 1)
        self.conv3 = biased(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, padding=1)
        self.inception3a = averaging(192, (64, 64, 64, 64, 96, 32))
        self.inception3b = averaging(256, (64, 64, 96, 64, 96, 64))
        self.inception3c = Halving(320, (128, 160, 64, 96))
        self.inception4a = averaging(576, (224, 64, 96, 96, 128, 128))
        self.inception4b = averaging(576, (192, 96, 128, 96, 128, 128))
        self.inception4c = averaging(576, (160, 128, 160, 128, 160, 128))
        self.inception4d = averaging(608, (96, 128, 192, 160, 192, 128))
        self.inception4e = Halving(608, (128, 192, 192, 256))
        self.inception5a = averaging(1056, (352, 192, 320, 160, 224, 128))
        self.inception5b = maximum(1024, (352, 192, 320, 192, 224, 128))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(1024, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.maxpool1(self.conv1(images))
        maps = self.maxpool2(self.conv3(self.conv2(maps)))
        maps = self.inception3c(self.inception3b(self.inception3a(maps)))
        maps = self.inception4d(self.inception4c(self.inception4b(self.inception4a(maps))))
        maps = self.inception5b(self.inception5a(self.inception4e(maps)))
        logits: Tensor = self.fc(self.avgpool(maps).flatten(1))
        return logits


def bn_inception(*, num_classes: int = 1000, in_channels: int = 3) -> BNInception:
    return BNInception(classes=num_classes, in_channels=in_channels)
