"""ResNet (He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", arXiv 1512.03385, table 1).

    y = relu(x' + F(x)),   x' = x, or a strided 1x1 projection of x where the shape changes (option B)

Bottlenecks are v1.5: a stage's stride sits in the 3x3 convolution, where the paper has it in the 1x1 before, which
skips three pixels in four. That is also what torchvision, MLPerf and most published weights have. Parameter names
equal torchvision's.
"""

from typing import Protocol

from torch import Tensor, nn

BASE_WIDTH = 64  # channels of the first stage, which a group's width is counted in


class ResidualBlock(Protocol):
    """What stages are built of: a class of blocks, or whatever makes blocks like one.

    Called with the channels it reads, the width of its stage and the stride; the block writes `expansion * width`.
    """

    @property
    def expansion(self) -> int: ...

    def __call__(self, in_channels: int, width: int, *, stride: int) -> nn.Module: ...


def convolution(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1; without bias, since a BatchNorm follows."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)


def projection(in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential | None:
    """The shortcut of a block that changes the shape; None where the identity will do."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(convolution(in_channels, out_channels, 1, stride=stride), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (figure 5, left)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, width, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(in_channels, width, stride=stride)

    def forward(self, maps: Tensor) -> Tensor:
        shortcut = maps if self.downsample is None else self.downsample(maps)
        branch = self.relu(self.bn1(self.conv1(maps)))
        branch = self.bn2(self.conv2(branch))
        joined: Tensor = self.relu(branch + shortcut)
        return joined


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up to four times the width (figure 5, right).

    The 3x3 may be `cardinality` groups of `width_per_group` channels each, counted in the first stage and as many times
    wider in the others as these are; ResNeXt's blocks are.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, *, stride: int, cardinality: int = 1, width_per_group: int = BASE_WIDTH
    ) -> None:
        super().__init__()
        inner = cardinality * (width * width_per_group // BASE_WIDTH)
        out_channels = width * self.expansion
        self.conv1 = convolution(in_channels, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = convolution(inner, inner, 3, stride=stride, groups=cardinality)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = convolution(inner, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(in_channels, out_channels, stride=stride)

    def forward(self, maps: Tensor) -> Tensor:
        shortcut = maps if self.downsample is None else self.downsample(maps)
        branch = self.relu(self.bn1(self.conv1(maps)))
        branch = self.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        joined: Tensor = self.relu(branch + shortcut)
        return joined


class ResNet(nn.Module):
    """Images (N, C, H, W) -> logits (N, classes). The stem and three stages each halve the size, the pooling too."""

    def __init__(
        self, block: ResidualBlock, depths: tuple[int, int, int, int], *, classes: int = 1000, in_channels: int = 3
    ) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, 64, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = stage(block, 64, 64, depth=depths[0], stride=1)
        self.layer2 = stage(block, 64 * block.expansion, 128, depth=depths[1], stride=2)
        self.layer3 = stage(block, 128 * block.expansion, 256, depth=depths[2], stride=2)
        self.layer4 = stage(block, 256 * block.expansion, 512, depth=depths[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * block.expansion, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        logits: Tensor = self.fc(self.avgpool(maps).flatten(1))
        return logits


def stage(block: ResidualBlock, in_channels: int, width: int, *, depth: int, stride: int) -> nn.Sequential:
    """`depth` blocks; the first takes `in_channels` and the stride, the others repeat its output shape."""
    out_channels = width * block.expansion
    first = block(in_channels, width, stride=stride)
    return nn.Sequential(first, *(block(out_channels, width, stride=1) for _ in range(depth - 1)))


def resnet18(*, num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    return ResNet(BasicBlock, (2, 2, 2, 2), classes=num_classes, in_channels=in_channels)


def resnet34(*, num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    return ResNet(BasicBlock, (3, 4, 6, 3), classes=num_classes, in_channels=in_channels)


def resnet50(*, num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3), classes=num_classes, in_channels=in_channels)


def resnet101(*, num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 23, 3), classes=num_classes, in_channels=in_channels)


def resnet152(*, num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    return ResNet(Bottleneck, (3, 8, 36, 3), classes=num_classes, in_channels=in_channels)
