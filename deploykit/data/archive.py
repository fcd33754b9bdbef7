"""Inputs out of an archive (.npz) that are prepared already: one array for each input of the network, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deploykit.data.dataset import array_digest
from deploykit.data.noise import REAL
from deploykit.errors import UsageError
from deploykit.io.arrays import ArrayHeader, npz_headers, read_npz, require_rows
from deploykit.spec import Signature, TensorSpec
from deploykit.spec.arrays import Array

IMAGES, LABELS = "images", "labels"  # what an archive may call the array of a single input, and calls its labels


def prepared_arrays(path: Path, network: Signature) -> tuple[dict[str, Array], Array | None] | None:
    """The arrays of an archive for the network's inputs, by name, and its labels if it has any.

    Each input has an array of its name with as many rows as the others; that of a single input may be called `images`.
    None where `path` is not such an archive: uint8 images for a network of another type or size are raw ones, still to
    be prepared. Raises UsageError where arrays do not fit or hold NaN or infinity, UntrustedArtifact as `read_npz`.
    """
    if path.suffix != ".npz" or path.is_dir():
        return None
    network.require_sizes()
    found = npz_headers(path)
    names = [spec.name for spec in network.inputs]
    single = not set(names) & set(found)
    if single:
        if len(names) > 1:
            raise UsageError(
                f"{path} has no array {names[0]!r}, it has {', '.join(sorted(found)) or 'none'}",
                hint=archive_hint(network),
            )
        images = found.get(IMAGES)
        if images is None:
            return None  # raw images are asked for then, and their reader says what is missing
        found[names[0]] = images
    if len(names) == 1 and _are_raw_images(found[names[0]], network.inputs[0]):
        return None
    stored = {name: IMAGES if single else name for name in names}
    for spec in network.inputs:
        header = found.get(spec.name)
        if header is None or not _fits(header, spec):
            raise _misfit(path, stored[spec.name], header, network)
    _require_same_rows(path, {name: found[name].shape[0] for name in names})
    arrays = read_npz(path, {*stored.values(), LABELS})
    for spec in network.inputs:
        array = arrays[stored[spec.name]]
        if not _holds(array, spec):
            raise _misfit(path, stored[spec.name], found[spec.name], network)
        _require_finite(path, spec.name, array)
    return {name: arrays[stored[name]] for name in names}, arrays.get(LABELS)


def _misfit(path: Path, called: str, header: ArrayHeader | None, network: Signature) -> UsageError:
    was = "is missing" if header is None else f"are {header.dtype}{list(header.shape)}"
    return UsageError(
        f"{path}: {called} {was}", hint=f"{network.model.label} takes {takes(network)}; raw images are uint8"
    )


def _require_same_rows(path: Path, lengths: Mapping[str, int]) -> None:
    for length in lengths.values():
        require_rows(path, length)
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UsageError(f"{path}: the arrays have different numbers of rows: {said}", hint="one row for each example")


def _are_raw_images(array: ArrayHeader, spec: TensorSpec) -> bool:
    """uint8 images that are to be prepared, unless they are just what an input of bytes takes."""
    return (
        array.dtype == np.uint8
        and spec.dtype in (*REAL, "uint8")
        and not (spec.dtype == "uint8" and array.shape[1:] == spec.at_batch(1)[1:])
    )


def _fits(array: ArrayHeader, spec: TensorSpec) -> bool:
    """Real numbers for real inputs, whole ones for whole ones, booleans for booleans."""
    kind = np.dtype(spec.dtype).kind
    alike = array.dtype.kind == kind or (kind in "iu" and array.dtype.kind in "iu")
    return bool(alike and array.ndim and array.shape[0] and array.shape[1:] == spec.at_batch(1)[1:])


def _holds(array: Array, spec: TensorSpec) -> bool:
    """Whether the input's type has all of the array's values."""
    if np.dtype(spec.dtype).kind in "iu":
        limits = np.iinfo(spec.dtype)
        return bool(array.min() >= limits.min and array.max() <= limits.max)
    return True


def _require_finite(path: Path, name: str, array: Array) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))[0])
        raise UsageError(
            f"{path}: image {row} contains NaN or infinity (in {name})", hint="check how the images were prepared"
        )


def row_digests(arrays: Mapping[str, Array], network: Signature) -> list[str]:
    """One for each row, over what all inputs have in it."""
    digests = [[array_digest(row) for row in arrays[spec.name]] for spec in network.inputs]
    return ["".join(parts) for parts in zip(*digests, strict=True)]


def takes(network: Signature) -> str:
    """The network's inputs, for a message."""
    return ", ".join(map(str, network.inputs))


def archive_hint(network: Signature) -> str:
    """How to give arrays."""
    names = ", ".join(spec.name for spec in network.inputs)
    return f"give --data FILE.npz with an array for each input ({names}), one row per example"
