"""Several figures of each row as points on one logarithmic axis: the losses of `verify`, beside what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deploykit.report.svg.frame import Lanes, x_axis
from deploykit.report.svg.marks import drawing, element, group, line, marker, text, text_width, tooltip
from deploykit.report.svg.scales import Axis, Scale, logarithmic

KEY = 24.0  # height of a line of the key


@dataclass(frozen=True, slots=True)
class Dot:
    """A value, what it is, and the shape that this has in every row. 0 stands at the left edge.

    `raised` pixels lie between it and the lane's middle, so that equal values do not hide each other.
    """

    kind: str
    shape: str
    value: float
    raised: float = 0.0


@dataclass(frozen=True, slots=True)
class DotRow:
    """A row's points; without any, `absent` says why. An upright line stands at its `limit`."""

    name: str
    css: str
    dots: Sequence[Dot]
    limit: float | None
    figure: str
    absent: str = ""


def dot_rows(rows: Sequence[DotRow], *, axis: Axis, limited: str, title: str, width: float) -> Markup:
    """One lane a row, the key of the shapes above; `limited` is what the limit is of."""
    lanes = Lanes([row.name for row in rows], [row.figure for row in rows], width)
    values = [value for row in rows for value in (*(dot.value for dot in row.dots), row.limit) if value]
    scale = logarithmic(values, lanes.left, lanes.right)
    most = max(rows, key=lambda row: len(row.dots), default=None)
    kinds = {dot.kind: dot.shape for row in (most, *rows) if row for dot in row.dots}
    key, high = _key(kinds, limited if any(row.limit for row in rows) else "", width)
    marks = [_lane(row, lanes.middle(index), scale) for index, row in enumerate(rows)]
    chart = element(
        "g",
        x_axis(scale, axis, 0, lanes.bottom),
        *marks,
        lanes.captions(faint=[index for index, row in enumerate(rows) if not row.dots]),
        transform=f"translate(0 {high:.0f})",
    )
    said = "; ".join(_in_words(row) for row in rows)
    return drawing(width, lanes.height + high, key, chart, title=title, said=f"{axis}. {said}")


def _lane(row: DotRow, y: float, scale: Scale) -> Markup:
    if not row.dots:
        return text(row.absent, scale.start + 6, y + 4, css="tick halo")
    marks = [line(scale.start, y, scale.end, y, css="grid")]
    if row.limit:
        x = scale.at(row.limit)
        marks.append(line(x, y - 11, x, y + 11, css="limit"))
    for dot in row.dots:
        said = tooltip(f"{row.name}, {dot.kind}: {dot.value:.3g}")
        marks.append(marker(dot.shape, scale.at(dot.value), y - dot.raised, said, css="dot"))
    return group(*marks, css=row.css)


def _key(kinds: dict[str, str], limited: str, width: float) -> tuple[Markup, float]:
    x, y = 6.0, 10.0
    marks = []
    for kind, shape in [*kinds.items(), *([(limited, "")] if limited else [])]:
        if x + text_width(kind) + 14 > width and x > 6:
            x, y = 6.0, y + KEY
        marks.append(marker(shape, x, y, css="plain") if shape else line(x, y - 8, x, y + 8, css="limit"))
        marks.append(text(kind, x + 11, y + 4, css="tick"))
        x += text_width(kind) + 34
    return group(*marks), y + KEY


def _in_words(row: DotRow) -> str:
    figures = ", ".join(f"{dot.kind} {dot.value:.3g}" for dot in row.dots)
    allowed = f", allowed {row.limit:.3g}" if row.limit else ""
    return f"{row.name}: {row.figure or row.absent}" + (f" ({figures}{allowed})" if figures else "")
