"""MobileNet v1 (Howard et al., "MobileNets: Efficient CNNs for Mobile Vision Applications", arXiv 1704.04861, table 1).

A k x k convolution from M to N channels, split in two: one k x k filter per channel, then a 1x1 that mixes channels.

    multiply-accumulates per pixel:   k*k*M*N   ->   k*k*M + M*N

`width_mult` thins every layer (section 3.3); the image size is free, since the last pooling takes what is left
(section 3.4). Parameter names equal timm's `mobilenetv1_100`, and like there the non-linearity is ReLU6.
"""

from torch import Tensor, nn

STEM = 32

# One row per stage: output channels, stride of the first block, blocks.
STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 2, 6), (1024, 2, 2))


def thinned(width: int, width_mult: float) -> int:
    """`width * width_mult` channels, to the nearest multiple of 8 (half upwards), at least 8."""
    return max(8, int(width * width_mult + 4) // 8 * 8)


class DepthwiseSeparable(nn.Module):
    """3x3 depthwise and 1x1 pointwise, each with BatchNorm and ReLU6 (figure 3, right)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv_dw = nn.Conv2d(in_channels, in_channels, 3, stride=stride, padding=1, groups=in_channels, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.act1 = nn.ReLU6(inplace=True)
        self.conv_pw = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.act2 = nn.ReLU6(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.act1(self.bn1(self.conv_dw(maps)))
        mixed: Tensor = self.act2(self.bn2(self.conv_pw(maps)))
        return mixed


class MobileNet(nn.Module):
    """Images (N, C, H, W) -> logits (N, classes). The stem and four stages each halve the size, rounding up."""

    def __init__(self, *, width_mult: float = 1.0, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        channels = thinned(STEM, width_mult)
        self.conv_stem = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = nn.ReLU6(inplace=True)
        stages = []
        for full_width, stride, depth in STAGES:
            width = thinned(full_width, width_mult)
            first = DepthwiseSeparable(channels, width, stride=stride)
            stages.append(nn.Sequential(first, *(DepthwiseSeparable(width, width, stride=1) for _ in range(depth - 1))))
            channels = width
        self.blocks = nn.Sequential(*stages)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.blocks(self.act1(self.bn1(self.conv_stem(images))))
        logits: Tensor = self.classifier(self.global_pool(maps).flatten(1))
        return logits


def mobilenet(*, width_mult: float = 1.0, num_classes: int = 1000, in_channels: int = 3) -> MobileNet:
    return MobileNet(width_mult=width_mult, classes=num_classes, in_channels=in_channels)
