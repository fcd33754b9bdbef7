"""AlexNet: five convolutions, three linear layers that hold most of the parameters, dropout between them.

`alexnet_2012` is the network of the paper (Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep
Convolutional Neural Networks", 2012, figure 2), whose maps lie on two GPUs: convolutions 2, 4 and 5 read only those of
their own one, that is, they have two groups. Bright neighbors damp each other (`LocalResponseNorm`). Its images have
227 pixels: the paper says 224, from which an 11x11 convolution of stride 4 does not make the 55x55 maps it counts.

`alexnet` is the form that followed it (Krizhevsky, "One weird trick for parallelizing convolutional neural networks",
arXiv 1404.5997): one tower, other widths, no response normalization. Parameter names equal torchvision's.
"""

from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 4096


class AlexNet(nn.Module):
    """Images (N, C, H, W), H and W at least 63 -> logits (N, classes)."""

    def __init__(self, *, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 6 * 6, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        maps = self.avgpool(self.features(images))
        logits: Tensor = self.classifier(maps.flatten(1))
        return logits


class LocalResponseNorm(nn.Module):
    """Divide each value by what its neighbors, the n maps around its own, have at its place (section 3.3).

        b_i = a_i / (k + alpha * sum_j a_j^2)^beta,   |j - i| <= n / 2, maps beyond the first and last being 0

    The sum is the paper's; Caffe and torch divide alpha by n, so torch's layer needs alpha = 5e-4 to compute this.
    Values are scaled by sqrt(alpha) before they are squared, since a float16 square overflows from 256 on: this way
    only from 25,600 on, and what underflows is nothing beside k. The sum is written as n shifted copies added, which
    costs TensorRT-RTX less memory traffic than an average pooling over the maps, or than ONNX's own LRN.
    """

    def __init__(self, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, maps: Tensor) -> Tensor:
        scaled, reach = maps * self.alpha**0.5, self.size // 2
        squares = functional.pad(scaled * scaled, (0, 0, 0, 0, reach, reach))
        count = maps.shape[1]
        energy = squares[:, :count]
        for shift in range(1, self.size):
            energy = energy + squares[:, shift : shift + count]
        return maps / (self.k + energy).pow(self.beta)


class AlexNet2012(nn.Module):
    """Images (N, C, 227, 227) -> logits (N, classes). Up to 258 pixels leave the same 6x6 maps."""

    def __init__(self, *, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 96, 11, stride=4),
            nn.ReLU(inplace=True),
            LocalResponseNorm(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(96, 256, 5, padding=2, groups=2),
            nn.ReLU(inplace=True),
            LocalResponseNorm(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(256 * 6 * 6, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(HIDDEN, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits


def alexnet(*, num_classes: int = 1000, in_channels: int = 3) -> AlexNet:
    return AlexNet(classes=num_classes, in_channels=in_channels)


def alexnet_2012(*, num_classes: int = 1000, in_channels: int = 3) -> AlexNet2012:
    return AlexNet2012(classes=num_classes, in_channels=in_channels)
