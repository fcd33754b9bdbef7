"""Below the table of `bench`: what a row costs once, before its first timed run, and the memory that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from deploykit.report.text import render_lines, render_table
from deploykit.results.row import Row

CACHED = " (cached)"
FIGURES = ("batch", "export s", "build s", "cold start s", "memory MB", "GPU memory MB")


def render_costs(rows: tuple[Row, ...], *, file: TextIO | None = None) -> None:
    """One line for each row that has such a figure; nothing where none has."""
    costly = [row for row in rows if any(cell(row) for _, cell in COLUMNS)]
    if not costly:
        return
    columns = [(heading, cell) for heading, cell in (*_names(costly), *COLUMNS) if any(map(cell, costly))]
    processes = max(len(row.cold_starts_ms) for row in costly)
    median = f" (cold start: the median of {processes} processes)" if processes > 1 else ""
    timed = any(row.cold_ms or row.memory_bytes for row in costly)
    heading = f"Once, before the first timed run{median}, and memory:" if timed else "Time to export and to build:"
    render_lines(["", heading, ""], file=file)
    render_table(
        [heading for heading, _ in columns],
        [[cell(row) for _, cell in columns] for row in costly],
        right=FIGURES,
        file=file,
    )


def _names(rows: list[Row]) -> tuple[tuple[str, Callable[[Row], str]], ...]:
    several = len({row.model for row in rows}) > 1
    return (
        ("model", lambda row: row.model if several else ""),
        ("backend", lambda row: row.backend),
        ("precision", lambda row: row.precision),
        ("batch", lambda row: str(row.batch) if row.of_sweep else ""),
    )


def _seconds(value: float | None) -> str:
    """Three digits, no more than two decimals."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _megabytes(value: int | None) -> str:
    return "" if value is None else f"{value / 1e6:,.0f}"


COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("export s", lambda row: _seconds(row.export_seconds)),
    ("build s", lambda row: _seconds(row.build_seconds) + (CACHED if row.from_store else "")),
    ("cold start s", lambda row: "" if row.cold_ms is None else _seconds(row.cold_ms / 1e3)),
    ("memory MB", lambda row: _megabytes(row.memory_bytes)),
    ("GPU memory MB", lambda row: _megabytes(row.device_memory_bytes)),
)
