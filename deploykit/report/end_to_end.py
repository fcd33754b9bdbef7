"""The second table of `bench --end-to-end`: milliseconds an image, stage by stage."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TextIO

from deploykit.bench import Latency
from deploykit.report.text import render_facts, render_lines, render_table
from deploykit.results.end_to_end import EndToEnd, EndToEndRow

HEADINGS = ("row", "stage", "ms an image [95 % CI]", "share", "images/s")
NAMED = 5  # files that could not be decoded


def render_end_to_end(found: EndToEnd, *, file: TextIO | None = None) -> None:
    """Conditions, table, remarks: plain text on stdout or on `file`."""
    render_facts(_conditions(found), file=file)
    render_lines([""], file=file)
    lines = [line for row in found.rows for line in _lines(row)]
    unmeasured = [index for index, (_, _, milliseconds, _, _) in enumerate(lines) if not milliseconds]
    render_table(HEADINGS, lines, right=("share", "images/s"), dim=unmeasured, file=file)
    below = [f"{row.label}: {text}" for row in found.rows for text in (row.reason, row.note) if text]
    below.append("Copy is what Session.run does around the run: bind the input, copy it and the answer where needed.")
    render_lines(["", *below], file=file)


def _lines(row: EndToEndRow) -> Iterator[tuple[str, str, str, str, str]]:
    """A line for the whole way, then one for each stage."""
    if row.total_ms is None or row.images_per_second is None:
        yield row.label, row.state, "", "", ""
        return
    yield row.label, "whole", _milliseconds(row.total_ms), "100%", f"{row.images_per_second:.1f}"
    for stage in row.stages:
        yield "", stage.stage, _milliseconds(stage.ms), f"{stage.share:.1%}", ""


def _conditions(found: EndToEnd) -> dict[str, object]:
    skipped = f"; {len(found.undecodable)} cannot be decoded" if found.undecodable else ""
    named = "\n".join(found.undecodable[:NAMED])
    more = f"\n... and {len(found.undecodable) - NAMED} more" if len(found.undecodable) > NAMED else ""
    batch = next((row.batch for row in found.rows), 1)
    return {
        "end to end": f"{found.data}: {found.files} files, {found.used} used{skipped}",
        "not decoded": named + more,
        "from bytes": f"{found.decoder}, one thread; {found.preprocessing}",
        "answer": f"the {found.top} highest classes" if found.top else "not ranked: the network is no classifier",
        "timed": f"{found.timed_images} images a row in {found.rounds} rounds, batch {batch}, {found.seconds:.1f} s "
        f"(stopped by: {found.stopped_by}); files from the page cache"
        if found.rounds
        else "",
    }


def _milliseconds(found: Latency) -> str:
    interval = f"[{_digits(found.ci95.low)}, {_digits(found.ci95.high)}]" if found.ci95 else "[too few rounds]"
    return f"{_digits(found.median)} {interval}"


def _digits(milliseconds: float) -> str:
    """Three digits of what takes time, and microseconds of what takes next to none."""
    return f"{milliseconds:.{min(3, max(0, 2 - math.floor(math.log10(max(milliseconds, 1e-9)))))}f}"
