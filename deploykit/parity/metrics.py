"""How far two arrays are apart. Every figure is computed in float64 over all elements of one output."""

from dataclasses import dataclass

import numpy as np

from deploykit.spec.arrays import Array


@dataclass(frozen=True, slots=True)
class Distance:
    """The distance of a candidate `y` from a reference `r`.

    relative L2 = |y - r| / |r|;  SQNR = 20 log10(|r| / |y - r|) dB, infinite where they are equal;
    max abs = max |y - r|;  cosine = <y, r> / (|y| |r|).
    """

    relative_l2: float
    sqnr_db: float
    max_abs: float
    cosine: float


SUMS_TO_ONE = 1e-5  # how near


@dataclass(frozen=True, slots=True)
class Top1:
    """Agreement of the highest class, per image or, of an output with a distribution in each place, per place; `of` is
    how many there are. `flip_margins` is, for each disagreement, how far the reference's own first and second class
    were apart, relative to the spread of its values: near 0 is a benign flip between ties."""

    agreement: float
    flip_margins: tuple[float, ...]
    of: int = 0


def distance(candidate: Array, reference: Array) -> Distance:
    """Raises ValueError when the shapes differ; NaN and Inf propagate into the figures."""
    if candidate.shape != reference.shape:
        raise ValueError(f"shapes differ: {candidate.shape} and {reference.shape}")
    y, r = candidate.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    error, size = float(np.linalg.norm(y - r)), float(np.linalg.norm(r))
    relative = error / size if size else (0.0 if error == 0.0 else np.inf)
    norms = float(np.linalg.norm(y)) * size
    return Distance(
        relative_l2=relative,
        sqnr_db=sqnr_db(relative),
        max_abs=float(np.max(np.abs(y - r), initial=0.0)),
        cosine=float(np.dot(y, r)) / norms if norms else float(error == 0.0),
    )


def sqnr_db(relative_l2: float) -> float:
    with np.errstate(divide="ignore"):
        return float(-20.0 * np.log10(np.float64(relative_l2)))


def distribution_axis(reference: Array) -> int | None:
    """The axis along which an output holds probabilities, or their logarithms, of classes: those sum to 1."""
    for axis in dict.fromkeys((1, reference.ndim - 1)):
        if reference.ndim < 2 or reference.shape[axis] < 2 or reference.dtype.kind != "f" or not reference.size:
            continue
        for values in (reference, np.exp(np.minimum(reference, 1.0))):
            sums = values.sum(axis=axis, dtype=np.float64)
            if values.min() >= 0 and np.abs(sums - 1.0).max() <= SUMS_TO_ONE:
                return axis
    return None


def top1(candidate: Array, reference: Array) -> Top1 | None:
    """None unless both are (images, classes) with at least two classes, or hold a distribution over classes."""
    axis = 1 if reference.ndim == 2 else distribution_axis(reference)
    if axis is None or reference.shape[axis] < 2:
        return None
    classes = reference.shape[axis]
    found, right = (np.moveaxis(array, axis, -1).reshape(-1, classes) for array in (candidate, reference))
    flipped = np.argmax(found, axis=1) != np.argmax(right, axis=1)
    ordered = np.sort(right[flipped].astype(np.float64), axis=1)
    spread = np.std(ordered, axis=1)
    margins = (ordered[:, -1] - ordered[:, -2]) / np.where(spread > 0, spread, 1.0)
    return Top1(float(1.0 - np.mean(flipped)), tuple(map(float, margins)), len(right))


def sqnr_of_images(candidate: Array, reference: Array) -> Array:
    """The SQNR of each image by itself, dB; infinite where nothing differs."""
    y, r = (array.astype(np.float64).reshape(len(reference), -1) for array in (candidate, reference))
    error, size = np.linalg.norm(y - r, axis=1), np.linalg.norm(r, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.where(error == 0, np.inf, -20.0 * np.log10(error / size))
    return found


def variation(reference: Array) -> float:
    """How much an output changes over different inputs: |r - mean over inputs| / |r|; 0 when it is constant."""
    r = reference.astype(np.float64)
    size = float(np.linalg.norm(r))
    return float(np.linalg.norm(r - r.mean(axis=0, keepdims=True))) / size if size else 0.0
