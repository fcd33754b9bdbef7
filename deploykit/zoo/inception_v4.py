"""Inception-v4 (Szegedy, Ioffe, Vanhoucke, Alemi, arXiv 1602.07261, figures 3 to 9).

One kind of block per grid size, repeated: 4 x A on 35x35 maps, 7 x B on 17x17, 3 x C on 8x8, and a reduction between.
B replaces a 7x7 convolution by a 1x7 and a 7x1, C a 3x3 by a 1x3 and a 3x1 side by side. Convolutions keep the size;
those that the figures mark "V" (`valid`) have no padding. Parameter names and the order of the factors equal timm's
`inception_v4`.
"""

import torch
from torch import Tensor, nn

from deploykit.zoo.googlenet import ConvBN

DROPOUT = 0.2  # figure 9: "keep 0.8"


class Tower(nn.Sequential):
    """Convolutions in a row, each as (width, kernel); `stride` and `valid` are the last one's."""

    def __init__(
        self, in_channels: int, *layers: tuple[int, int | tuple[int, int]], stride: int = 1, valid: bool = False
    ) -> None:
        super().__init__()
        for position, (width, kernel) in enumerate(layers, start=1):
            height, breadth = (kernel, kernel) if isinstance(kernel, int) else kernel
            last = position == len(layers)
            padding = (0, 0) if last and valid else (height // 2, breadth // 2)
            self.append(ConvBN(in_channels, width, kernel, stride=stride if last else 1, padding=padding))
            in_channels = width


class PoolProjection(nn.Sequential):
    """3x3 average pooling that leaves the padding out of its means, and a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        pooling = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        super().__init__(pooling, ConvBN(in_channels, out_channels, 1))


class Concat(nn.Module):
    """Branches that read the same maps, their outputs concatenated; called branch0, branch1, ... or by `names`."""

    def __init__(self, *branches: nn.Module, names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.names = names or tuple(f"branch{index}" for index in range(len(branches)))
        for name, branch in zip(self.names, branches, strict=True):
            self.add_module(name, branch)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([self.get_submodule(name)(maps) for name in self.names], 1)


class ReductionA(Concat):
    """35x35 to 17x17 maps in each of the paper's networks (figure 7); k, l, m and n are those of table 1."""

    def __init__(self, in_channels: int, *, klm: tuple[int, int, int], n: int) -> None:
        k, l, m = klm  # noqa: E741
        super().__init__(
            ConvBN(in_channels, n, 3, stride=2),
            Tower(in_channels, (k, 1), (l, 3), (m, 3), stride=2, valid=True),
            nn.MaxPool2d(3, 2),
        )


class InceptionC(nn.Module):
    """The 8x8 block (figure 6): 1x3 and 3x1 convolutions side by side at the end of two branches."""

    def __init__(self) -> None:
        super().__init__()
        self.branch0 = ConvBN(1536, 256, 1)
        self.branch1_0 = ConvBN(1536, 384, 1)
        self.branch1_1a = ConvBN(384, 256, (1, 3), padding=(0, 1))
        self.branch1_1b = ConvBN(384, 256, (3, 1), padding=(1, 0))
        self.branch2_0 = ConvBN(1536, 384, 1)
        self.branch2_1 = ConvBN(384, 448, (3, 1), padding=(1, 0))
        self.branch2_2 = ConvBN(448, 512, (1, 3), padding=(0, 1))
        self.branch2_3a = ConvBN(512, 256, (1, 3), padding=(0, 1))
        self.branch2_3b = ConvBN(512, 256, (3, 1), padding=(1, 0))
        self.branch3 = PoolProjection(1536, 256)

    def forward(self, maps: Tensor) -> Tensor:
        short = self.branch1_0(maps)
        long = self.branch2_2(self.branch2_1(self.branch2_0(maps)))
        forks = [self.branch1_1a(short), self.branch1_1b(short), self.branch2_3a(long), self.branch2_3b(long)]
        return torch.cat([self.branch0(maps), *forks, self.branch3(maps)], 1)


class InceptionV4(nn.Module):
    """Images (N, C, H, W), H and W at least 75 -> logits (N, classes)."""

    def __init__(self, *, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_stem(in_channels),
            *(_inception_a() for _ in range(4)),
            ReductionA(384, klm=(192, 224, 256), n=384),
            *(_inception_b() for _ in range(7)),
            _reduction_b(),
            *(InceptionC() for _ in range(3)),
        )
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.head_drop = nn.Dropout(DROPOUT)
        self.last_linear = nn.Linear(1536, classes)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.global_pool(self.features(images)).flatten(1)
        logits: Tensor = self.last_linear(self.head_drop(pooled))
        return logits


def _stem(in_channels: int) -> list[nn.Module]:
    """(N, C, 299, 299) to (N, 384, 35, 35): figure 3."""
    return [
        ConvBN(in_channels, 32, 3, stride=2),
        ConvBN(32, 32, 3),
        ConvBN(32, 64, 3, padding=1),
        Concat(nn.MaxPool2d(3, 2), ConvBN(64, 96, 3, stride=2), names=("maxpool", "conv")),
        Concat(
            Tower(160, (64, 1), (96, 3), valid=True),
            Tower(160, (64, 1), (64, (1, 7)), (64, (7, 1)), (96, 3), valid=True),
        ),
        Concat(ConvBN(192, 192, 3, stride=2), nn.MaxPool2d(3, 2), names=("conv", "maxpool")),
    ]


def _inception_a() -> Concat:
    """Figure 4."""
    return Concat(
        ConvBN(384, 96, 1),
        Tower(384, (64, 1), (96, 3)),
        Tower(384, (64, 1), (96, 3), (96, 3)),
        PoolProjection(384, 96),
    )


def _inception_b() -> Concat:
    """Figure 5."""
    return Concat(
        ConvBN(1024, 384, 1),
        Tower(1024, (192, 1), (224, (1, 7)), (256, (7, 1))),
        Tower(1024, (192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
        PoolProjection(1024, 128),
    )


def _reduction_b() -> Concat:
    """17x17 to 8x8 maps: figure 8."""
    return Concat(
        Tower(1024, (192, 1), (192, 3), stride=2, valid=True),
        Tower(1024, (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3), stride=2, valid=True),
        nn.MaxPool2d(3, 2),
    )


def inception_v4(*, num_classes: int = 1000, in_channels: int = 3) -> InceptionV4:
    return InceptionV4(classes=num_classes, in_channels=in_channels)
