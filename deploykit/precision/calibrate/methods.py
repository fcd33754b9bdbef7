"""From counts to ranges: where calibration cuts an activation off, by method.

    minmax       nowhere: the exact extremes
    percentile   where the given share of all values is left, split over both tails where there are two
    mse          where the expected squared error of quantizing is smallest: rounding inside, clipping outside
    entropy      where the distribution loses the least information (Migacz, "8-bit inference with TensorRT", GTC 2017)

A method reads merged counts only, so shards change nothing. Each gives two answers, for the two grids that placements
use (`precision.scales`): `threshold` for int8 around 0, 127 steps each way, and `lo` ... `hi` for uint8 with 255 steps
over a range that holds 0.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from deploykit.precision.calibrate.histogram import BINS, Histogram
from deploykit.precision.calibrate.ranges import Range
from deploykit.spec.arrays import Array

PERCENTILE = 99.99
SHARES = np.arange(24, 129) / 128  # of the extreme: thresholds that mse tries
ENTROPY_BINS = 2048  # what Migacz counts in, over the extreme
ENTROPY_STRIDE = 16  # bins between the thresholds that are tried


def range_of(histogram: Histogram, method: str, *, percentile: float = PERCENTILE) -> Range:
    """The range to quantize, by one of `METHODS`."""
    if max(-histogram.lo, histogram.hi) <= 0:
        return Range(histogram.lo, histogram.hi)
    return METHODS[method](histogram, percentile)


def _minmax(histogram: Histogram, _percentile: float) -> Range:
    return Range(histogram.lo, histogram.hi)


def _percentile(histogram: Histogram, percentile: float) -> Range:
    """A bin is kept whole, so at least the share is left; never beyond the extremes."""
    share, total, width = percentile / 100, histogram.total, histogram.width
    reached = int(np.searchsorted(np.cumsum(histogram.magnitudes()), share * total))
    threshold = min((reached + 1) * width, max(-histogram.lo, histogram.hi))
    tails = (histogram.lo < 0) + (histogram.hi > 0)
    outside = (1 - share) * total / tails
    counts = np.cumsum(histogram.counts)
    first, last = np.searchsorted(counts, [outside, total - outside], side="left") - BINS
    lo = max(histogram.lo, (int(first) - 1) * width) if histogram.lo < 0 else histogram.lo
    hi = min(histogram.hi, (int(last) + 1) * width) if histogram.hi > 0 else histogram.hi
    return Range(min(lo, hi), hi, threshold)


def _mse(histogram: Histogram, _percentile: float) -> Range:
    kept = np.flatnonzero(histogram.counts)
    counts, values = histogram.counts[kept].astype(np.float64), histogram.centers()[kept]
    largest = max(-histogram.lo, histogram.hi)
    threshold = _best(SHARES * largest, lambda ends: _error(values, counts, -ends, ends, ends / 127))
    lo, hi = min(histogram.lo, 0.0), max(histogram.hi, 0.0)
    low, high = lo, hi
    for _ in range(2):  # each end in turn, the other held
        if hi > 0:
            high = _best(SHARES * hi, lambda ends: _error(values, counts, low, ends, (ends - low) / 255))  # noqa: B023
        if lo < 0:
            low = _best(SHARES * lo, lambda ends: _error(values, counts, ends, high, (high - ends) / 255))  # noqa: B023
    return Range(low if lo < 0 else histogram.lo, high if hi > 0 else histogram.hi, threshold)


def _best(ends: Array, error: Callable[[Array], Array]) -> float:
    """The end with the least error, of equals the widest."""
    errors = error(ends[:, None])
    return float(ends[::-1][int(np.argmin(errors[::-1]))])


def _error(values: Array, counts: Array, lo: Array | float, hi: Array | float, step: Array) -> Array:
    """Summed squared error per candidate (rows) of values on the grid of `step`, clipped to [lo, hi]."""
    quantized = np.clip(np.rint(values / step) * step, lo, hi)
    errors: Array = np.square(quantized - values) @ counts
    return errors


def _entropy(histogram: Histogram, _percentile: float) -> Range:
    """One threshold of |x| cuts both sides; int8 has 128 levels of it, uint8 of a one-sided activation 256."""
    magnitudes, width = histogram.magnitudes(), histogram.width
    while np.flatnonzero(magnitudes)[-1] >= ENTROPY_BINS:
        magnitudes, width = magnitudes.reshape(-1, 2).sum(axis=1), 2 * width
    largest = max(-histogram.lo, histogram.hi)
    threshold = min(largest, _least_divergent(magnitudes, 128) * width)
    one_sided = histogram.lo >= 0 or histogram.hi <= 0
    cut = min(largest, _least_divergent(magnitudes, 256) * width) if one_sided else threshold
    return Range(max(histogram.lo, -cut), min(histogram.hi, cut), threshold)


def _least_divergent(magnitudes: Array, levels: int) -> int:
    """How many bins to keep so that `levels` values tell the most of the rest.

    For each candidate, P are the kept bins with all that is cut off added to the last, Q the same bins quantized: those
    that share a level share its counts, empty ones stay empty. The candidate with the least Kullback-Leibler
    divergence of Q from P wins. Bin 0 takes the count of bin 1: it holds the zeros that ReLU makes, which any scale
    represents exactly, and would drown the rest.
    """
    counts: Array = magnitudes.astype(np.float64)
    counts[0] = counts[1]
    used = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 1
    if used <= levels:
        return used
    candidates = np.array([*range(levels, used, ENTROPY_STRIDE), used])
    return int(candidates[np.argmin(_divergences(counts, candidates, levels))])


def _divergences(counts: Array, candidates: Array, levels: int) -> Array:
    """KL(P || Q) in nats for each number of bins kept; infinite where Q has nothing and P has.

    With T counts in all, K of them kept, and s counts in the n filled bins of a level, every filled bin of Q is
    s / (n K). So KL = (sum r log r - sum R log(s / n)) / T - log T + log K, where r are P's counts by bin and R those
    by level: all sums over bins are differences of running sums, and all candidates are one table.
    """
    mass, filled, own = (_running(part) for part in (counts, counts > 0, _x_log_x(counts)))
    edges = np.arange(levels + 1) * candidates[:, None] // levels
    inside, shared_by = np.diff(mass[edges]), np.diff(filled[edges])
    kept, last = mass[candidates], counts[candidates - 1]
    outside = mass[-1] - kept
    level = np.log(np.where(inside > 0, inside, 1) / np.maximum(shared_by, 1))
    of_p = own[candidates] - _x_log_x(last) + _x_log_x(last + outside)
    of_q = (inside * level).sum(axis=1) + outside * level[:, -1]
    divergence: Array = (of_p - of_q) / mass[-1] - np.log(mass[-1]) + np.log(np.where(kept > 0, kept, 1))
    return np.where((last == 0) & (outside > 0), np.inf, divergence)


def _running(values: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _x_log_x(values: Array) -> Array:
    product: Array = values * np.log(np.where(values > 0, values, 1))
    return product


METHODS: Mapping[str, Callable[[Histogram, float], Range]] = MappingProxyType(
    {"minmax": _minmax, "percentile": _percentile, "mse": _mse, "entropy": _entropy}
)
