"""VGG (Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv 1409.1556).

Stacks of 3x3 convolutions in place of larger kernels: two see 5x5 pixels, three see 7x7, with fewer weights and more
non-linearities between them. Each block ends in a 2x2 max pooling; three linear layers hold most of the parameters.
Configuration C has a 1x1 convolution, a mere mix of channels with a non-linearity behind it, as the third of its last
three blocks. The `_bn` variants (not in the paper) put a BatchNorm behind each convolution and keep its bias. Parameter
names equal torchvision's.

The deep configurations did not train from random weights when they were new: the paper starts them from the trained
configuration A (section 3.1), which `VGG.initialize_from` does.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from deploykit.errors import UsageError

WIDTHS = (64, 128, 256, 512, 512)  # output channels of the five blocks

# Table 1 of the paper: the kernel sizes of each block's convolutions.
CONFIGURATIONS = {
    "A": ("3", "3", "33", "33", "33"),
    "B": ("33", "33", "33", "33", "33"),
    "C": ("33", "33", "331", "331", "331"),
    "D": ("33", "33", "333", "333", "333"),
    "E": ("33", "33", "3333", "3333", "3333"),
}
DONOR = "A"
GIVEN_CONVOLUTIONS = 4  # and all linear layers


class VGG(nn.Module):
    """Images (N, C, H, W) to scores (N, classes); five halvings leave nothing of an H or W below 32."""

    def __init__(
        self, configuration: str, *, batch_norm: bool = False, classes: int = 1000, in_channels: int = 3
    ) -> None:
        super().__init__()
        self.configuration, self.batch_norm, self.classes = configuration, batch_norm, classes
        self.in_channels = in_channels
        self.features = _features(CONFIGURATIONS[configuration], batch_norm=batch_norm, in_channels=in_channels)
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

    def initialize_from(self, donor: "VGG") -> None:
        """Take over, in place, the first four convolutions and the linear layers of `donor`, a net A (section 3.1).

        By their index in the network the layers would not fit: A's second convolution is 64 -> 128, D's 64 -> 64. So
        "the first four" are read as A's conv1_1, conv2_1, conv3_1 and conv3_2 in the names of table 1, and each goes
        to the layer of that name, which has its shape in every configuration. With BatchNorm the one behind each
        convolution comes along, statistics included. All other layers stay as they are.

        Raises UsageError when `donor` is not configuration A, or differs in BatchNorm, classes or input channels.
        """
        wanted = (DONOR, self.batch_norm, self.classes, self.in_channels)
        if (donor.configuration, donor.batch_norm, donor.classes, donor.in_channels) != wanted:
            raise UsageError(
                f"{self._kind()} cannot start from {donor._kind()}",
                hint=f"give configuration {DONOR} with the same BatchNorm, classes and channels",
            )
        ours = dict(self._convolutions())
        for place, layers in list(donor._convolutions())[:GIVEN_CONVOLUTIONS]:
            for own, given in zip(ours[place], layers, strict=True):
                own.load_state_dict(given.state_dict())
        self.classifier.load_state_dict(donor.classifier.state_dict())

    def _convolutions(self) -> Iterator[tuple[tuple[int, int], list[nn.Module]]]:
        """((block, number in the block), [convolution] or [convolution, BatchNorm]), table 1's conv3_2 being (3, 2)."""
        layers = [layer for layer in self.features if not isinstance(layer, nn.ReLU | nn.MaxPool2d)]
        each = 2 if self.batch_norm else 1
        blocks = CONFIGURATIONS[self.configuration]
        places = [(block, number) for block, kernels in enumerate(blocks, 1) for number in range(1, len(kernels) + 1)]
        for index, place in enumerate(places):
            yield place, layers[index * each : (index + 1) * each]

    def _kind(self) -> str:
        batch_norm = "with" if self.batch_norm else "without"
        channels = "" if self.in_channels == 3 else f", {self.in_channels} channels"
        return f"VGG {self.configuration} {batch_norm} BatchNorm ({self.classes} classes{channels})"


def _features(blocks: tuple[str, ...], *, batch_norm: bool, in_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = in_channels
    for kernels, width in zip(blocks, WIDTHS, strict=True):
        for kernel in map(int, kernels):
            layers.append(nn.Conv2d(channels, width, kernel, padding=kernel // 2))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU(inplace=True))
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def vgg11(*, num_classes: int = 1000, in_channels: int = 3) -> VGG:
    return VGG("A", classes=num_classes, in_channels=in_channels)


def vgg13(*, num_classes: int = 1000, in_channels: int = 3) -> VGG:
    return VGG("B", classes=num_classes, in_channels=in_channels)


def vgg16(*, num_classes: int = 1000, in_channels: int = 3) -> VGG:
    return VGG("D", classes=num_classes, in_channels=in_channels)


def vgg16c(*, num_classes: int = 1000, in_channels: int = 3) -> VGG:
    return VGG("C", classes=num_classes, in_channels=in_channels)


def vgg19(*, num_classes: int = 1000, in_channels: int = 3) -> VGG:
    return VGG("E", classes=num_classes, in_channels=in_channels)


def vgg11_bn(*, num_classes: int = 1000, in_channels: int = 3) -> VGG:
    return VGG("A", batch_norm=True, classes=num_classes, in_channels=in_channels)


def vgg13_bn(*, num_classes: int = 1000, in_channels: int = 3) -> VGG:
    return VGG("B", batch_norm=True, classes=num_classes, in_channels=in_channels)


def vgg16_bn(*, num_classes: int = 1000, in_channels: int = 3) -> VGG:
    return VGG("D", batch_norm=True, classes=num_classes, in_channels=in_channels)


def vgg19_bn(*, num_classes: int = 1000, in_channels: int = 3) -> VGG:
    return VGG("E", batch_norm=True, classes=num_classes, in_channels=in_channels)
