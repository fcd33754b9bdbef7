"""A histogram of one activation, in fixed memory, that does not depend on the order or the split of what it saw.

Bins lie on a grid of powers of two, anchored at 0. With the width w = 2**exponent a value x is counted in bin

    trunc(x / w)        bin 0: (-w, w)      bin i > 0: [i w, (i + 1) w)      bin -i: (-(i + 1) w, -i w]

and the width is the smallest at which no magnitude seen lies beyond bin BINS - 1. When a larger one comes, w doubles
and bin i joins bin trunc(i / 2); trunc(trunc(x / w) / 2) is trunc(x / 2w), so what is counted after any number of
doublings is what a first look with the last width would have counted. Division by a power of two is exact in float32,
as long as nothing underflows, and what underflows belongs into bin 0 anyway. So two halves of the data, counted apart
and merged, give the integers of a single pass, bit for bit. At least half of the BINS on the larger side are in use: a
step of int8 (1/127 of the range) spans 16 bins or more, and counting at their centers adds less than 1/256 to its
rounding error.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 4096  # on each side of 0
FINEST = -126  # exponent: 2**126 is the largest factor that is safe in float32; smaller values are as good as 0
COARSEST = 128  # of float32's largest number, less log2(BINS)
CHUNK = 1 << 16  # elements at a time, so that temporaries stay in the cache

Counts = NDArray[np.int64]


@dataclass(eq=False)
class Histogram:
    """`counts` has bin i at BINS + i; `lo` and `hi` are the exact extremes, infinite before the first value."""

    exponent: int = FINEST
    counts: Counts = field(default_factory=lambda: np.zeros(2 * BINS, np.int64))
    lo: float = math.inf
    hi: float = -math.inf

    @property
    def width(self) -> float:
        """The width of a bin."""
        return math.ldexp(1.0, self.exponent)

    @property
    def total(self) -> int:
        """How many values were seen."""
        return int(self.counts.sum())

    def observe(self, values: "np.ndarray[Any, np.dtype[np.float32]]", lo: float, hi: float) -> None:
        """Count finite float32 values, at least one, whose extremes are `lo` and `hi`."""
        self._make_room(lo, hi)
        factor = np.float32(math.ldexp(1.0, -self.exponent))
        flat = values.reshape(-1)
        scaled = np.empty(min(CHUNK, flat.size), np.float32)
        bins = np.empty(scaled.shape, np.int32)
        first = BINS if lo < 0 else 0  # what is nowhere negative needs no shift
        counts = self.counts[BINS - first :]
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK]
            found = bins[: part.size]
            np.multiply(part, factor, out=scaled[: part.size])
            np.copyto(found, scaled[: part.size], casting="unsafe")  # truncates towards 0
            if first:
                found += first
            counts += np.bincount(found, minlength=counts.size)

    def merge(self, other: "Histogram") -> None:
        """Count what `other`, which is left alone, has counted."""
        self._make_room(other.lo, other.hi)
        self.counts += other.at(self.exponent).counts

    def at(self, exponent: int) -> "Histogram":
        """The same with bins of 2**exponent, which is not below its own exponent."""
        if exponent == self.exponent:
            return self
        factor = 1 << min(exponent - self.exponent, BINS.bit_length())  # which is more than any bin's number
        bins = np.arange(-BINS, BINS)
        joined = np.zeros(2 * BINS, np.int64)
        np.add.at(joined, BINS + np.sign(bins) * (np.abs(bins) // factor), self.counts)
        return Histogram(exponent, joined, self.lo, self.hi)

    def centers(self) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """The value that stands for each bin: its middle."""
        bins = np.arange(-BINS, BINS)
        return (bins + 0.5 * np.sign(bins)) * self.width

    def magnitudes(self) -> Counts:
        """Counts by |x|: bin i is [i w, (i + 1) w)."""
        positive, negative = self.counts[BINS:].copy(), self.counts[BINS:0:-1]
        positive[1:] += negative[1:]
        return positive

    def _make_room(self, lo: float, hi: float) -> None:
        self.lo, self.hi = min(self.lo, lo), max(self.hi, hi)
        needed = exponent_for(max(-self.lo, self.hi))
        if needed > self.exponent:
            wider = self.at(needed)
            self.exponent, self.counts = wider.exponent, wider.counts


def exponent_for(largest: float) -> int:
    """The exponent of the narrowest bins that hold magnitudes up to `largest`."""
    return max(FINEST, math.frexp(largest)[1] - (BINS.bit_length() - 1)) if largest > 0 else FINEST
