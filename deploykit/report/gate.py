"""The table of `compare`: one line for each figure that changed or does not hold, what is equal in one line.

`lines_of` and the words of figures serve the Markdown of a pull request, too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from deploykit.report.text import render_facts, render_lines, render_table
from deploykit.results.gate import GateReport, GateRow, Verdict

LOUD: Mapping[Verdict, str] = {"fails": "FAILS", "not judged": ""}
FORMS: Mapping[str, Callable[[float], str]] = {
    "ms": lambda value: f"{value:.4g} ms",
    "MB": lambda value: f"{value:.2f} MB",
    "dB": lambda value: f"{value:.1f} dB",
    "%": lambda value: f"{value:.2f} %",
}
WHOLE = "kernels"
VERDICTS: Mapping[Verdict, str] = {
    "fails": "The gate fails",
    "holds": "The gate holds",
    "undecided": "Nothing is decided",
    "not compared": "Nothing could be compared",
    "not judged": "No limit was given (--fail-on)",
}
COUNTED: Mapping[Verdict, str] = {"fails": "fail", "holds": "hold"}


@dataclass(frozen=True, slots=True)
class Line:
    """A figure of a row in words, and why its verdict is what it is. `quiet` ones need no attention."""

    row: str
    figure: str
    base: str
    new: str
    change: str
    verdict: Verdict
    reason: str
    quiet: bool


def render_gate(report: GateReport, *, file: TextIO | None = None) -> None:
    """Both sides, what differs, the lines that matter, and the verdict: plain text on stdout or on `file`."""
    render_facts(_facts(report), file=file)
    lines = list(lines_of(report))
    loud = [line for line in lines if not line.quiet]
    reasons = list(dict.fromkeys(line.reason for line in loud if line.reason))
    if loud:
        render_lines([""], file=file)
        render_table(
            ["verdict", "row", "figure", "BASE", "NEW", "change"],
            [_cells(line, reasons) for line in loud],
            right=("BASE", "NEW"),
            dim=[index for index, line in enumerate(loud) if line.verdict == "not compared"],
            file=file,
        )
    below = [f"[{number}] {reason}" for number, reason in enumerate(reasons, start=1)]
    render_lines(["", *below, *equal(lines), f"{verdict_of(report)}."], file=file)


def lines_of(report: GateReport) -> Iterator[Line]:
    """Every row and figure, in the order of BASE."""
    label = label_of(report.rows)
    for row in report.rows:
        if row.lost or not row.checks:
            reason = row.lost or _why_unpaired(row)
            states = (row.base_state or "", row.new_state or "")
            yield Line(label(row), "state", *states, "", row.verdict, reason, quiet=states[0] == states[1])
        for check in row.checks:
            quiet = check.verdict in ("holds", "not judged") and not check.changed
            base, new = said(check.figure, check.unit, check.base), said(check.figure, check.unit, check.new)
            what, change = check.limit or check.figure, check.said
            yield Line(label(row), what, base, new, change, check.verdict, check.reason, quiet=quiet)


def label_of(rows: Sequence[GateRow]) -> Callable[[GateRow], str]:
    """What names a row among these: network and batch only where they are not the same everywhere."""
    models, batches = len({row.model for row in rows}) > 1, len({(row.batch, row.mode) for row in rows}) > 1

    def label(row: GateRow) -> str:
        named = row.label if batches else f"{row.backend} {row.precision}"
        return f"{row.model} {named}" if models else named

    return label


def said(figure: str, unit: str, value: float | str | None) -> str:
    """A figure with its unit."""
    if value is None or isinstance(value, str):
        return value or ""
    if figure == WHOLE:
        return f"{value:.0f}"
    return FORMS[unit](value) if unit in FORMS else f"{value:.3f}"


def equal(lines: Sequence[Line]) -> list[str]:
    """How many rows are equal in which figures, in one line."""
    quiet = (line.figure for line in lines if line.quiet and line.figure != "state")
    counts = Counter(re.split("[<>]", figure)[0] for figure in quiet)
    named = ", ".join(f"{figure} ({count})" for figure, count in counts.items())
    return [f"Unchanged, with the number of rows: {named}."] if named else []


def verdict_of(report: GateReport) -> str:
    """One sentence: `The gate fails: of 15 checks (each limit on each row) 2 fail, 10 hold, 3 undecided`."""
    if report.verdict == "not judged":
        return VERDICTS["not judged"]
    judged = [check.verdict for row in report.rows for check in row.checks if check.limit]
    counts = Counter[Verdict](judged)
    counts["fails"] = sum(1 for _ in report.failed())
    listed = ", ".join(f"{counts[name]} {COUNTED.get(name, name)}" for name in VERDICTS if counts[name])
    return f"{VERDICTS[report.verdict]}: of {counts.total()} checks (each limit on each row) {listed}"


def _cells(line: Line, reasons: Sequence[str]) -> list[str]:
    mark = f" [{reasons.index(line.reason) + 1}]" if line.reason else ""
    verdict = LOUD.get(line.verdict, line.verdict)
    return [f"{verdict}{mark}".strip(), line.row, line.figure, line.base, line.new, line.change]


def _why_unpaired(row: GateRow) -> str:
    if row.base_state is None:
        return "BASE has no such row"
    return "it ran on neither side" if row.base_state == row.new_state else "it did not run in BASE"


def _facts(report: GateReport) -> dict[str, object]:
    sides = {"BASE": report.base, "NEW": report.new}
    facts: dict[str, object] = {
        name: f"{side.source or 'given'} ({side.kind} of {', '.join(side.models)})" for name, side in sides.items()
    }
    facts["limits"] = ", ".join(report.fail_on)
    facts["differs"] = "\n".join(map(str, report.differences))
    if any(each.of_times for each in report.differences):
        facts["times"] = f"{'compared all the same' if report.across_environments else 'not compared'}, see above"
    return facts
