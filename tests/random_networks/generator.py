"""Networks made up from a seed: layers, names, inputs, outputs and casts that people write, in chance combinations.

`network(seed)` is a factory in deploykit's sense, so a network is named `generator:network` with `{"seed": 7}`. What it
takes is `inputs(seed)`. All weights are drawn from the seed: the factory's own weights are the same in every process.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from layers import random_layer
from torch import Tensor, nn
from torch.nn import functional

# Names that an exporter, ONNX or deploykit itself uses for values, nodes or suffixes; one with a dot is nested.
NAMES = (
    "mean", "relu_", "images", "logits", "input", "output_0", "x_quantized", "conv_float16", "weight_scale", "Add",
    "getitem", "add", "val_0", "cat", "größe", "layer1", "bias", "Constant", "mul", "view", "images_float16", "sigmoid",
    "x_zero_point", "batch", "linear", "bn", "module", "model", "head", "output", "a" * 90, "a.b", "stages.0.1",
    "net.x", "0", "weight", "x", "Transpose_0", "class", "a b", "a/b", "_", "DequantizeLinear", "quantized",
    "scale", "float32", "in", "global", 'a "b"', "a\\b", "lambda.None",
)  # fmt: skip
OUTPUTS = (
    "tensor", "tensor", "tensor", "tuple", "dict", "keys", "nested", "none", "twice", "input", "argmax", "boxes",
    "topk", "time", "map", "embedding",
)  # fmt: skip
KEYS = ("images", "out put", "a/b", "größe", "0", "logits", "x", "output_0", "mean", "")
LARGEST = 1 << 16  # values of a feature map, per image


@dataclass(frozen=True)
class Input:
    """One input of a network: `shape` is that of one image; `high` bounds whole numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    high: int = 0


def inputs(seed: int) -> tuple[Input, ...]:
    """What the network of `seed` takes, images first."""
    chance = random.Random(f"input {seed}")
    height = chance.choice((24, 32, 33, 40))
    width = height if chance.random() < 0.6 else chance.choice((16, 28, 36, 48))
    shape = (chance.choice((1, 3, 3, 3, 4)), height, width)
    kind = chance.random()
    if kind < 0.08:
        return (Input("x", shape, "uint8", 256),)
    if kind < 0.16:
        return Input("x", shape), Input("meta", (chance.choice((1, 6)),))
    if kind < 0.22:
        return Input("x", shape), Input("ids", (5,), "int64", 20)
    if kind < 0.27:
        return Input("x", shape), Input("other", shape)
    return (Input("images", shape),)


def network(seed: int) -> Network:
    """The network of `seed`, in eval mode, BatchNorm statistics estimated on two batches of noise."""
    taken = inputs(seed)
    with torch.random.fork_rng(devices=[]):
        for attempt in range(40):
            torch.manual_seed(seed)
            module = {"meta": WithMeta, "ids": WithIds, "other": WithOther}.get(taken[-1].name, Network)(
                random.Random(f"network {seed} {attempt}"), taken
            )
            if _can_run(module, taken):
                if module.telling:
                    _spread_answers(module, taken)
                return module.eval()
    raise AssertionError(f"seed {seed}: no network of 40 runs")


def _can_run(module: nn.Module, taken: Sequence[Input]) -> bool:
    """Whether the layers drawn fit the images, and their feature maps stay small. Estimates BatchNorm's statistics."""
    sizes: list[int] = []
    for layer in module.children():
        layer.register_forward_hook(lambda _layer, _in, out: sizes.append(out.numel() if torch.is_tensor(out) else 0))
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    try:
        with torch.no_grad():
            for _ in range(2):
                module.train()(*(_drawn(each, 4) for each in taken))
            module.eval()(*(_drawn(each, 1) for each in taken))
    except (RuntimeError, ValueError):  # what torch says of a pool or a padding that is larger than the images
        return False
    for layer in module.children():
        layer._forward_hooks.clear()
    return max(sizes) <= 4 * LARGEST


def _spread_answers(module: Network, taken: Sequence[Input]) -> None:
    """Shift and scale the head as training would, so that its answers differ from image to image."""
    head, seen = module.get_submodule(module.head_name), []
    if not isinstance(head, nn.Linear | nn.Conv2d):
        return
    hook = head.register_forward_hook(lambda _head, _in, out: seen.append(out.transpose(0, 1).flatten(1)))
    with torch.no_grad():
        module.eval()(*(_drawn(each, 8) for each in taken))
        hook.remove()
        spread = seen[0].std(1).mean().clamp(min=1e-3)
        head.weight.div_(spread)
        head.bias.sub_(seen[0].mean(1)).div_(spread)


def _drawn(each: Input, count: int) -> Tensor:
    shape = (count, *each.shape)
    if each.high:
        return torch.randint(0, each.high, shape).to(getattr(torch, each.dtype))
    noise = torch.randn(shape)
    if len(each.shape) == 3:  # of any color and contrast, so that images differ as a whole
        noise = noise * (0.2 + torch.rand(count, 1, 1, 1)) + 2 * torch.rand(count, each.shape[0], 1, 1) - 1
    return noise


class Network(nn.Module):
    """Three to eight random layers, one after another, and a head of one of the kinds in `OUTPUTS`."""

    def __init__(self, chance: random.Random, taken: Sequence[Input]) -> None:
        super().__init__()
        names = chance.sample(NAMES, 14)
        channels, self.reads_bytes = taken[0].shape[0], taken[0].dtype == "uint8"
        self.order: list[str] = []
        for _ in range(chance.randint(3, 8)):
            layer, channels = random_layer(chance, channels)
            self.order.append(self._add(names.pop(), layer))
        if chance.random() < 0.3:
            self.register_buffer("spare", torch.rand(1), persistent=chance.random() < 0.5)
        self.kind = chance.choice(OUTPUTS)
        self.keys = chance.sample(KEYS, 2)
        self.classes, self.channels = chance.choice((2, 5, 10)), channels
        both = chance.random() < 0.5
        self.telling = chance.random() < 0.5 or self.kind in ("argmax", "topk", "map")
        self.head_name = self._add(names.pop(), self._head(channels, both))

    def _head(self, channels: int, both: bool) -> nn.Module:
        if self.kind in ("boxes", "map"):
            return nn.Conv2d(channels, self.classes + (4 if self.kind == "boxes" else 0), 1)
        if self.kind == "time":
            return nn.LSTM(channels, 8, batch_first=False, bidirectional=both)
        return nn.Linear(channels, self.classes)

    def _add(self, name: str, layer: nn.Module) -> str:
        """Add a layer, below modules of modules where the name has dots; the name it can be got by."""
        path = name.split(".")
        for part in reversed(path[1:]):
            layer = nn.ModuleDict({part: layer})
        if path[0] in dir(nn.Module) or path[0] in self._modules:
            path[0] += "_"
        self.add_module(path[0], layer)
        return ".".join([path[0], *path[1:]])

    def _mixed_in(self, y: Tensor, *others: Tensor) -> Tensor:
        return y

    def forward(self, images: Tensor) -> Any:
        return self._answer(images)

    def _answer(self, x: Tensor, *others: Tensor) -> Any:
        y = (x.float() / 255 - 0.45) / 0.25 if self.reads_bytes else x
        for name in self.order:
            y = self.get_submodule(name)(y)
        y = self._mixed_in(y, *others)
        head = self.get_submodule(self.head_name)
        match self.kind:
            case "boxes":
                found = head(functional.adaptive_avg_pool2d(y, 6)).flatten(2)
                return torch.cat((found[:, :4].sigmoid() * 640.0, found[:, 4:].sigmoid()), 1)
            case "time":
                sequence = functional.adaptive_avg_pool2d(y, (1, 7)).squeeze(2).permute(2, 0, 1)
                return head(sequence)[0]
            case "map":
                scores = head(y)
                return {"scores": scores, "labels": scores.argmax(1)}
        return self._of_logits(x, y, head(y.mean((2, 3))))

    def _of_logits(self, x: Tensor, y: Tensor, logits: Tensor) -> Any:
        match self.kind:
            case "tuple":
                return logits, y
            case "dict":
                return {"out": logits, "features": y}
            case "keys":
                return {self.keys[0]: logits, self.keys[1]: y.amax((2, 3))}
            case "nested":
                return logits, [y.mean(1), {"deep": logits * 2.0}]
            case "none":
                return {"out": logits, "aux": None}
            case "twice":
                return logits, logits
            case "input":
                return logits, x
            case "argmax":
                return logits.argmax(1)
            case "topk":
                return tuple(torch.topk(logits.softmax(1), 2))
            case "embedding":
                return functional.normalize(logits, dim=1)
        return logits


class WithMeta(Network):
    """Figures beside the images, as of a patient."""

    def __init__(self, chance: random.Random, taken: Sequence[Input]) -> None:
        super().__init__(chance, taken)
        self.of_meta = nn.Linear(taken[1].shape[0], self.channels)

    def forward(self, x: Tensor, meta: Tensor) -> Any:
        return self._answer(x, meta)

    def _mixed_in(self, y: Tensor, *others: Tensor) -> Tensor:
        return y + self.of_meta(others[0])[:, :, None, None]


class WithIds(Network):
    """Words beside the images."""

    def __init__(self, chance: random.Random, taken: Sequence[Input]) -> None:
        super().__init__(chance, taken)
        self.words = nn.Embedding(taken[1].high, self.channels)

    def forward(self, x: Tensor, ids: Tensor) -> Any:
        return self._answer(x, ids)

    def _mixed_in(self, y: Tensor, *others: Tensor) -> Tensor:
        return y * torch.sigmoid(self.words(others[0]).sum(1))[:, :, None, None]


class WithOther(Network):
    """Two images that are compared."""

    def forward(self, x: Tensor, other: Tensor) -> Any:
        return self._answer(x - 0.5 * other)
