"""What goes wrong between an image file and a network, as pipelines that do just that, and the finding of it.

A pipeline whose steps nobody knows, a function of a user's, is compared with the reference and with every fault alone.
Where one of them explains more than half of the difference it is named, and the search goes on from there, so that two
faults at once are found one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deploykit.data.dataset import RawImage
from deploykit.data.images import CHANNEL_ORDERS
from deploykit.data.pipelines import (
    Pipeline,
    Step,
    in_pixels,
    normalized,
    reference_pipeline,
    resized_by_pillow,
    resized_without_antialias,
)
from deploykit.io.loader import read_image
from deploykit.spec import Preprocessing
from deploykit.spec.arrays import Array
from deploykit.spec.preprocessing import IMAGENET, INTERPOLATIONS, WHITE

EXPLAINS = 0.5  # of the difference that is left
EQUAL = 0.05  # of 255, on average: nothing is left to be explained
ANTIALIASED = ("bilinear", "bicubic")  # interpolations that also exist without


@dataclass(frozen=True, slots=True)
class Fault:
    """One step done otherwise than the reference does it."""

    step: Step
    said: str
    pipeline: Pipeline

    def into(self, pipeline: Pipeline) -> Pipeline:
        """`pipeline` with this fault."""
        return pipeline.with_step(self.step, self.pipeline)


def faults_of(recipe: Preprocessing) -> tuple[Fault, ...]:
    """What usually goes wrong, for this recipe: what makes no difference to it is left out."""
    return (*_decoding(recipe), *_resizing(recipe), *_color(recipe), *_normalization(recipe))


def explained(found: Sequence[Array], images: Sequence[RawImage], recipe: Preprocessing) -> tuple[Fault, ...]:
    """The faults that `found`, what a pipeline made of `images`, has against the reference; the largest first."""
    current, named = reference_pipeline(recipe), list[Fault]()
    remaining = list(faults_of(recipe))
    left = apart(found, [current(raw) for raw in images], recipe)
    while EQUAL < left < np.inf and remaining:
        tried = [(apart(found, [fault.into(current)(raw) for raw in images], recipe), fault) for fault in remaining]
        least, best = min(tried, key=lambda each: each[0])
        if least > EXPLAINS * left:
            break
        current, left = best.into(current), least
        named.append(best)
        remaining = [fault for fault in remaining if fault.step != best.step]
    return tuple(named)


def apart(found: Sequence[Array], expected: Sequence[Array], recipe: Preprocessing) -> float:
    """The mean difference of two sets of inputs, on the scale of pixels; infinite where one is not finite."""
    each = [np.abs(in_pixels(one - other, recipe)).mean() for one, other in zip(found, expected, strict=True)]
    mean = float(np.mean(each))
    return mean if np.isfinite(mean) else np.inf


def _decoding(recipe: Preprocessing) -> list[Fault]:
    lying = replace(reference_pipeline(recipe), decode=lambda raw: np.asarray(read_image(raw.path, upright=False)))
    return [Fault("decode", "the EXIF orientation is ignored", lying)]


def _resizing(recipe: Preprocessing) -> list[Fault]:
    reference, short = reference_pipeline(recipe), min(recipe.width, recipe.height)
    found = []
    if recipe.interpolation in ANTIALIASED:
        aliased = replace(reference, resize=lambda pixels: resized_without_antialias(pixels, recipe))
        found.append(Fault("resize", f"{recipe.interpolation} without antialias", aliased))
    others = {
        f"{name} for {recipe.interpolation}": replace(recipe, interpolation=name)
        for name in INTERPOLATIONS
        if name != recipe.interpolation
    }
    if recipe.fit != "stretch":
        others["stretched to the input, whatever the ratio"] = replace(recipe, fit="stretch")
    if recipe.fit != "crop":
        others["cut from the middle"] = replace(recipe, fit="crop", resize=short)
    elif recipe.resize > short:
        others[f"short side to {short}, without the margin of {recipe.resize}"] = replace(recipe, resize=short)
    for said, other in others.items():
        found.append(Fault("resize", said, replace(reference, resize=_resized(other))))
    return found


def _resized(recipe: Preprocessing) -> Callable[[Array], Array]:
    return lambda pixels: resized_by_pillow(pixels, recipe)


def _color(recipe: Preprocessing) -> list[Fault]:
    if len(recipe.mean) == 1:
        return []
    other = next(order for order in CHANNEL_ORDERS if order != recipe.channel_order)
    swapped = replace(reference_pipeline(recipe), color=lambda pixels: pixels[..., CHANNEL_ORDERS[other]])
    return [Fault("color", f"{other} for {recipe.channel_order}", swapped)]


def _normalization(recipe: Preprocessing) -> list[Fault]:
    channels = len(recipe.mean)
    zeros, ones, halves = (0.0,) * channels, (1.0,) * channels, (0.5,) * channels
    others = {
        "missing: pixels of 0 to 255 as they are": replace(recipe, scale=1.0, mean=zeros, std=ones),
        "missing: pixel / 255, neither mean nor deviation": replace(recipe, scale=WHITE, mean=zeros, std=ones),
        "pixels between -1 and 1": replace(recipe, scale=WHITE, mean=halves, std=halves),
        "the mean alone, no deviation": replace(recipe, std=ones),
        "no division by 255 before the mean and the deviation": replace(recipe, scale=1.0),
        "mean and deviation in the reverse order of channels": replace(
            recipe, mean=recipe.mean[::-1], std=recipe.std[::-1]
        ),
    }
    if channels == 3:
        others["ImageNet's mean and deviation"] = replace(recipe, scale=WHITE, mean=IMAGENET[0], std=IMAGENET[1])
    return [
        Fault("normalize", said, replace(reference_pipeline(recipe), normalize=_normalized(other)))
        for said, other in others.items()
        if (other.scale, other.mean, other.std) != (recipe.scale, recipe.mean, recipe.std)
    ]


def _normalized(recipe: Preprocessing) -> Callable[[Array], Array]:
    return lambda pixels: normalized(pixels.astype(np.float64), recipe)
