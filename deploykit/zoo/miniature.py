"""Networks of a few thousand parameters, for tests that take milliseconds and still meet each pattern of the zoo.

Images (N, C, H, W), meant for 32x32 -> logits (N, classes). Each is made of its family's own blocks: `test_convnet` has
what VGG has, biases in front of BatchNorm included; `test_resnet` the residual additions of ResNet, identity and
projected; `test_mobilenet` the depthwise convolutions and ReLU6 of MobileNet; `test_alexnet` the grouped convolutions,
response normalization and overlapping poolings of AlexNet; `test_googlenet` the concatenated branches and rounded-up
poolings of GoogLeNet; `test_inception` the 1x7 and 7x1 convolutions, averaged branches and reductions of Inception v2
to v4; `test_inception_resnet` scaled residuals; `test_resnext` grouped bottlenecks; `test_xception` separable
convolutions and additions that no activation follows. LeNet-5 is small as it is.
"""

from torch import Tensor, nn

from deploykit.zoo.alexnet import LocalResponseNorm
from deploykit.zoo.googlenet import ConvBN, Inception
from deploykit.zoo.inception_resnet import ResidualInception
from deploykit.zoo.inception_v4 import Concat, PoolProjection, ReductionA, Tower
from deploykit.zoo.mobilenet import DepthwiseSeparable
from deploykit.zoo.resnet import BasicBlock, convolution, stage
from deploykit.zoo.resnext import AggregatedBottlenecks
from deploykit.zoo.xception import SeparableConv2d, XceptionBlock

CLASSES = 10  # by default


class ConvNet(nn.Module):
    """Convolutions with BatchNorm, a pooling and a linear layer."""

    def __init__(self, *, classes: int, in_channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Linear(16 * 4 * 4, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(images)).flatten(1))
        return logits


class MiniatureResNet(nn.Module):
    """ResNet's basic blocks, few and narrow."""

    def __init__(self, *, classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, 8, 3)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = stage(BasicBlock, 8, 8, depth=1, stride=2)
        self.layer2 = stage(BasicBlock, 8, 16, depth=2, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(images)))))
        logits: Tensor = self.fc(self.avgpool(maps).flatten(1))
        return logits


class MiniatureMobileNet(nn.Module):
    """MobileNet's depthwise separable blocks, few and narrow."""

    def __init__(self, *, classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(in_channels, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act1 = nn.ReLU6(inplace=True)
        self.blocks = nn.Sequential(
            DepthwiseSeparable(16, 32, stride=1),
            DepthwiseSeparable(32, 32, stride=2),
            DepthwiseSeparable(32, 64, stride=1),
        )
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.blocks(self.act1(self.bn1(self.conv_stem(images))))
        logits: Tensor = self.classifier(self.global_pool(maps).flatten(1))
        return logits


class MiniatureAlexNet(nn.Module):
    """AlexNet's kinds of layer, without BatchNorm, few and narrow."""

    def __init__(self, *, classes: int, in_channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 8, 5, stride=2),
            nn.ReLU(inplace=True),
            LocalResponseNorm(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(8, 16, 5, padding=2, groups=2),
            nn.ReLU(inplace=True),
            LocalResponseNorm(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(16, 16, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(64, 32), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(32, classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(images)).flatten(1))
        return logits


class MiniatureClassifier(nn.Sequential):
    """`stages` that end in `channels` maps, and a linear layer on their averages."""

    def __init__(self, *stages: nn.Module, channels: int, classes: int) -> None:
        super().__init__(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(channels, classes))


def test_convnet(*, num_classes: int = CLASSES, in_channels: int = 3) -> ConvNet:
    return ConvNet(classes=num_classes, in_channels=in_channels)


def test_resnet(*, num_classes: int = CLASSES, in_channels: int = 3) -> MiniatureResNet:
    return MiniatureResNet(classes=num_classes, in_channels=in_channels)


def test_mobilenet(*, num_classes: int = CLASSES, in_channels: int = 3) -> MiniatureMobileNet:
    return MiniatureMobileNet(classes=num_classes, in_channels=in_channels)


def test_alexnet(*, num_classes: int = CLASSES, in_channels: int = 3) -> MiniatureAlexNet:
    return MiniatureAlexNet(classes=num_classes, in_channels=in_channels)


def test_googlenet(*, num_classes: int = CLASSES, in_channels: int = 3) -> MiniatureClassifier:
    return MiniatureClassifier(
        ConvBN(in_channels, 8, 7, stride=2, padding=3),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        Inception(ConvBN, 8, (8, 4, 8, 4, 4, 4), large=3),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
        Inception(ConvBN, 24, (8, 8, 16, 4, 8, 8), large=5),
        channels=40,
        classes=num_classes,
    )


def test_inception(*, num_classes: int = CLASSES, in_channels: int = 3) -> MiniatureClassifier:
    halves = Concat(Tower(8, (8, (1, 3))), Tower(8, (8, (3, 1))))
    return MiniatureClassifier(
        ConvBN(in_channels, 8, 3, stride=2),
        Concat(
            ConvBN(8, 8, 1),
            Tower(8, (8, 1), (8, (1, 7)), (8, (7, 1))),
            nn.Sequential(ConvBN(8, 8, 1), halves),
            PoolProjection(8, 8),
        ),
        ReductionA(40, klm=(8, 8, 8), n=8),
        channels=56,
        classes=num_classes,
    )


def test_inception_resnet(*, num_classes: int = CLASSES, in_channels: int = 3) -> MiniatureClassifier:
    return MiniatureClassifier(
        ConvBN(in_channels, 16, 3, stride=2),
        ResidualInception(ConvBN(16, 8, 1), Tower(16, (8, 1), (8, 3)), branch_channels=16, channels=16, scale=0.17),
        ReductionA(16, klm=(8, 8, 8), n=8),
        ResidualInception(
            ConvBN(32, 8, 1), Tower(32, (8, 1), (8, (1, 3))), branch_channels=16, channels=32, scale=1.0, activate=False
        ),
        channels=32,
        classes=num_classes,
    )


def test_resnext(*, num_classes: int = CLASSES, in_channels: int = 3) -> MiniatureClassifier:
    blocks = AggregatedBottlenecks(cardinality=4, width_per_group=16)
    return MiniatureClassifier(
        ConvBN(in_channels, 16, 3, stride=2, padding=1),
        stage(blocks, 16, 8, depth=2, stride=1),
        stage(blocks, 32, 16, depth=1, stride=2),
        channels=64,
        classes=num_classes,
    )


def test_xception(*, num_classes: int = CLASSES, in_channels: int = 3) -> MiniatureClassifier:
    return MiniatureClassifier(
        ConvBN(in_channels, 8, 3, stride=2),
        XceptionBlock(8, 16, 16, halve=True, leading_relu=False),
        XceptionBlock(16, 16, 16, 16),
        SeparableConv2d(16, 32),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        channels=32,
        classes=num_classes,
    )
