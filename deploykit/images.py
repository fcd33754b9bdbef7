"""Photographs for calibration, parity and benchmarks, as seeded streams of network inputs.

Without a folder they are the demo photographs (`demo.toml`), which lie inside the wheels of scikit-learn and
scikit-image; seeded random-resized crops (Szegedy et al., arXiv 1409.4842, section 6) make any number of inputs from
them. With a folder each image is used once, resized and cut at the centre; only when there are fewer than asked for do
such crops follow. Calibration and test never get the same photograph, or a copy of it.
"""

import hashlib
import math
import os
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import resources
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deploykit.cachekey import cache_key, file_digest
from deploykit.errors import UntrustedArtefact, UsageError
from deploykit.host import library_versions
from deploykit.loader import read_image
from deploykit.spec import Preprocessing

if TYPE_CHECKING:
    from PIL import Image

Role = Literal["calibration", "test"]
ROLES: tuple[Role, ...] = ("calibration", "test")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
CROP_AREA = (0.25, 1.0)  # share of the photograph
CROP_RATIO = (3 / 4, 4 / 3)  # width to height
CHANNEL_ORDERS = {"RGB": [0, 1, 2], "BGR": [2, 1, 0]}
DECODED_AT_ONCE = 8  # photographs kept in memory while crops are cut from them in turn
DEMO_FIX = 'pip install "deploykit[demo]", or give a folder with --data DIR'


@dataclass(frozen=True, slots=True)
class Photograph:
    name: str
    path: Path
    role: str
    licence: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image that cannot be used, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class ImageSet:
    """`count` network inputs; the same ones in every run with the same photographs, recipe and seed.

    `candidates` stand in the order of use; a broken one gives its place to the next. They are decoded when
    `skipped`, `used` or `batches` ask, which raise UsageError when no sound one is left.
    """

    role: Role
    preprocessing: Preprocessing
    channels: int
    count: int
    seed: int
    candidates: tuple[Photograph, ...]
    crops_only: bool
    unusable: tuple[Skipped, ...] = field(default=())

    def __len__(self) -> int:
        return self.count

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of what the inputs are made of: the recipe, Pillow's version, the photographs' content.

        Photographs beyond the first `count`, which only stand in for broken ones, count by name and size.
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
                "content": [_digest_of(photograph.path) for photograph in used],
                "spare": [[photograph.name, _size_of(photograph.path)] for photograph in spare],
            }
        )

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Images that were passed over."""
        return self.unusable + self._sound[1]

    @property
    def used(self) -> tuple[Photograph, ...]:
        """The photographs that inputs are made of, each once."""
        return self._sound[0]

    def batches(self, batch: int) -> Iterator["np.ndarray[Any, np.dtype[np.float32]]"]:
        """Inputs as float32 (n, channels, crop, crop), normalised; the last batch may be smaller. Streamed."""
        if batch < 1:
            raise UsageError(f"a batch of {batch} images", hint="give 1 or more")
        inputs = self._inputs()
        while images := list(islice(inputs, batch)):
            yield np.stack(images)

    def _inputs(self) -> Iterator["np.ndarray[Any, np.dtype[np.float32]]"]:
        read = lru_cache(maxsize=DECODED_AT_ONCE)(read_image)
        for index, photograph in enumerate(self._photographs()):
            image = read(photograph.path)
            if self.crops_only or index >= len(self.used):
                image = _random_crop(image, self.preprocessing, np.random.default_rng([self.seed % 2**32, index]))
            else:
                image = _centre_crop(image, self.preprocessing)
            yield _normalise(image, self.preprocessing, self.channels)

    def _photographs(self) -> Iterator[Photograph]:
        return (self.used[index % len(self.used)] for index in range(self.count))

    @cached_property
    def _sound(self) -> tuple[tuple[Photograph, ...], tuple[Skipped, ...]]:
        sound: list[Photograph] = []
        broken: list[Skipped] = []
        for photograph in self.candidates:
            if len(sound) == self.count:
                break
            if fault := _fault(photograph):
                broken.append(Skipped(photograph.name, fault))
            else:
                sound.append(photograph)
        if not sound:
            raise UsageError(f"all {len(broken)} images for {self.role} are broken, the first: {broken[0]}")
        return tuple(sound), tuple(broken)


def open_images(
    role: Role, preprocessing: Preprocessing, *, channels: int, count: int, seed: int, folder: Path | None = None
) -> ImageSet:
    """`count` inputs for `role`, from the images of `folder` or, without one, from the demo photographs.

    A folder is searched with its subfolders and split in two by a hash, half of the photographs for each role; a
    folder with one photograph gives it to whichever role asks, and `assert_disjoint` tells when both did.

    Raises UsageError where the folder is none or has no sound image, where the demo photographs are not installed,
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
    found, unusable = _demo() if folder is None else (_in_folder(folder), ())
    chosen = sorted((item for item in found if item.role in (role, "")), key=lambda item: _rank(seed, item.name))
    if not chosen:
        raise UsageError(f"no demo photograph for {role} is installed", hint=DEMO_FIX)
    images = ImageSet(role, preprocessing, channels, count, seed, tuple(chosen), folder is None, unusable)
    if all(_fault(photograph) for photograph in chosen):
        raise UsageError(f"{folder or 'the demo set'} has no sound image for {role}, the first: {_fault(chosen[0])}")
    return images


def assert_disjoint(calibration: ImageSet, test: ImageSet) -> None:
    """Raise UsageError when a photograph, or a copy of it, is in both: parity on seen images proves nothing."""
    seen = {_digest_of(photograph.path): photograph.name for photograph in calibration.used}
    for photograph in test.used:
        if (content := _digest_of(photograph.path)) in seen:
            raise UsageError(
                f"photograph {photograph.name} would serve for test and, as {seen[content]}, for calibration",
                hint="give a folder with at least two different photographs",
            )


def demo_photographs() -> tuple[Photograph, ...]:
    """The demo photographs that are installed. Raises UsageError when none is."""
    return _demo()[0]


def _demo() -> tuple[tuple[Photograph, ...], tuple[Skipped, ...]]:
    found: list[Photograph] = []
    unusable: list[Skipped] = []
    manifest = tomllib.loads((resources.files("deploykit") / "demo.toml").read_text(encoding="utf-8"))
    for item in manifest["photograph"]:
        package = find_spec(item["package"])
        path = Path(package.origin).parent / item["file"] if package is not None and package.origin else None
        if path is None or not path.is_file():
            unusable.append(Skipped(item["name"], f"{item['package']} does not provide it here"))
        elif file_digest(path) != item["sha256"]:
            unusable.append(Skipped(item["name"], f"{path} is not the file that demo.toml describes"))
        else:
            found.append(Photograph(item["name"], path, item["role"], item["licence"], item["source"]))
    if not found:
        raise UsageError("the demo photographs of scikit-learn and scikit-image are not installed", hint=DEMO_FIX)
    return tuple(found), tuple(unusable)


def _fault(photograph: Photograph) -> str:
    """Why the image cannot be decoded, "" when it can."""
    try:
        read_image(photograph.path)
    except (UntrustedArtefact, UsageError) as error:
        return error.message
    return ""


def _in_folder(folder: Path) -> tuple[Photograph, ...]:
    """The images of a folder, each with its role; copies of one photograph get the same one."""
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"image folder {folder} {what}", hint="give a folder with images")
    paths = sorted(
        Path(parent) / name
        for parent, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
    )
    if not paths:
        raise UsageError(f"image folder {folder} has no image", hint=f"looked for {', '.join(SUFFIXES)}")
    sizes = {path: _size_of(path) for path in paths}
    common = Counter(sizes.values())
    # Copies have one size, so content is read only where sizes meet.
    identity = {path: f"{size} {_digest_of(path)}" if common[size] > 1 else str(size) for path, size in sizes.items()}
    ranked = sorted(set(identity.values()), key=lambda text: _rank(0, text))
    roles = {text: ROLES[place % 2] if len(ranked) > 1 else "" for place, text in enumerate(ranked)}
    return tuple(Photograph(path.relative_to(folder).as_posix(), path, roles[identity[path]]) for path in paths)


def _rank(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed} {text}".encode(errors="surrogateescape")).hexdigest()


def _size_of(path: Path) -> int:
    """In bytes; -1 where a link leads nowhere or the file has gone, which will be skipped as broken."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _digest_of(path: Path) -> str:
    """The content's SHA-256; an unreadable file, which will be skipped as broken, stands for itself."""
    try:
        return file_digest(path)
    except OSError as error:
        return f"{path.name} {error.strerror}"


def _resampling(preprocessing: Preprocessing) -> "Image.Resampling":
    from PIL import Image

    known = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    if preprocessing.interpolation not in known:
        raise UsageError(f"unknown interpolation {preprocessing.interpolation!r}", hint=f"known: {', '.join(known)}")
    return known[preprocessing.interpolation]


def _centre_crop(image: "Image.Image", recipe: Preprocessing) -> "Image.Image":
    """Short side to `resize` (never below `crop`), then the middle; rounding as torchvision's Resize and CenterCrop."""
    short, side = min(image.size), max(recipe.resize, recipe.crop)
    width, height = (side if length == short else int(side * length / short) for length in image.size)
    image = image.resize((width, height), _resampling(recipe))
    left, top = (round((length - recipe.crop) / 2) for length in (width, height))
    return image.crop((left, top, left + recipe.crop, top + recipe.crop))


def _random_crop(image: "Image.Image", recipe: Preprocessing, random: np.random.Generator) -> "Image.Image":
    """A part of random area, ratio and place, resized to the input; it always lies inside the photograph."""
    area = image.width * image.height * random.uniform(*CROP_AREA)
    ratio = math.exp(random.uniform(math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])))
    width = min(image.width, max(1, round(math.sqrt(area * ratio))))
    height = min(image.height, max(1, round(math.sqrt(area / ratio))))
    left = int(random.integers(image.width - width + 1))
    top = int(random.integers(image.height - height + 1))
    box = (left, top, left + width, top + height)
    return image.resize((recipe.crop, recipe.crop), _resampling(recipe), box=box)


def _normalise(image: "Image.Image", recipe: Preprocessing, channels: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """(pixel / 255 - mean) / std, channels first and in the recipe's order."""
    pixels = np.asarray(image.convert("L") if channels == 1 else image, dtype=np.float32)
    if channels == 3:
        pixels = pixels[..., CHANNEL_ORDERS[recipe.channel_order]]
    planes = pixels.reshape(recipe.crop, recipe.crop, channels).transpose(2, 0, 1) / np.float32(255)
    mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (recipe.mean, recipe.std))
    return np.ascontiguousarray((planes - mean) / std)
