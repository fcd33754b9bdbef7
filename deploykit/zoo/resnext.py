"""ResNeXt (Xie, Girshick, Dollar, Tu, He, "Aggregated Residual Transformations for Deep Neural Networks",
arXiv 1611.05431, table 1).

A bottleneck's branch is split into C parallel ones of width d, whose outputs are added:

    y = relu(x' + sum_i T_i(x)),   T_i = 1x1 down to d channels, 3x3, 1x1 up,   i = 1..C

which equals one branch with a grouped 3x3 convolution (figure 3c), the form computed here. C is the cardinality, d the
width per group in the first stage; later stages double it. `resnext50_32x4d` is C = 32, d = 4, and costs what ResNet-50
(C = 1, d = 64) does. Like there, a stage's stride sits in the 3x3 convolution. Parameter names equal torchvision's.
"""

from dataclasses import dataclass
from typing import ClassVar

from deploykit.errors import UsageError
from deploykit.zoo.resnet import Bottleneck, ResNet

LARGEST = 1024  # of both options


@dataclass(frozen=True, slots=True)
class AggregatedBottlenecks:
    """Makes a stage's blocks: bottlenecks of `cardinality` groups. Raises UsageError for one that cannot be."""

    cardinality: int
    width_per_group: int
    expansion: ClassVar[int] = Bottleneck.expansion

    def __post_init__(self) -> None:
        for name, value in (("cardinality", self.cardinality), ("width per group", self.width_per_group)):
            if not (type(value) is int and 1 <= value <= LARGEST):
                raise UsageError(f"{name} {value} is not a whole number from 1 to {LARGEST}", hint="write 32")

    def __call__(self, in_channels: int, width: int, *, stride: int) -> Bottleneck:
        return Bottleneck(
            in_channels, width, stride=stride, cardinality=self.cardinality, width_per_group=self.width_per_group
        )


def resnext50_32x4d(
    *, cardinality: int = 32, width_per_group: int = 4, num_classes: int = 1000, in_channels: int = 3
) -> ResNet:
    block = AggregatedBottlenecks(cardinality, width_per_group)
    return ResNet(block, (3, 4, 6, 3), classes=num_classes, in_channels=in_channels)


def resnext101_32x4d(
    *, cardinality: int = 32, width_per_group: int = 4, num_classes: int = 1000, in_channels: int = 3
) -> ResNet:
    block = AggregatedBottlenecks(cardinality, width_per_group)
    return ResNet(block, (3, 4, 23, 3), classes=num_classes, in_channels=in_channels)


def resnext101_32x8d(
    *, cardinality: int = 32, width_per_group: int = 8, num_classes: int = 1000, in_channels: int = 3
) -> ResNet:
    block = AggregatedBottlenecks(cardinality, width_per_group)
    return ResNet(block, (3, 4, 23, 3), classes=num_classes, in_channels=in_channels)


def resnext101_64x4d(
    *, cardinality: int = 64, width_per_group: int = 4, num_classes: int = 1000, in_channels: int = 3
) -> ResNet:
    block = AggregatedBottlenecks(cardinality, width_per_group)
    return ResNet(block, (3, 4, 23, 3), classes=num_classes, in_channels=in_channels)
