"""Agreement of what is right or wrong: whole numbers place by place, items as sets, whatever their order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploykit.codec import shown
from deploykit.parity.kinds import Kind
from deploykit.parity.reference import apart
from deploykit.spec.arrays import Array

MATCHED = 2048  # items that are matched one by one; more are matched in the order in which they stand


@dataclass(frozen=True, slots=True)
class Agreement:
    """`wrong` of `of` values, or items, are not the reference's."""

    JSON_PROPERTIES = shown("share")

    wrong: int
    of: int

    @property
    def share(self) -> float:
        """0 to 1; 1 where there is nothing to compare."""
        return 1.0 - self.wrong / self.of if self.of else 1.0


def comparable(candidate: Array, reference: Array) -> bool:
    """Selections may differ in size, and each run's is compared with its own; anything else has one shape."""
    if apart(candidate) or apart(reference):
        return apart(candidate) and apart(reference) and len(candidate) == len(reference)
    return bool(candidate.shape == reference.shape)


def agreement(candidate: Array, reference: Array, kind: Kind, tolerance: float) -> Agreement:
    """Place by place, or as sets where the outputs are of a kind that is ranked or selected."""
    if kind.name in ("whole", "fixed", "real"):
        return same_values(candidate, reference)
    return same_items(candidate, reference, kind, tolerance)


def same_values(candidate: Array, reference: Array) -> Agreement:
    """Place by place, of one shape."""
    return Agreement(int(np.count_nonzero(candidate != reference)), reference.size)


def same_items(candidate: Array, reference: Array, kind: Kind, tolerance: float) -> Agreement:
    """Which items both have, ranking by ranking, or run by run where the reference holds its runs apart.

    Whole numbers are the same or not; real ones are when each figure of an item is within `tolerance` of the spread
    that this figure has over the reference's items.
    """
    pairs = list(zip(_rankings(candidate, kind), _rankings(reference, kind), strict=True))
    figures = {two.shape[1] for _, two in pairs}
    if len(figures) != 1:
        return Agreement(len(pairs), len(pairs))
    spread = np.std(np.concatenate([two for _, two in pairs]).astype(np.float64), axis=0)
    allowed = tolerance * np.where(spread > 0, spread, 1.0)
    wrong = total = 0
    for one, two in pairs:
        most = max(len(one), len(two))
        wrong, total = wrong + most - _common(one, two, allowed), total + most
    return Agreement(wrong, total)


def _rankings(output: Array, kind: Kind) -> list[Array]:
    """Each ranking of an output as (items, figures)."""
    if apart(output):
        return [_rows(run, kind.items) for run in output]
    axis = min(kind.items, output.ndim - 1)
    if axis == 0:
        return [_rows(output, 0)]
    lead = int(np.prod(output.shape[:axis]))
    return list(output.reshape(lead, output.shape[axis], int(np.prod(output.shape[axis + 1 :]))))


def _rows(array: Array, items: int) -> Array:
    """(items, figures)."""
    moved = np.moveaxis(np.atleast_1d(array), min(items, max(array.ndim - 1, 0)), 0)
    return moved.reshape(len(moved), int(np.prod(moved.shape[1:])))


def _common(one: Array, two: Array, allowed: NDArray[np.float64]) -> int:
    if one.shape[1:] != two.shape[1:]:
        return 0
    if "f" in (one.dtype.kind, two.dtype.kind):
        return _common_real(one.astype(np.float64), two.astype(np.float64), allowed)
    found, wanted = (Counter(map(tuple, array.tolist())) for array in (one, two))
    return sum((found & wanted).values())


def _common_real(one: NDArray[np.float64], two: NDArray[np.float64], allowed: NDArray[np.float64]) -> int:
    """Each reference item takes the nearest candidate that is still free, the surest matches first."""
    if max(len(one), len(two)) > MATCHED:
        count = min(len(one), len(two))
        return int((np.abs(one[:count] - two[:count]) <= allowed).all(axis=1).sum())
    gaps = np.zeros((len(two), len(one)))
    for figure, limit in enumerate(allowed):
        np.maximum(gaps, np.abs(two[:, None, figure] - one[None, :, figure]) / limit, out=gaps)
    near = np.argwhere(gaps <= 1.0)
    free = {"two": np.ones(len(two), bool), "one": np.ones(len(one), bool)}
    common = 0
    for wanted, found in near[np.argsort(gaps[near[:, 0], near[:, 1]], kind="stable")]:
        if free["two"][wanted] and free["one"][found]:
            free["two"][wanted] = free["one"][found] = False
            common += 1
    return common
