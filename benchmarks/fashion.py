"""Small networks for grey images of 32 pixels, made of the zoo's blocks, and the training that makes them real.

    python benchmarks/fashion.py [--data FOLDER] [--output calibration/fashion] [--networks small_resnet,...]

Each holds what INT8 finds hard in its family: residual additions, concatenated branches, depthwise convolutions and
ReLU6, convolutions without a non-linearity between. They are trained on Fashion-MNIST (Xiao, Rasul, Vollgraf, arXiv
1708.07747; Debian: dataset-fashion-mnist) or another folder in MNIST's format, on images prepared exactly as
`deploykit evaluate` prepares them, half of them mirrored. A network whose weights are there is not trained
again. As MODEL: `deploykit evaluate benchmarks.fashion:small_resnet --input-shape 1,32,32 --weights FILE ...`.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from deploykit.bench.process import SPIN_TURNS

os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_TURNS))  # read when torch is imported

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from deploykit.data.dataset import open_labeled
from deploykit.data.images import center_crop, normalize
from deploykit.spec import ModelSpec, Preprocessing
from deploykit.zoo import registry
from deploykit.zoo.googlenet import ConvBN, Inception
from deploykit.zoo.mobilenet import DepthwiseSeparable
from deploykit.zoo.resnet import BasicBlock, convolution, stage
from deploykit.zoo.xception import SeparableConv2d, XceptionBlock

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist puts it
CLASSES, SIDE = 10, 32
EPOCHS = {"lenet5": 8, "small_resnet": 6, "small_mobilenet": 5, "small_inception": 6, "small_xception": 5}
BATCH, RATE, DECAY, SMOOTHING, SEED = 128, 6e-3, 0.02, 0.05, 0


class Classifier(nn.Module):
    """Grey images (N, 1, 32, 32) -> logits (N, 10): a stem that halves the size, `body`, and the mean over the maps."""

    def __init__(self, stem: int, body: nn.Sequential, width: int) -> None:
        super().__init__()
        self.conv1 = convolution(1, stem, 3, stride=2)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU6(inplace=True)
        self.body = body
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.body(self.relu(self.bn1(self.conv1(images))))
        logits: Tensor = self.fc(self.pool(maps).flatten(1))
        return logits


def small_resnet() -> Classifier:
    stages = [
        stage(BasicBlock, read, width, depth=1, stride=step)
        for read, width, step in ((16, 16, 1), (16, 32, 2), (32, 64, 2))
    ]
    return Classifier(16, nn.Sequential(*stages), 64)


def small_mobilenet() -> Classifier:
    rows = ((16, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1))
    return Classifier(
        16, nn.Sequential(*(DepthwiseSeparable(read, width, stride=step) for read, width, step in rows)), 128
    )


def small_inception() -> Classifier:
    body = nn.Sequential(
        Inception(ConvBN, 16, (16, 12, 24, 4, 8, 8), large=3),
        nn.MaxPool2d(3, stride=2, padding=1),
        Inception(ConvBN, 56, (32, 24, 48, 8, 16, 16), large=3),
        nn.MaxPool2d(3, stride=2, padding=1),
        Inception(ConvBN, 112, (48, 32, 64, 8, 24, 24), large=3),
    )
    return Classifier(16, body, 160)


def small_xception() -> Classifier:
    body = nn.Sequential(
        XceptionBlock(16, 32, 32, halve=True, leading_relu=False),
        XceptionBlock(32, 64, 64, halve=True),
        XceptionBlock(64, 64, 64, 64),
        SeparableConv2d(64, 128),
        nn.BatchNorm2d(128),
        nn.ReLU(inplace=True),
    )
    return Classifier(16, body, 128)


FACTORIES: dict[str, Callable[[], nn.Module]] = {
    factory.__name__: factory for factory in (small_resnet, small_mobilenet, small_inception, small_xception)
}
NETWORKS = ("lenet5", *FACTORIES)


def spec_of(name: str, folder: Path) -> ModelSpec:
    """The trained network as a MODEL."""
    weights = folder / f"{name}.safetensors"
    if name in FACTORIES:
        return ModelSpec(f"benchmarks.fashion:{name}", weights=weights, input_shape=(1, SIDE, SIDE))
    return ModelSpec(name, weights=weights)


def ensure_trained(name: str, data: Path, folder: Path) -> None:
    """Train `name` unless its weights are in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if not spec_of(name, folder).weights.exists():
        train(name, data, folder)


def train(name: str, data: Path, folder: Path) -> None:
    """Write `name`.safetensors and what is to be said of it, `name`.json."""
    spec = spec_of(name, folder)
    recipe = registry.preprocessing(spec)
    images, labels = prepared(data, "calibration", recipe)
    torch.manual_seed(SEED)
    network = registry.build_module(ModelSpec(spec.name, input_shape=spec.input_shape)).train()
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=DECAY)
    steps = EPOCHS[name] * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    began = time.perf_counter()
    for epoch in range(EPOCHS[name]):
        for index in torch.randperm(len(images)).split(BATCH):
            loss = functional.cross_entropy(network(mirrored(images[index])), labels[index], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"{name}: epoch {epoch + 1} of {EPOCHS[name]}, {time.perf_counter() - began:.0f} s", flush=True)
    seconds = time.perf_counter() - began
    network.eval()
    unseen, truth = prepared(data, "test", recipe)
    with torch.inference_mode():
        found = torch.cat([network(part).argmax(1) for part in unseen.split(500)])
    accuracy = float((found == truth).float().mean())
    said = {
        "top1": accuracy,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "epochs": EPOCHS[name],
        "seed": SEED,
        "seconds": round(seconds),
        "torch": torch.__version__,
    }
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(said) + "\n")
    print(f"{name}: {said}", flush=True)


def prepared(data: Path, role: str, recipe: Preprocessing) -> tuple[Tensor, Tensor]:
    """The images of one part as `deploykit evaluate` feeds them, and their labels."""
    chosen = [raw for raw in open_labeled(data).images if raw.role == role]
    images = np.stack([normalize(center_crop(raw.read(), recipe), recipe, 1) for raw in chosen])
    return torch.from_numpy(images), torch.tensor([raw.label for raw in chosen])


def mirrored(images: Tensor) -> Tensor:
    """Half of the images, at random, with left and right exchanged."""
    return torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(3), images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=FASHION_MNIST, help="a folder with MNIST's idx files")
    parser.add_argument("--output", type=Path, default=Path("calibration/fashion"))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parsed = parser.parse_args()
    for name in parsed.networks.split(","):
        ensure_trained(name, parsed.data, parsed.output)


if __name__ == "__main__":
    main()
