"""The page of `compare`: the verdict, the lines of the terminal, changes with their limits, and every figure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from deploykit.report.gate import label_of, lines_of, render_gate, verdict_of
from deploykit.report.page import Figure, Figures, Grid, Notes, Page, Paragraph, Section, figure
from deploykit.report.pages.rows import color_of, read_sheet
from deploykit.report.svg.bars import Bar, interval_bars
from deploykit.report.svg.scales import Axis
from deploykit.report.text import Sheet, Table
from deploykit.results.gate import Check, GateReport

UNITS = {"%": "% of BASE", "dB": "dB", "points": "percentage points"}  # of changes that are drawn
LEVELS = {"fails": "warning", "holds": "ok"}
ALLOWED = re.compile(r"[<>]\s*([+-]?[\d.]+)")


def gate_page(report: GateReport) -> Page:
    """The page of two results."""
    sheet = Sheet()
    render_gate(report, file=sheet)
    conditions, opening, more = read_sheet(sheet)
    failed = f": {report.failure}" if report.failure else "."
    verdict = (LEVELS.get(report.verdict, "note"), f"{verdict_of(report)}{failed}")
    return Page(
        title=f"{', '.join(report.new.models)}: what changed",
        lede=f"{report.new.kind}: NEW beside BASE, row by row. A change is NEW - BASE.",
        opening=[Notes([verdict]), conditions, *opening],
        sections=[*more, *_charts(report), Section("Every figure", (_every(report),))],
    )


def _charts(report: GateReport) -> Iterator[Section]:
    if figures := [found for unit in UNITS if (found := _changes(report, unit))]:
        yield Section("How much", (Figures(figures),))


def _changes(report: GateReport, unit: str) -> Figure | None:
    """The changes in one unit with their intervals and limits; None where nothing changed."""
    label = label_of(report.rows)
    bars = [
        _bar(f"{label(row)} {check.figure}", color_of(row.precision), check)
        for row in report.rows
        for check in row.checks
        if check.change_unit == unit and check.change is not None and check.changed
    ]
    if not bars:
        return None
    caption = "Bars are changes, with their intervals where figures have one; upright lines are what is allowed."
    axis = Axis("change", UNITS[unit])
    chart = partial(interval_bars, bars, axis=axis, reference=0.0)
    return figure(f"Changes in {UNITS[unit]}", caption, chart)


def _bar(name: str, css: str, check: Check) -> Bar:
    low, high = check.interval or (None, None)
    found = ALLOWED.search(check.limit)
    return Bar(name, css, check.change, low, high, check.said, limit=float(found[1]) if found else None)


def _every(report: GateReport) -> Grid | Paragraph:
    lines = [(line.row, line.figure, line.base, line.new, line.change, line.verdict) for line in lines_of(report)]
    if not lines:
        return Paragraph("The two results have no row in common.")
    return Grid(Table(("row", "figure", "BASE", "NEW", "change", "verdict"), lines, right=("BASE", "NEW")))
