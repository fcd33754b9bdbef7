"""The tables of `verify --from-bytes`: pipelines and their steps, and what usual faults would cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from deploykit.report.text import render_facts, render_lines, render_table, with_notes
from deploykit.results.from_bytes import BytesReport, OutputDifference, PipelineRow, PixelDifference

NAMED = 5  # files that cannot be decoded
HEADINGS = ("pipeline", "step", "mean\nof 255", "max", "SQNR\ndB", "same\nclass", "verdict")
RIGHT = ("mean\nof 255", "max", "SQNR\ndB", "same\nclass")
Cells = tuple[str, ...]


def render_from_bytes(report: BytesReport, *, file: TextIO | None = None) -> None:
    """Conditions, both tables, remarks: plain text on stdout or on `file`."""
    shared = report.conditions
    skipped = f"; {len(shared.undecodable)} cannot be decoded" if shared.undecodable else ""
    facts = {
        "model": shared.model,
        "weights": with_notes(shared.weights, shared.weights_notes),
        "data": f"{shared.data}: {shared.files} files, {len(shared.images)} compared{skipped}",
        "not decoded": "\n".join(shared.undecodable[:NAMED]),
        "reference": shared.preprocessing,
        "network": shared.network,
    }
    facts |= {row.pipeline: row.flavour for row in report.rows if row.flavour}
    render_facts(facts, file=file)
    render_lines([""], file=file)
    lines = [line for row in report.rows for line in _lines(row)]
    dim = [index for index, row in enumerate(lines) if row[6] in ("unavailable", "failed")]
    render_table(HEADINGS, lines, right=RIGHT, dim=dim, file=file)
    said = [f"{row.pipeline}: {row.reason}" for row in report.rows if row.reason]
    said.append("mean, max: difference from the reference's input, on the scale of pixels, 0 to 255.")
    said.append(f"A step stands alone: all others are the reference's. Limit: {shared.limit:g} of 255 on average.")
    render_lines(["", *said, "", "What usual faults would cost this network:", ""], file=file)
    render_table(
        ("step", "fault", *HEADINGS[2:6]),
        [(cost.step, cost.said, *_figures(cost.input, cost.output)) for cost in report.faults],
        right=RIGHT,
        file=file,
    )


def _lines(row: PipelineRow) -> Iterator[Cells]:
    """A line for the whole pipeline, then one for each step that differs."""
    if row.input is None:
        yield row.pipeline, "", "", "", "", "", row.state
        return
    yield row.pipeline, "all", *_figures(row.input, row.output), row.verdict
    for cost in row.steps:
        yield "", f"{cost.step}: {cost.said}", *_figures(cost.input, cost.output), ""


def _figures(found: PixelDifference, output: OutputDifference | None) -> Cells:
    same = f"{output.same_class}/{output.images}" if output and output.same_class is not None else ""
    return _pixels(found.mean), _pixels(found.max), f"{output.sqnr_db:.1f}" if output else "", same


def _pixels(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}" if value < 0.001 else f"{value:.3g}"
