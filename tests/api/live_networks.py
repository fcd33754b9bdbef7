"""Networks that a test makes, trains and hands over."""

import torch
from torch import nn


class Small(nn.Module):
    """Convolution, BatchNorm, classes; images of 3 channels and any size."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, classes)

    def forward(self, images):
        return self.head(torch.relu(self.norm(self.convolution(images))).mean((2, 3)))


class Embedded(nn.Module):
    """Two inputs, one of whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 4)
        self.head = nn.Linear(10, 3)

    def forward(self, ids, features):
        return {"scores": self.head(torch.cat([self.table(ids).mean(1), features], 1))}


def trained(module: nn.Module) -> nn.Module:
    """A step of training, so that weights and BatchNorm statistics are the module's own."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    module(torch.randn(8, 3, 12, 12) * 2 + 1).square().sum().backward()
    optimizer.step()
    return module
