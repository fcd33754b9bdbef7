"""Xception (Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", arXiv 1610.02357, figure 5).

An Inception module with as many branches as channels: each channel gets a 3x3 filter of its own, a 1x1 mixes them, and
nothing stands between the two (figure 10: a non-linearity there costs accuracy). 36 convolutions in 14 modules, all but
the first and the last with a linear residual connection. Parameter names equal timm's `legacy_xception`.
"""

from torch import Tensor, nn

MIDDLE_BLOCKS = 8
RESIDUAL_BLOCKS = 3 + MIDDLE_BLOCKS + 1
DROPOUT = 0.5  # section 4.3, for ImageNet


class SeparableConv2d(nn.Module):
    """3x3 depthwise, then 1x1 pointwise, without biases."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        mixed: Tensor = self.pointwise(self.conv1(maps))
        return mixed


class XceptionBlock(nn.Module):
    """A residual module: `widths` are its separable convolutions', a ReLU before each and BatchNorm behind.

    `halve` ends it in a max pooling with stride 2 and makes the shortcut a strided 1x1 convolution; otherwise the
    shortcut is the input itself, which the first ReLU therefore leaves as it is. Nothing follows the addition.
    """

    def __init__(self, in_channels: int, *widths: int, halve: bool = False, leading_relu: bool = True) -> None:
        super().__init__()
        self.skip = nn.Conv2d(in_channels, widths[-1], 1, stride=2, bias=False) if halve else None
        self.skipbn = nn.BatchNorm2d(widths[-1]) if halve else None
        layers: list[nn.Module] = []
        for position, (read, width) in enumerate(zip((in_channels, *widths), widths, strict=False)):
            if position or leading_relu:
                layers.append(nn.ReLU(inplace=position > 0))
            layers += [SeparableConv2d(read, width), nn.BatchNorm2d(width)]
        if halve:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        self.rep = nn.Sequential(*layers)

    def forward(self, maps: Tensor) -> Tensor:
        branch: Tensor = self.rep(maps)
        if self.skip is None or self.skipbn is None:
            return branch + maps
        shortcut: Tensor = self.skipbn(self.skip(maps))
        return branch + shortcut


class Xception(nn.Module):
    """Images (N, C, H, W), H and W at least 7 -> logits (N, classes)."""

    def __init__(self, *, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 32, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(32, 64, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.act2 = nn.ReLU(inplace=True)
        for number, block in enumerate(_residual_blocks(), start=1):
            self.add_module(f"block{number}", block)
        self.conv3 = SeparableConv2d(1024, 1536)
        self.bn3 = nn.BatchNorm2d(1536)
        self.act3 = nn.ReLU(inplace=True)
        self.conv4 = SeparableConv2d(1536, 2048)
        self.bn4 = nn.BatchNorm2d(2048)
        self.act4 = nn.ReLU(inplace=True)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.head_drop = nn.Dropout(DROPOUT)
        self.fc = nn.Linear(2048, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.act1(self.bn1(self.conv1(images)))
        maps = self.act2(self.bn2(self.conv2(maps)))
        for number in range(1, RESIDUAL_BLOCKS + 1):
            maps = self.get_submodule(f"block{number}")(maps)
        maps = self.act3(self.bn3(self.conv3(maps)))
        maps = self.act4(self.bn4(self.conv4(maps)))
        logits: Tensor = self.fc(self.head_drop(self.global_pool(maps).flatten(1)))
        return logits


def _residual_blocks() -> tuple[XceptionBlock, ...]:
    """The modules between the stem and the last two separable convolutions, (N, 64) to (N, 1024) maps."""
    return (
        XceptionBlock(64, 128, 128, halve=True, leading_relu=False),
        XceptionBlock(128, 256, 256, halve=True),
        XceptionBlock(256, 728, 728, halve=True),
        *(XceptionBlock(728, 728, 728, 728) for _ in range(MIDDLE_BLOCKS)),
        XceptionBlock(728, 728, 1024, halve=True),
    )


def xception(*, num_classes: int = 1000, in_channels: int = 3) -> Xception:
    return Xception(classes=num_classes, in_channels=in_channels)
