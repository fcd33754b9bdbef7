"""`export --fusion-report` as a table: one line per fusion, its skipped sites below, what the columns measure above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from deploykit.report.text import render_facts, render_lines, render_table
from deploykit.results.costs import PlanCosts, TimeCost
from deploykit.results.fusions import Change, FusionLine, FusionReport

NONE = "-"
HEADINGS = ("fusion", "sites", "skipped", "parameters", "M MACs", "error\nadded", "kernels", "traffic\nMB")
BOUND, TIMES, VERDICT = "bound us", ("time in\nONNX Runtime", "time in\neager"), "verdict"
REASONS = 4  # reasons for skipping, before "and n more"


def render_fusions(report: FusionReport, *, file: TextIO | None = None) -> None:
    """Plain text on stdout or on `file`. Figures read "without it -> with it"."""
    lines, conditions = report.lines, report.conditions
    bound = any(line.plan and line.plan.with_it.roofline_us is not None for line in lines)
    render_lines(["", "Effect of each fusion: without it -> with it, all others as in this graph."], file=file)
    facts = {"fusions": report.fusions, "kernels, traffic": conditions.plan, "ONNX Runtime": conditions.ort}
    facts |= {"eager": conditions.eager, "error added": conditions.error}
    render_facts(facts, file=file)
    render_lines([""], file=file)
    headings = (*HEADINGS, *((BOUND,) if bound else ()), *TIMES, VERDICT)
    unused = [index for index, line in enumerate(lines) if not line.wanted]
    render_table(headings, [_cells(line, bound=bound) for line in lines], dim=unused, file=file)
    below = [said for line in lines for said in _remarks(line)]
    render_lines(["", *below] if below else [], file=file)


def _cells(line: FusionLine, *, bound: bool) -> list[str]:
    sites = f"{line.kept} of {line.sites}" if line.kept != line.sites else str(line.sites)
    cells = [
        line.name,
        sites,
        str(sum(item.count for item in line.skipped)),
        _change(line.params),
        _change(line.macs, 1e6, 1),
        f"{line.error:.1e}" if line.error is not None else NONE,
        *_plan(line.plan),
    ]
    if bound:
        cells.append(_bound(line.plan))
    return [*cells, _time(line.ort), _time(line.eager), line.verdict]


def _plan(costs: PlanCosts | None) -> tuple[str, str]:
    """Kernels, and MB of memory traffic."""
    if costs is None:
        return NONE, NONE
    without, with_it = costs.without, costs.with_it
    return _pair(without.kernels, with_it.kernels), _pair(without.bytes_moved, with_it.bytes_moved, 1e6, 1)


def _bound(costs: PlanCosts | None) -> str:
    if costs is None or costs.without.roofline_us is None or costs.with_it.roofline_us is None:
        return NONE
    return _pair(costs.without.roofline_us, costs.with_it.roofline_us, 1, 1)


def _change(found: Change | None, unit: float = 1, places: int = 0) -> str:
    return _pair(found.before, found.after, unit, places) if found else NONE


def _pair(first: float, second: float, unit: float = 1, places: int = 0) -> str:
    """`219.2 -> 252.2`, or one figure where nothing changes."""
    one, other = (f"{figure / unit:,.{places}f}" for figure in (first, second))
    return one if first == second else f"{one} -> {other}"


def _time(cost: TimeCost | None) -> str:
    if cost is None:
        return NONE
    interval = f"[{cost.ci95.low:.3f}, {cost.ci95.high:.3f}]" if cost.ci95 else "[too few rounds]"
    return f"{cost.ratio:.3f} {interval}" + (" within noise" if cost.within_noise else "")


def _remarks(line: FusionLine) -> Sequence[str]:
    skipped, name = line.skipped, line.name
    shown = [f"{item.reason} ({item.count})" for item in skipped[:REASONS]]
    more = sum(item.count for item in skipped[REASONS:])
    said = [f"{name} skipped: {'; '.join(shown)}{f'; and {more} more' if more else ''}"] if skipped else []
    return [*said, *(f"{name}: {note}" for note in line.notes)]
