"""Inception-ResNet (Szegedy, Ioffe, Vanhoucke, Alemi, arXiv 1602.07261, figures 10 to 19).

    y = relu(x + s * (W concat(branches(x)) + b))

The branches of an Inception block become a residual: a 1x1 convolution with a bias, but without BatchNorm or ReLU (the
figures' "Linear"), expands them to the width of x. Scaled down by s, the residuals of very wide networks do not make
training collapse to zeros (section 3.3, which names 0.1 to 0.3). v1 costs about as much as Inception-v3, v2 as
Inception-v4.

v1 follows the paper's figures; its layers are named as their counterparts in v2. v2 is the network that the authors
published weights of, which differs from the figures; parameter names equal timm's `inception_resnet_v2`.
"""

from collections import OrderedDict

from torch import Tensor, nn

from deploykit.errors import UsageError
from deploykit.zoo.googlenet import ConvBN
from deploykit.zoo.inception_v4 import DROPOUT, Concat, PoolProjection, ReductionA, Tower

SCALES = (0.17, 0.10, 0.20)  # s on the 35x35, 17x17 and 8x8 grids, from the authors' code of v2


class ResidualInception(Concat):
    """One residual block on x of `channels`, whose branches make `branch_channels` in all; `activate` is its ReLU."""

    def __init__(
        self, *branches: nn.Module, branch_channels: int, channels: int, scale: float, activate: bool = True
    ) -> None:
        super().__init__(*branches)
        self.conv2d = nn.Conv2d(branch_channels, channels, 1)
        self.relu = nn.ReLU() if activate else None
        self.scale = scale

    def forward(self, maps: Tensor) -> Tensor:
        residual: Tensor = self.conv2d(super().forward(maps))
        if self.scale != 1:
            residual = residual * self.scale
        joined = residual + maps
        return joined if self.relu is None else self.relu(joined)


class InceptionResNet(nn.Sequential):
    """Images (N, C, H, W), H and W at least 75 -> logits (N, classes), through `stages` that end in `channels` maps."""

    def __init__(self, stages: dict[str, nn.Module], *, channels: int, classes: int) -> None:
        head = {
            "global_pool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "head_drop": nn.Dropout(DROPOUT),
            "classif": nn.Linear(channels, classes),
        }
        super().__init__(OrderedDict(stages | head))


def inception_resnet_v1(
    *, residual_scale: float | None = None, num_classes: int = 1000, in_channels: int = 3
) -> InceptionResNet:
    """5, 10 and 5 blocks. `residual_scale` replaces the scales of all three grids."""
    scale_a, scale_b, scale_c = _scales(residual_scale)
    stages = _stem(in_channels) | {
        "conv2d_4b": ConvBN(192, 256, 3, stride=2),
        "repeat": nn.Sequential(*(_block_a(256, 32, 32, scale=scale_a) for _ in range(5))),
        "mixed_6a": ReductionA(256, klm=(192, 192, 256), n=384),
        "repeat_1": nn.Sequential(*(_block_b(896, 128, (128, 128, 128), scale=scale_b) for _ in range(10))),
        "mixed_7a": _reduction_b(896, 256, 256, 256),
        "repeat_2": nn.Sequential(*(_block_c(1792, (192, 192, 192), scale=scale_c) for _ in range(5))),
    }
    return InceptionResNet(stages, channels=1792, classes=num_classes)


def inception_resnet_v2(
    *, residual_scale: float | None = None, num_classes: int = 1000, in_channels: int = 3
) -> InceptionResNet:
    """10, 20 and 9 + 1 blocks. `residual_scale` replaces the scales of all three grids.

    The very last block has neither scale nor ReLU, whatever `residual_scale` says: its sum goes straight into a
    1x1 convolution.
    """
    scale_a, scale_b, scale_c = _scales(residual_scale)
    stages = _stem(in_channels) | {
        "maxpool_5a": nn.MaxPool2d(3, 2),
        "mixed_5b": Concat(
            ConvBN(192, 96, 1),
            Tower(192, (48, 1), (64, 5)),
            Tower(192, (64, 1), (96, 3), (96, 3)),
            PoolProjection(192, 64),
        ),
        "repeat": nn.Sequential(*(_block_a(320, 48, 64, scale=scale_a) for _ in range(10))),
        "mixed_6a": ReductionA(320, klm=(256, 256, 384), n=384),
        "repeat_1": nn.Sequential(*(_block_b(1088, 192, (128, 160, 192), scale=scale_b) for _ in range(20))),
        "mixed_7a": _reduction_b(1088, 288, 288, 320),
        "repeat_2": nn.Sequential(*(_block_c(2080, (192, 224, 256), scale=scale_c) for _ in range(9))),
        "block8": _block_c(2080, (192, 224, 256), scale=1.0, activate=False),
        "conv2d_7b": ConvBN(2080, 1536, 1),
    }
    return InceptionResNet(stages, channels=1536, classes=num_classes)


def _scales(given: float | None) -> tuple[float, float, float]:
    """Checked here, types too, since options also arrive as JSON. Raises UsageError."""
    if given is None:
        return SCALES
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= 1:
        raise UsageError(
            f"residual_scale {given!r} is not a number above 0 and at most 1",
            hint="the paper uses 0.1 to 0.3; leave it out for 0.17, 0.10 and 0.20",
        )
    return given, given, given


def _stem(in_channels: int) -> dict[str, nn.Module]:
    """(N, C, 299, 299) to (N, 192, 71, 71): figure 14 but for its last convolution."""
    return {
        "conv2d_1a": ConvBN(in_channels, 32, 3, stride=2),
        "conv2d_2a": ConvBN(32, 32, 3),
        "conv2d_2b": ConvBN(32, 64, 3, padding=1),
        "maxpool_3a": nn.MaxPool2d(3, 2),
        "conv2d_3b": ConvBN(64, 80, 1),
        "conv2d_4a": ConvBN(80, 192, 3),
    }


def _block_a(in_channels: int, second: int, third: int, *, scale: float) -> ResidualInception:
    """Figures 10 and 16; `second` and `third` are the widths of the longest branch behind its 1x1."""
    return ResidualInception(
        ConvBN(in_channels, 32, 1),
        Tower(in_channels, (32, 1), (32, 3)),
        Tower(in_channels, (32, 1), (second, 3), (third, 3)),
        branch_channels=32 + 32 + third,
        channels=in_channels,
        scale=scale,
    )


def _block_b(in_channels: int, single: int, tower: tuple[int, int, int], *, scale: float) -> ResidualInception:
    """Figures 11 and 17; `single` is the width of the lone 1x1."""
    first, second, third = tower
    return ResidualInception(
        ConvBN(in_channels, single, 1),
        Tower(in_channels, (first, 1), (second, (1, 7)), (third, (7, 1))),
        branch_channels=single + third,
        channels=in_channels,
        scale=scale,
    )


def _reduction_b(in_channels: int, single: int, second: int, third: int) -> Concat:
    """Figures 12 and 18; `single` is the width of the second 3x3, `second` and `third` those of the longest branch."""
    return Concat(
        Tower(in_channels, (256, 1), (384, 3), stride=2, valid=True),
        Tower(in_channels, (256, 1), (single, 3), stride=2, valid=True),
        Tower(in_channels, (256, 1), (second, 3), (third, 3), stride=2, valid=True),
        nn.MaxPool2d(3, 2),
    )


def _block_c(
    in_channels: int, tower: tuple[int, int, int], *, scale: float, activate: bool = True
) -> ResidualInception:
    """Figures 13 and 19."""
    first, second, third = tower
    return ResidualInception(
        ConvBN(in_channels, 192, 1),
        Tower(in_channels, (first, 1), (second, (1, 3)), (third, (3, 1))),
        branch_channels=192 + third,
        channels=in_channels,
        scale=scale,
        activate=activate,
    )
