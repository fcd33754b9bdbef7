"""Images with labels, as the batches that a network takes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deploykit.data.archive import prepared_arrays, row_digests, takes
from deploykit.data.dataset import RawImage, Skipped, open_labeled, rank, require_labels
from deploykit.data.images import fitted, normalize
from deploykit.data.inputs import PREPARED, require_feedable
from deploykit.data.preparation import Preparation, preparation_of, takes_images
from deploykit.errors import UnsupportedGraph, UntrustedArtifact, UsageError
from deploykit.spec import Feed, Signature, TensorSpec
from deploykit.spec.arrays import Array

Labels = NDArray[np.int64]


class Labeled(Protocol):
    """Labeled inputs of one network. `source` says where they are from, `classes` how many there are.

    `excluded` is how many were left out because of their content (`without` of `labeled_inputs`).
    """

    source: str
    classes: int
    skipped: list[str]
    excluded: int

    @property
    def images_digest(self) -> str:
        """The same for the same images in the same order, once all were read: files by name, arrays by content."""
        ...

    @property
    def preparation(self) -> str:
        """How they were prepared, and who says so."""
        ...

    def __len__(self) -> int:
        """Images, the broken ones among them until they were met."""
        ...

    def batches(self, size: int) -> Iterator[tuple[Feed, Labels]]:
        """All images, `size` at a time, streamed; the last batch may be smaller."""
        ...


@dataclass
class LabeledImages:
    """Each brought to size as its recipe says; broken ones are passed over and named in `skipped`."""

    source: str
    classes: int
    images: tuple[RawImage, ...] = field(repr=False)
    input: TensorSpec
    how: Preparation
    skipped: list[str] = field(default_factory=list)
    excluded: int = 0

    @property
    def images_digest(self) -> str:
        named = (raw.name if raw.pixels is None else raw.digest for raw in self.images)
        return _digest_of((*named, *self.skipped))

    @property
    def preparation(self) -> str:
        return str(self.how)

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, size: int) -> Iterator[tuple[Feed, Labels]]:
        sound = self._sound()
        while found := list(islice(sound, size)):
            images = np.stack([image for image, _ in found]).astype(self.input.dtype, copy=False)
            yield {self.input.name: images}, np.array([label for _, label in found], np.int64)

    def _sound(self) -> Iterator[tuple[Array, int]]:
        for raw in self.images:
            try:
                image = fitted(raw.read(), self.how.recipe)
            except (UntrustedArtifact, UsageError) as error:
                said = str(Skipped(raw.name, error.message))
                if said not in self.skipped:
                    self.skipped.append(said)
                continue
            assert raw.label is not None  # noqa: S101 - open_labeled gives each its label
            yield normalize(image, self.how.recipe, len(self.how.recipe.mean)), raw.label


@dataclass
class LabeledArrays:
    """Images that are prepared already."""

    source: str
    classes: int
    arrays: Mapping[str, Array] = field(repr=False)
    labels: Labels = field(repr=False)
    inputs: tuple[TensorSpec, ...]
    images_digest: str
    skipped: list[str] = field(default_factory=list)
    excluded: int = 0

    @property
    def preparation(self) -> str:
        return PREPARED

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> Iterator[tuple[Feed, Labels]]:
        for start in range(0, len(self.labels), size):
            part = slice(start, start + size)
            feed = {spec.name: self.arrays[spec.name][part].astype(spec.dtype) for spec in self.inputs}
            yield feed, self.labels[part]


def labeled_inputs(
    network: Signature, data: Path, *, limit: int | None = None, without: Collection[str] = ()
) -> Labeled:
    """The labeled images of `data` but those whose content is in `without` (digests), the first `limit` of them.

    An MNIST folder gives its test part, every other origin all of its images, in seeded order. Raises UsageError where
    there are none, they do not fit the network or are of more classes than it tells apart, and as `open_labeled`.
    """
    require_feedable(network, data)
    classes = classes_of(network)
    prepared = prepared_arrays(data, network)
    if prepared is not None:
        found: Labeled = _arrays(network, data, *prepared, limit=limit, without=without)
    else:
        found = _images(network, data, limit=limit, without=without)
    if found.classes > classes:
        raise UsageError(
            f"{data} has {found.classes} classes, {network.model.label} distinguishes {classes}",
            hint="give the data that it was trained for",
        )
    if not len(found):
        raise UsageError(
            f"{data} has no image left to evaluate on",
            hint="calibrate on others: calibration_data (--calibration-data)",
        )
    return found


def _digest_of(names: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(names).encode()).hexdigest()


def require_max_drop(points: float | None) -> None:
    """Raises UsageError for a loss of top-1 that cannot be asked for."""
    if points is not None and not 0 <= points <= 100:
        raise UsageError(f"--max-drop is {points:g}", hint="give points of top-1, from 0 to 100")


def classes_of(network: Signature) -> int:
    """How many classes the network tells apart. Raises UnsupportedGraph for one that is no classifier."""
    return classes_among(network.outputs, network.model.label)


def classes_among(outputs: tuple[TensorSpec, ...], label: str) -> int:
    """`classes_of` the network called `label`, by its outputs."""
    match outputs:
        case (TensorSpec(shape=(_, int(classes))),) if classes > 1:
            return classes
        case _:
            said = ", ".join(map(str, outputs))
            raise UnsupportedGraph(f"{label} returns {said}", hint="a classifier has one output of (batch, classes)")


def _images(network: Signature, data: Path, *, limit: int | None, without: Collection[str]) -> LabeledImages:
    if not takes_images(network):
        raise UsageError(
            f"{network.model.label} takes {takes(network)}, which is not an image input",
            hint="give an .npz of arrays that fit, one for each input, and `labels`",
        )
    dataset = open_labeled(data)
    judged = [raw for raw in dataset.images if not (dataset.has_split and raw.role == "calibration")]
    shown = [raw for raw in judged if not (without and raw.digest in without)]
    excluded = len(judged) - len(shown)
    shown.sort(key=lambda raw: rank(network.model.seed, raw.name))
    (spec,) = network.inputs
    skipped = [str(item) for item in dataset.unusable]
    return LabeledImages(
        str(data), len(dataset.classes), tuple(shown[:limit]), spec, preparation_of(network), skipped, excluded
    )


def _arrays(
    network: Signature,
    data: Path,
    arrays: Mapping[str, Array],
    labels: Array | None,
    *,
    limit: int | None,
    without: Collection[str],
) -> LabeledArrays:
    first = arrays[network.inputs[0].name]
    if labels is None:
        raise UsageError(
            f"{data} has no array `labels` for {len(first)} images", hint="one whole number from 0 on for each"
        )
    require_labels(data, labels, len(first))
    digests = row_digests(arrays, network)
    unseen = [row for row, digest in enumerate(digests) if digest not in without]
    rows = unseen[:limit]
    return LabeledArrays(
        source=str(data),
        classes=int(labels.max()) + 1,
        arrays={name: array[rows] for name, array in arrays.items()},
        labels=labels[rows].astype(np.int64),
        inputs=network.inputs,
        images_digest=_digest_of(digests[row] for row in rows),
        excluded=len(labels) - len(unseen),
    )
