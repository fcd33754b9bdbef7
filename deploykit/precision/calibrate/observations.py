"""What calibration has seen: a histogram of every activation, of all images or of a shard of them, as a file.

One collection serves every method. Shards are cut at batch boundaries, since a runtime may answer for an image a little
differently in another batch, so shards hand in the very counts of the batches that a single pass would have counted.
A shard that is not finished is a checkpoint: it says how many of its batches are in it, and goes on from there.

The file is input from outside, and a wrong count ruins a network silently, so reading is strict: this schema and no
other key, whole counts that add up to something, extremes that fit the bins they are said to lie in.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise

import numpy as np

from deploykit import limits
from deploykit.codec import encode, read
from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.precision.calibrate.histogram import BINS, Histogram, exponent_for
from deploykit.precision.calibrate.methods import PERCENTILE, range_of
from deploykit.precision.calibrate.ranges import FLOAT32_MAX
from deploykit.precision.calibrate.table import CalibrationTable

SCHEMA_VERSION = 1
COLLECT = "collect it again with `deploykit calibrate`"
MOST_SHARDS = 100_000
LARGEST_COUNT = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRun:
    """What all shards of one calibration have in common.

    `graph_digest` is the SHA-256 of the optimized float graph, `data_digest` of the images, which are prepared as
    `preprocessing` says and shown in `batches` runs.
    """

    graph_digest: str
    data_digest: str
    preprocessing: str
    batches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """A histogram as a file has it: the counts from bin `first` on, where 0 is the bin that begins at zero."""

    exponent: int
    first: int
    counts: tuple[int, ...]
    lo: float
    hi: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFile:
    """A shard as a file has it; `shard` is its index and how many there are."""

    schema_version: int
    graph_digest: str
    data_digest: str
    preprocessing: str
    batches: int
    shard: tuple[int, int]
    done: int
    images: int
    histograms: Mapping[str, Counts]


@dataclass(eq=False)
class Observations:
    """Counts of shard `index` of `shards`, of which `done` batches with `images` images are in."""

    run: CalibrationRun
    index: int = 0
    shards: int = 1
    done: int = 0
    images: int = 0
    histograms: dict[str, Histogram] = field(default_factory=dict)

    @property
    def batches(self) -> range:
        """The shard's batches; the first `done` of them are counted."""
        return shard_batches(self.run.batches, self.index, self.shards)

    @property
    def finished(self) -> bool:
        return self.done == len(self.batches)

    def table(self, method: str, *, percentile: float = PERCENTILE) -> CalibrationTable:
        """Ranges by `method`. Raises UsageError unless all batches are in, and as `range_of` does."""
        if self.shards != 1 or not self.finished:
            raise UsageError(f"{self.said} is not a whole calibration", hint="merge all shards, or finish it")
        named = f"percentile {percentile:g}" if method == "percentile" else method
        return CalibrationTable(
            graph_digest=self.run.graph_digest,
            data_digest=self.run.data_digest,
            method=named,
            images=self.images,
            ranges={
                name: range_of(histogram, method, percentile=percentile) for name, histogram in self.histograms.items()
            },
            preprocessing=self.run.preprocessing,
        )

    @property
    def said(self) -> str:
        """`shard 2/4 (5 of 8 batches)`."""
        return f"shard {self.index + 1}/{self.shards} ({self.done} of {len(self.batches)} batches)"

    def to_json(self) -> str:
        """Canonical text: sorted keys, extremes that read back exactly, counts without empty bins on either side."""
        file = ShardFile(
            schema_version=SCHEMA_VERSION,
            **asdict(self.run),
            shard=(self.index, self.shards),
            done=self.done,
            images=self.images,
            histograms={name: _counts_of(histogram) for name, histogram in self.histograms.items()},
        )
        return json.dumps(encode(file), sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Observations":
        """Raises UntrustedArtifact for anything that `to_json` does not write."""
        file = read(ShardFile, text, what="calibration shard", version=SCHEMA_VERSION, hint=COLLECT)
        if (found := len(file.histograms)) > limits.HISTOGRAMS.value:
            raise _malformed(f"it has {found} histograms, more than {limits.HISTOGRAMS.value}")
        for name in ("graph_digest", "data_digest"):
            if not re.fullmatch(r"[0-9a-f]{64}", getattr(file, name)):
                raise _malformed(f"{name} is {getattr(file, name)!r}, not a SHA-256")
        run = CalibrationRun(**{name.name: getattr(file, name.name) for name in fields(CalibrationRun)})
        batches = _within("batches", file.batches, 1, LARGEST_COUNT)
        shards = _within("shard", file.shard[1], 1, min(batches, MOST_SHARDS))
        index = _within("shard", file.shard[0], 0, shards - 1)
        done = _within("done", file.done, 0, len(shard_batches(batches, index, shards)))
        images = _within("images", file.images, 0, LARGEST_COUNT)
        histograms = {name: _histogram(name, counts) for name, counts in file.histograms.items()}
        return cls(run, index, shards, done, images, histograms)


def shard_batches(batches: int, index: int, shards: int) -> range:
    """The batches of shard `index`: contiguous, and as many as any other shard's, or one more."""
    return range(index * batches // shards, (index + 1) * batches // shards)


def merge(parts: Sequence[Observations]) -> Observations:
    """All shards as one: the counts of a single pass, bit for bit. Raises UsageError for parts that do not fit."""
    if not parts:
        raise UsageError("there are no shards to merge", hint="name the files that --shard wrote")
    first = parts[0]
    for part in parts:
        _require_same(first, part)
        if not part.finished:
            raise UsageError(f"{part.said} is not finished", hint="run its command again: it goes on where it stopped")
    indices = sorted(part.index for part in parts)
    if missing := sorted(set(range(first.shards)) - set(indices)):
        named = ", ".join(f"{index + 1}/{first.shards}" for index in missing)
        raise UsageError(f"shards are missing: {named}", hint="name all of them")
    if len(indices) != first.shards:
        twice = next(index for index, after in pairwise(indices) if index == after)
        raise UsageError(f"shard {twice + 1}/{first.shards} is given twice", hint="name each once")
    whole = Observations(first.run, done=first.run.batches, images=sum(part.images for part in parts))
    for part in sorted(parts, key=lambda part: part.index):
        for name, histogram in part.histograms.items():
            whole.histograms.setdefault(name, Histogram()).merge(histogram)
    return whole


def _require_same(one: Observations, other: Observations) -> None:
    if one.shards != other.shards:
        raise UsageError(f"{one.said} and {other.said} are cut differently", hint="merge the shards of one --shard i/n")
    for name in (item.name for item in fields(CalibrationRun)):
        here, there = getattr(one.run, name), getattr(other.run, name)
        if here != there:
            raise UsageError(
                f"{one.said} and {other.said} do not belong together: {name.replace('_', ' ')} {_short(here)} and "
                f"{_short(there)}",
                hint="collect all shards with one network, one set of images and one deploykit",
            )
    if one.histograms.keys() != other.histograms.keys():
        odd = sorted(one.histograms.keys() ^ other.histograms.keys())
        raise UsageError(f"{one.said} and {other.said} observed different values: {odd[0]!r} is in one of them only")


def _short(value: object) -> str:
    return str(value)[:12] if re.fullmatch(r"[0-9a-f]{64}", str(value)) else repr(value)


def _counts_of(histogram: Histogram) -> Counts:
    filled = np.flatnonzero(histogram.counts)
    first, last = (int(filled[0]), int(filled[-1])) if filled.size else (BINS, BINS - 1)
    counts = tuple(histogram.counts[first : last + 1].tolist())
    return Counts(exponent=histogram.exponent, first=first - BINS, counts=counts, lo=histogram.lo, hi=histogram.hi)


def _histogram(name: str, stored: Counts) -> Histogram:
    where, lo, hi = f"the histogram of {name!r}", stored.lo, stored.hi
    if not (abs(lo) <= FLOAT32_MAX and abs(hi) <= FLOAT32_MAX):
        raise _malformed(f"{where} has the extremes {lo:g} and {hi:g}, which are not finite float32 numbers")
    if stored.exponent != exponent_for(max(-lo, hi)) or lo > hi:
        raise _malformed(f"{where} has bins that do not fit its extremes {lo:g} and {hi:g}")
    if not stored.counts:
        raise _malformed(f"{where} has no counts")
    if stored.first <= -BINS or stored.first + len(stored.counts) > BINS:
        raise _malformed(f"{where} has counts beyond its last bin")
    for count in (min(stored.counts), max(stored.counts)):
        _within(where, count, 0, LARGEST_COUNT // BINS)
    histogram = Histogram(stored.exponent, lo=lo, hi=hi)
    histogram.counts[BINS + stored.first : BINS + stored.first + len(stored.counts)] = stored.counts
    ends = [math.trunc(end / histogram.width) for end in (lo, hi)]
    filled = np.flatnonzero(histogram.counts) - BINS
    if filled.size == 0 or [int(filled[0]), int(filled[-1])] != ends:
        raise _malformed(f"{where} has counts where its extremes are not")
    return histogram


def _within(where: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise _malformed(f"{where} holds {str(value)[:40]}, not a whole number from {least} to {most}")
    return value


def _malformed(what: str) -> UntrustedArtifact:
    return UntrustedArtifact(f"the calibration shard is malformed: {what}", hint=COLLECT)
