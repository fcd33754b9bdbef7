"""LeNet-5 (LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998, figure 2).

`lenet5` is the form taught today: every C3 map reads all six S2 maps (the paper's table I leaves some out), the
poolings only average (the paper's also learn a coefficient and a bias per map), and the output is linear instead of
radial basis functions. 61,706 parameters. `lenet5_1998` is the network as the paper prints it: 60,000 parameters, and
840 that are fixed. Layers keep the paper's names.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

# Table I: the S2 maps that each C3 map reads.
C3_TABLE = (
    (0, 1, 2),
    (1, 2, 3),
    (2, 3, 4),
    (3, 4, 5),
    (0, 4, 5),
    (0, 1, 5),
    (0, 1, 2, 3),
    (1, 2, 3, 4),
    (2, 3, 4, 5),
    (0, 3, 4, 5),
    (0, 1, 4, 5),
    (0, 1, 2, 5),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)

# The digits 0 to 9 side by side, each 7 wide and 12 high and drawn for this file: "#" is +1, "." is -1.
BITMAPS = """
..###.. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.#####. ..###.. ####### ####### ...###. ####### .#####. ####### ####### #######
##...## .####.. ##...## ##...## ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## .##.##. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## .##.##. ######. ######. ....##. ##...## ##...##
##...## ...##.. ....##. ..####. ##..##. ####### ####### ....##. .#####. ##...##
##...## ...##.. ...##.. ..####. ##..##. .....## ##...## ...##.. .#####. #######
##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .######
##...## ...##.. .##.... .....## ####### .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## .....##
.#####. .###### ####### ####### ....##. ####### ####### .##.... ####### .#####.
..###.. .###### ####### .#####. ....##. .#####. .#####. .##.... .#####. .####..
"""


CODES_SEED = 1998  # of the vectors of classes that are no digits


class LeNet5(nn.Module):
    """Images (N, C, 32, 32), by default gray -> logits (N, classes). Up to 35 pixels leave the same 5x5 maps for C5."""

    def __init__(self, *, classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(in_channels, 6, 5)
        self.s2 = nn.AvgPool2d(2)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.s4 = nn.AvgPool2d(2)
        self.c5 = nn.Linear(16 * 5 * 5, 120)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.s2(torch.tanh(self.c1(images)))
        maps = self.s4(torch.tanh(self.c3(maps)))
        features = torch.tanh(self.c5(maps.flatten(1)))
        logits: Tensor = self.output(torch.tanh(self.f6(features)))
        return logits


class Subsampling(nn.Module):
    """S2 and S4: the four values of a 2x2 square added, times the map's coefficient, plus the map's bias.

    Both are trained. The paper draws from -2.4 / 4 to 2.4 / 4, for a fan-in of 4 (appendix A); a coefficient here is
    drawn from the upper quarter: near zero it would mute its map, and its sign is the next layer's to choose.
    """

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(maps, 1, 1).uniform_(0.3, 0.6))
        self.bias = nn.Parameter(torch.empty(maps, 1, 1).uniform_(-0.1, 0.1))

    def forward(self, maps: Tensor) -> Tensor:
        return functional.avg_pool2d(maps, 2) * (4.0 * self.coefficient) + self.bias


class SparseC3(nn.Module):
    """Six maps to sixteen by table I. Maps that read equally many are one grouped convolution, each map a group.

    Its inputs are gathered first, map by map: 6 -> 18 for the six that read three, 6 -> 36 for the nine that read
    four; the last map reads all. So nothing is computed for a connection that is not there, every weight lies in an
    ordinary convolution, and the exported graph has three of them, two Gathers and a Concat.

        6 (3 x 25 + 1) + 9 (4 x 25 + 1) + (6 x 25 + 1) = 1516 parameters
    """

    def __init__(self) -> None:
        super().__init__()
        threes, fours = ([inputs for inputs in C3_TABLE if len(inputs) == count] for count in (3, 4))
        self.register_buffer("read_by_threes", torch.tensor(sum(threes, ())), persistent=False)
        self.register_buffer("read_by_fours", torch.tensor(sum(fours, ())), persistent=False)
        self.threes = nn.Conv2d(3 * len(threes), len(threes), 5, groups=len(threes))
        self.fours = nn.Conv2d(4 * len(fours), len(fours), 5, groups=len(fours))
        self.all = nn.Conv2d(6, 1, 5)

    def forward(self, maps: Tensor) -> Tensor:
        threes = self.threes(maps.index_select(1, cast(Tensor, self.read_by_threes)))
        fours = self.fours(maps.index_select(1, cast(Tensor, self.read_by_fours)))
        return torch.cat([threes, fours, self.all(maps)], 1)


class RadialBasis(nn.Module):
    """Features x (N, 84) -> scores (N, classes), -sum_j (x_j - w_ij)^2 for the fixed vector w_i of class i.

    w_i is the bitmap of the digit i, row by row; from the eleventh class on its +-1 are drawn with equal probability,
    which the paper names as the other choice (section II.B). In the paper the class with the smallest distance wins;
    the scores are the distances negated, so that here, as everywhere, the largest does.
    """

    def __init__(self, *, classes: int) -> None:
        super().__init__()
        digits = _digit_bitmaps().flatten(1)
        drawn = (max(0, classes - len(digits)), digits.shape[1])
        signs = (
            torch.randint(2, drawn, generator=torch.Generator("cpu").manual_seed(CODES_SEED), device="cpu") * 2.0 - 1.0
        )
        self.register_buffer("bitmaps", torch.cat([digits, signs.to(digits)])[:classes])

    def forward(self, features: Tensor) -> Tensor:
        differences = features.unsqueeze(1) - cast(Tensor, self.bitmaps)
        return -(differences * differences).sum(2)


class LeNet5As1998(nn.Module):
    """Images (N, C, 32, 32), by default gray -> scores (N, classes) of at most 0. Up to 35 pixels leave C5's 5x5 maps.

    Every layer up to F6 ends in the squashing function 1.7159 tanh(2x/3), whose value at +-1, the bitmaps' values, is
    +-1 (appendix A). Parameters: C1 156, S2 12, C3 1516, S4 32, C5 48120, F6 10164; the output's 840 are fixed.
    """

    def __init__(self, *, classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(in_channels, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = SparseC3()
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.output = RadialBasis(classes=classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = _squash(self.s2(_squash(self.c1(images))))
        maps = _squash(self.s4(_squash(self.c3(maps))))
        features = _squash(self.c5(maps)).flatten(1)
        scores: Tensor = self.output(_squash(self.f6(features)))
        return scores


def _squash(sums: Tensor) -> Tensor:
    return 1.7159 * torch.tanh(sums * (2.0 / 3.0))


def _digit_bitmaps() -> Tensor:
    """(10, 12, 7) of +1 and -1."""
    rows = [line.split() for line in BITMAPS.split("\n") if line]
    ink = [[[1.0 if dot == "#" else -1.0 for dot in row[digit]] for row in rows] for digit in range(10)]
    return torch.tensor(ink)


def lenet5(*, num_classes: int = 10, in_channels: int = 1) -> LeNet5:
    return LeNet5(classes=num_classes, in_channels=in_channels)


def lenet5_1998(*, num_classes: int = 10, in_channels: int = 1) -> LeNet5As1998:
    return LeNet5As1998(classes=num_classes, in_channels=in_channels)
