"""The page of `bench` and `verify`: the table of the terminal, and how fast, how steady and how exact each row is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

from deploykit.bench import Ratio
from deploykit.bench.statistics import NANOSECONDS
from deploykit.parity import ParityResult
from deploykit.report.page import Figure, Figures, Notes, Page, Section, figure
from deploykit.report.pages.explanation import explanation_sections
from deploykit.report.pages.rows import color_of, machine_section, missing, read_sheet, shapes_of, verdict_of
from deploykit.report.svg.bars import Bar, interval_bars
from deploykit.report.svg.curves import Curve, CurvePoint, curves
from deploykit.report.svg.distributions import Samples, distributions
from deploykit.report.svg.dots import Dot, DotRow, dot_rows
from deploykit.report.svg.scales import Axis
from deploykit.report.table import render_report
from deploykit.report.text import Sheet, Table
from deploykit.results.comparison import Report
from deploykit.results.row import Row

SPEED = "Speed side by side. Times are those of a synchronized run on the host; lower is faster."
EXACT = "Outputs of every row, compared with the network in float64. Nothing was timed."
MEDIAN, MEAN = "median ms [95 % CI]", "ms per batch, mean +/- sd"  # columns of the table
ROOF = "roof\n%"
LOSSES = {  # the shape of each, and how far above the middle of its lane it stands
    "precision loss": ("circle", 8.0),
    "backend loss": ("square", -8.0),
    "total": ("diamond", 0.0),
    "noise floor": ("triangle", 0.0),
}
STEPS = "Single steps of eager PyTorch, timed one after the other."


def comparison_page(report: Report) -> Page:
    """The page of a report."""
    timed = any(row.latency_ms or row.per_batch_ms for row in report.rows)
    stepped = any(row.mode for row in report.rows)
    sheet = Sheet()
    render_report(report, file=sheet)
    conditions, opening, more = read_sheet(sheet)
    judged = "and every verdict is a pass" if report.conditions.parity_checked else "and parity was not checked"
    well = "No row failed." if stepped else f"No row failed, {judged}."
    conclusions = Notes([verdict_of(report.failure, well), *_fastest(report, sheet.table)])
    return Page(
        title=f"{report.conditions.model}: {'speed' if timed else 'parity'}",
        lede=STEPS if stepped else SPEED if timed else EXACT,
        opening=[conclusions, *opening],
        sections=[
            *_sections(report, sheet.table),
            *explanation_sections(report.rows),
            *more,
            Section("Conditions", (conditions,)),
            machine_section(report.environment),
        ],
    )


def _sections(report: Report, table: Table) -> Iterator[Section]:
    rows = report.rows
    if speed := list(_speed(rows, table)):
        yield Section("How fast", (Figures(speed),))
    if any(isinstance(row.parity, ParityResult) for row in rows):
        yield Section("How exact", (Figures([_losses(rows, table)]),))


def _fastest(report: Report, table: Table) -> Iterator[tuple[str, str]]:
    """The fastest of the rows that are right, where there is something to choose from."""
    right = [row for row in report.rows if row.latency_ms and not (row.parity and row.parity.verdict != "pass")]
    if len(right) > 1 and len({row.batch for row in right}) == 1:
        best = min(right, key=lambda row: row.latency_ms.median if row.latency_ms else 0.0)
        said = table.column(MEDIAN)[report.rows.index(best)]
        yield "note", f"The fastest row that passes is {best.label}: {said} ms per batch."


def _speed(rows: Sequence[Row], table: Table) -> Iterator[Figure]:
    timed = [row for row in rows if row.latency_ms or row.per_batch_ms]
    if not timed:
        return
    if len([row for row in rows if row.ratio_to_first]) > 1:
        yield _speed_ups(rows)
    yield _samples(rows, table)
    if sweep := _sweep(rows):
        yield sweep
    if any(row.roofline for row in rows):
        yield _roof_shares(rows, table)


def _speed_ups(rows: Sequence[Row]) -> Figure:
    several = len({row.batch for row in rows}) > 1
    against = "the first row of its batch" if several else next(row for row in rows if row.latency_ms).label
    caption = (
        f"The time of {against} over that of each row, paired round by round, with the 95 % interval: the ratio of "
        f"the table, inverted.{missing([row for row in rows if not row.ratio_to_first], 'Without a time')}"
    )
    axis = Axis("speed-up", f"times {against}")
    chart = partial(interval_bars, [_bar(row) for row in rows], axis=axis, reference=1.0)
    return figure(f"Speed-up over {against}", caption, chart, half=True)


def _bar(row: Row) -> Bar:
    found = row.ratio_to_first
    if found is None:
        return Bar(row.label, color_of(row.precision), None, None, None, "", f"{row.state}, not timed")
    low, high = (1 / found.ci95.high, 1 / found.ci95.low) if found.ci95 else (None, None)
    return Bar(row.label, color_of(row.precision), 1 / found.value, low, high, _times(found))


def _times(found: Ratio) -> str:
    """`6.45 [6.33, 6.58]`, or the words of the table; of the first row itself 1."""
    if found.value == 1 and found.ci95 in (None, (1.0, 1.0)):
        return "1"
    if found.within_noise:
        return "within noise"
    ends = f"[{1 / found.ci95.high:.3g}, {1 / found.ci95.low:.3g}]" if found.ci95 else "[too few rounds]"
    return f"{1 / found.value:.3g} {ends}"


def _samples(rows: Sequence[Row], table: Table) -> Figure:
    said = map(str.__add__, table.column(MEDIAN), table.column(MEAN))  # a row has one of them
    each = [_samples_of(row, figure) for row, figure in zip(rows, said, strict=True)]
    counted = sum(len(found.values) for found in each)
    caption = (
        f"All {counted:,} samples that count, a histogram a row, each to its own height. The line is the median, "
        f"written out with its 95 % interval.{missing([row for row in rows if not row.samples_ns], 'Without samples')}"
    )
    stepped = any(row.mode for row in rows)
    axis = Axis("time of a step" if stepped else "time of a run", "ms")
    return figure("How the times are distributed", caption, partial(distributions, each, axis=axis), half=True)


def _samples_of(row: Row, said: str) -> Samples:
    blocks = [block.samples_ns[len(block.samples_ns) > 1 :] for block in row.blocks]
    values = [sample / NANOSECONDS for block in (row.steps_ns, *blocks) for sample in block]
    median = row.latency_ms.median if row.latency_ms else None
    absent = "" if values else f"{row.state}, not timed"
    return Samples(row.label, color_of(row.precision), values, median, said, absent)


def _sweep(rows: Sequence[Row]) -> Figure | None:
    """Images a second over the batch, where some row was timed at several."""
    shapes = shapes_of(row.backend for row in rows)
    timed = [row for row in rows if row.latency_ms]
    measured = all(row.images_per_second for row in timed)
    named: dict[tuple[str, str], list[CurvePoint]] = {}
    for row in timed:
        point = _throughput(row) if measured else _rate(row)
        named.setdefault((row.backend, row.precision), []).append(point)
    found = [
        Curve(f"{backend} {precision}", color_of(precision), shapes[backend], sorted(points, key=_batch))
        for (backend, precision), points in named.items()
    ]
    if not any(len(curve.points) > 1 for curve in found):
        return None
    x, y = Axis("batch", "images"), Axis("throughput", "images/s")
    caption = "Many launches and one synchronization, as the table's images/s: a figure without an interval."
    if not measured:
        caption = "The batch over the median time of a run, with the interval of that median."
    return figure("How it scales with the batch", caption, partial(curves, found, x=x, y=y, log=True), half=True)


def _throughput(row: Row) -> CurvePoint:
    rate = row.images_per_second or 0.0
    return CurvePoint(row.batch, rate, said=f"batch {row.batch}: {rate:.1f} images/s")


def _rate(row: Row) -> CurvePoint:
    """The images a second of a run that takes the median time."""
    if row.latency_ms is None:
        raise ValueError(f"{row.label} was not timed")
    low, high = (row.latency_ms.ci95.high, row.latency_ms.ci95.low) if row.latency_ms.ci95 else (None, None)
    rate, slow, fast = (time and 1e3 * row.batch / time for time in (row.latency_ms.median, low, high))
    return CurvePoint(row.batch, rate or 0.0, slow, fast, f"batch {row.batch}: {rate:.1f} images/s")


def _roof_shares(rows: Sequence[Row], table: Table) -> Figure:
    bars = [
        Bar(row.label, color_of(row.precision), 100 * row.roofline.share, None, None, f"{said} %")
        if row.roofline
        else Bar(row.label, color_of(row.precision), None, None, None, "", f"{row.state}, no bound")
        for row, said in zip(rows, table.column(ROOF), strict=True)
    ]
    caption = (
        "The least time that a run can take, by the machine's peak and bandwidth, in percent of the time that it took. "
        "The dashed line is all that there is: a bar beyond it is a wrong measurement."
        + missing([row for row in rows if not row.roofline], "Without a bound")
    )
    axis = Axis("share of the roofline", "%")
    return figure("How near the roof", caption, partial(interval_bars, bars, axis=axis, reference=100.0), half=True)


def _batch(point: CurvePoint) -> float:
    return point.x


def _losses(rows: Sequence[Row], table: Table) -> Figure:
    caption = (
        "Relative L2 of each row's worst output; further left is closer. Precision loss: the typed graph against the "
        "network in float64. Backend loss: the engine against the typed graph, beside what is allowed. Noise floor: "
        "eager float32 against float64." + missing([row for row in rows if not _dots(row)], "Without a distance")
    )
    lanes = [
        DotRow(
            name=row.label,
            css=color_of(row.precision),
            dots=_dots(row),
            limit=row.parity.worst.backend_limit if isinstance(row.parity, ParityResult) else None,
            figure=said,
            absent=f"{row.state}, not compared",
        )
        for row, said in zip(rows, table.column("parity"), strict=True)
    ]
    axis = Axis("distance", "relative L2")
    chart = partial(dot_rows, lanes, axis=axis, limited="allowed to the backend")
    return figure("Two kinds of loss", caption, chart)


def _dots(row: Row) -> list[Dot]:
    if not isinstance(row.parity, ParityResult):
        return []
    worst = row.parity.worst
    figures = {"precision loss": worst.precision_loss, "backend loss": worst.backend_loss, "total": worst.total}
    found = [Dot(kind, *LOSSES[kind][:1], each.relative_l2, LOSSES[kind][1]) for kind, each in figures.items() if each]
    floor = [Dot("noise floor", *LOSSES["noise floor"][:1], worst.floor)] if found else []
    return [dot for dot in (*found, *floor) if math.isfinite(dot.value)]
