"""GoogLeNet (Szegedy et al., "Going Deeper with Convolutions", arXiv 1409.4842, table 1 and figure 3).

An Inception module looks at its input at several scales at once and stacks what it sees:

    y = concat(1x1, 1x1 -> 3x3, 1x1 -> 5x5, 3x3 max pooling -> 1x1)

The 1x1 convolutions before the larger ones reduce the channels first, so that 22 layers cost a tenth of VGG-16's
multiplications. Two heads halfway, behind 4a and 4d, give the early layers a gradient of their own (section 5); they
exist in training only.

`googlenet` is the form that PyTorch's published weights have: BatchNorm, 3x3 where the paper has 5x5, torchvision's
parameter names. `googlenet_paper` is the paper's, with the same names but for BatchNorm's. Dropout has the paper's
rates in both (torchvision drops 0.2 instead of 0.4 before the classifier).
"""

from functools import partial

import torch
from torch import Tensor, nn

from deploykit.errors import UsageError
from deploykit.zoo.alexnet import LocalResponseNorm
from deploykit.zoo.training import WithAuxiliary

LRN_ALPHA = 1e-4 / 5  # Caffe's 1e-4, which it divides by the five maps

HEAD_SIDES = range(14, 17)  # the sides of maps that 5x5 windows in steps of 3 make 4x4


class ConvBN(nn.Module):
    """Convolution, BatchNorm with eps 0.001, ReLU: what Inceptions are made of.

    `bias` keeps the convolution's own bias, which BatchNorm's mean takes out again.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=bias)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.relu_(self.bn(self.conv(maps)))


class ConvReLU(nn.Module):
    """Convolution with bias, ReLU: what GoogLeNet was made of before BatchNorm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.relu_(self.conv(maps))


Unit = type[ConvBN] | type[ConvReLU]


class Inception(nn.Module):
    """Four branches, concatenated (figure 2b). `widths` is a row of table 1 from "#1x1" to "pool proj"."""

    def __init__(
        self, unit: Unit, in_channels: int, widths: tuple[int, int, int, int, int, int], *, large: int
    ) -> None:
        super().__init__()
        ones, reduce3, threes, reduce5, fives, projected = widths
        self.branch1 = unit(in_channels, ones, 1)
        self.branch2 = nn.Sequential(unit(in_channels, reduce3, 1), unit(reduce3, threes, 3, padding=1))
        self.branch3 = nn.Sequential(unit(in_channels, reduce5, 1), unit(reduce5, fives, large, padding=large // 2))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), unit(in_channels, projected, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat((self.branch1(maps), self.branch2(maps), self.branch3(maps), self.branch4(maps)), 1)


class AuxiliaryHead(nn.Module):
    """Maps of any width, averaged to 4x4 -> logits (section 5).

    Averages over windows of 5x5 in steps of 3, as the paper, or over 16 windows that cover maps of any size. Raises
    UsageError where the former do not give 4x4.
    """

    def __init__(self, unit: Unit, in_channels: int, *, any_size: bool, classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4) if any_size else nn.AvgPool2d(5, stride=3)
        self.conv = unit(in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, classes)
        self.dropout = nn.Dropout(0.7)

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[2:]
        if isinstance(self.pool, nn.AvgPool2d) and not (height in HEAD_SIDES and width in HEAD_SIDES):
            raise UsageError(
                f"the auxiliary heads need maps of 14 to 16 pixels and see {height}x{width}",
                hint="train on images of 223 to 270 pixels, or without auxiliary heads",
            )
        features = torch.relu_(self.fc1(self.conv(self.pool(maps)).flatten(1)))
        logits: Tensor = self.fc2(self.dropout(features))
        return logits


class GoogLeNet(nn.Module):
    """Images (N, C, H, W) -> logits (N, classes); in training with auxiliary heads, theirs too, 4a's first.

    `batch_norm` selects torchvision's form; without it, the paper's. Poolings between stages round sizes up.
    """

    def __init__(self, *, batch_norm: bool, auxiliary: bool, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        unit: Unit = ConvBN if batch_norm else ConvReLU
        inception = partial(Inception, unit, large=3 if batch_norm else 5)
        head = partial(AuxiliaryHead, unit, any_size=batch_norm, classes=classes)
        halving = partial(nn.MaxPool2d, stride=2, ceil_mode=True)

        self.conv1 = unit(in_channels, 64, 7, stride=2, padding=3)
        self.maxpool1 = halving(3)
        self.norm1 = nn.Identity() if batch_norm else LocalResponseNorm(size=5, alpha=LRN_ALPHA, k=1.0)
        self.conv2 = unit(64, 64, 1)
        self.conv3 = unit(64, 192, 3, padding=1)
        self.norm2 = nn.Identity() if batch_norm else LocalResponseNorm(size=5, alpha=LRN_ALPHA, k=1.0)
        self.maxpool2 = halving(3)

        self.inception3a = inception(192, (64, 96, 128, 16, 32, 32))
        self.inception3b = inception(256, (128, 128, 192, 32, 96, 64))
        self.maxpool3 = halving(3)
        self.inception4a = inception(480, (192, 96, 208, 16, 48, 64))
        self.inception4b = inception(512, (160, 112, 224, 24, 64, 64))
        self.inception4c = inception(512, (128, 128, 256, 24, 64, 64))
        self.inception4d = inception(512, (112, 144, 288, 32, 64, 64))
        self.inception4e = inception(528, (256, 160, 320, 32, 128, 128))
        self.maxpool4 = halving(2 if batch_norm else 3)
        self.inception5a = inception(832, (256, 160, 320, 32, 128, 128))
        self.inception5b = inception(832, (384, 192, 384, 48, 128, 128))

        self.aux1 = head(512) if auxiliary else None
        self.aux2 = head(528) if auxiliary else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(1024, classes)

    def forward(self, images: Tensor) -> Tensor | WithAuxiliary:
        maps = self.norm1(self.maxpool1(self.conv1(images)))
        maps = self.maxpool2(self.norm2(self.conv3(self.conv2(maps))))
        maps = self.maxpool3(self.inception3b(self.inception3a(maps)))
        early = self.inception4a(maps)
        late = self.inception4d(self.inception4c(self.inception4b(early)))
        maps = self.maxpool4(self.inception4e(late))
        maps = self.inception5b(self.inception5a(maps))
        logits: Tensor = self.fc(self.dropout(self.avgpool(maps).flatten(1)))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return WithAuxiliary(logits, (self.aux1(early), self.aux2(late)))
        return logits


def googlenet(*, auxiliary: bool = True, num_classes: int = 1000, in_channels: int = 3) -> GoogLeNet:
    return GoogLeNet(batch_norm=True, auxiliary=auxiliary, classes=num_classes, in_channels=in_channels)


def googlenet_paper(*, auxiliary: bool = True, num_classes: int = 1000, in_channels: int = 3) -> GoogLeNet:
    return GoogLeNet(batch_norm=False, auxiliary=auxiliary, classes=num_classes, in_channels=in_channels)
