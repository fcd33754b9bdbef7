"""Where images come from: files in a folder, pixels in an archive, a recipe, or the demo set inside two wheels.

    FOLDER          images, in subfolders too
    MNIST folder    idx files (http://yann.lecun.com/exdb/mnist), plain or gzipped: `train-*` calibrate, `t10k-*` test
    FILE.npz        `images`: uint8 (n, height, width) or (n, height, width, 3); `labels`: whole numbers, if any
    FILE.toml       a recipe: [[image]] tables with `file` (relative to the recipe), and if wanted `role`, `sha256`;
                    [[photograph]], their old name, is read as well

An image knows its role, calibration or test, where its origin states one; what states none is split in two by a
hash, copies of one image together.
"""

import hashlib
import os
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deploykit import limits
from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.io.arrays import npz_headers, read_idx, read_npz, require_rows
from deploykit.io.door import digest_file
from deploykit.io.loader import read_image, read_text
from deploykit.io.toml_file import read_toml
from deploykit.spec.arrays import Array

if TYPE_CHECKING:
    from PIL import Image

Role = Literal["calibration", "test"]
ROLES: tuple[Role, ...] = ("calibration", "test")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
DEMO_FIX = 'pip install "deploykit[demo]", or give a folder with --data DIR'
IDX_PARTS = {"train": "calibration", "t10k": "test"}
CLASSES, MOST_CLASSES = "classes.txt", 1_000_000
RECIPE_KEYS = {"file", "name", "role", "license", "source", "sha256", "package"}


@dataclass(frozen=True, slots=True)
class RawImage:
    """A file of its own, or number `index` of `pixels`, uint8 (n, height, width) or (n, height, width, 3).

    `role` is "" where either may have it.
    """

    name: str
    path: Path
    role: str = ""
    license: str = ""
    source: str = ""
    label: int | None = None
    pixels: "np.ndarray[Any, np.dtype[np.uint8]] | None" = field(default=None, compare=False, repr=False)
    index: int = 0

    def read(self) -> "Image.Image":
        """8-bit RGB. Raises UsageError, UntrustedArtifact as `read_image`."""
        if self.pixels is None:
            return read_image(self.path)
        from PIL import Image

        return Image.fromarray(self.pixels[self.index]).convert("RGB")

    @property
    def digest(self) -> str:
        """The content's SHA-256 (hex); an unreadable file, which will be skipped as broken, stands for itself."""
        if self.pixels is not None:
            return array_digest(self.pixels[self.index])
        try:
            return digest_file(self.path, "image", limit=limits.IMAGE_BYTES)
        except (UsageError, UntrustedArtifact) as error:
            return f"{self.path.name} {error.message}"

    @property
    def size(self) -> int:
        """Bytes; -1 for a dangling link or a file that has gone, which will be skipped as broken."""
        if self.pixels is not None:
            return int(self.pixels[self.index].nbytes)
        try:
            return self.path.stat().st_size
        except OSError:
            return -1

    def fault(self) -> str:
        """Why the image cannot be decoded, "" when it can."""
        try:
            self.read()
        except (UntrustedArtifact, UsageError) as error:
            return error.message
        return ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image that cannot be used, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ImageDataset:
    """Images of one origin, each with its role, and what of it cannot be used.

    `classes` are the names behind the labels; empty where there are none. `has_split` says that the origin itself keeps
    some images for tests.
    """

    images: tuple[RawImage, ...]
    unusable: tuple[Skipped, ...] = ()
    classes: tuple[str, ...] = ()
    has_split: bool = False


def open_dataset(origin: Path | None) -> ImageDataset:
    """The images of `origin` (None: the demo images).

    Raises UsageError where there is nothing of that kind or no image in it, UntrustedArtifact for an archive or a
    recipe that is not what it says.
    """
    if origin is None:
        return _demo()
    if origin.suffix == ".npz" and not origin.is_dir():
        return _archive(origin)
    if origin.suffix == ".toml" and not origin.is_dir():
        return _recipe(origin)
    if not origin.is_dir():
        what = "is not a folder" if origin.exists() else "does not exist"
        raise UsageError(
            f"image folder {origin} {what}", hint="give a folder with images, an .npz or a .toml list of images"
        )
    return _idx(origin) if _idx_file(origin, "images", 3, tuple(IDX_PARTS)) else _folder(origin)


def open_labeled(origin: Path) -> ImageDataset:
    """The images of `origin`, each with its label.

    A folder has one subfolder for each class: their names, in the order of `classes.txt` where the folder has one (a
    name a line), else sorted (as numbers, if all are), are labels 0, 1, ... Raises as `open_dataset`, and UsageError
    where there is no label, or only one class.
    """
    dataset = open_dataset(origin)
    if origin.is_dir() and not dataset.classes:
        dataset = _by_subfolder(origin, dataset)
    if not dataset.classes:
        raise UsageError(f"{origin} has no labels", hint="an .npz has them as `labels`, a folder as its subfolders")
    if len(dataset.classes) < 2:
        raise UsageError(f"{origin} has only one class, {dataset.classes[0]}", hint="give one subfolder for each class")
    return dataset


def demo_images() -> tuple[RawImage, ...]:
    """The demo images that are installed. Raises UsageError when none is."""
    return _demo().images


def rank(seed: int, text: str) -> str:
    """What seeded orders sort by."""
    return hashlib.sha256(f"{seed} {text}".encode(errors="surrogateescape")).hexdigest()


def array_digest(image: Array) -> str:
    """SHA-256 (hex) of an image's numbers."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def split_roles(identities: Iterable[str]) -> dict[str, Role]:
    """Half of the different ones for each role, in the order of a hash; the first one calibrates."""
    ranked = sorted(set(identities), key=lambda text: rank(0, text))
    return {text: ROLES[place % 2] for place, text in enumerate(ranked)}


def require_labels(path: Path, labels: Array, images: int) -> None:
    """Raises UsageError unless there is one label for each of so many images, each a whole number from 0 on."""
    if labels.shape != (images,) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise UsageError(
            f"{path}: labels are {labels.dtype}{list(labels.shape)} for {images} images",
            hint="one whole number from 0 on for each image",
        )
    if labels.max() >= MOST_CLASSES:
        raise UsageError(f"{path}: label {labels.max()} is beyond any class", hint=f"labels end at {MOST_CLASSES - 1}")


def _demo() -> ImageDataset:
    text = (resources.files("deploykit.data") / "demo.toml").read_text(encoding="utf-8")
    found, unusable = _listed(tomllib.loads(text)["image"], Path())
    if not found:
        raise UsageError("the demo images of scikit-learn and scikit-image are not installed", hint=DEMO_FIX)
    return ImageDataset(tuple(found), tuple(unusable))


def _recipe(path: Path) -> ImageDataset:
    content = read_toml(path, "image list")
    rows = content.get("image", content.get("photograph"))
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise UntrustedArtifact(
            f"image list {path} has no [[image]] tables", hint='write [[image]] and file = "cat.jpg" for each image'
        )
    require_rows(path, len(rows))
    for row in rows:
        keys = "file, and a name where it has a package" if "package" in row else "file"
        if not all(isinstance(value, str) for value in row.values()) or "file" not in row or set(row) - RECIPE_KEYS:
            raise UntrustedArtifact(
                f"image list {path}: an image has {', '.join(row)}",
                hint=f"write strings; required: {keys}; known: {', '.join(sorted(RECIPE_KEYS))}",
            )
        if "." in row.get("package", ""):  # whose parent would be imported to find it
            raise UntrustedArtifact(
                f"image list {path}: {row['package']!r} is not a top-level package", hint="name that one"
            )
        if row.get("role", "") not in ("", *ROLES):
            raise UntrustedArtifact(
                f"image list {path}: unknown role {row['role']!r}", hint=f"known: {', '.join(ROLES)}"
            )
    found, unusable = _listed(rows, path.parent)
    if not found:
        raise UsageError(f"image list {path} has no usable image, the first: {unusable[0]}")
    split = _split([item for item in found if not item.role])
    return ImageDataset(tuple([item for item in found if item.role] + split), tuple(unusable))


def _listed(rows: Sequence[dict[str, str]], folder: Path) -> tuple[list[RawImage], list[Skipped]]:
    """Files beside a recipe, or inside installed packages."""
    found: list[RawImage] = []
    unusable: list[Skipped] = []
    for row in rows:
        name, owner = row.get("name", row["file"]), row.get("package")
        origin = _folder_of(owner) if owner else None
        path = folder / row["file"] if owner is None else origin / row["file"] if origin else None
        if path is None or not path.is_file():
            unusable.append(Skipped(name, f"{owner or folder} does not provide it here"))
        elif "sha256" in row and RawImage(name, path).digest != row["sha256"]:
            unusable.append(Skipped(name, f"{path} is not the file that is described"))
        else:
            role, terms, source = (row.get(key, "") for key in ("role", "license", "source"))
            found.append(RawImage(name, path, role, terms, source))
    return found, unusable


def image_paths(folder: Path) -> list[Path]:
    """The image files in `folder` and below it, sorted. Raises UsageError where there is none."""
    paths = sorted(_image_files(folder))
    if not paths:
        raise UsageError(f"image folder {folder} has no image", hint=f"looked for {', '.join(SUFFIXES)}")
    return paths


def _folder_of(package: str) -> Path | None:
    """Where a package is installed; None where there is none that has files."""
    try:
        found = find_spec(package)
    except (ImportError, ValueError, AttributeError):  # no name of a package, or a module without a place: `__main__`
        return None
    return Path(found.origin).parent if found is not None and found.has_location and found.origin else None


def class_names(place: Path) -> tuple[str, ...]:
    """The names of classes 0, 1, ...: those of a file, a name a line, or of a labeled folder, as `open_labeled` counts.

    Raises UsageError where there is no such place or no name in it, UntrustedArtifact for what is no text.
    """
    listed = place / CLASSES if place.is_dir() else place
    if not place.is_dir() or listed.exists():
        found = _listed_classes(listed)
    else:
        found = _in_order({each.name for each in place.iterdir() if each.is_dir() and not each.name.startswith(".")})
    if not found:
        raise UsageError(f"{place} names no class", hint=f"write one name a line, as in {CLASSES}")
    return tuple(found)


def _listed_classes(path: Path) -> list[str]:
    return [line.strip() for line in read_text(path, limit=limits.LIST_BYTES).splitlines() if line.strip()]


def _in_order(names: set[str]) -> list[str]:
    """As numbers, if all are."""
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)


def _folder(folder: Path) -> ImageDataset:
    raw = [RawImage(path.relative_to(folder).as_posix(), path) for path in image_paths(folder)]
    return ImageDataset(tuple(_split(raw)))


def _image_files(folder: Path) -> Iterator[Path]:
    """Image files in the folder and its subfolders, none of them hidden: those hold thumbnails, not data."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (
            Path(parent) / name for name in names if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        )


def _by_subfolder(folder: Path, dataset: ImageDataset) -> ImageDataset:
    """Labels by the first part of each image's name; images beside the subfolders have none and are skipped."""
    parts = [Path(raw.name).parts for raw in dataset.images]
    found = _in_order({part[0] for part in parts if len(part) > 1})
    listed = folder / CLASSES
    classes = _listed_classes(listed) if listed.exists() else found
    if len(set(classes)) < len(classes):
        raise UsageError(
            f"{listed} lists {Counter(classes).most_common(1)[0][0]} twice", hint="one name a line, each once"
        )
    if unknown := sorted(set(found) - set(classes)):
        raise UsageError(
            f"{listed} does not list {', '.join(unknown[:3])}", hint="one name a line, one for each folder"
        )
    label = {name: number for number, name in enumerate(classes)}
    pairs = list(zip(dataset.images, parts, strict=True))
    loose = tuple(Skipped(raw.name, "is not in the folder of a class") for raw, part in pairs if len(part) == 1)
    labeled = tuple(replace(raw, label=label[part[0]]) for raw, part in pairs if len(part) > 1)
    return ImageDataset(labeled, dataset.unusable + loose, tuple(classes) if labeled else ())


def _archive(path: Path) -> ImageDataset:
    headers = npz_headers(path)
    images = headers.get("images")
    if images is None:
        raise UsageError(f"{path} has no array `images`", hint=f"it has {', '.join(sorted(headers)) or 'none'}")
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise UsageError(
            f"{path}: images are {images.dtype}{list(images.shape)}",
            hint="raw images are uint8 (n, height, width) or (n, height, width, 3)",
        )
    require_rows(path, images.shape[0])
    arrays = read_npz(path, {"images", "labels"})
    return _of_pixels(path, arrays["images"], arrays.get("labels"), role=None)


def _idx(folder: Path) -> ImageDataset:
    parts = []
    for part, role in IDX_PARTS.items():
        images = _idx_file(folder, "images", 3, (part,))
        labels = _idx_file(folder, "labels", 1, (part,))
        if images is not None:
            parts.append(_of_pixels(images, read_idx(images, 3), read_idx(labels, 1) if labels else None, role=role))
    classes = max((part.classes for part in parts), key=len)
    if any(not part.classes for part in parts):
        classes = ()
    found = tuple(item for part in parts for item in part.images)
    return ImageDataset(found, classes=classes, has_split=len(parts) == len(IDX_PARTS))


def _idx_file(folder: Path, what: str, axes: int, parts: tuple[str, ...]) -> Path | None:
    names = [f"{part}-{what}-idx{axes}-ubyte{suffix}" for part in parts for suffix in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _of_pixels(path: Path, images: Any, labels: Any, *, role: str | None) -> ImageDataset:
    """One `RawImage` for each row of `images`; without a `role` they are split in two."""
    classes: tuple[str, ...] = ()
    if 0 in images.shape:
        raise UsageError(f"{path} has no image", hint=f"images are uint8{list(images.shape)}")
    if labels is not None:
        require_labels(path, labels, len(images))
        classes = tuple(str(number) for number in range(int(labels.max()) + 1))
    found = [
        RawImage(
            f"{path.name}[{index}]",
            path,
            role or "",
            label=None if labels is None else int(labels[index]),
            pixels=images,
            index=index,
        )
        for index in range(len(images))
    ]
    return ImageDataset(tuple(found if role else _split(found)), classes=classes)


def _split(found: list[RawImage]) -> list[RawImage]:
    """Half for each role; copies, which have one size, get the same one, and a single image either."""
    sizes = [raw.size for raw in found]
    common = Counter(sizes)
    # Content is read only where sizes meet.
    identities = [
        f"{size} {raw.digest}" if common[size] > 1 else str(size) for raw, size in zip(found, sizes, strict=True)
    ]
    roles = split_roles(identities)
    return [
        replace(raw, role=roles[text] if len(roles) > 1 else "") for raw, text in zip(found, identities, strict=True)
    ]
