"""The rows of any saved result as one shape: what a row is, what became of it, and its figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from deploykit.bench import Interval, Latency, Ratio, latency, ratios_to_first
from deploykit.parity import Parity, ParityResult
from deploykit.parity.accuracy import Share
from deploykit.plan.summary import PlanSummary
from deploykit.results.accuracy import AccuracyReport, AccuracyRow
from deploykit.results.build import BuildResult
from deploykit.results.comparison import Report
from deploykit.results.row import Row, State
from deploykit.results.saved import Results
from deploykit.spec import BatchRange

MEGABYTE = 1e6
TOO_FEW = "too few rounds for an interval"
ONE_PROCESS = "one process: its interval leaves out how much processes differ (bench --processes 3)"
NO_ROUNDS = "consecutive steps have no interval"


class Key(NamedTuple):
    """What makes two rows the same row. Of rows that are alike in all else, `number` is the position among them."""

    model: str
    backend: str
    precision: str
    batch: int
    mode: str | None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure. One that has to have an `interval` and has none says why in `undecided`.

    `share` is an accuracy in counts, `right` which images it was right on (see `AccuracyRow`), `to` the row that a
    ratio is to.
    """

    value: float | str
    interval: Interval | None = None
    undecided: str = ""
    share: Share | None = None
    right: str | None = None
    to: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row. `graph` is the digest of its typed graph."""

    key: Key
    state: State
    reason: str
    graph: str | None
    figures: Mapping[str, Measured] = field(default_factory=dict)


def entries(results: Results) -> tuple[Entry, ...]:
    """The rows of a result, in its order."""
    match results:
        case Report():
            found = list(_of_report(results))
        case AccuracyReport():
            found = [_of_accuracy(row) for row in results.rows]
        case BuildResult():
            found = [_of_build(results)]
        case _:
            plan = results.summary
            key = Key(results.title, results.compiler.partition(" ")[0], results.precision, results.batch, None)
            found = [Entry(key, "built", "", None, dict(_plan(plan)))]
    return tuple(_numbered(found))


def _numbered(found: Sequence[Entry]) -> Iterator[Entry]:
    seen: dict[Key, int] = {}
    for entry in found:
        number = seen[entry.key] = seen.get(entry.key, -1) + 1
        yield Entry(entry.key._replace(number=number), entry.state, entry.reason, entry.graph, entry.figures)


def _of_report(report: Report) -> Iterator[Entry]:
    seed = report.environment.seed
    timed = [row.blocks if row.state == "measured" else () for row in report.rows]
    first = next((row.label for row, blocks in zip(report.rows, timed, strict=True) if blocks), "")
    for row, ratio in zip(report.rows, ratios_to_first(timed, seed=seed), strict=True):
        figures = dict(_times(row, ratio, first, seed))
        yield _entry(row, figures | dict(_plan(row.plan)) | dict(_parity(row.parity)))


def _of_accuracy(line: AccuracyRow) -> Entry:
    figures = {}
    if line.top1:
        figures["top1"] = Measured(100 * line.top1.value, share=line.top1, right=line.right)
    if line.top5:
        figures["top5"] = Measured(100 * line.top5.value, share=line.top5)
    return _entry(line.row, figures)


def _of_build(built: BuildResult) -> Entry:
    key = Key(built.model, built.backend, built.precision, BatchRange.parse(built.batch).optimum, None)
    return Entry(key, "built", built.reason or "", built.typed_digest, dict(_plan(built.plan)))


def _entry(row: Row, figures: Mapping[str, Measured]) -> Entry:
    key = Key(row.model, row.backend, row.precision, row.batch, row.mode)
    return Entry(key, row.state, row.reason, row.typed_digest, figures)


def _times(row: Row, ratio: Ratio | None, first: str, seed: int) -> Iterator[tuple[str, Measured]]:
    """Computed anew from the samples. `first` names the row that ratios are to."""
    if row.mode is not None and row.latency_ms is not None:
        yield "p50", Measured(row.latency_ms.median, None, NO_ROUNDS)
        return
    if host := latency(row.blocks, seed=seed):
        yield "p50", _timed(host.median, host)
    if device := latency(row.blocks, seed=seed, device=True):
        yield "device", _timed(device.median, device)
    if ratio is not None:
        yield "ratio", replace(_timed(ratio.value, ratio), to=first)


def _timed(value: float, found: Latency | Ratio) -> Measured:
    """Two results are of two processes at least, and how much these differ shows only where each side has several."""
    if found.processes == 1:
        return Measured(value, None, ONE_PROCESS)
    return Measured(value, found.ci95, "" if found.ci95 else TOO_FEW)


def _plan(plan: PlanSummary | None) -> Iterator[tuple[str, Measured]]:
    if plan is None:
        return
    yield "kernels", Measured(float(plan.kernels))
    yield "mb", Measured(plan.bytes_moved / MEGABYTE)
    yield "engine_mb", Measured(plan.engine_bytes / MEGABYTE)
    if plan.activation_bytes is not None:
        yield "activation_mb", Measured(plan.activation_bytes / MEGABYTE)


def _parity(parity: Parity | None) -> Iterator[tuple[str, Measured]]:
    if parity is None:
        return
    yield "parity", Measured(parity.verdict)
    if isinstance(parity, ParityResult):
        worst = parity.worst
        if worst.loss:
            yield "sqnr", Measured(_decibel(worst.loss.relative_l2))
        if worst.agreement:
            yield "agreement", Measured(100 * worst.agreement.share)


def _decibel(relative_l2: float) -> float:
    """JSON has null for an infinite SQNR as for one that is not a number; the relative error tells them apart."""
    return math.inf if relative_l2 == 0 else -20 * math.log10(relative_l2) if relative_l2 > 0 else math.nan
