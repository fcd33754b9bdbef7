"""Small networks of the kinds that people bring, as MODEL: `deploykit verify benchmarks.small_networks:u_net ...`.

Each function returns one with weights drawn from its own seed and BatchNorm statistics of two batches of noise, so that
activations have the scale that training would give them. Their accuracy means nothing; the operators, the outputs and
the inputs are the point.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv(before: int, after: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm and SiLU, as detectors of the YOLO family have them."""
    return nn.Sequential(
        nn.Conv2d(before, after, size, stride, size // 2, bias=False), nn.BatchNorm2d(after), nn.SiLU()
    )


class Split(nn.Module):
    """Half of the channels passes a block, and all are joined: YOLO's C2f in short."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.block, self.last = (
            conv(width, width, 1),
            conv(width // 2, width // 2),
            conv(3 * width // 2, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.first(x).chunk(2, 1)
        return self.last(torch.cat((left, right, self.block(right)), 1))


class Pyramid(nn.Module):
    """Images (N, 3, H, W) -> three maps of 16 channels, at a stride of 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.p3 = nn.Sequential(conv(3, 8, stride=2), conv(8, 16, stride=2), Split(16), conv(16, 16, stride=2))
        self.p4 = nn.Sequential(conv(16, 16, stride=2), Split(16))
        self.p5 = conv(16, 16, stride=2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p3 = self.p3(images)
        p4 = self.p4(p3)
        return p3, p4, self.p5(p4)


class OneOutput(nn.Module):
    """Boxes in pixels beside class scores in one tensor (N, 4 + classes, boxes), the boxes from distributions."""

    def __init__(self, classes: int = 4, side: int = 64, bins: int = 8) -> None:
        super().__init__()
        self.pyramid, self.bins = Pyramid(), bins
        self.boxes = nn.ModuleList(nn.Conv2d(16, 4 * bins, 1) for _ in range(3))
        self.scores = nn.ModuleList(nn.Conv2d(16, classes, 1) for _ in range(3))
        strides = (8, 16, 32)
        grids = [torch.arange(side // stride) + 0.5 for stride in strides]
        centers = [torch.stack(torch.meshgrid(grid, grid, indexing="xy")).flatten(1) for grid in grids]
        self.register_buffer("centers", torch.cat(centers, 1)[None])
        self.register_buffer(
            "strides",
            torch.cat([torch.full((1, len(g) ** 2), float(s)) for g, s in zip(grids, strides, strict=True)], 1),
        )
        self.register_buffer("values", torch.arange(bins, dtype=torch.float32).view(1, 1, bins, 1))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.pyramid(images)
        boxes = torch.cat([head(x).flatten(2) for head, x in zip(self.boxes, maps, strict=True)], 2)
        scores = torch.cat([head(x).flatten(2) for head, x in zip(self.scores, maps, strict=True)], 2)
        count, _, places = boxes.shape
        sides = (boxes.view(count, 4, self.bins, places).softmax(2) * self.values).sum(2)
        low, high = self.centers - sides[:, :2], self.centers + sides[:, 2:]
        return torch.cat((torch.cat(((low + high) / 2, high - low), 1) * self.strides, scores.sigmoid()), 1)


class ThreeOutputs(nn.Module):
    """Raw maps (N, anchors, H, W, 5 + classes), one for each stride."""

    def __init__(self, anchors: int = 3, figures: int = 9) -> None:
        super().__init__()
        self.pyramid, self.anchors = Pyramid(), anchors
        self.heads = nn.ModuleList(nn.Conv2d(16, anchors * figures, 1) for _ in range(3))

    def forward(self, images: Tensor) -> list[Tensor]:
        found = []
        for head, maps in zip(self.heads, self.pyramid(images), strict=True):
            count, _, height, width = maps.shape
            found.append(head(maps).view(count, self.anchors, -1, height, width).permute(0, 1, 3, 4, 2).contiguous())
        return found


class UNet(nn.Module):
    """Images (N, 3, H, W) -> class scores (N, 3, H, W), by transposed convolutions and skips."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down = nn.ModuleList((twice(3, width), twice(width, 2 * width), twice(2 * width, 4 * width)))
        self.wider = nn.ModuleList(nn.ConvTranspose2d(2 * n, n, 2, 2) for n in (2 * width, width))
        self.up = nn.ModuleList((twice(4 * width, 2 * width), twice(2 * width, width)))
        self.last = nn.Conv2d(width, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        first = self.down[0](images)
        second = self.down[1](functional.max_pool2d(first, 2))
        x = self.down[2](functional.max_pool2d(second, 2))
        for wider, up, skip in zip(self.wider, self.up, (second, first), strict=True):
            x = up(torch.cat((skip, wider(x)), 1))
        scores: Tensor = self.last(x)
        return scores


def twice(before: int, after: int) -> nn.Sequential:
    """Two convolutions, each with BatchNorm and ReLU."""
    layers: list[nn.Module] = []
    for width in (before, after):
        layers += [nn.Conv2d(width, after, 3, 1, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


class Labels(nn.Module):
    """The class of each pixel: whole numbers (N, H, W)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        labels: Tensor = self.network(images).argmax(1)
        return labels


class Reader(nn.Module):
    """Lines of text (N, 1, 32, W) -> log-probabilities (W / 4, N, 37), time first: convolutions and an LSTM."""

    def __init__(self, classes: int = 37) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d((4, 2))),
            *(nn.Conv2d(32, 32, (4, 1)), nn.ReLU()),
        )
        self.lstm, self.fc = nn.LSTM(32, 24, bidirectional=True), nn.Linear(48, classes)

    def forward(self, lines: Tensor) -> Tensor:
        steps, _ = self.lstm(self.maps(lines).squeeze(2).permute(2, 0, 1))
        found: Tensor = self.fc(steps).log_softmax(2)
        return found


class ImageAndFigures(nn.Module):
    """An image (N, 3, H, W) and six figures of it (N, 6) -> five classes."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(conv(3, 8, stride=2), conv(8, 16, stride=2))
        self.figures, self.fc = nn.Linear(6, 16), nn.Linear(32, 5)

    def forward(self, image: Tensor, meta: Tensor) -> Tensor:
        both = torch.cat((self.maps(image).mean((2, 3)), functional.relu(self.figures(meta))), 1)
        logits: Tensor = self.fc(both)
        return logits


class Autoencoder(nn.Module):
    """Its answer is a dictionary, with the input handed back in it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 8, 3, 2, 1), nn.ReLU())
        self.decoder = nn.Sequential(nn.ConvTranspose2d(8, 16, 2, 2), nn.ReLU(), nn.ConvTranspose2d(16, 3, 2, 2))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        code = self.encoder(images)
        return {"reconstruction": self.decoder(code), "code": code, "input": images}


def settled(network: nn.Module, *shapes: tuple[int, ...]) -> nn.Module:
    """`network` in eval mode, its BatchNorm statistics the mean over two batches of noise of `shapes`."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        for _ in range(2):
            network(*(torch.randn(4, *shape) for shape in shapes))
    return network.eval()


def detector() -> nn.Module:
    torch.manual_seed(0)
    return settled(OneOutput(), (3, 64, 64))


def detector_of_three_maps() -> nn.Module:
    torch.manual_seed(1)
    return settled(ThreeOutputs(), (3, 64, 64))


def u_net() -> nn.Module:
    torch.manual_seed(2)
    return settled(UNet(), (3, 48, 64))


def u_net_labels() -> nn.Module:
    return Labels(u_net()).eval()


def text_reader() -> nn.Module:
    torch.manual_seed(3)
    return settled(Reader(), (1, 32, 96))


def image_and_figures() -> nn.Module:
    torch.manual_seed(4)
    return settled(ImageAndFigures(), (3, 32, 32), (6,))


def segmentation() -> nn.Module:
    """torchvision's LR-ASPP on MobileNet v3, which answers with a dictionary."""
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    torch.manual_seed(5)
    network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)
    return settled(network, (3, 96, 96))


def autoencoder() -> nn.Module:
    torch.manual_seed(6)
    return settled(Autoencoder(), (3, 32, 32))
