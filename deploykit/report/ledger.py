"""The ledger of rewrites as a table: one line a fusion, what it refused below, and what each column is of above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from deploykit.report.text import render_facts, render_lines, render_table

NONE = "-"
HEADINGS = ("fusion", "sites", "refused", "parameters", "M MACs", "error\nadded", "kernels", "MB moved")
BOUND, TIMES, VERDICT = "bound us", ("time in\nONNX Runtime", "time in\neager"), "verdict"
REASONS = 4  # reasons for a refusal, before "and n more"


def render_ledger(ledger: Mapping[str, Any], *, file: TextIO | None = None) -> None:
    """What `FusionLedger.as_dict()` holds, as plain text. Figures read "without it > with it"."""
    lines, conditions = ledger["lines"], ledger["conditions"]
    bound = any(line["plan"] and line["plan"]["with"]["roofline_us"] is not None for line in lines)
    render_lines(["", "What each rewrite did: without it > with it, the others being those of this graph."], file=file)
    facts = {"fusions": ledger["fusions"], "kernels, MB": conditions["plan"], "ONNX Runtime": conditions["ort"]}
    facts |= {"eager": conditions["eager"], "error added": conditions["error"]}
    render_facts(facts, file=file)
    render_lines([""], file=file)
    headings = (*HEADINGS, *((BOUND,) if bound else ()), *TIMES, VERDICT)
    unused = [index for index, line in enumerate(lines) if not line["wanted"]]
    render_table(headings, [_cells(line, bound=bound) for line in lines], dim=unused, file=file)
    below = [said for line in lines for said in _remarks(line)]
    render_lines(["", *below] if below else [], file=file)


def _cells(line: Mapping[str, Any], *, bound: bool) -> list[str]:
    refused = sum(item["count"] for item in line["refused"])
    plan = line["plan"]
    sites = f"{line['kept']} of {line['sites']}" if line["kept"] != line["sites"] else str(line["sites"])
    cells = [
        line["name"],
        sites,
        str(refused),
        _pair(line["params"], "before", "after", 1, 0),
        _pair(line["macs"], "before", "after", 1e6, 1),
        f"{line['error']:.1e}" if line["error"] is not None else NONE,
        _pair(plan and _figures(plan, "kernels"), "without", "with", 1, 0),
        _pair(plan and _figures(plan, "bytes_moved"), "without", "with", 1e6, 1),
    ]
    if bound:
        cells.append(_pair(plan and _figures(plan, "roofline_us"), "without", "with", 1, 1))
    return [*cells, _time(line["ort"]), _time(line["eager"]), line["verdict"]]


def _figures(plan: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    found = {role: plan[role][name] for role in ("without", "with")}
    return None if None in found.values() else found


def _pair(found: Mapping[str, Any] | None, first: str, second: str, unit: float, places: int) -> str:
    """`219.2 > 252.2`, or one figure where nothing changes."""
    if not found:
        return NONE
    one, other = (f"{found[role] / unit:,.{places}f}" for role in (first, second))
    return one if found[first] == found[second] else f"{one} > {other}"


def _time(price: Mapping[str, Any] | None) -> str:
    if price is None:
        return NONE
    interval = price["ci95"]
    said = f"[{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "[too few rounds]"
    return f"{price['ratio']:.3f} {said}" + (" within noise" if interval and price["within_noise"] else "")


def _remarks(line: Mapping[str, Any]) -> Sequence[str]:
    refused, name = line["refused"], line["name"]
    shown = [f"{item['reason']} ({item['count']})" for item in refused[:REASONS]]
    more = sum(item["count"] for item in refused[REASONS:])
    said = [f"{name} refused: {'; '.join(shown)}{f'; and {more} more' if more else ''}"] if refused else []
    return [*said, *(f"{name}: {note}" for note in line["notes"])]
