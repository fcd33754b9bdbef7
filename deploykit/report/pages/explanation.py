"""The section of `verify --explain`: the error over the layers of each row that was explained, and every layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

from deploykit.parity import LayerError
from deploykit.report.explanation import HEADINGS, layer_cells
from deploykit.report.page import Figure, Figures, Grid, Paragraph, Part, Section, figure
from deploykit.report.svg.curves import Curve, CurvePoint, curves
from deploykit.report.svg.scales import Axis
from deploykit.report.text import Table
from deploykit.results.explanation import Explanation
from deploykit.results.row import Row

OWN, WHOLE = "by itself", "in the graph"


def explanation_sections(rows: Sequence[Row]) -> Iterator[Section]:
    """One section for each explanation that has layers, with the rows that it is of."""
    found: dict[tuple[LayerError, ...], list[Row]] = {}
    for row in rows:
        if row.explanation and row.explanation.layers:
            found.setdefault(row.explanation.layers, []).append(row)
    for layers, held in found.items():
        if explanation := held[0].explanation:
            names = ", ".join(row.label for row in held)
            yield Section(f"Error per layer of {names}", tuple(_parts(explanation, layers)))


def _parts(found: Explanation, layers: Sequence[LayerError]) -> Iterator[Part]:
    yield Paragraph(f"{found.said[0].upper()}{found.said[1:]}.")
    if any(math.isfinite(layer.own_db) or math.isfinite(layer.sqnr_db) for layer in layers):
        yield Figures([_chart(found, layers)])
    table = Table(HEADINGS, [layer_cells(layer) for layer in layers], right=HEADINGS[3:])
    tinted = [index for index, layer in enumerate(layers) if found.first and layer.tensor == found.first.tensor]
    yield Grid(table, tinted)


def _chart(found: Explanation, layers: Sequence[LayerError]) -> Figure:
    """Two curves: what each layer loses, and what all up to it have lost. The layer where the loss arises is named."""
    first = found.first.tensor if found.first else None
    each = [
        Curve(OWN, "fp32", "circle", _points([(layer, layer.own_db) for layer in layers], first)),
        Curve(WHOLE, "fp16", "square", _points([(layer, layer.sqnr_db) for layer in layers], None)),
    ]
    x, y = Axis("layer", "place in the order of execution"), Axis("SQNR", "dB")
    caption = (
        f"Higher is better. {OWN.capitalize()}: the layer reads float64's values. {WHOLE.capitalize()}: it reads what "
        f"the layers before it left.{_left_out(layers)}"
    )
    chart = partial(curves, [curve for curve in each if curve.points], x=x, y=y)
    return figure("Where the loss arises", caption, chart)


def _points(values: Sequence[tuple[LayerError, float]], first: str | None) -> list[CurvePoint]:
    return [
        CurvePoint(place, value, said=f"{layer.layer}: {value:.1f} dB", noted=layer.tensor == first)
        for place, (layer, value) in enumerate(values, start=1)
        if math.isfinite(value)
    ]


def _left_out(layers: Sequence[LayerError]) -> str:
    """Which layers have no point: those that are exact, and those with NaN or infinity."""
    exact = sum(layer.own_db == math.inf for layer in layers)
    broken = [layer.layer for layer in layers if layer.broken or layer.sqnr_db == -math.inf]
    said = f" {exact} of {len(layers)} layers lose nothing by themselves and have no point there." if exact else ""
    return said + (f" NaN or infinity: {', '.join(broken[:3])}{', ...' if broken[3:] else ''}." if broken else "")
