"""Inception v3 (Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", arXiv 1512.00567).

Large kernels taken apart: 5x5 into two 3x3 (section 3.1), n x n into 1xn and nx1 (section 3.2). On m x m maps from C to
C channels, in multiply-accumulates:

    7x7:  49 m*m*C*C        1x7 then 7x1:  14 m*m*C*C

The grid shrinks 35 -> 17 -> 8, by a strided convolution and a pooling side by side (section 5, figure 10), so that no
layer has to squeeze everything through few channels. One auxiliary head, behind the last 17x17 module, regularises the
training (section 4); v3 is the row of table 3 whose head has BatchNorm throughout.

This is the form that the authors published with their weights, which is not the paper's table 1; the card lists where
they part. Parameter names equal torchvision's. The auxiliary loss weighs 0.4: the paper gives no number, the authors'
published training code does (tensorflow/models, inception/inception_model.py).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, max_pool2d

from deploykit.zoo.googlenet import ConvBN
from deploykit.zoo.training import WithAuxiliary

WIDTH_17 = 768  # channels of the 17x17 maps
SEVENS = (128, 160, 160, 192)  # channels between the 1x7 and 7x1 convolutions, one number per 17x17 module


class Grid35(nn.Module):
    """(N, C, m, m) -> (N, 224 + pooled, m, m): 1x1, 5x5, two 3x3, and an average pooling with its 1x1."""

    def __init__(self, in_channels: int, *, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = ConvBN(in_channels, 64, 1)
        self.branch5x5_1 = ConvBN(in_channels, 48, 1)
        self.branch5x5_2 = ConvBN(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = ConvBN(in_channels, 64, 1)
        self.branch3x3dbl_2 = ConvBN(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvBN(96, 96, 3, padding=1)
        self.branch_pool = ConvBN(in_channels, pooled, 1)

    def forward(self, maps: Tensor) -> Tensor:
        single = self.branch1x1(maps)
        five = self.branch5x5_2(self.branch5x5_1(maps))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(maps)))
        return torch.cat([single, five, double, self.branch_pool(_average(maps))], 1)


class Reduction35(nn.Module):
    """(N, C, m, m) -> (N, 480 + C, (m - 1) // 2, (m - 1) // 2)."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3 = ConvBN(in_channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = ConvBN(in_channels, 64, 1)
        self.branch3x3dbl_2 = ConvBN(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvBN(96, 96, 3, stride=2)

    def forward(self, maps: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(maps)))
        return torch.cat([self.branch3x3(maps), double, max_pool2d(maps, 3, stride=2)], 1)


class Grid17(nn.Module):
    """(N, 768, m, m) -> (N, 768, m, m): 1x1, one 7x7 and two 7x7 taken apart, and an average pooling with its 1x1.

    `seven` is the width between the 1x7 and 7x1 convolutions.
    """

    def __init__(self, *, seven: int) -> None:
        super().__init__()
        across, down = (0, 3), (3, 0)  # paddings of 1x7 and 7x1
        self.branch1x1 = ConvBN(WIDTH_17, 192, 1)
        self.branch7x7_1 = ConvBN(WIDTH_17, seven, 1)
        self.branch7x7_2 = ConvBN(seven, seven, (1, 7), padding=across)
        self.branch7x7_3 = ConvBN(seven, 192, (7, 1), padding=down)
        self.branch7x7dbl_1 = ConvBN(WIDTH_17, seven, 1)
        self.branch7x7dbl_2 = ConvBN(seven, seven, (7, 1), padding=down)
        self.branch7x7dbl_3 = ConvBN(seven, seven, (1, 7), padding=across)
        self.branch7x7dbl_4 = ConvBN(seven, seven, (7, 1), padding=down)
        self.branch7x7dbl_5 = ConvBN(seven, 192, (1, 7), padding=across)
        self.branch_pool = ConvBN(WIDTH_17, 192, 1)

    def forward(self, maps: Tensor) -> Tensor:
        single = self.branch1x1(maps)
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(maps)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(maps)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([single, seven, double, self.branch_pool(_average(maps))], 1)


class Reduction17(nn.Module):
    """(N, 768, m, m) -> (N, 1280, (m - 1) // 2, (m - 1) // 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = ConvBN(WIDTH_17, 192, 1)
        self.branch3x3_2 = ConvBN(192, 320, 3, stride=2)
        self.branch7x7x3_1 = ConvBN(WIDTH_17, 192, 1)
        self.branch7x7x3_2 = ConvBN(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = ConvBN(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = ConvBN(192, 192, 3, stride=2)

    def forward(self, maps: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(maps))
        seven = self.branch7x7x3_2(self.branch7x7x3_1(maps))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(seven))
        return torch.cat([three, seven, max_pool2d(maps, 3, stride=2)], 1)


class Grid8(nn.Module):
    """(N, C, m, m) -> (N, 2048, m, m): 1x3 and 3x1 side by side instead of in turn (figure 7).

    The coarsest grid gets the most channels, for features of high dimension (section 2, principle 2).
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        across, down = (0, 1), (1, 0)  # paddings of 1x3 and 3x1
        self.branch1x1 = ConvBN(in_channels, 320, 1)
        self.branch3x3_1 = ConvBN(in_channels, 384, 1)
        self.branch3x3_2a = ConvBN(384, 384, (1, 3), padding=across)
        self.branch3x3_2b = ConvBN(384, 384, (3, 1), padding=down)
        self.branch3x3dbl_1 = ConvBN(in_channels, 448, 1)
        self.branch3x3dbl_2 = ConvBN(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = ConvBN(384, 384, (1, 3), padding=across)
        self.branch3x3dbl_3b = ConvBN(384, 384, (3, 1), padding=down)
        self.branch_pool = ConvBN(in_channels, 192, 1)

    def forward(self, maps: Tensor) -> Tensor:
        single = self.branch1x1(maps)
        three = self.branch3x3_1(maps)
        three = torch.cat([self.branch3x3_2a(three), self.branch3x3_2b(three)], 1)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(maps))
        double = torch.cat([self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)], 1)
        return torch.cat([single, three, double, self.branch_pool(_average(maps))], 1)


class AuxiliaryHead(nn.Module):
    """17x17 maps (N, 768, 17, 17) -> logits (N, classes) (figure 8).

    The fully connected layer is a 5x5 convolution, so that BatchNorm can follow it; maps below 17x17 are too small.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv0 = ConvBN(WIDTH_17, 128, 1)
        self.conv1 = ConvBN(128, WIDTH_17, 5)
        self.fc = nn.Linear(WIDTH_17, classes)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.conv1(self.conv0(avg_pool2d(maps, 5, stride=3)))
        logits: Tensor = self.fc(adaptive_avg_pool2d(maps, 1).flatten(1))
        return logits


def _average(maps: Tensor) -> Tensor:
    """3x3 averages that keep the size; the zeros around the maps count."""
    return avg_pool2d(maps, 3, stride=1, padding=1)


class InceptionV3(nn.Module):
    """Images (N, C, H, W), H and W at least 75 -> logits (N, classes); with the head and in training: WithAuxiliary."""

    def __init__(self, *, auxiliary: bool = True, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvBN(in_channels, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvBN(32, 32, 3)
        self.Conv2d_2b_3x3 = ConvBN(32, 64, 3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = ConvBN(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvBN(80, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2)
        self.Mixed_5b = Grid35(192, pooled=32)
        self.Mixed_5c = Grid35(256, pooled=64)
        self.Mixed_5d = Grid35(288, pooled=64)
        self.Mixed_6a = Reduction35(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (Grid17(seven=seven) for seven in SEVENS)
        self.AuxLogits = AuxiliaryHead(classes) if auxiliary else None
        self.Mixed_7a = Reduction17()
        self.Mixed_7b = Grid8(1280)
        self.Mixed_7c = Grid8(2048)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(2048, classes)

    def forward(self, images: Tensor) -> Tensor | WithAuxiliary:
        maps = self.maxpool1(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images))))
        maps = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(maps)))
        maps = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(maps))))
        maps = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(maps))))
        top = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(maps)))
        logits: Tensor = self.fc(self.dropout(self.avgpool(top)).flatten(1))
        if self.AuxLogits is None or not self.training:
            return logits
        return WithAuxiliary(logits, (self.AuxLogits(maps),))


def inception_v3(*, auxiliary: bool = True, num_classes: int = 1000, in_channels: int = 3) -> InceptionV3:
    return InceptionV3(auxiliary=auxiliary, classes=num_classes, in_channels=in_channels)
