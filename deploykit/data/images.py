"""Images for calibration, parity and benchmarks, as seeded streams of network inputs.

Without data of one's own they are the demo images (`demo.toml`), which lie inside the wheels of scikit-learn and
scikit-image; seeded random-resized crops (Szegedy et al., arXiv 1409.4842, section 6) make any number of inputs from
them. Of one's own, each image is used once, brought to size as the recipe says; only when there are fewer than asked
for do such crops follow. Calibration and test never get the same image, or a copy of it.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploykit.data.dataset import DEMO_FIX, ROLES, ImageDataset, RawImage, Role, Skipped, open_dataset, rank
from deploykit.errors import UsageError
from deploykit.host import library_versions
from deploykit.spec import Preprocessing
from deploykit.store.key import cache_key

if TYPE_CHECKING:
    from PIL import Image

CROP_AREA = (0.25, 1.0)  # share of the image
CROP_RATIO = (3 / 4, 4 / 3)  # width to height
CHANNEL_ORDERS = {"RGB": [0, 1, 2], "BGR": [2, 1, 0]}
DECODED_AT_ONCE = 8  # images kept in memory while crops are cut from them in turn
LARGEST_RESIZED = 25_000_000  # pixels: of an image that would become larger, only the part that is used is resized
LARGEST_KEPT = 12_500_000  # pixels of such an image


@dataclass(frozen=True)
class PreparedImages:
    """`count` preprocessed images; the same ones in every run with the same images, recipe and seed.

    `candidates` stand in the order of use; a broken one gives its place to the next. They are decoded when
    `skipped`, `used` or `batches` ask, which raise UsageError when no sound one is left.
    """

    role: Role
    preprocessing: Preprocessing
    channels: int
    count: int
    seed: int
    candidates: tuple[RawImage, ...]
    crops_only: bool
    unusable: tuple[Skipped, ...] = field(default=())

    def __len__(self) -> int:
        return self.count

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of what the inputs are made of: the recipe, Pillow's version, the images' content.

        Images beyond the first `count`, which only stand in for broken ones, count by name and size.
        """
        used, spare = self.candidates[: self.count], self.candidates[self.count :]
        return cache_key(
            {
                "role": self.role,
                "preprocessing": self.preprocessing,
                "channels": self.channels,
                "count": self.count,
                "seed": self.seed,
                "crops": [self.crops_only, CROP_AREA, CROP_RATIO],
                "libraries": library_versions(["pillow", "numpy"]),
                "content": [raw.digest for raw in used],
                "spare": [[raw.name, raw.size] for raw in spare],
            }
        )

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Images that were passed over."""
        return self.unusable + self._sound[1]

    @property
    def used(self) -> tuple[RawImage, ...]:
        """The images that inputs are made of, each once."""
        return self._sound[0]

    def batches(self, batch: int) -> Iterator["np.ndarray[Any, np.dtype[np.float32]]"]:
        """Inputs as float32, normalized, in the recipe's layout; the last batch may be smaller. Streamed."""
        if batch < 1:
            raise UsageError(f"a batch of {batch} images", hint="give 1 or more")
        inputs = self._inputs()
        while images := list(islice(inputs, batch)):
            yield np.stack(images)

    def _inputs(self) -> Iterator["np.ndarray[Any, np.dtype[np.float32]]"]:
        read = _remembering()
        for index, raw in enumerate(self._in_order()):
            image = read(raw)
            if self.crops_only or index >= len(self.used):
                image = _random_crop(image, self.preprocessing, np.random.default_rng([self.seed % 2**32, index]))
            else:
                image = fitted(image, self.preprocessing)
            yield normalize(image, self.preprocessing, self.channels)

    def _in_order(self) -> Iterator[RawImage]:
        return (self.used[index % len(self.used)] for index in range(self.count))

    @cached_property
    def _sound(self) -> tuple[tuple[RawImage, ...], tuple[Skipped, ...]]:
        sound: list[RawImage] = []
        broken: list[Skipped] = []
        for raw in self.candidates:
            if len(sound) == self.count:
                break
            if fault := raw.fault():
                broken.append(Skipped(raw.name, fault))
            else:
                sound.append(raw)
        if not sound:
            raise UsageError(f"all {len(broken)} images for {self.role} are broken, the first: {broken[0]}")
        return tuple(sound), tuple(broken)


def _remembering() -> Callable[[RawImage], "Image.Image"]:
    """`RawImage.read`, with the last images at hand, but for large ones."""
    kept: OrderedDict[RawImage, Image.Image] = OrderedDict()

    def read(raw: RawImage) -> "Image.Image":
        image = kept.pop(raw, None) or raw.read()
        if image.width * image.height <= LARGEST_KEPT:
            kept[raw] = image
        if len(kept) > DECODED_AT_ONCE:
            kept.popitem(last=False)
        return image

    return read


def open_images(
    role: Role, preprocessing: Preprocessing, *, channels: int, count: int, seed: int, origin: Path | None = None
) -> PreparedImages:
    """`count` inputs for `role`, from the images of `origin` or, without one, from the demo images.

    An origin with one image gives it to whichever role asks, and `assert_disjoint` tells when both did.

    Raises as `open_dataset`, and UsageError where there is no sound image, where the demo images are not installed,
    and where the recipe does not fit `channels`.
    """
    if role not in ROLES:
        raise UsageError(f"unknown role {role!r} of an image set", hint=f"known: {', '.join(ROLES)}")
    if count < 1 or channels not in (1, 3):
        raise UsageError(f"{count} images of {channels} channels", hint="ask for 1 or more, of 1 or 3 channels")
    if not len(preprocessing.mean) == len(preprocessing.std) == channels:
        raise UsageError(f"mean and std of {preprocessing} are not for {channels} channels")
    _resampling(preprocessing)
    if preprocessing.channel_order not in CHANNEL_ORDERS:
        raise UsageError(
            f"unknown channel order {preprocessing.channel_order!r}", hint=f"known: {', '.join(CHANNEL_ORDERS)}"
        )
    dataset = open_dataset(origin)
    chosen = candidates(dataset, role, seed=seed)
    if not chosen:
        if origin is None:
            raise UsageError(f"no demo image for {role} is installed", hint=DEMO_FIX)
        raise UsageError(f"{origin} has no image for {role}", hint="add some, or leave the roles out of the list")
    images = PreparedImages(role, preprocessing, channels, count, seed, chosen, origin is None, dataset.unusable)
    if all(raw.fault() for raw in chosen):
        raise UsageError(
            f"no image of {origin or 'the demo set'} for {role} can be read; the first: {chosen[0].fault()}"
        )
    return images


def candidates(dataset: ImageDataset, role: Role, *, seed: int) -> tuple[RawImage, ...]:
    """The images that may serve for `role`, in seeded order."""
    found = (raw for raw in dataset.images if raw.role in (role, ""))
    return tuple(sorted(found, key=lambda raw: rank(seed, raw.name)))


def assert_disjoint(calibration: PreparedImages, test: PreparedImages) -> None:
    """Raise UsageError when an image, or a copy of it, is in both: parity on seen images proves nothing."""
    seen = {raw.digest: raw.name for raw in calibration.used}
    for raw in test.used:
        if (content := raw.digest) in seen:
            raise UsageError(
                f"image {raw.name} would serve for test and, as {seen[content]}, for calibration",
                hint="give a folder with at least two different images",
            )


def _resampling(preprocessing: Preprocessing) -> "Image.Resampling":
    from PIL import Image

    known = {
        "nearest": Image.Resampling.NEAREST,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "lanczos": Image.Resampling.LANCZOS,
        "area": Image.Resampling.BOX,
    }
    if preprocessing.interpolation not in known:
        raise UsageError(f"unknown interpolation {preprocessing.interpolation!r}", hint=f"known: {', '.join(known)}")
    return known[preprocessing.interpolation]


def fitted(image: "Image.Image", recipe: Preprocessing) -> "Image.Image":
    """The whole image brought to the input's size, as `recipe.fit` says."""
    return _placed(image, fit_of(image.width, image.height, recipe), recipe)


def center_crop(image: "Image.Image", recipe: Preprocessing) -> "Image.Image":
    """The image resized until it fills the input, and its middle, whatever `recipe.fit` says."""
    return _placed(image, _crop_of(image.width, image.height, recipe), recipe)


@dataclass(frozen=True, slots=True)
class Fit:
    """An image at `width` and `height`, pixels, and the place of the input in it: `left` and `top` of its corner.

    Where these are negative, the input is larger than the image, and what is around it is filled up.
    """

    width: int
    height: int
    left: int = 0
    top: int = 0


def fit_of(width: int, height: int, recipe: Preprocessing) -> Fit:
    """How an image of `width` and `height` pixels comes to the input's size."""
    match recipe.fit:
        case "stretch":
            return Fit(recipe.width, recipe.height)
        case "letterbox":
            share = min(recipe.width / width, recipe.height / height)
            wide, high = (max(1, round(length * share)) for length in (width, height))
            return Fit(wide, high, -((recipe.width - wide) // 2), -((recipe.height - high) // 2))
        case _:
            return _crop_of(width, height, recipe)


def _crop_of(width: int, height: int, recipe: Preprocessing) -> Fit:
    """Short side to `resize` (never below `crop`), then the middle; rounding as torchvision's Resize and CenterCrop.

    Of an input that is not square, the side on which the image is shorter for the input's ratio is resized, by as
    much more than that side of the input as `resize` is more than its short one.
    """
    short = min(recipe.width, recipe.height)
    margin = max(recipe.resize, short)
    sides = [round(margin * length / short) for length in (recipe.width, recipe.height)]
    tight = int(width * sides[1] > height * sides[0])  # the axis that the image just fills
    length, side = (width, height)[tight], sides[tight]
    wide, high = (
        side if axis == tight else max(int(side * other / length), (recipe.width, recipe.height)[axis])
        for axis, other in enumerate((width, height))
    )
    return Fit(wide, high, round((wide - recipe.width) / 2), round((high - recipe.height) / 2))


def _placed(image: "Image.Image", fit: Fit, recipe: Preprocessing) -> "Image.Image":
    """The image resized, and the input's part of it, filled up with gray where it is smaller."""
    from PIL import Image

    if fit.left >= 0 and fit.top >= 0 and fit.width * fit.height > LARGEST_RESIZED:
        across, down = image.width / fit.width, image.height / fit.height
        box = (fit.left * across, fit.top * down, (fit.left + recipe.width) * across, (fit.top + recipe.height) * down)
        return image.resize((recipe.width, recipe.height), _resampling(recipe), box=box)
    image = image.resize((fit.width, fit.height), _resampling(recipe))
    if fit.left >= 0 and fit.top >= 0:
        return image.crop((fit.left, fit.top, fit.left + recipe.width, fit.top + recipe.height))
    canvas = Image.new("RGB", (recipe.width, recipe.height), (recipe.pad,) * 3)
    canvas.paste(image, (-fit.left, -fit.top))
    return canvas


def _random_crop(image: "Image.Image", recipe: Preprocessing, random: np.random.Generator) -> "Image.Image":
    """A part of random area, ratio and place, resized to the input; it always lies inside the image."""
    area = image.width * image.height * random.uniform(*CROP_AREA)
    ratio = math.exp(random.uniform(math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])))
    ratio *= recipe.width / recipe.height
    width = min(image.width, max(1, round(math.sqrt(area * ratio))))
    height = min(image.height, max(1, round(math.sqrt(area / ratio))))
    left = int(random.integers(image.width - width + 1))
    top = int(random.integers(image.height - height + 1))
    box = (left, top, left + width, top + height)
    if recipe.fit == "letterbox":
        return fitted(image.crop(box), recipe)
    return image.resize((recipe.width, recipe.height), _resampling(recipe), box=box)


def normalize(image: "Image.Image", recipe: Preprocessing, channels: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """(pixel / scale - mean) / std, in the recipe's layout and order of channels."""
    pixels = np.asarray(image.convert("L") if channels == 1 else image, dtype=np.float32)
    if channels == 3:
        pixels = pixels[..., CHANNEL_ORDERS[recipe.channel_order]]
    planes = pixels.reshape(recipe.height, recipe.width, channels).transpose(2, 0, 1) / np.float32(recipe.scale)
    mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (recipe.mean, recipe.std))
    ready = (planes - mean) / std
    return np.ascontiguousarray(ready.transpose(1, 2, 0) if recipe.layout == "NHWC" else ready)
