"""The images that a network is shown: which photographs, cut and normalised as its card says."""

from __future__ import annotations

from pathlib import Path

from deploykit.errors import UsageError
from deploykit.images import ImageSet, Role, open_images
from deploykit.pipeline.values import Exported
from deploykit.spec import Preprocessing
from deploykit.zoo import registry

CROP_SHARE = 0.875  # 224 of 256: what an .onnx file, which has no card, is shown of the resized image
GREY = (0.5,)


def images_for(exported: Exported, role: Role, *, count: int, data: Path | None) -> ImageSet:
    """`count` inputs from the photographs in `data` (None: the demo photographs). Raises UsageError."""
    channels = exported.image_input().shape[1]
    if not isinstance(channels, int) or channels not in (1, 3):
        raise UsageError(f"{exported.model.name} takes images of {channels} channels", hint="1 or 3 can be fed")
    return open_images(
        role, preprocessing_of(exported), channels=channels, count=count, seed=exported.model.seed, folder=data
    )


def preprocessing_of(exported: Exported) -> Preprocessing:
    """The card's recipe, or ImageNet's for an `.onnx` file. Raises UsageError where images are not square."""
    if not exported.model.is_onnx:
        return registry.preprocessing(exported.model)
    _, channels, height, width = exported.image_input().shape
    if not isinstance(height, int) or height != width:
        raise UsageError(f"{exported.model.name} takes images of {height} x {width}", hint="square images can be fed")
    recipe = Preprocessing(crop=height, resize=round(height / CROP_SHARE))
    if channels == 3:
        return recipe
    return Preprocessing(crop=recipe.crop, resize=recipe.resize, mean=GREY, std=GREY)
