"""What the samples of a row say, and how surely.

Samples inside a block are correlated (caches, clocks, neighbors on the machine), so they are never resampled one by
one: the unit of every interval is the whole round. In a round each row runs in the same stretch of time, so

    ratio_k = median(row, round k) / median(first row, round k)

is free of the drift between rounds. The estimate is the median of ratio_k over the rounds; its 95 % interval is the
2.5 and 97.5 percentile of that median over rounds drawn with replacement (block bootstrap; Kuensch, "The jackknife
and the bootstrap for general stationary observations", Annals of Statistics 17, 1989). Below six rounds no interval
is given: even the extremes of five hold the median with a chance of only 1 - 2 * 0.5**5 = 94 %.

The first run of a block is slow, because thread pools have fallen asleep before it: it is kept and left out here, by
rule; but for a block of a single run, which only a row has whose runs take seconds: waking up takes milliseconds. No
other sample is ever left out. Percentiles are by nearest rank, and withheld while too few samples carry them
(the fewest queries from which MLPerf LoadGen's early stopping estimates that percentile: 64, 150, 662).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from deploykit.codec import shown

FEWEST_ROUNDS = 6
PERCENTILE_FLOORS = {90: 64, 95: 150, 99: 662}
RESAMPLES = 2000
CHUNK = 2**20  # samples weighed at once, which bounds the memory of a bootstrap
NANOSECONDS = 1e6  # per millisecond

Values = np.ndarray[Any, np.dtype[Any]]


class Interval(NamedTuple):
    """A 95 % interval; a list of two in JSON."""

    low: float
    high: float

    def covers(self, value: float) -> bool:
        return self.low <= value <= self.high

    def half_width(self, value: float) -> float:
        """Half the width as a share of `value`: 0.01 is +-1 %."""
        return (self.high - self.low) / 2 / value


@dataclass(frozen=True, slots=True)
class TimedBlock:
    """Consecutive runs of one row. `device_ns` is empty where there are no device events."""

    round: int
    samples_ns: tuple[int, ...]
    device_ns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds. `n` samples were counted, `flagged` first runs left out; `outliers` are counted, never deleted:
    samples above the third quartile by more than three interquartile ranges (Tukey's far-out fence)."""

    median: float
    ci95: Interval | None
    p90: float | None
    p95: float | None
    p99: float | None
    n: int
    flagged: int
    outliers: int


@dataclass(frozen=True, slots=True)
class PerBatch:
    """Milliseconds per step of one batch: arithmetic mean and sample standard deviation (divisor n - 1) of `n` steps.

    The `burn_in` steps before them are not among them.
    """

    mean: float
    sd: float
    n: int
    burn_in: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """Time of a row over time of the first row: below 1 is faster."""

    JSON_PROPERTIES = shown("within_noise")

    value: float
    ci95: Interval | None
    rounds: int

    @property
    def within_noise(self) -> bool | None:
        """Whether the interval covers 1; None where there were too few rounds for an interval."""
        return None if self.ci95 is None else self.ci95.covers(1.0)


def latency(blocks: Sequence[TimedBlock], *, seed: int, device: bool = False) -> Latency | None:
    """The summary of the host clock, or of the device's; None where that clock has no sample."""
    rounds = _rounds(blocks, device=device)
    if not rounds:
        return None
    parts = list(rounds.values())
    flagged = sum(len(block.samples_ns) > 1 for block in blocks)
    return _latency(np.concatenate(parts), ci95=median_interval(parts, seed=seed), flagged=flagged)


def step_latency(samples_ns: Sequence[int]) -> Latency | None:
    """The summary of consecutive steps, each of which counts; None without any. No rounds, so no interval."""
    return _latency(np.array(samples_ns) / NANOSECONDS, ci95=None, flagged=0) if samples_ns else None


def per_batch(samples_ns: Sequence[int], *, burn_in: int) -> PerBatch:
    """Mean and standard deviation of two steps or more, which follow `burn_in` others."""
    milliseconds = np.array(samples_ns) / NANOSECONDS
    return PerBatch(float(milliseconds.mean()), float(milliseconds.std(ddof=1)), int(milliseconds.size), burn_in)


def ratio(blocks: Sequence[TimedBlock], first: Sequence[TimedBlock], *, seed: int) -> Ratio | None:
    """`blocks` against the first row's, over the rounds that both have; None when they share none."""
    ours, theirs = _rounds(blocks), _rounds(first)
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    paired = np.array([np.median(ours[key]) / np.median(theirs[key]) for key in shared])
    return Ratio(float(np.median(paired)), median_interval(np.split(paired, paired.size), seed=seed), len(shared))


def ratios_to_first(rows: Sequence[Sequence[TimedBlock]], *, seed: int) -> tuple[Ratio | None, ...]:
    """Each row against the first that has samples (which is exactly 1 against itself); None for rows without."""
    first = next((blocks for blocks in rows if blocks), ())
    return tuple(ratio(blocks, first, seed=seed) for blocks in rows)


def _latency(samples: Values, *, ci95: Interval | None, flagged: int) -> Latency:
    ordered = np.sort(samples)
    lower, upper = percentile(ordered, 25), percentile(ordered, 75)
    withheld = {q: percentile(ordered, q) if ordered.size >= floor else None for q, floor in PERCENTILE_FLOORS.items()}
    return Latency(
        median=float(np.median(ordered)),
        ci95=ci95,
        p90=withheld[90],
        p95=withheld[95],
        p99=withheld[99],
        n=int(ordered.size),
        flagged=flagged,
        outliers=int(np.count_nonzero(ordered > upper + 3 * (upper - lower))),
    )


def percentile(ordered: Values, q: float) -> float:
    """Nearest rank: the smallest sample that at least `q` percent of all samples do not exceed."""
    return float(ordered[max(0, math.ceil(q / 100 * ordered.size) - 1)])


def median_interval(rounds: Sequence[Values], *, seed: int) -> Interval | None:
    """The 95 % interval of the median of all samples, whole rounds resampled; None below six rounds.

    A resample draws one round fewer than there are, which undoes the narrowness of percentile intervals from few units
    (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015). It holds round k
    `times[k]` times, so its median is a weighted one over samples that are sorted once.
    """
    count = len(rounds)
    if count < FEWEST_ROUNDS:
        return None
    random = np.random.default_rng(seed)
    values = np.concatenate(rounds)
    order = np.argsort(values, kind="stable")
    values, owner = values[order], np.repeat(np.arange(count), [len(part) for part in rounds])[order]
    draws = random.integers(0, count, (RESAMPLES, count - 1)) + count * np.arange(RESAMPLES)[:, None]
    times = np.bincount(draws.ravel(), minlength=RESAMPLES * count).reshape(RESAMPLES, count).astype(np.int32)
    parts = []
    for some in np.array_split(times, max(1, RESAMPLES * values.size // CHUNK)):
        rank = np.cumsum(some[:, owner], axis=1, dtype=np.int32)
        total = rank[:, -1:]
        below, above = ((rank < wanted).sum(axis=1) for wanted in ((total + 1) // 2, total // 2 + 1))
        parts.append((values[below] + values[above]) / 2)
    medians = np.sort(np.concatenate(parts))
    return Interval(percentile(medians, 2.5), percentile(medians, 97.5))


def _rounds(blocks: Sequence[TimedBlock], *, device: bool = False) -> dict[int, Values]:
    """Counted samples in milliseconds by round: all but the first of each block of several."""
    parts: dict[int, list[int]] = {}
    for block in blocks:
        samples = block.device_ns if device else block.samples_ns
        if counted := samples[len(samples) > 1 :]:
            parts.setdefault(block.round, []).extend(counted)
    return {key: np.array(part) / NANOSECONDS for key, part in parts.items()}
