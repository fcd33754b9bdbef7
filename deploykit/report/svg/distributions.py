"""How the samples of each row are distributed: a histogram a row over one logarithmic axis, its median marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deploykit.report.svg.frame import LANE, Lanes, x_axis
from deploykit.report.svg.marks import drawing, element, group, line, text, tooltip
from deploykit.report.svg.scales import Axis, Scale, logarithmic

BIN = 3.0  # pixels
TALL, LEAST = LANE - 8.0, 2.0  # height of a row's fullest bin, and of one with a single sample


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of a row, all of them. `figure` is the median as text; `absent` says why there are no samples."""

    name: str
    css: str
    values: Sequence[float]
    median: float | None
    figure: str
    absent: str = ""


def distributions(rows: Sequence[Samples], *, axis: Axis, title: str, width: float) -> Markup:
    """One histogram a row, each to its own height. Every sample is drawn: a lone one is a low bar."""
    lanes = Lanes([row.name for row in rows], [row.figure for row in rows], width)
    scale = logarithmic((value for row in rows for value in row.values), lanes.left, lanes.right)
    empty = [index for index, row in enumerate(rows) if not row.values]
    marks = [_histogram(row, lanes.middle(index) + LANE / 2 - 2, scale) for index, row in enumerate(rows)]
    return drawing(
        width,
        lanes.height,
        x_axis(scale, axis, 0, lanes.bottom),
        *marks,
        lanes.captions(faint=empty),
        title=title,
        said=f"{axis}. " + "; ".join(map(_in_words, rows)),
    )


def _histogram(row: Samples, floor: float, scale: Scale) -> Markup:
    if not row.values:
        return text(row.absent, scale.start + 6, floor - LANE / 2 + 6, css="tick halo")
    bins = Counter(int((scale.at(value) - scale.start) / BIN) for value in row.values)
    most = max(bins.values())
    path = "".join(
        f"M{scale.start + number * BIN:.1f} {floor:.1f}v{-max(LEAST, TALL * count / most):.1f}h{BIN:.1f}V{floor:.1f}z"
        for number, count in sorted(bins.items())
    )
    marks = [element("path", tooltip(_in_words(row)), css="samples", d=path)]
    marks.append(line(scale.start, floor, scale.end, floor, css="grid"))
    if row.median is not None:
        x = scale.at(row.median)
        marks.append(line(x, floor - TALL - 3, x, floor + 2, css="median"))
    return group(*marks, css=row.css)


def _in_words(row: Samples) -> str:
    if not row.values:
        return f"{row.name}: {row.absent}"
    return f"{row.name}: {row.figure}, {len(row.values)} samples from {min(row.values):.4g} to {max(row.values):.4g}"
