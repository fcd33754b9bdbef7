"""Networks of a few thousand parameters, for tests that take milliseconds and still meet each pattern of the zoo.

Images (N, 3, H, W), meant for 32x32 -> logits (N, 10). `test_convnet` has what VGG has, biases in front of BatchNorm
included; `test_resnet` the residual additions of ResNet, identity and projected; `test_mobilenet` the depthwise
convolutions and ReLU6 of MobileNet.
"""

from torch import Tensor, nn

from deploykit.zoo.mobilenet import DepthwiseSeparable
from deploykit.zoo.resnet import BasicBlock, convolution, stage

CLASSES = 10


class ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Linear(16 * 4 * 4, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(images)).flatten(1))
        return logits


class MiniatureResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = convolution(3, 8, 3)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = stage(BasicBlock, 8, 8, depth=1, stride=2)
        self.layer2 = stage(BasicBlock, 8, 16, depth=2, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(images)))))
        logits: Tensor = self.fc(self.avgpool(maps).flatten(1))
        return logits


class MiniatureMobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act1 = nn.ReLU6(inplace=True)
        self.blocks = nn.Sequential(
            DepthwiseSeparable(16, 32, stride=1),
            DepthwiseSeparable(32, 32, stride=2),
            DepthwiseSeparable(32, 64, stride=1),
        )
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(64, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.blocks(self.act1(self.bn1(self.conv_stem(images))))
        logits: Tensor = self.classifier(self.global_pool(maps).flatten(1))
        return logits


def test_convnet() -> ConvNet:
    return ConvNet()


def test_resnet() -> MiniatureResNet:
    return MiniatureResNet()


def test_mobilenet() -> MiniatureMobileNet:
    return MiniatureMobileNet()
