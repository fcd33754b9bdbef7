"""GoogLeNet (Szegedy et al., "Going Deeper with Convolutions", arXiv 1409.4842, table 1 and figure 3).

An Inception module looks at its input at several scales at once and stacks what it sees:

    y = concat(1x1, 1x1 -> 3x3, 1x1 -> 5x5, 3x3 max pooling -> 1x1)

The 1x1 convolutions before the larger ones reduce the channels first, which is what makes nine such modules cheaper
than VGG's first two blocks. Two heads halfway (behind 4a and 4d) give the early layers a gradient of their own; they
exist in training only.

`googlenet` is the form that published PyTorch weights have: BatchNorm, 3x3 where the paper has 5x5, and torchvision's
parameter names. `googlenet_paper` is the paper's. Dropout rates are the paper's in both (torchvision: 0.2 before the
classifier).
"""

import torch
from torch import Tensor, nn


class ConvBN(nn.Module):
    """A convolution, BatchNorm and ReLU, as every Inception of the BatchNorm era repeats them.

    `bias` keeps the convolution's own bias, which BatchNorm's mean takes out again. eps is 0.001 in all of them.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, stride=stride, padding=padding, bias=bias)
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.relu_(self.bn(self.conv(maps)))
