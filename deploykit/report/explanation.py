"""`verify --explain` in words: where the loss begins and why, the options to paste, and the worst layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TextIO

from deploykit.parity import LayerError
from deploykit.report.text import render_lines, render_table
from deploykit.results.explanation import Explanation, Probes
from deploykit.results.row import Row

SHOWN = 8  # layers, and names in a list; --json has all of them
HEADINGS = ("layer", "node", "operator", "by itself dB", "in the graph dB")


def render_explanations(rows: Sequence[Row], *, file: TextIO | None = None) -> None:
    """Plain text on stdout or on `file`, rows of one explanation together; nothing where there is none."""
    found: list[tuple[list[str], Explanation]] = []
    probes: list[str] = []
    for row in rows:
        if row.explanation is None:
            continue
        alone = replace(row.explanation, probes=None)
        same = next((labels for labels, said in found if said == alone), None)
        if same is None:
            found.append(([row.label], alone))
        else:
            same.append(row.label)
        if row.explanation.probes:
            probes += ["", *_probes(row.label, row.explanation.probes)]
    for labels, explanation in found:
        render_lines(["", *_said(", ".join(labels), explanation)], file=file)
        if explanation.layers:
            _render_layers(explanation, file=file)
    render_lines(probes, file=file)


def _said(labels: str, found: Explanation) -> Iterator[str]:
    yield f"{labels}: {found.said}."
    if found.layers:
        yield f"  Measured on the {found.images} images that are furthest from float64; the row's figure is of all."
    if found.cause:
        yield f"  Cause: {found.cause}."
    if found.options:
        yield f"  Paste: {' '.join(found.options)}"
        yield f"  With it: {found.cured}."
    elif found.cured:
        yield f"  {found.cured[0].upper()}{found.cured[1:]}."
    if found.unpaired:
        names = ", ".join(found.unpaired[:SHOWN]) + (", ..." if len(found.unpaired) > SHOWN else "")
        yield f"  Not paired, {len(found.unpaired)} of {len(found.unpaired) + len(found.layers)} tensors: {names}."


def _render_layers(found: Explanation, *, file: TextIO | None) -> None:
    worst = sorted(found.layers, key=lambda layer: layer.own_db)[:SHOWN]
    images = f"{found.images} image{'' if found.images == 1 else 's'}"
    said = f"The {len(worst)} worst of {len(found.layers)} layers, on {images}:"
    render_lines(["", said, ""], file=file)
    render_table(HEADINGS, [layer_cells(layer) for layer in worst], right=HEADINGS[3:], file=file)


def layer_cells(layer: LayerError) -> list[str]:
    """A layer's names and its two figures, under HEADINGS."""
    return [layer.layer, layer.node, layer.operator, _decibel(layer.own_db), _decibel(layer.sqnr_db)]


def _decibel(value: float) -> str:
    if value == float("inf"):
        return "exact"
    return "NaN or Inf" if value == float("-inf") else f"{value:.1f}"


def _probes(label: str, found: Probes) -> Iterator[str]:
    if not found.tensors:
        yield f"Observable in {label}: none. {found.reason[0].upper()}{found.reason[1:]}."
        return
    names = ", ".join(found.tensors[:SHOWN]) + (", ..." if len(found.tensors) > SHOWN else "")
    yield f"Observable in {label}, without changing the plan: {len(found.tensors)} intermediate tensors: {names}."
    yield (
        f"  With all of them as outputs the compiler makes the same {found.kernels_with_probes} kernels as without "
        f"({found.kernels})."
    )
    if found.passed_over:
        yield f"  Left out, for they would change a kernel: {', '.join(found.passed_over[:SHOWN])}."
