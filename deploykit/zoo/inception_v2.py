"""Inception v2 (Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", arXiv 1512.00567).

Section 6 and table 1 of the paper, which fix the grid and the channels of every stage, but no width inside a module:

    stem           299x299x3   -> 35x35x288    six 3x3 convolutions, a 3x3/2 max pooling behind the third
    3 x figure 5   35x35x288   -> 35x35x288    GoogLeNet's module, its 5x5 as two 3x3
    figure 10      35x35x288   -> 17x17x768    convolutions and a pooling of stride 2, side by side
    5 x figure 6   17x17x768   -> 17x17x768    1xn and nx1 convolutions in turn, n = 7
    figure 10      17x17x768   -> 8x8x1280
    2 x figure 7   8x8x1280    -> 8x8x2048     1x3 and 3x1 convolutions side by side
    average, linear            -> 1000

(Not the "Inception v2" of TF-slim: that is BN-Inception, arXiv 1502.03167.) The widths inside are chosen here. Where
the Inception v3 that the authors published has the same branch, they are v3's; all modules of a stage are alike. What
that leaves free is the width around the 1x7 and 7x1 convolutions. Table 3 of the paper has the network with this stem
cost as much as v3, which in its published form takes 5713 million multiply-accumulates; 128 channels come nearest:

    stage                parameters    multiply-accumulates of one image
    stem                    711,872    1,627,898,976
    3 x figure 5            708,000      863,654,400
    figure 10               877,184      373,791,744
    5 x figure 6          6,487,040    1,870,315,520
    figure 10             1,513,600      237,735,936
    2 x figure 7         11,121,408      710,934,528
    linear                2,049,000        2,048,000
    in all               23,468,104    5,686,379,104

The auxiliary head (section 4) has BatchNorm behind its convolution and none in its fully connected layer: adding it
there is what makes v3 of v2 ("BN-auxiliary" in table 3). Its loss weighs 0.4 as in the authors' published training code
for v3 (tensorflow/models, inception/inception_model.py); the paper gives no number. No dropout, as in table 1.
"""

import torch
from torch import Tensor, nn

from deploykit.zoo.googlenet import ConvBN
from deploykit.zoo.training import WithAuxiliary

SEVEN = 128  # channels around the 1x7 and 7x1 convolutions


class Concat(nn.Module):
    """Branches over the same maps, their outputs stacked as channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([branch(maps) for branch in self.branches], 1)


class AuxiliaryHead(nn.Module):
    """17x17 maps (N, 768, 17, 17) -> logits (N, classes) (figure 8).

    The layers of GoogLeNet's heads, BatchNorm behind the convolution alone. Maps of 17x17 to 19x19 fit.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(5, stride=3)
        self.conv = ConvBN(768, 128, 1)
        self.fc1 = nn.Linear(128 * 5 * 5, 1024)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Linear(1024, classes)

    def forward(self, maps: Tensor) -> Tensor:
        hidden = self.relu(self.fc1(self.conv(self.pool(maps)).flatten(1)))
        logits: Tensor = self.fc2(hidden)
        return logits


class InceptionV2(nn.Module):
    """Images (N, C, H, W), H and W at least 75 -> logits (N, classes); with the head and in training: WithAuxiliary.

    The head takes images of 299 to 346 pixels.
    """

    def __init__(self, *, auxiliary: bool = True, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvBN(in_channels, 32, 3, stride=2),
            ConvBN(32, 32, 3),
            ConvBN(32, 64, 3, padding=1),
            nn.MaxPool2d(3, stride=2),
            ConvBN(64, 80, 3),
            ConvBN(80, 192, 3, stride=2),
            ConvBN(192, 288, 3, padding=1),
        )
        self.grid35 = nn.Sequential(*(_figure_5() for _ in range(3)))
        self.reduction35 = _figure_10(288, single=(192, 384), double=(64, 96))
        self.grid17 = nn.Sequential(*(_figure_6() for _ in range(5)))
        self.auxiliary = AuxiliaryHead(classes) if auxiliary else None
        self.reduction17 = _figure_10(768, single=(192, 320), double=(192, 192))
        self.grid8 = nn.Sequential(_figure_7(1280), _figure_7(2048))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2048, classes)

    def forward(self, images: Tensor) -> Tensor | WithAuxiliary:
        maps = self.grid17(self.reduction35(self.grid35(self.stem(images))))
        top = self.grid8(self.reduction17(maps))
        logits: Tensor = self.fc(self.avgpool(top).flatten(1))
        if self.auxiliary is None or not self.training:
            return logits
        return WithAuxiliary(logits, (self.auxiliary(maps),))


def _figure_5() -> Concat:
    """(N, 288, m, m) -> (N, 64 + 64 + 96 + 64, m, m)."""
    return Concat(
        ConvBN(288, 64, 1),
        nn.Sequential(ConvBN(288, 48, 1), ConvBN(48, 64, 3, padding=1)),
        nn.Sequential(ConvBN(288, 64, 1), ConvBN(64, 96, 3, padding=1), ConvBN(96, 96, 3, padding=1)),
        nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), ConvBN(288, 64, 1)),
    )


def _figure_6() -> Concat:
    """(N, 768, m, m) -> (N, 4 * 192, m, m)."""
    return Concat(
        ConvBN(768, 192, 1),
        nn.Sequential(ConvBN(768, SEVEN, 1), _across(SEVEN, SEVEN, 7), _down(SEVEN, 192, 7)),
        nn.Sequential(
            ConvBN(768, SEVEN, 1),
            _across(SEVEN, SEVEN, 7),
            _down(SEVEN, SEVEN, 7),
            _across(SEVEN, SEVEN, 7),
            _down(SEVEN, 192, 7),
        ),
        nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), ConvBN(768, 192, 1)),
    )


def _figure_7(in_channels: int) -> Concat:
    """(N, C, m, m) -> (N, 320 + 2 * 384 + 2 * 384 + 192, m, m)."""
    return Concat(
        ConvBN(in_channels, 320, 1),
        nn.Sequential(ConvBN(in_channels, 384, 1), Concat(_across(384, 384, 3), _down(384, 384, 3))),
        nn.Sequential(
            ConvBN(in_channels, 448, 1),
            ConvBN(448, 384, 3, padding=1),
            Concat(_across(384, 384, 3), _down(384, 384, 3)),
        ),
        nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), ConvBN(in_channels, 192, 1)),
    )


def _figure_10(in_channels: int, *, single: tuple[int, int], double: tuple[int, int]) -> Concat:
    """(N, C, m, m) -> (N, single[1] + double[1] + C, (m - 1) // 2, (m - 1) // 2).

    `single` and `double` are the widths of the 1x1 and of the 3x3 convolutions in the branch with one 3x3 and in that
    with two.
    """
    return Concat(
        nn.Sequential(ConvBN(in_channels, single[0], 1), ConvBN(*single, 3, stride=2)),
        nn.Sequential(
            ConvBN(in_channels, double[0], 1), ConvBN(*double, 3, padding=1), ConvBN(double[1], double[1], 3, stride=2)
        ),
        nn.MaxPool2d(3, stride=2),
    )


def _across(in_channels: int, out_channels: int, n: int) -> ConvBN:
    return ConvBN(in_channels, out_channels, (1, n), padding=(0, n // 2))


def _down(in_channels: int, out_channels: int, n: int) -> ConvBN:
    return ConvBN(in_channels, out_channels, (n, 1), padding=(n // 2, 0))


def inception_v2(*, auxiliary: bool = True, num_classes: int = 1000, in_channels: int = 3) -> InceptionV2:
    return InceptionV2(auxiliary=auxiliary, classes=num_classes, in_channels=in_channels)
