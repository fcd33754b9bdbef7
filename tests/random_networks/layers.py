"""Layers that people write, drawn at random: `random_layer` gives one for so many channels.

Each takes images (N, channels, height, width) of any height and width from 2 on and gives such images.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (
    nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.ELU, nn.Softplus, nn.Mish,
    nn.Hardsigmoid, nn.PReLU, nn.Identity, nn.SELU, nn.CELU, nn.Softsign, nn.Hardtanh, nn.LogSigmoid, nn.Dropout,
)  # fmt: skip
Made = tuple[nn.Module, int]  # a layer, and how many channels come out of it


class Applied(nn.Module):
    """A function of the images as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Weighted(nn.Module):
    """A convolution whose weight is computed in `forward`, as standardized convolutions do it."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight
        if weight[0].numel() > 1:
            weight = weight - weight.mean((1, 2, 3), keepdim=True)
            weight = weight / (weight.std((1, 2, 3), keepdim=True) + 1e-5)
        return self.conv._conv_forward(x, weight, self.conv.bias)


class ChannelNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        centered = x - x.mean(1, keepdim=True)
        scale = torch.rsqrt(centered.pow(2).mean(1, keepdim=True) + 1e-5)
        return centered * scale * self.gain[:, None, None]


class LastNorm(nn.Module):
    """LayerNorm over the channels, channels last, as ConvNeXt has it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.wide = nn.LayerNorm(channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + functional.gelu(self.wide(self.norm(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = max(2, channels // 4)
        self.down, self.up = nn.Conv2d(channels, few, 1), nn.Conv2d(few, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = functional.relu(self.down(functional.adaptive_avg_pool2d(x, 1)))
        return x * torch.sigmoid(self.up(squeezed))


class Residual(nn.Module):
    def __init__(self, body: nn.Module, *, join: str) -> None:
        super().__init__()
        self.body, self.join = body, join

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.join == "cat":
            return torch.cat((x, y), 1)
        return functional.relu(x + y) if self.join == "relu" else x + 0.3 * y


class Tied(nn.Module):
    """One convolution used twice, and a second one that shares its weight."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=2, dilation=2, bias=False)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(functional.relu(self.norm(self.first(torch.tanh(self.first(x))))))


class Attention(nn.Module):
    """Attention between 16 regions, some of them masked with -1e9, added to the images."""

    def __init__(self, channels: int, *, kind: str) -> None:
        super().__init__()
        self.kind, self.qkv, self.out = kind, nn.Linear(channels, 24), nn.Linear(8, channels)
        self.register_buffer("hidden", torch.arange(16) % 5 == 3, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        tokens = functional.adaptive_avg_pool2d(x, (4, 4)).flatten(2).transpose(1, 2)
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.qkv(tokens).chunk(3, -1))
        if self.kind == "sdpa":
            seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=~self.hidden[None, None, None])
        else:
            scores = q @ k.transpose(-1, -2) * 0.5
            added = self.hidden * -1e9
            scores = scores.masked_fill(self.hidden, -1e9) if self.kind == "fill" else scores + added
            seen = scores.softmax(-1) @ v
        mixed = self.out(seen.transpose(1, 2).flatten(2)).transpose(1, 2).unflatten(-1, (4, 4))
        return x + functional.interpolate(mixed, size=x.shape[2:], mode="nearest")


class Recurrent(nn.Module):
    """A GRU or LSTM along the width, in few steps, added to the images."""

    STEPS = 6

    def __init__(self, channels: int, *, cell: type[nn.GRU] | type[nn.LSTM], both: bool) -> None:
        super().__init__()
        self.cell = cell(channels, channels, batch_first=True, bidirectional=both)
        self.fit = nn.Linear(channels * (2 if both else 1), channels)

    def forward(self, x: Tensor) -> Tensor:
        row = functional.adaptive_avg_pool1d(x.mean(2), self.STEPS)
        along = self.fit(self.cell(row.transpose(1, 2))[0]).mean(1)
        return x + along[:, :, None, None]


class Mixed(nn.Module):
    """Channels mixed by einsum, or by a Conv1d over the places in a row."""

    def __init__(self, channels: int, wide: int, *, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.randn(channels, wide) / channels**0.5)
        self.conv = nn.Conv1d(channels, wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "einsum":
            return torch.einsum("nchw,cd->ndhw", x, self.weight)
        return self.conv(x.flatten(2)).unflatten(2, x.shape[2:])


class ByShape(nn.Module):
    """Python that looks at shapes: which of two layers runs, and how often."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, groups=channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        count = 1 + (x.shape[2] > 12) + (x.shape[3] > x.shape[2])
        for step in self.steps[:count]:
            x = functional.silu(step(x))
        return x


class Selected(nn.Module):
    """Channels picked by a buffer of whole numbers, places by a grid of coordinates made in `forward`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("order", torch.randperm(channels))

    def forward(self, x: Tensor) -> Tensor:
        across = torch.linspace(-1.0, 1.0, x.shape[3], dtype=x.dtype, device=x.device)
        return x[:, self.order] + across.abs()


class Cast(nn.Module):
    """What people write against mixed precision: a cast, or a tensor made in `forward`."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        match self.kind:
            case "float":
                return x.float() * 0.5
            case "to":
                return x.to(torch.float32).sub(0.1).to(x.dtype)
            case "double":
                return (x.double() + 0.25).to(x.dtype)
            case "made":
                return x + torch.ones(1, 1, 1, x.shape[3]) * 0.1
            case "like":
                return x * torch.full_like(x, 1.5)
            case "numpy":
                return x + torch.tensor([0.1, -0.1])[(torch.arange(x.shape[3]) % 2)]
        return torch.where(x > 0, x, x * 0.2)


def _even(x: Tensor) -> Tensor:
    return functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))


def _shuffled(x: Tensor) -> Tensor:
    return x.unflatten(1, (2, x.shape[1] // 2)).transpose(1, 2).flatten(1, 2)


def _halves(x: Tensor) -> Tensor:
    first, second = x.tensor_split(2, 1)
    return torch.cat((second.clamp(-1.5, 1.5), first.abs().add(0.1).sqrt()), 1)


FUNCTIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x.flip(3),
    lambda x: x.roll(1, 2),
    lambda x: x - x.amax((2, 3), keepdim=True),
    lambda x: x.softmax(1) * x.shape[1],
    lambda x: x / (x.norm(dim=1, keepdim=True) + 1e-6),
    lambda x: x[:, :, ::2, :-1] if min(x.shape[2:]) > 4 else x,
    lambda x: torch.maximum(x, -0.1 * x) + torch.sin(x),
    lambda x: x.pow(2).mean((2, 3), keepdim=True).sqrt() + x,
    lambda x: functional.local_response_norm(x, 3),
    lambda x: x.contiguous(memory_format=torch.channels_last),
    _halves,
)  # fmt: skip


def random_layer(chance: random.Random, channels: int) -> Made:
    """One layer and the channels that come out of it."""
    return chance.choice(MAKERS)(chance, channels)


def _conv(chance: random.Random, channels: int) -> Made:
    wide, size = chance.choice((4, 8, 12, 16)), chance.choice((1, 3, 3, 5))
    dilation = chance.choice((1, 1, 2)) if size > 1 else 1
    groups = 2 if channels % 2 == 0 and chance.random() < 0.25 else 1
    mode = chance.choice(("zeros", "zeros", "zeros", "reflect", "replicate", "circular")) if size == 3 else "zeros"
    conv = nn.Conv2d(
        channels, wide, size, chance.choice((1, 1, 2)), dilation * (size // 2) if mode == "zeros" else 1,
        dilation, groups, bias=chance.random() < 0.5, padding_mode=mode,
    )  # fmt: skip
    return nn.Sequential(conv, nn.BatchNorm2d(wide), chance.choice(ACTIVATIONS)()), wide


def _computed(chance: random.Random, channels: int) -> Made:
    wide, size = chance.choice((4, 8, 12)), chance.choice((1, 3))
    conv = nn.Conv2d(channels, wide, size, padding=size // 2)
    return chance.choice((weight_norm, spectral_norm, Weighted))(conv), wide


def _depthwise(chance: random.Random, channels: int) -> Made:
    depth = nn.Conv2d(channels, channels, 3, 1, chance.choice((1, 2)), 1, channels, bias=False)
    return nn.Sequential(depth, nn.BatchNorm2d(channels), nn.ReLU6()), channels


def _deconv(chance: random.Random, channels: int) -> Made:
    wide = chance.choice((4, 8))
    made = nn.ConvTranspose2d(channels, wide, 2, 2), nn.ConvTranspose2d(channels, wide, 3, 2, 1, output_padding=1)
    return chance.choice(made), wide


def _pool(chance: random.Random, channels: int) -> Made:
    ceil = chance.random() < 0.5
    pools = (
        nn.MaxPool2d(3, 2, 1, ceil_mode=ceil),
        nn.AvgPool2d(2, ceil_mode=ceil),
        nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        nn.AdaptiveAvgPool2d((5, 7)),
        nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.AdaptiveMaxPool2d(4)),
    )
    return nn.AdaptiveMaxPool2d(6) if chance.random() < 0.03 else chance.choice(pools), channels


def _up(chance: random.Random, channels: int) -> Made:
    mode = chance.choice(("nearest", "bilinear", "bicubic"))
    corners = None if mode == "nearest" else chance.random() < 0.5
    return nn.Upsample(scale_factor=chance.choice((2, 1.5)), mode=mode, align_corners=corners), channels


def _norm(chance: random.Random, channels: int) -> Made:
    makers: tuple[Callable[[int], nn.Module], ...] = (
        ChannelNorm,
        LastNorm,
        lambda c: nn.GroupNorm(1, c),
        lambda c: nn.InstanceNorm2d(c, affine=True),
        nn.BatchNorm2d,
        lambda c: nn.BatchNorm2d(c, affine=False),
    )
    return chance.choice(makers)(channels), channels


def _shuffle(chance: random.Random, channels: int) -> Made:
    if chance.random() < 0.5:
        return nn.Sequential(nn.Conv2d(channels, 16, 1), nn.PixelShuffle(2)), 4
    return nn.Sequential(Applied(_even), nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, 8, 1)), 8


def _residual(chance: random.Random, channels: int) -> Made:
    join = chance.choice(("add", "relu", "cat"))
    conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    body = nn.Sequential(conv, nn.BatchNorm2d(channels), chance.choice(ACTIVATIONS)())
    return Residual(body, join=join), channels * (2 if join == "cat" else 1)


def _sequence(chance: random.Random, channels: int) -> Made:
    if chance.random() < 0.5:
        return Attention(channels, kind=chance.choice(("sdpa", "fill", "add"))), channels
    return Recurrent(channels, cell=chance.choice((nn.GRU, nn.LSTM)), both=chance.random() < 0.5), channels


def _mixed(chance: random.Random, channels: int) -> Made:
    wide = chance.choice((4, 8, 12))
    return Mixed(channels, wide, kind=chance.choice(("einsum", "conv1d"))), wide


def _function(chance: random.Random, channels: int) -> Made:
    functions = (*FUNCTIONS, *([_shuffled] if channels % 2 == 0 else []))
    return Applied(chance.choice(functions)), channels


def _scale(chance: random.Random, channels: int) -> Made:
    """Figures of another size: a normalizing network's own constants, temperatures, pixels."""
    factor = 10.0 ** chance.choice((-3, -2, 2, 3))
    return nn.Sequential(Applied(lambda x: x * factor), nn.Conv2d(channels, channels, 1)), channels


def _other(chance: random.Random, channels: int) -> Made:
    return chance.choice((Tied, ByShape, Selected, Gate))(channels), channels


def _cast(chance: random.Random, channels: int) -> Made:
    return Cast(chance.choice(("float", "to", "double", "made", "like", "numpy", "where"))), channels


def _activation(chance: random.Random, channels: int) -> Made:
    return chance.choice(ACTIVATIONS)(), channels


MAKERS: tuple[Callable[[random.Random, int], Made], ...] = (
    _conv, _conv, _conv, _conv, _computed, _depthwise, _deconv, _pool, _up, _norm, _norm, _shuffle, _residual,
    _residual, _sequence, _mixed, _function, _function, _scale, _other, _other, _cast, _activation, _activation,
)  # fmt: skip
