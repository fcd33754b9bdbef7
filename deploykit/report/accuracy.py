"""The table of `evaluate`: how often each row is right, and on which images it differs from the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from deploykit.report.text import render_facts, render_lines, render_table, with_notes
from deploykit.results.accuracy import AccuracyReport, AccuracyRow
from deploykit.results.row import remarks

SWAPS = 5  # changes of class that are named for each row
DROP = "drop, points [95 % CI]"
RIGHT = ("top-1 %", "top-5 %", "lost", "gained", "p")


def render_accuracy(report: AccuracyReport, *, file: TextIO | None = None) -> None:
    """Conditions, table, flips: plain text on stdout or on `file`."""
    shared, rows = report.conditions, report.rows
    shown = next((row.top1.n for row in rows if row.top1), 0)
    skipped = f"; {len(shared.skipped)} skipped ({'; '.join(shared.skipped[:SWAPS])})" if shared.skipped else ""
    fewer = ""
    if shared.classes < shared.network_classes:
        fewer = f" (the network has {shared.network_classes}: class 0 of the data is taken for its class 0, and so on)"
    cpu = report.environment.cpu
    facts: dict[str, object] = {
        "model": shared.model,
        "weights": with_notes(shared.weights, shared.weights_notes),
        "data": f"{shared.data}: {shown} images, {shared.classes} classes{fewer}{skipped}",
        "preprocessing": shared.preprocessing,
        "INT8 calibration": shared.calibration,
        "run": f"batch {shared.batch}, threads {shared.threads}",
        "CPU": f"{cpu.model} ({', '.join(cpu.flags)})",
    }
    facts |= {row.row.backend: row.row.flavour for row in rows if row.row.flavour}
    render_facts(facts, file=file)
    render_lines([""], file=file)
    headings = ["backend", "precision", "state", "top-1 %", "95 % CI", "top-5 %", "lost", "gained", DROP, "p"]
    lines = [_cells(row) for row in rows]
    kept = [index for index, _ in enumerate(headings) if any(line[index] for line in lines)]
    render_table(
        [headings[index] for index in kept],
        [[line[index] for index in kept] for line in lines],
        right=RIGHT,
        dim=[index for index, row in enumerate(rows) if row.top1 is None],
        file=file,
    )
    said = remarks((line.row, _said(line)) for line in rows)
    below = [f"{', '.join(names)}: {text}" for text, names in said.items()]
    if any(row.flips for row in rows):
        below.append(
            "lost: right in the baseline (the first row), wrong here; gained: the reverse; p: exact McNemar test."
        )
    if report.unchecked:
        below.append(f"--max-drop was not applied to {', '.join(report.unchecked)}: built, but cannot run here.")
    if report.failure and not any(row.flips for row in rows):
        below.append(f"{report.failure}.")
    render_lines(["", *below] if below else [], file=file)


def _cells(line: AccuracyRow) -> list[str]:
    row, top1, top5, flips = line.row, line.top1, line.top5, line.flips
    low, high = top1.interval if top1 else (0.0, 0.0)
    return [
        row.backend,
        row.precision,
        row.state,
        f"{100 * top1.value:.2f}" if top1 else "",
        f"[{100 * low:.2f}, {100 * high:.2f}]" if top1 else "",
        f"{100 * top5.value:.2f}" if top5 else "",
        str(flips.lost) if flips else "",
        str(flips.gained) if flips else "",
        f"{flips.drop:+.2f} [{flips.interval[0]:+.2f}, {flips.interval[1]:+.2f}]" if flips else "",
        f"{flips.p:.3g}" if flips else "",
    ]


def _said(line: AccuracyRow) -> Sequence[str]:
    row = line.row
    swaps = line.flips.swaps.most_common(SWAPS) if line.flips else []
    listed = ", ".join(f"{before} to {after} ({count})" for (before, after), count in swaps)
    gate = row.parity.reason if row.parity and row.state == "measured" else ""
    return [text for text in (row.reason, row.note, gate, listed and f"classes that changed: {listed}") if text]
