"""VGG (Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv 1409.1556).

Stacks of 3x3 convolutions in place of larger kernels: two see 5x5 pixels, three see 7x7, with fewer weights and more
non-linearities between them. Each block ends in a 2x2 max pooling; three linear layers hold most of the parameters.
The `_bn` variants (not in the paper) put a BatchNorm behind each convolution and keep its bias. Parameter names equal
torchvision's.
"""

from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512, 512)  # output channels of the five blocks

# Table 1 of the paper: the kernel sizes of each block's convolutions.
CONFIGURATIONS = {
    "A": ("3", "3", "33", "33", "33"),
    "B": ("33", "33", "33", "33", "33"),
    "D": ("33", "33", "333", "333", "333"),
    "E": ("33", "33", "3333", "3333", "3333"),
}


class VGG(nn.Module):
    """RGB batches (N, 3, H, W) to scores (N, classes); five halvings leave nothing of an H or W below 32."""

    def __init__(self, configuration: str, *, batch_norm: bool = False, classes: int = 1000) -> None:
        super().__init__()
        self.features = _features(CONFIGURATIONS[configuration], batch_norm=batch_norm)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(WIDTHS[-1] * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        maps = self.avgpool(self.features(images))
        logits: Tensor = self.classifier(maps.flatten(1))
        return logits


def _features(blocks: tuple[str, ...], *, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for kernels, width in zip(blocks, WIDTHS, strict=True):
        for kernel in map(int, kernels):
            layers.append(nn.Conv2d(channels, width, kernel, padding=kernel // 2))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU(inplace=True))
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def vgg11() -> VGG:
    return VGG("A")


def vgg13() -> VGG:
    return VGG("B")


def vgg16() -> VGG:
    return VGG("D")


def vgg19() -> VGG:
    return VGG("E")


def vgg11_bn() -> VGG:
    return VGG("A", batch_norm=True)


def vgg13_bn() -> VGG:
    return VGG("B", batch_norm=True)


def vgg16_bn() -> VGG:
    return VGG("D", batch_norm=True)


def vgg19_bn() -> VGG:
    return VGG("E", batch_norm=True)
