"""What the samples of a row say, and how surely.

Samples inside a block are correlated (caches, clocks, neighbors on the machine), and so are all rounds of one process:
where its memory lies, which threads sit on which core and what its libraries chose when they started stay as they are
until it ends. Restarted workers of one and the same row differ by more than their rounds say. So a row has several
processes, one after the other, and the unit of its interval is the process.

In a round each row runs in the same stretch of time, so

    ratio_k = median(row, round k) / median(first row, round k)

is free of the drift between rounds. Of process p, y_p is the logarithm of the median of its ratio_k (for a row's own
time: of the median of its samples). The estimate is exp(mean of y_p), and the 95 % interval is the wider of two:

1. Student's: mean of y_p +- t(0.975; P - 1) s / sqrt(P), with s the standard deviation of the P values ("Student", "The
   probable error of a mean", Biometrika 6, 1908). It is exact for normal y_p, whatever part of their spread is between
   processes and what within, since each process gives one value. A hierarchical bootstrap (Davison and Hinkley,
   "Bootstrap Methods and their Application", 1997, section 3.8) draws processes and then rounds in them: of three
   processes a ninth of its draws are one process three times, its percentiles end at the extremes, and where processes
   differ more than rounds it holds the true value in 86 % of cases, not in 95 % (docs/decisions/intervals.md).
2. That of the rounds alone, as of a single process, for three values may lie close together by chance.

Of a single process only the second is known: the 2.5 and 97.5 percentile of the median over rounds drawn with
replacement (block bootstrap; Kuensch, "The jackknife and the bootstrap for general stationary observations", Annals of
Statistics 17, 1989). It says nothing of another process. Below six rounds it is not given: even the extremes of five
hold the median with a chance of only 1 - 2 * 0.5**5 = 94 %.

The first run of a block is slow, because thread pools have fallen asleep before it: it is kept and left out here, by
rule; but for a block of a single run, which only a row has whose runs take seconds: waking up takes milliseconds. No
other sample is ever left out. Percentiles are by nearest rank, and withheld while too few samples carry them
(the fewest queries from which MLPerf LoadGen's early stopping estimates that percentile: 64, 150, 662).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from deploykit.codec import shown

FEWEST_ROUNDS = 6
PERCENTILE_FLOORS = {90: 64, 95: 150, 99: 662}
RESAMPLES = 2000
MOST_PROCESSES = 20
STUDENT_975 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448,
    2.1314, 2.1199, 2.1098, 2.1009, 2.0930,
)  # fmt: skip  # the 97.5 percentile of Student's t with 1, 2, ... degrees of freedom
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
    """Consecutive runs of one row in its `process`, counted from 0. `device_ns` is empty without device events."""

    round: int
    samples_ns: tuple[int, ...]
    device_ns: tuple[int, ...] = ()
    process: int = 0


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds. `median` is that of the samples of a process, of several the geometric mean of theirs.

    `n` samples were counted, `flagged` first runs left out; `outliers` are counted, never deleted: samples above the
    third quartile by more than three interquartile ranges (Tukey's far-out fence). The samples come from as many
    `processes`; the interval of a single one says nothing of another.
    """

    median: float
    ci95: Interval | None
    p90: float | None
    p95: float | None
    p99: float | None
    n: int
    flagged: int
    outliers: int
    processes: int = 1


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
    """Time of a row over time of the first row: below 1 is faster. Over `rounds`, in as many `processes`."""

    JSON_PROPERTIES = shown("within_noise")

    value: float
    ci95: Interval | None
    rounds: int
    processes: int = 1

    @property
    def within_noise(self) -> bool | None:
        """Whether the interval covers 1; None where there were too few rounds for an interval."""
        return None if self.ci95 is None else self.ci95.covers(1.0)


def latency(blocks: Sequence[TimedBlock], *, seed: int, device: bool = False) -> Latency | None:
    """The summary of the host clock, or of the device's; None where that clock has no sample."""
    rounds = _rounds(blocks, device=device)
    if not rounds:
        return None
    process_of = _processes(blocks)
    parts: dict[int, list[Values]] = {}
    for number, samples in rounds.items():
        parts.setdefault(process_of[number], []).append(samples)
    value, interval = _estimate(list(parts.values()), seed=seed)
    flagged = sum(len(block.samples_ns) > 1 for block in blocks)
    found = _latency(np.concatenate(list(rounds.values())), ci95=interval, flagged=flagged)
    return replace(found, median=value, processes=len(parts))


def step_latency(samples_ns: Sequence[int]) -> Latency | None:
    """The summary of consecutive steps, each of which counts; None without any. No rounds, so no interval."""
    return _latency(np.array(samples_ns) / NANOSECONDS, ci95=None, flagged=0) if samples_ns else None


def per_batch(samples_ns: Sequence[int], *, burn_in: int) -> PerBatch:
    """Mean and standard deviation of two steps or more, which follow `burn_in` others."""
    milliseconds = np.array(samples_ns) / NANOSECONDS
    return PerBatch(float(milliseconds.mean()), float(milliseconds.std(ddof=1)), int(milliseconds.size), burn_in)


def ratio(blocks: Sequence[TimedBlock], first: Sequence[TimedBlock], *, seed: int) -> Ratio | None:
    """`blocks` against the first row's, over the rounds that both have; None when they share none.

    A row that stays in one process while the other's are restarted is of one process still.
    """
    ours, theirs = _rounds(blocks), _rounds(first)
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        return None
    mine, other = _processes(blocks), _processes(first)
    process_of = min((mine, other), key=lambda numbers: len({numbers[key] for key in shared}))
    parts: dict[int, list[Values]] = {}
    for key in shared:
        paired = np.median(ours[key], keepdims=True) / np.median(theirs[key])
        parts.setdefault(process_of[key], []).append(paired)
    value, interval = _estimate(list(parts.values()), seed=seed)
    return Ratio(value, interval, len(shared), len(parts))


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


def _estimate(processes: Sequence[Sequence[Values]], *, seed: int) -> tuple[float, Interval | None]:
    """The value and its 95 % interval, from the samples of each round of each process."""
    medians = np.array([np.median(np.concatenate(rounds)) for rounds in processes])
    if len(medians) == 1:
        return float(medians[0]), median_interval(processes[0], seed=seed)
    logs = np.log(medians)
    center, spread = logs.mean(), logs.std(ddof=1) / math.sqrt(logs.size)
    half = STUDENT_975[logs.size - 2] * spread
    alone = median_interval([part for rounds in processes for part in rounds], seed=seed)
    within = np.log(alone.high / alone.low) / 2 if alone else 0.0
    half = max(half, within)
    return float(np.exp(center)), Interval(float(np.exp(center - half)), float(np.exp(center + half)))


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


def _processes(blocks: Sequence[TimedBlock]) -> dict[int, int]:
    """Round -> the process that the row had in it."""
    return {block.round: block.process for block in blocks}


def _rounds(blocks: Sequence[TimedBlock], *, device: bool = False) -> dict[int, Values]:
    """Counted samples in milliseconds by round: all but the first of each block of several."""
    parts: dict[int, list[int]] = {}
    for block in blocks:
        samples = block.device_ns if device else block.samples_ns
        if counted := samples[len(samples) > 1 :]:
            parts.setdefault(block.round, []).extend(counted)
    return {key: np.array(part) / NANOSECONDS for key, part in parts.items()}
