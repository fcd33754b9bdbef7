"""The page of `evaluate`: the table of the terminal, accuracy against bytes, and the drop of each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from deploykit.report.accuracy import DROP, render_accuracy
from deploykit.report.page import Figure, Figures, Notes, Page, Section, figure
from deploykit.report.pages.rows import color_of, machine_section, missing, read_sheet, shapes_of, verdict_of
from deploykit.report.svg.bars import Bar, interval_bars
from deploykit.report.svg.scales import Axis
from deploykit.report.svg.scatter import Point, scatter
from deploykit.report.text import Sheet, Table, megabytes
from deploykit.results.accuracy import AccuracyReport, AccuracyRow


def accuracy_page(report: AccuracyReport) -> Page:
    """The page of a report."""
    sheet = Sheet()
    render_accuracy(report, file=sheet)
    conditions, opening, more = read_sheet(sheet)
    allowed = report.conditions.max_drop
    well = "No row failed." if allowed is None else f"No row that ran lost more than {allowed:g} points of top-1."
    conclusion = verdict_of(report.failure, well)
    figures = list(_figures(report.rows, sheet.table))
    return Page(
        title=f"{report.conditions.model}: accuracy",
        lede="How often each row is right on labeled images, with 95 % intervals. All rows saw the same images.",
        opening=[Notes([conclusion]), *opening],
        sections=[
            *([Section("What accuracy costs", (Figures(figures),))] if figures else []),
            *more,
            Section("Conditions", (conditions,)),
            machine_section(report.environment),
        ],
    )


def _figures(rows: Sequence[AccuracyRow], table: Table) -> Iterator[Figure]:
    if any(row.top1 and row.row.file_bytes for row in rows):
        yield _against_bytes(rows)
    if any(row.flips for row in rows):
        yield _drops(rows, table)


def _against_bytes(rows: Sequence[AccuracyRow]) -> Figure:
    shapes = shapes_of(row.row.backend for row in rows)
    points = [
        Point(
            name=row.row.label,
            css=color_of(row.row.precision),
            shape=shapes[row.row.backend],
            x=row.row.file_bytes / 1e6,
            y=100 * row.top1.value,
            low=100 * row.top1.interval[0],
            high=100 * row.top1.interval[1],
            figure=f"{100 * row.top1.value:.2f} % top-1, {megabytes(row.row.file_bytes)} MB",
        )
        for row in rows
        if row.top1 and row.row.file_bytes
    ]
    unsized = missing([row.row for row in rows if row.top1 and not row.row.file_bytes], "Without a file")
    unjudged = missing([row.row for row in rows if not row.top1], "Without an accuracy")
    caption = f"Top-1 with its 95 % interval over the file that the row opens.{unsized}{unjudged}"
    chart = partial(scatter, points, x=Axis("file", "MB"), y=Axis("top-1", "%"))
    return figure("Accuracy against bytes", caption, chart, half=True)


def _drops(rows: Sequence[AccuracyRow], table: Table) -> Figure:
    bars = [_bar(row, said) for row, said in zip(rows, table.column(DROP), strict=True)]
    first = next(row.row.label for row in rows if row.top1)
    caption = (
        f"Points of top-1 that each row loses against {first} on the same images, with the 95 % interval; below 0 it "
        f"gains.{missing([row.row for row in rows if not row.top1], 'Without an accuracy')}"
    )
    axis = Axis("drop of top-1", "percentage points")
    return figure("What is lost", caption, partial(interval_bars, bars, axis=axis, reference=0.0), half=True)


def _bar(row: AccuracyRow, said: str) -> Bar:
    css, flips = color_of(row.row.precision), row.flips
    if flips is None:
        absent = "the first row" if row.top1 else f"{row.row.state}, not judged"
        return Bar(row.row.label, css, None, None, None, "", absent)
    return Bar(row.row.label, css, flips.drop, *flips.interval, said)
