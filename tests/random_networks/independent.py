"""What a random network really computes, and whether a graph's outputs agree with it; none of deploykit's code is used.

The network runs in PyTorch in float64: its parameters are raised, tensors made in `forward` are float64 by default,
and a cast to float32 becomes one to float64.

The limits are looser than deploykit's own: the images are others, if of the same kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from generator import Input
from torch import nn
from torch.overrides import TorchFunctionMode

Array = np.ndarray[Any, Any]
IMAGES = 16
SPARED = 2  # of them, INT8 alone: an image whose activations lie beyond all that was calibrated on is clipped
OWN_SCALE = 0.25  # of the group's: a channel that varies less may vanish beside the others


@dataclass(frozen=True)
class Limit:
    """What an output must reach, decibels, before a "pass" counts as true.

    `total`: of the whole output. `varying`: of what varies around the mean of each channel, per group of channels;
    `channel`: the same of its worst channel. `agreement` is the share of whole numbers, or of ranked items, that must
    be right.
    """

    total: float
    varying: float
    channel: float
    agreement: float


LIMITS = {
    "fp32": Limit(55.0, 36.0, 25.0, 0.97),
    "fp16": Limit(25.0, 15.0, 6.0, 0.85),
    "int8": Limit(12.0, 4.0, -4.0, 0.6),
    "other data": Limit(-np.inf, -np.inf, -np.inf, 0.0),  # INT8 that was calibrated on other images: shapes and life
}


class DoubleCasts(TorchFunctionMode):
    """Inside, a cast to float32, whatever it is written as, gives float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()
        widened = [torch.float64 if argument is torch.float32 else argument for argument in args]
        named = {name: torch.float64 if value is torch.float32 else value for name, value in (kwargs or {}).items()}
        return func(*widened, **named)


def exact_outputs(module: nn.Module, arrays: Sequence[Array]) -> list[Array]:
    """The flattened outputs of `module` for its inputs in order, in float64; None is left out."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), DoubleCasts():
            given = [torch.from_numpy(array) for array in arrays]
            found = module.double()(*(each.double() if each.is_floating_point() else each for each in given))
            return [tensor.numpy() for tensor in leaves(found)]
    finally:
        torch.set_default_dtype(before)


def leaves(found: Any) -> Iterator[torch.Tensor]:
    """The tensors of what a module returns, in order."""
    if torch.is_tensor(found):
        yield found
    elif isinstance(found, Mapping):
        for value in found.values():
            yield from leaves(value)
    elif found is not None:
        for value in found:
            yield from leaves(value)


def disagreement(found: Array, exact: Array, precision: str, *, groups: Sequence[slice] = (), ranked: bool) -> str:
    """Why `found` is not the output `exact` at this precision; "" where it is.

    `groups` are the channels of each kind of figures where there are several; `ranked`: whole numbers in the order of
    figures that are not shown, compared as sets per image.
    """
    limit = LIMITS[precision]
    if found.shape != exact.shape:
        return f"shape {found.shape}, not {exact.shape}"
    if exact.dtype.kind != "f":
        share = _common(found, exact) if ranked else float(np.mean(found == exact))
        wrong = round((1.0 - share) * exact.size)
        return "" if share >= limit.agreement or wrong <= 1 else f"agrees in {share:.0%} only"
    if not np.isfinite(exact).all():
        return ""  # nothing can be said
    if not np.isfinite(found).all():
        return "is not finite"
    if precision == "int8" and exact.ndim > 1 and len(exact) == IMAGES:
        kept = np.argsort(_error_of_each(found, exact))[:-SPARED]
        found, exact = found[kept], exact[kept]
    error, size = np.linalg.norm(found - exact), np.linalg.norm(exact)
    if size and _decibel(error / size) < limit.total:
        return f"is at {_decibel(error / size):.1f} dB"
    if exact.ndim < 2:
        return ""
    for group in groups or [slice(None)]:
        if why := _varying(found[:, group], exact[:, group], limit):
            return f"{group if groups else ''} {why}".strip()
    return ""


def _varying(found: Array, exact: Array, limit: Limit) -> str:
    """The same, of one group of channels along axis 1, by what varies in it."""
    r, y = (np.moveaxis(array.astype(np.float64), 1, 0).reshape(array.shape[1], -1) for array in (exact, found))
    varying = r - r.mean(1, keepdims=True)
    size = np.linalg.norm(varying, axis=1)
    if np.linalg.norm(varying) < 1e-3 * np.linalg.norm(r):
        return ""
    if (reached := _decibel(np.linalg.norm(y - r) / np.linalg.norm(varying))) < limit.varying:
        return f"has what varies at {reached:.1f} dB"
    for channel in np.flatnonzero(size >= OWN_SCALE * np.sqrt(np.mean(size**2))) if exact.ndim > 2 else ():
        if r.shape[1] < 64:
            continue
        if np.ptp(y[channel]) == 0.0:
            return f"has a constant channel {channel}, which varies in float64"
        if (reached := _decibel(np.linalg.norm(y[channel] - r[channel]) / size[channel])) < limit.channel:
            return f"has what varies of channel {channel} at {reached:.1f} dB"
    return ""


def _error_of_each(found: Array, exact: Array) -> Array:
    """The size of the error of each image."""
    errors: Array = np.linalg.norm((found - exact).reshape(len(exact), -1), axis=1)
    return errors


def _decibel(relative: float) -> float:
    return float(-20 * np.log10(relative)) if relative else np.inf


def _common(found: Array, exact: Array) -> float:
    """The share of items that both have, image by image."""
    pairs = zip(found.reshape(len(found), -1), exact.reshape(len(exact), -1), strict=True)
    return float(sum(len(np.intersect1d(one, two)) for one, two in pairs) / exact.size)


def made_up(seed: int, taken: Sequence[Input], count: int = IMAGES) -> list[Array]:
    """Arrays for each input: smooth noise for images, of any color and contrast within what image_folder have, and even
    numbers for whole ones."""
    drawn = np.random.default_rng(seed)
    arrays = []
    for each in taken:
        if len(each.shape) == 3:
            images = drawn.standard_normal((count, *each.shape))
            for axis in (2, 3):
                images = images + np.roll(images, 1, axis) + np.roll(images, 2, axis)
            images = images / images.std((1, 2, 3), keepdims=True) * drawn.uniform(0.2, 1.2, (count, 1, 1, 1))
            images = np.clip(images + drawn.uniform(-1.5, 1.5, (count, each.shape[0], 1, 1)), -2.0, 2.2)
            arrays.append(np.rint(128 + 50 * images).astype(np.uint8) if each.high else images.astype(np.float32))
        elif each.high:
            arrays.append(drawn.integers(0, each.high, (count, *each.shape)))
        else:
            arrays.append(drawn.standard_normal((count, *each.shape)).astype(np.float32))
    return arrays
