"""Ways from an image file to a network's input, in four steps that can be exchanged one by one.

| step | takes | gives |
|---|---|---|
| decode | a file | RGB, 8 bits, (H, W, 3) |
| resize | the image | the same at the input's size, 0 to 255 |
| color | RGB | the channels that the network takes, in its order, (h, w, C) |
| normalize | 0 to 255 | (pixel / scale - mean) / std, in the network's layout |

The reference is the network's own declaration, computed by Pillow and, from 8-bit pixels on, in float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from deploykit.data.dataset import RawImage
from deploykit.data.images import CHANNEL_ORDERS, fit_of, fitted
from deploykit.errors import UntrustedArtifact, UsageError, one_line
from deploykit.spec import Preprocessing
from deploykit.spec.arrays import Array

Step = Literal["decode", "resize", "color", "normalize"]
STEPS: tuple[Step, ...] = get_args(Step)
TENSOR_MODES = {"nearest": "NEAREST_EXACT", "bilinear": "BILINEAR", "bicubic": "BICUBIC"}  # torchvision's, of tensors


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Four steps; `said` has, of each that is not the reference's, what it does in its place."""

    name: str
    decode: Callable[[RawImage], Array]
    resize: Callable[[Array], Array]
    color: Callable[[Array], Array]
    normalize: Callable[[Array], Array]
    said: tuple[tuple[Step, str], ...] = ()

    def step(self, name: Step) -> Callable[[Any], Array]:
        """One of the four."""
        found: Callable[[Any], Array] = getattr(self, name)
        return found

    def with_step(self, name: Step, of: Pipeline) -> Pipeline:
        """The same with one step of another."""
        return replace(self, **{name: of.step(name)})  # type: ignore[arg-type]

    def after(self, name: Step, value: Array) -> Array:
        """What the steps behind `name` make of its result."""
        for step in STEPS[STEPS.index(name) + 1 :]:
            value = self.step(step)(value)
        return value

    def __call__(self, raw: RawImage) -> Array:
        """An image of a file as the network takes it."""
        return self.after("decode", self.decode(raw))


def reference_pipeline(recipe: Preprocessing) -> Pipeline:
    """What the recipe says: decoded and resized by Pillow, normalized in float64."""
    return Pipeline(
        "reference",
        decode=lambda raw: np.asarray(raw.read()),
        resize=lambda pixels: resized_by_pillow(pixels, recipe),
        color=lambda pixels: colored(pixels, recipe),
        normalize=lambda pixels: normalized(pixels.astype(np.float64), recipe),
    )


def pillow_pipeline(recipe: Preprocessing) -> Pipeline:
    """What deploykit feeds networks: the reference with float32 in place of float64."""
    in_float32 = replace(
        reference_pipeline(recipe),
        name="Pillow",
        normalize=lambda pixels: normalized(pixels.astype(np.float32), recipe),
    )
    return replace(in_float32, said=(("normalize", "in float32"),))


def torchvision_pipeline(recipe: Preprocessing) -> Pipeline:
    """torchvision's transforms on tensors of bytes: `decode_image`, `resize` with antialias, `normalize`.

    Raises UsageError for an interpolation that torchvision has not of tensors, ImportError where it is not installed.
    """
    from torchvision.transforms.v2 import functional

    if recipe.interpolation not in TENSOR_MODES:
        raise UsageError(f"torchvision does not resize tensors by {recipe.interpolation}")
    mode = functional.InterpolationMode[TENSOR_MODES[recipe.interpolation]]

    def resize(pixels: Array) -> Array:
        fit = fit_of(pixels.shape[1], pixels.shape[0], recipe)
        size = [fit.height, fit.width]
        found = functional.resize(_tensor(pixels), size, interpolation=mode, antialias=True)
        return placed(_pixels(found), recipe, fit.left, fit.top)

    def color(pixels: Array) -> Array:
        if len(recipe.mean) == 1:
            return _pixels(functional.rgb_to_grayscale(_tensor(pixels)))
        return pixels[..., CHANNEL_ORDERS[recipe.channel_order]]

    def normalize(pixels: Array) -> Array:
        scaled = _tensor(pixels).float() / recipe.scale
        planes: Array = functional.normalize(scaled, list(recipe.mean), list(recipe.std)).numpy()
        return planes.transpose(1, 2, 0) if recipe.layout == "NHWC" else planes

    said: dict[Step, str] = {
        "decode": "torchvision's decode_image",
        "resize": f"torchvision's {recipe.interpolation} of tensors, with antialias",
        "color": "torchvision's gray",
        "normalize": "in float32",
    }
    return Pipeline("torchvision", _decoded_by_torchvision, resize, color, normalize, tuple(said.items()))


def resized_by_pillow(pixels: Array, recipe: Preprocessing) -> Array:
    from PIL import Image

    return np.asarray(fitted(Image.fromarray(pixels), recipe))


def resized_without_antialias(pixels: Array, recipe: Preprocessing) -> Array:
    """Each pixel from its nearest neighbors alone, as OpenCV's `resize` and tensors without `antialias` have it."""
    from torch.nn.functional import interpolate

    fit = fit_of(pixels.shape[1], pixels.shape[0], recipe)
    image = _tensor(pixels).float()[None]
    found = interpolate(image, (fit.height, fit.width), mode=recipe.interpolation, align_corners=False)
    return placed(_pixels(found[0].round().clamp(0, 255).byte()), recipe, fit.left, fit.top)


def placed(pixels: Array, recipe: Preprocessing, left: int, top: int) -> Array:
    """The input's part of a resized image, filled up with gray where it is smaller (see `Fit`)."""
    height, width = pixels.shape[:2]
    if left >= 0 and top >= 0:
        return pixels[top : top + recipe.height, left : left + recipe.width]
    canvas = np.full((recipe.height, recipe.width, pixels.shape[2]), recipe.pad, pixels.dtype)
    canvas[-top : height - top, -left : width - left] = pixels
    return canvas


def colored(pixels: Array, recipe: Preprocessing) -> Array:
    """RGB in the recipe's order, or gray."""
    from PIL import Image

    if len(recipe.mean) == 1:
        return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    return pixels[..., CHANNEL_ORDERS[recipe.channel_order]]


def normalized(pixels: Array, recipe: Preprocessing) -> Array:
    """(pixel / scale - mean) / std in the type of `pixels`, (h, w, C), in the recipe's layout."""
    mean, std = (np.array(values, pixels.dtype) for values in (recipe.mean, recipe.std))
    found: Array = (pixels / pixels.dtype.type(recipe.scale) - mean) / std
    return found if recipe.layout == "NHWC" else found.transpose(2, 0, 1)


def in_pixels(difference: Array, recipe: Preprocessing) -> Array:
    """A difference of inputs on the scale of pixels, 0 to 255: times std and scale, channel by channel."""
    factors = np.array(recipe.std) * recipe.scale
    return difference * (factors if recipe.layout == "NHWC" else factors[:, None, None])


def _decoded_by_torchvision(raw: RawImage) -> Array:
    from torchvision.io import ImageReadMode, decode_image

    try:
        with warnings.catch_warnings(
            action="ignore"
        ):  # that torchvision's decoders are to move to a package of their own
            found = decode_image(str(raw.path), ImageReadMode.RGB, apply_exif_orientation=True)
    except (RuntimeError, ValueError) as error:
        raise UntrustedArtifact(f"torchvision cannot decode {raw.name}: {one_line(error)}") from error
    return _pixels(found)


def _tensor(pixels: Array) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _pixels(tensor: Any) -> Array:
    found: Array = tensor.permute(1, 2, 0).numpy()
    return found
