"""LeNet-5 (LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998, figure 2).

The form taught today: every C3 map reads all six S2 maps (the paper's table I leaves some out), the poolings only
average (the paper's also learn a coefficient and a bias per map), and the output is linear instead of radial basis
functions. Layers keep the paper's names. 61,706 parameters.
"""

import torch
from torch import Tensor, nn


class LeNet5(nn.Module):
    """Grey images (N, 1, 32, 32) -> logits (N, classes). Up to 35 pixels leave the same 5x5 maps for C5."""

    def __init__(self, *, classes: int = 10) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5)
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


def lenet5() -> LeNet5:
    return LeNet5()
