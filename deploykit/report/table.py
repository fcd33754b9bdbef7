"""The side-by-side table of `bench` and `verify`: what was measured, how, and why a figure is absent.

Conditions stand above, one line a row in the middle, reasons and notes below as numbered lines, so that the table
itself stays narrow and no text is cut. What a row costs once is a table of its own. A column that no row fills is left
out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO

from deploykit.bench import Interval, Latency, PerBatch
from deploykit.bench.peaks import CpuPeaks
from deploykit.bench.statistics import PERCENTILE_FLOORS
from deploykit.parity import PLAIN_REFERENCES, Parity, ParityResult
from deploykit.report.costs_table import render_costs
from deploykit.report.end_to_end import render_end_to_end
from deploykit.report.explanation import render_explanations
from deploykit.report.scenarios import render_scenarios
from deploykit.report.text import render_facts, render_lines, render_table, with_notes
from deploykit.results.comparison import Report
from deploykit.results.row import Row, labels_of, remarks
from deploykit.results.sweep import SATURATED

DIGEST_DIGITS = 12
# Columns of plain numbers, aligned to the right.
FIGURES = (
    *("batch", "p90 ms", "p95 ms", "p99 ms", "images\n/s", "roof\n%", "top-1\n%"),
    *("steps", "kernels", "traffic\nMB", "engine\nMB"),
)
WITHHELD = "-"
BOTH_LOSSES = (
    "Parity: the row against float64. The verdict also covers the backend loss, the row against its typed graph; "
    "--json has both."
)
Column = tuple[str, Callable[[Row], str]]


def render_report(report: Report, *, percentiles: bool = False, file: TextIO | None = None) -> None:
    """Conditions, table, remarks: plain text on stdout or on `file`. `percentiles` adds p90, p95 and p99."""
    render_facts(_conditions(report), file=file)
    render_lines([""], file=file)
    said = remarks((row, _said(row)) for row in report.rows)
    columns = _columns(report, said, percentiles=percentiles)
    columns = [column for column in columns if any(column[1](row) for row in report.rows)]
    render_table(
        [heading for heading, _ in columns],
        [[cell(row) for _, cell in columns] for row in report.rows],
        right=FIGURES,
        dim=[index for index, row in enumerate(report.rows) if row.state != "measured"],
        file=file,
    )
    render_costs(report.rows, file=file)
    below = [f"[{number}] {', '.join(names)}: {text}" for number, (text, names) in enumerate(said.items(), start=1)]
    below += _different_graphs(report.rows) + _limits(report.rows)
    judged = (output for row in report.rows if isinstance(row.parity, ParityResult) for output in row.parity.outputs)
    if any(output.backend_loss for output in judged):
        below.append(BOTH_LOSSES)
    below += [*_saturations(report), *(_withheld(report.rows) if percentiles else []), *_joined(report.rows)]
    if any(row.plan for row in report.rows):
        below.append("Traffic: bytes that the kernels read and write per batch, computed from the compiled plan.")
    if any(row.ratio_to_first and row.ratio_to_first.value != 1 for row in report.rows):
        below.append("time / first row: the mean of the ratios of each round, not the quotient of the two medians.")
    if any(row.images_per_second and not row.mode for row in report.rows):
        below.append(
            "images/s: throughput, measured by itself: many launches, one synchronization; not batch / median."
        )
    if any(row.roofline for row in report.rows):
        below.append("Roof: the least time that a run can take here, in percent of the median (or of device time).")
    if any(row.latency_ms and not row.mode for row in report.rows):
        below.append("In a block of several runs the first is left out of the statistics; --json has every sample.")
    if any(row.latency_ms and row.mode for row in report.rows):
        below.append("Every timed step counts; --json has each of them, and the burn-in.")
    render_lines(["", *below] if below else [], file=file)
    render_explanations(report.rows, file=file)
    if report.end_to_end is not None:
        render_lines([""], file=file)
        render_end_to_end(report.end_to_end, file=file)
    if report.scenarios is not None:
        render_lines([""], file=file)
        render_scenarios(report.scenarios, file=file)


def _conditions(report: Report) -> dict[str, object]:
    shared, cpu, gpu = report.conditions, report.environment.cpu, report.environment.gpu
    flags, batches = ", ".join(cpu.flags), ", ".join(map(str, shared.batches or (shared.batch,)))
    facts: dict[str, object] = {
        "model": shared.model,
        "weights": with_notes(shared.weights, shared.weights_notes),
        "against": "\n".join(shared.against),
        "run": f"batch {batches}, threads {shared.threads}, TF32 {'on' if shared.tf32 else 'off'}",
        "fusions": shared.fusions,
        "step": shared.step,
        "loss": shared.loss,
        "steps": f"{shared.burn_in} of burn-in, then {shared.steps} timed" if shared.steps else "",
        "CPU": f"{cpu.model}, {cpu.cores} cores{f' ({flags})' if flags else ''}",
        "GPU": gpu.name if gpu else "none",
        "roof": _roof(shared.cpu_peaks),
        "inputs": shared.inputs,
        "preprocessing": shared.preprocessing,
        "INT8 calibration": shared.calibration,
        "copies": shared.copies,
    }
    if shared.stopped_by:
        facts["stopped by"] = (
            f"{shared.stopped_by}, after {shared.rounds} round{'s' * (shared.rounds != 1)}, {shared.seconds:.1f} s"
            f"{' in all' * bool(shared.batches)}"
        )
        facts["processes"] = f"{shared.processes} for each row, one after the other" if shared.processes > 1 else ""
    facts["shortened"] = "\n".join(shared.gave_up)
    facts["warning"] = "\n".join(shared.disturbance.warnings if shared.disturbance else ())
    for row in report.rows:
        if row.flavour and row.flavour not in str(facts.get(row.backend, "")):
            facts[row.backend] = "\n".join(filter(None, (str(facts.get(row.backend, "")), row.flavour)))
    return facts


def _columns(report: Report, remarks: Mapping[str, list[str]], *, percentiles: bool) -> list[Column]:
    firsts: dict[int, Row] = {}
    for row in report.rows:
        if row.latency_ms:
            firsts.setdefault(row.batch, row)
    first = next(iter(firsts.values()), None)
    against = f"time / {first.label}" if first else ""
    against = "time / first row\nof its batch" if first and first.of_sweep else against
    several = len({row.model for row in report.rows}) > 1
    return [
        ("model", lambda row: row.model if several else ""),
        ("backend", lambda row: row.backend),
        ("precision", lambda row: row.precision),
        ("mode", lambda row: row.mode or ""),
        ("batch", lambda row: str(row.batch) if row.mode or row.of_sweep else ""),
        ("state", lambda row: row.state + _marks(row, remarks)),
        ("ms per batch, mean +/- sd", lambda row: _spread(row.per_batch_ms)),
        ("median ms [95 % CI]", lambda row: "" if row.mode else _milliseconds(row.latency_ms)),
        *(_percentiles() if percentiles else ()),
        ("device ms [95 % CI]", lambda row: _milliseconds(row.device_ms)),
        (against, lambda row: _ratio(row, is_first=row is firsts.get(row.batch))),
        ("images\n/s", lambda row: f"{row.images_per_second:.1f}" if row.images_per_second is not None else ""),
        ("roof\n%", lambda row: _percent(row.roofline.share) if row.roofline else ""),
        ("steps", lambda row: str(row.per_batch_ms.n) if row.per_batch_ms else ""),
        ("parity", lambda row: _parity(row.parity)),
        ("top-1\n%", lambda row: f"{100 * row.accuracy.top1.value:.2f}" if row.accuracy else ""),
        ("kernels", lambda row: f"{row.plan.kernels}" if row.plan else ""),
        ("traffic\nMB", lambda row: f"{row.plan.mb_moved:.1f}" if row.plan else ""),
        ("engine\nMB", lambda row: f"{row.plan.engine_mb:.1f}" if row.plan else ""),
    ]


def _percentiles() -> Iterator[Column]:
    """A percentile that too few samples carry is a dash."""
    for name in ("p90", "p95", "p99"):

        def cell(row: Row, name: str = name) -> str:
            found = getattr(row.latency_ms, name, None)
            return _digits(found) if found is not None else WITHHELD if row.latency_ms else ""

        yield f"{name} ms", cell


def _said(row: Row) -> list[str]:
    parity = row.parity
    because = parity.reason or "no reason given" if parity and parity.verdict != "pass" else ""
    judged = f"parity {parity.verdict}: {because}" if parity and because and because != row.reason else ""
    graph_only = (
        isinstance(parity, ParityResult)
        and parity.worst.scope == "typed graph"
        and "parity of the typed graph, as no engine ran"
    )
    wrong = row.roofline.fault if row.roofline else ""
    return [text for text in (row.reason, row.note, graph_only, judged, wrong) if text]


def _marks(row: Row, remarks: Mapping[str, list[str]]) -> str:
    said = _said(row)
    numbers = [str(number) for number, text in enumerate(remarks, start=1) if text in said]
    return f" [{','.join(numbers)}]" if numbers else ""


def _different_graphs(rows: tuple[Row, ...]) -> list[str]:
    graphs: dict[str, list[Row]] = {}
    for row in rows:
        if row.precision == "int8" and row.typed_digest:
            graphs.setdefault(row.typed_digest, []).append(row)
    if len(graphs) < 2:
        return []
    listed = ", ".join(f"{', '.join(labels_of(held))} {digest[:DIGEST_DIGITS]}" for digest, held in graphs.items())
    return [f"INT8 rows use different Q/DQ graphs, each in the scheme of its backend: {listed}."]


def _saturations(report: Report) -> Iterator[str]:
    """The rule, and every row's batch."""
    if not report.saturation:
        return
    each = [
        f"{found.backend} {found.precision} at {found.batch}"
        + (" (the largest measured, perhaps not yet)" if found.batch == found.largest else "")
        for found in report.saturation
    ]
    part = f"{100 * SATURATED:.0f} %"
    yield f"Saturation, the smallest batch with {part} of the best images/s: {', '.join(each)}."


def _withheld(rows: Sequence[Row]) -> Iterator[str]:
    """Why a percentile is a dash, where one is."""
    counts = sorted({row.latency_ms.n for row in rows if row.latency_ms})
    if counts and counts[0] < max(PERCENTILE_FLOORS.values()):
        floors = ", ".join(f"{floor} samples (p{q})" for q, floor in PERCENTILE_FLOORS.items())
        have = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        yield f"Percentiles are withheld below {floors}; rows have {have}. A larger --max-seconds takes more."


def _joined(rows: Sequence[Row]) -> Iterator[str]:
    """Which images a top-1 is of."""
    found = dict.fromkeys(f"{row.accuracy.top1.n:,} images: {row.accuracy.data}" for row in rows if row.accuracy)
    yield from (f"Top-1: as evaluate measured it, on {images}." for images in found)


def _roof(peaks: CpuPeaks | None) -> str:
    """The CPU's rates as they were measured."""
    if peaks is None:
        return ""
    rates = [f"fp32 {peaks.fp32_gflops:.0f} GFLOP/s"]
    rates += [f"fp16 {peaks.fp16_gflops:.0f} GFLOP/s"] if peaks.fp16_gflops else []
    rates.append(f"int8 {peaks.int8_gops:.0f} GOP/s" if peaks.int8_gops else "no INT8 peak (no VNNI)")
    return f"{', '.join(rates)}, memory {peaks.bandwidth_gbs:.1f} GB/s: the CPU by micro-benchmark"


def _limits(rows: tuple[Row, ...]) -> list[str]:
    """What each verdict was held to, once per limit."""
    limits: dict[str, list[Row]] = {}
    for row in rows:
        if isinstance(row.parity, ParityResult) and (said := row.parity.worst.precision_limit_text):
            limits.setdefault(said, []).append(row)
    said_of = {said: ", ".join(labels_of(held)) for said, held in limits.items()}
    return [f"Parity limit of {names}: {said}." for said, names in said_of.items()] + _references(rows)


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


def _percent(share: float) -> str:
    """A decimal below ten: `61`, `0.4`."""
    return f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.1f}"


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
