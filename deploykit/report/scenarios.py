"""The table of `bench --scenario`: what MLPerf's load generator found, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from deploykit.bench.loadgen import ScenarioResult
from deploykit.report.text import render_facts, render_lines, render_table
from deploykit.results.scenarios import ScenarioRow, Scenarios

HEADINGS = ("row", "scenario", "latency ms", "bound ms", "target QPS", "samples/s", "queries", "LoadGen says")
TARGETS = (
    "Each row has a target and a bound of its own, not MLPerf's: 70 % of the rate and five times the time of a full "
    "batch, run as here with its copies, unless --server-qps and --server-bound set them."
)
FIGURES = ("target QPS", "samples/s", "queries")


def render_scenarios(found: Scenarios, *, file: TextIO | None = None) -> None:
    """Conditions, table, remarks: plain text on stdout or on `file`."""
    together = next((row.batch for row in found.rows), 1) // found.sample_images
    conditions = {
        "scenarios": f"{found.loadgen}, {found.label}",
        "samples": f"{found.samples} different ones{_size(found)}; {found.inputs}",
        "batch": f"up to {together} samples a run (the first --batch)",
        "time": f"{found.seconds:.1f} s or more a scenario (MLPerf: 600 s), rows one after the other",
    }
    render_facts(conditions, file=file)
    render_lines([""], file=file)
    lines = [line for row in found.rows for line in _lines(row)]
    unmeasured = [index for index, line in enumerate(lines) if not line[5]]
    render_table(HEADINGS, lines, right=FIGURES, dim=unmeasured, file=file)
    below = [f"{row.label}: {text}" for row in found.rows for text in (row.reason, row.note) if text]
    if any(one.target_qps for row in found.rows for one in row.results):
        below.append(TARGETS)
    below += _invalid(found)
    below.append("Latency includes queueing, batching and the copies, as in a server.")
    render_lines(["", *below], file=file)


def _size(found: Scenarios) -> str:
    return f" of {found.sample_images} images each, which the network takes at once" if found.sample_images > 1 else ""


def _lines(row: ScenarioRow) -> Iterator[tuple[str, ...]]:
    if not row.results:
        yield row.label, row.state, "", "", "", "", "", ""
    for number, one in enumerate(row.results):
        yield (
            "" if number else row.label,
            one.scenario,
            f"p{one.percentile} {one.percentile_ms:.3g}" if one.percentile_ms else "",
            _bound(one),
            f"{one.target_qps:.1f}" if one.target_qps else "",
            f"{one.samples_per_second:.1f}",
            str(one.queries),
            "valid" if one.valid else "not valid",
        )


def _bound(one: ScenarioResult) -> str:
    """`20.0 met`."""
    if one.percentile_ms is None or one.bound_ms is None:
        return ""
    return f"{one.bound_ms:.3g} {'met' if one.percentile_ms <= one.bound_ms else 'missed'}"


def _invalid(found: Scenarios) -> Iterator[str]:
    """Each reason once, with where it holds."""
    reasons: dict[str, list[str]] = {}
    for row in found.rows:
        for one in row.results:
            if not one.valid:
                reasons.setdefault(one.invalid, []).append(f"{row.label} {one.scenario}")
    for reason, where in reasons.items():
        yield f"not valid by LoadGen's rules: {', '.join(where)}: {reason}"
