"""How far two arrays are apart. Every figure is computed in float64 over all elements of one output."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Distance:
    """Of a candidate `y` from a reference `r`.

    relative L2 = |y - r| / |r|;  SQNR = 20 log10(|r| / |y - r|) dB, infinite where they are equal;
    max abs = max |y - r|;  cosine = <y, r> / (|y| |r|).
    """

    relative_l2: float
    sqnr_db: float
    max_abs: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Top1:
    """Agreement of the highest class per image; `flip_margins` is, for each disagreement, how far the reference's own
    first and second class were apart, relative to the spread of its logits: near 0 is a benign flip between ties."""

    agreement: float
    flip_margins: tuple[float, ...]


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


def top1(candidate: Array, reference: Array) -> Top1 | None:
    """None unless both are (images, classes) with at least two classes."""
    if reference.ndim != 2 or reference.shape[1] < 2:
        return None
    flipped = np.argmax(candidate, axis=1) != np.argmax(reference, axis=1)
    ordered = np.sort(reference.astype(np.float64), axis=1)
    spread = np.std(ordered, axis=1)
    margins = (ordered[:, -1] - ordered[:, -2]) / np.where(spread > 0, spread, 1.0)
    return Top1(float(1.0 - np.mean(flipped)), tuple(float(margin) for margin in margins[flipped]))


def variation(reference: Array) -> float:
    """How much an output changes over different inputs: |r - mean over inputs| / |r|; 0 when it is constant."""
    r = reference.astype(np.float64)
    size = float(np.linalg.norm(r))
    return float(np.linalg.norm(r - r.mean(axis=0, keepdims=True))) / size if size else 0.0
