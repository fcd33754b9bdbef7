"""Points by two figures, each with its name and its 95 % interval: accuracy against bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deploykit.report.svg.frame import ABOVE, BELOW, x_axis, y_axis
from deploykit.report.svg.marks import cut, drawing, group, line, marker, text, text_width, tooltip
from deploykit.report.svg.scales import Axis, Scale, linear, logarithmic

LEFT, RIGHT, TALL, CAP = 56.0, 14.0, 240.0, 4.0
LETTERS, ASIDE = 15.0, 11.0  # between names; between a point and its name


@dataclass(frozen=True, slots=True)
class Point:
    """`low` and `high` are the 95 % interval of `y`; `figure` is the point in words."""

    name: str
    css: str
    shape: str
    x: float
    y: float
    low: float | None
    high: float | None
    figure: str


def scatter(points: Sequence[Point], *, x: Axis, y: Axis, title: str, width: float) -> Markup:
    """The points, x logarithmic; names stand right of them, left where that has no room, and never on each other."""
    bottom = ABOVE + TALL
    across = logarithmic([point.x for point in points], LEFT, width - RIGHT)
    heights = [each for point in points for each in (point.y, point.low, point.high) if each is not None]
    up = linear(heights, bottom, ABOVE)
    labels: list[_Label] = []
    for point in points:
        labels.append(_label(point, across, up, labels))
    return drawing(
        width,
        bottom + BELOW,
        x_axis(across, x, ABOVE, bottom),
        y_axis(up, y, LEFT, width - RIGHT),
        *(_point(point, across, up) for point in points),
        *(_name(label, point, across, up) for label, point in zip(labels, points, strict=True)),
        title=title,
        said=f"{y} against {x}. " + "; ".join(f"{point.name}: {point.figure}" for point in points),
    )


@dataclass(frozen=True, slots=True)
class _Label:
    """Where a name stands: its ends, the height of its middle, and whether it ends at its point."""

    left: float
    right: float
    y: float
    to_left: bool

    def meets(self, other: _Label) -> bool:
        return self.left < other.right and other.left < self.right and abs(self.y - other.y) < LETTERS


def _label(point: Point, across: Scale, up: Scale, taken: Sequence[_Label]) -> _Label:
    """The nearest free place beside the point."""
    x, y = across.at(point.x), up.at(point.y)
    long = text_width(point.name)
    to_left = x + ASIDE + long > across.end and x - across.start > across.end - x
    left = x - ASIDE - long if to_left else x + ASIDE
    places = [_Label(left, left + long, y + LETTERS * step, to_left) for step in (0, 1, -1, 2, -2, 3, -3)]
    return next((place for place in places if not any(map(place.meets, taken))), places[0])


def _name(label: _Label, point: Point, across: Scale, up: Scale) -> Markup:
    x, y = across.at(point.x), up.at(point.y)
    at = label.right if label.to_left else label.left
    room = (x - across.start if label.to_left else across.end - x) - ASIDE
    name = text(cut(point.name, room), at, label.y + 4, css="halo end" if label.to_left else "halo")
    return group(line(x, y, at, label.y, css="lead"), name) if label.y != y else name


def _point(point: Point, across: Scale, up: Scale) -> Markup:
    x, y = across.at(point.x), up.at(point.y)
    marks = []
    if point.low is not None and point.high is not None:
        top, bottom = up.at(point.high), up.at(point.low)
        ends = [line(x - CAP, end, x + CAP, end, css="interval") for end in (top, bottom)]
        marks += [line(x, top, x, bottom, css="interval"), *ends]
    marks.append(marker(point.shape, x, y, tooltip(f"{point.name}: {point.figure}"), css="dot"))
    return group(*marks, css=point.css)
