"""The side-by-side table of `bench` and `verify`: what was measured, how, and why a figure is absent.

Conditions stand above, one line a row in the middle, reasons and notes below as numbered lines, so that the table
itself stays narrow and no text is cut. A column that no row fills is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TextIO

from deploykit.bench import Interval, Latency, PerBatch
from deploykit.parity import PLAIN_REFERENCES, Parity, ParityResult
from deploykit.report.end_to_end import render_end_to_end
from deploykit.report.text import render_facts, render_lines, render_table, with_notes
from deploykit.results.comparison import Report
from deploykit.results.row import Row, remarks

DIGEST_DIGITS = 12
# Columns of plain numbers, aligned to the right.
FIGURES = ("batch", "images\n/s", "steps", "kernels", "traffic\nMB", "engine\nMB")
Column = tuple[str, Callable[[Row], str]]


def render_report(report: Report, *, file: TextIO | None = None) -> None:
    """Conditions, table, remarks: plain text on stdout or on `file`."""
    render_facts(_conditions(report), file=file)
    render_lines([""], file=file)
    said = remarks((row, _said(row)) for row in report.rows)
    columns = [column for column in _columns(report, said) if any(column[1](row) for row in report.rows)]
    render_table(
        [heading for heading, _ in columns],
        [[cell(row) for _, cell in columns] for row in report.rows],
        right=FIGURES,
        dim=[index for index, row in enumerate(report.rows) if row.state != "measured"],
        file=file,
    )
    below = [f"[{number}] {', '.join(names)}: {text}" for number, (text, names) in enumerate(said.items(), start=1)]
    below += _different_graphs(report.rows) + _limits(report.rows) + _apart(report.rows)
    if any(row.plan for row in report.rows):
        below.append("Traffic: bytes that the kernels read and write per batch, computed from the compiled plan.")
    if any(row.latency_ms and not row.mode for row in report.rows):
        below.append("The first run of each block is excluded from the statistics; --json has every sample.")
    if any(row.latency_ms and row.mode for row in report.rows):
        below.append("Every timed step counts; --json has each of them, and the burn-in.")
    render_lines(["", *below] if below else [], file=file)
    if report.end_to_end is not None:
        render_lines([""], file=file)
        render_end_to_end(report.end_to_end, file=file)


def _conditions(report: Report) -> dict[str, object]:
    shared, cpu, gpu = report.conditions, report.environment.cpu, report.environment.gpu
    flags = ", ".join(cpu.flags)
    facts: dict[str, object] = {
        "model": shared.model,
        "weights": with_notes(shared.weights, shared.weights_notes),
        "run": f"batch {shared.batch}, threads {shared.threads}, TF32 {'on' if shared.tf32 else 'off'}",
        "fusions": shared.fusions,
        "step": shared.step,
        "loss": shared.loss,
        "steps": f"{shared.burn_in} of burn-in, then {shared.steps} timed" if shared.steps else "",
        "CPU": f"{cpu.model}, {cpu.cores} cores{f' ({flags})' if flags else ''}",
        "GPU": gpu.name if gpu else "none",
        "inputs": shared.inputs,
        "preprocessing": shared.preprocessing,
        "INT8 calibration": shared.calibration,
        "copies": shared.copies,
    }
    if shared.stopped_by:
        facts["stopped by"] = f"{shared.stopped_by}, after {shared.rounds} rounds, {shared.seconds:.1f} s"
    for row in report.rows:
        if row.flavour and row.flavour not in str(facts.get(row.backend, "")):
            facts[row.backend] = "\n".join(filter(None, (str(facts.get(row.backend, "")), row.flavour)))
    return facts


def _columns(report: Report, remarks: Mapping[str, list[str]]) -> list[Column]:
    first = next((row for row in report.rows if row.latency_ms), None)
    several = len({row.model for row in report.rows}) > 1
    return [
        ("model", lambda row: row.model if several else ""),
        ("backend", lambda row: row.backend),
        ("precision", lambda row: row.precision),
        ("mode", lambda row: row.mode or ""),
        ("batch", lambda row: str(row.batch) if row.mode else ""),
        ("state", lambda row: row.state + _marks(row, remarks)),
        ("ms per batch, mean +/- sd", lambda row: _spread(row.per_batch_ms)),
        ("median ms [95 % CI]", lambda row: "" if row.mode else _milliseconds(row.latency_ms)),
        ("device ms [95 % CI]", lambda row: _milliseconds(row.device_ms)),
        (f"time / {first.label}" if first else "", lambda row: _ratio(row, is_first=row is first)),
        ("images\n/s", lambda row: f"{row.images_per_second:.1f}" if row.images_per_second is not None else ""),
        ("steps", lambda row: str(row.per_batch_ms.n) if row.per_batch_ms else ""),
        ("parity", lambda row: _parity(row.parity)),
        ("kernels", lambda row: f"{row.plan.kernels}" if row.plan else ""),
        ("traffic\nMB", lambda row: f"{row.plan.mb_moved:.1f}" if row.plan else ""),
        ("engine\nMB", lambda row: f"{row.plan.engine_mb:.1f}" if row.plan else ""),
    ]


def _said(row: Row) -> list[str]:
    parity = row.parity
    because = parity.reason or "no reason given" if parity and parity.verdict != "pass" else ""
    judged = f"parity {parity.verdict}: {because}" if parity and because and because != row.reason else ""
    graph_only = (
        isinstance(parity, ParityResult)
        and parity.worst.scope == "typed graph"
        and "parity of the typed graph, as no engine ran"
    )
    return [text for text in (row.reason, row.note, graph_only, judged) if text]


def _marks(row: Row, remarks: Mapping[str, list[str]]) -> str:
    said = _said(row)
    numbers = [str(number) for number, text in enumerate(remarks, start=1) if text in said]
    return f" [{','.join(numbers)}]" if numbers else ""


def _different_graphs(rows: tuple[Row, ...]) -> list[str]:
    graphs = {row.label: row.typed_digest for row in rows if row.precision == "int8" and row.typed_digest}
    if len(set(graphs.values())) < 2:
        return []
    listed = ", ".join(f"{name} {digest[:DIGEST_DIGITS]}" for name, digest in graphs.items())
    return [f"INT8 rows use different Q/DQ graphs, each in the scheme of its backend: {listed}."]


def _apart(rows: tuple[Row, ...]) -> list[str]:
    """Times that are no latency, in lines of their own."""
    cold = [f"{row.label} {row.cold_ms:.0f} ms" for row in rows if row.cold_ms is not None]
    built = [
        f"{row.label} {row.build_seconds:.1f} s{' (cached)' if row.from_store else ''}"
        for row in rows
        if row.build_seconds is not None
    ]
    lines = [f"Cold start, open and first run: {', '.join(cold)}."] if cold else []
    return lines + ([f"Build: {', '.join(built)}."] if built else [])


def _limits(rows: tuple[Row, ...]) -> list[str]:
    """What each verdict was held to, once per limit."""
    limits: dict[str, list[str]] = {}
    for row in rows:
        if isinstance(row.parity, ParityResult) and (said := row.parity.worst.precision_limit_text):
            limits.setdefault(said, []).append(row.label)
    return [f"Parity limit of {', '.join(names)}: {said}." for said, names in limits.items()] + _references(rows)


def _references(rows: tuple[Row, ...]) -> list[str]:
    """What the rows were compared with, where that is not simply the network in float64."""
    found = dict.fromkeys(row.parity.reference for row in rows if isinstance(row.parity, ParityResult))
    return [f"Reference: {source}." for source in found if source not in PLAIN_REFERENCES]


def _milliseconds(found: Latency | None) -> str:
    if found is None:
        return ""
    return f"{_digits(found.median)} {_interval(found.ci95, _digits)}"


def _ratio(row: Row, *, is_first: bool) -> str:
    if row.ratio_to_first is None:
        return ""
    if is_first:
        return "1"
    if row.ratio_to_first.within_noise:
        return "within noise"
    return f"{row.ratio_to_first.value:.3f} {_interval(row.ratio_to_first.ci95, '{:.3f}'.format)}"


def _interval(interval: Interval | None, form: Callable[[float], str]) -> str:
    return f"[{form(interval.low)}, {form(interval.high)}]" if interval else "[too few rounds]"


def _spread(found: PerBatch | None) -> str:
    """Both to the decimals of the mean."""
    return f"{_digits(found.mean)} +/- {found.sd:.{_decimals(found.mean)}f}" if found else ""


def _digits(milliseconds: float) -> str:
    """Four significant digits, no more than four decimals."""
    return f"{milliseconds:.{_decimals(milliseconds)}f}"


def _decimals(milliseconds: float) -> int:
    return next((places for places, bound in ((1, 100.0), (2, 10.0), (3, 1.0)) if milliseconds >= bound), 4)


def _parity(parity: Parity | None) -> str:
    """Figure of the worst output, and the verdict: `36.3 dB pass`, `48.2 dB fail (collapsed)`, `99.8 % agree pass`."""
    if parity is None:
        return ""
    if not isinstance(parity, ParityResult):
        return parity.verdict
    worst = parity.worst
    figure = f"{worst.loss.sqnr_db:.1f} dB" if worst.loss else ""
    if worst.agreement:
        figure = f"{100 * worst.agreement.share:.1f} % agree"
    return " ".join(filter(None, (figure, "fail (collapsed)" if worst.broken else parity.verdict)))
