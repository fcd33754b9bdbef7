"""An output of several kinds of figures, judged kind by kind: boxes in pixels beside scores, depth around an offset.

One ratio over a whole output is that of its largest figures. So channels are grouped by their scale, and each group is
judged by the part of it that varies: with m the mean of a channel over images and places,

    SQNR = 20 log10(|r - m| / |y - r|) dB,

and, whatever that says, by whether anything is left of what varied: where many values were, many must be.

What is no kind of its own: channels that do not vary at all (a ReLU that is always off), channels that are mostly one
value (one that is nearly always off), probabilities of rare classes (whatever lies within 0 and 1 is one kind), and a
few odd classes among many logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploykit.parity.metrics import sqnr_db
from deploykit.spec.arrays import Array

GAP = 8.0  # kinds differ in scale by this factor at least, with no channel in between
FEWEST_VALUES = 6  # of a channel, below which its scale is chance
SMALLEST_SHARE = 1 / 32  # of the channels of a vector: fewer of a smaller scale are odd classes
RESOLVED = 1e-6  # of a channel's size: what varies less is float32's own noise
OWN_SCALE = 1 / 8  # of the group's scale: what varies less may vanish beside the others
MANY, FEW, FEWER_BY = 64, 8, 8  # distinct values: of many, few are left, or of some an eighth
SINGLE = 64  # values of a channel from which it is judged by itself, too
SAMPLED = 1 << 16  # values that distinct ones are counted in
RESOLUTION = 2.0**-22  # of a group's largest value: values that are closer are one to float32, or its rounding
STILL = 0.1  # of the variation over images: what keeps less has become a constant


@dataclass(frozen=True, slots=True)
class Group:
    """Channels of one kind: where they lie along `axis` of the output. `of` is how many channels there are in all."""

    axis: int
    channels: NDArray[np.intp]
    of: int

    def __str__(self) -> str:
        """The channels as Python would index them: `channel 4:84`; "" for all there are."""
        if len(self.channels) == self.of:
            return ""
        starts = np.flatnonzero(np.diff(self.channels, prepend=-2) != 1)
        runs = np.split(self.channels, starts[1:])
        said = [str(run[0]) if len(run) == 1 else f"{run[0]}:{run[-1] + 1}" for run in runs]
        return f"channel {', '.join(said[:4])}{' ...' if len(said) > 4 else ''}"

    def of_output(self, output: Array) -> NDArray[np.float64]:
        """The group's values of `output` as (channels, values), the values of one image after those of another."""
        if self.axis == 0:
            return output.astype(np.float64).reshape(1, -1)
        moved = np.moveaxis(output.astype(np.float64), self.axis, 0)
        return moved[self.channels].reshape(len(self.channels), -1)

    def varying(self, exact: Array) -> float:
        """How much the group varies around the means of its channels, relative to the size of the whole output."""
        values, size = self.of_output(exact), float(np.linalg.norm(exact.astype(np.float64)))
        return float(np.linalg.norm(values - values.mean(axis=1, keepdims=True))) / size if size else 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """How near one group of channels is. `channels` is "" where the output is of one kind.

    `sqnr_db` is that of the part that varies, over all channels of the group, `worst_db` that of its worst channel (the
    one at `worst`). `broken` says what is no longer there, "" where nothing is missing.
    """

    channels: str
    sqnr_db: float
    worst: int | None = None
    worst_db: float | None = None
    broken: str = ""


def find_groups(exact: Array) -> tuple[Group, ...]:
    """The kinds of figures in a reference (images, ...), the largest scale first; none where nothing varies.

    The channels lie along axis 1, or along the last one where only that one tells kinds apart, as in (images, boxes, 5
    + classes).
    """
    axes = [axis for axis in dict.fromkeys((1, exact.ndim - 1, 2)) if _may_be(exact, axis)]
    found = [groups for axis in axes if (groups := _groups_along(exact, axis))]
    several = [groups for groups in found if len(groups) > 1]
    return (several or found or [_one_kind(exact)])[0]


def measure_part(group: Group, candidate: Array, exact: Array) -> Part:
    """The candidate against the reference on one group; both finite and of one shape."""
    r, y = group.of_output(exact), group.of_output(candidate)
    varying = r - r.mean(axis=1, keepdims=True)
    error = y - r
    loss = _relative(error, varying)
    worst, worst_db = None, None
    scale, own = varying.std(axis=1), float(np.sqrt(np.mean(varying**2)))
    single = np.flatnonzero(scale >= OWN_SCALE * own) if r.shape[1] >= SINGLE else np.zeros(0, np.intp)
    if len(single) and len(r) > 1:
        each = np.linalg.norm(error[single], axis=1) / np.linalg.norm(varying[single], axis=1)
        worst, worst_db = int(group.channels[single[each.argmax()]]), sqnr_db(float(each.max()))
    broken = _collapsed(r, y) or _stilled(r, y, len(exact)) or _lost_channel(group, r, y, scale, own)
    return Part(str(group), sqnr_db(loss), worst, worst_db, broken)


def _may_be(exact: Array, axis: int) -> bool:
    """Whether an axis may be that of the channels: each needs values enough to have a scale."""
    if not 0 < axis < exact.ndim or (axis == 2 and exact.ndim not in (3, 5)):
        return False
    return bool(exact.shape[axis]) and bool(exact.size // exact.shape[axis] >= FEWEST_VALUES)


def _one_kind(exact: Array) -> tuple[Group, ...]:
    group = Group(0, np.arange(1), 1)
    values = exact.astype(np.float64)
    return (group,) if exact.size and values.std() > RESOLVED * np.abs(values).max() else ()


def _groups_along(exact: Array, axis: int) -> tuple[Group, ...]:
    r = np.moveaxis(exact.astype(np.float64), axis, 0).reshape(exact.shape[axis], -1)
    scale = r.std(axis=1)
    varied = scale > RESOLVED * np.sqrt(np.mean(r**2, axis=1))
    if not varied.any():
        return ()
    low, high = r.min(axis=1), r.max(axis=1)
    unit = varied & (low >= 0) & (high <= 1)
    sparse = varied & (np.mean(r == low[:, None], axis=1) > 0.5)
    telling = varied & ~unit & ~sparse
    clusters = _by_scale(np.flatnonzero(telling), scale)
    if unit.any():
        clusters = _with_unit(np.flatnonzero(unit & ~sparse), clusters, scale)
    if exact.ndim == 2:  # a few odd classes of smaller scale are no kind
        clusters = clusters[:1] + [cluster for cluster in clusters[1:] if len(cluster) >= SMALLEST_SHARE * len(scale)]
    rest = np.setdiff1d(np.flatnonzero(varied), np.concatenate(clusters) if clusters else [])
    clusters = _joined_by(rest.astype(np.intp), clusters, scale)
    return tuple(Group(axis, np.sort(cluster), len(scale)) for cluster in clusters)


def _by_scale(channels: NDArray[np.intp], scale: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Split where the sorted scales leave a gap, the largest first."""
    order = channels[np.argsort(-scale[channels])]
    if not len(order):
        return []
    cuts = np.flatnonzero(scale[order[:-1]] > GAP * scale[order[1:]]) + 1
    return list(np.split(order, cuts))


def _with_unit(
    unit: NDArray[np.intp], clusters: list[NDArray[np.intp]], scale: NDArray[np.float64]
) -> list[NDArray[np.intp]]:
    """Probabilities are one kind however rare; where another one has their scale they belong to it."""
    if not len(unit):
        return clusters
    own = float(scale[unit].max())
    for index, cluster in enumerate(clusters):
        if scale[cluster].min() <= GAP * own and own <= GAP * scale[cluster].max():
            return [*clusters[:index], np.concatenate([cluster, unit]), *clusters[index + 1 :]]
    return sorted([*clusters, unit], key=lambda cluster: -float(scale[cluster].max()))


def _joined_by(
    rest: NDArray[np.intp], clusters: list[NDArray[np.intp]], scale: NDArray[np.float64]
) -> list[NDArray[np.intp]]:
    """Each of the rest goes to the cluster whose scale is nearest to its own."""
    if not clusters:
        return [rest]
    centers = np.log([np.median(scale[cluster]) for cluster in clusters])
    nearest = np.abs(np.log(scale[rest])[:, None] - centers).argmin(axis=1) if len(rest) else rest
    return [np.concatenate([cluster, rest[nearest == index]]) for index, cluster in enumerate(clusters)]


def _relative(error: NDArray[np.float64], varying: NDArray[np.float64]) -> float:
    size = float(np.linalg.norm(varying))
    return float(np.linalg.norm(error)) / size if size else math.inf


def _collapsed(r: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """What is said of a group whose many values have become few."""
    unit = RESOLUTION * float(np.abs(r).max(initial=0.0)) or 1.0
    before, after = _distinct(r / unit), _distinct(y / unit)
    if before < FEWER_BY or after > max(1, min(FEW, before // FEWER_BY)):
        return ""
    return f"{after} distinct value{'s are' if after > 1 else ' is'} left of {before}"


def _stilled(r: NDArray[np.float64], y: NDArray[np.float64], images: int) -> str:
    """What is said of a group that answered every image differently and now answers all alike."""
    if images < 2 or r.shape[1] % images:
        return ""
    before, after = (float(np.linalg.norm(_over_images(values, images))) for values in (r, y))
    if before < 1e-3 * float(np.linalg.norm(r)) or after >= STILL * before:
        return ""
    return f"it no longer varies over the images ({after / before:.1%} of its variation is left)"


def _over_images(values: NDArray[np.float64], images: int) -> NDArray[np.float64]:
    each = values.reshape(len(values), images, -1)
    found: NDArray[np.float64] = each - each.mean(axis=1, keepdims=True)
    return found


def _lost_channel(
    group: Group, r: NDArray[np.float64], y: NDArray[np.float64], scale: NDArray[np.float64], own: float
) -> str:
    """What is said of a single channel of the group's own scale of which one value, or few, are left."""
    if r.shape[1] < SINGLE or len(r) < 2:
        return ""
    constant = (y.max(axis=1) == y.min(axis=1)) & (scale >= OWN_SCALE * own)
    for index in np.flatnonzero(constant):
        return f"channel {group.channels[index]} is constant, where it varied"
    for index in np.flatnonzero(scale >= own / 2):
        if said := _collapsed(r[index : index + 1], y[index : index + 1]):
            return f"channel {group.channels[index]}: {said}"
    return ""


def _distinct(values: NDArray[np.float64]) -> int:
    """How many values stand there once each is rounded to a whole number."""
    flat: NDArray[Any] = values.ravel()
    step = max(1, flat.size // SAMPLED)
    return len(np.unique(flat[::step].round()))
