"""Curves over one axis: images a second over the batch, the error over the layers of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deploykit.report.svg.frame import ABOVE, BELOW, x_axis, y_axis
from deploykit.report.svg.marks import cut, drawing, element, group, line, marker, text, text_width, tooltip
from deploykit.report.svg.scales import Axis, Scale, linear, logarithmic, spread, tick_label

LEFT, RIGHT, TALL = 56.0, 14.0, 240.0
LETTERS = 16.0  # pixels between the names at the ends of curves
MEASURED = 24.0  # pixels between ticks that stand at points
FEW = 24  # points up to which each of them is marked


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """`low` and `high` are the 95 % interval, None where there is none. `said` is what a pointer reads."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    said: str = ""
    noted: bool = False  # whether `said` is written beside the point


@dataclass(frozen=True, slots=True)
class Curve:
    """Points in the order of their x."""

    name: str
    css: str
    shape: str
    points: Sequence[CurvePoint]


@dataclass(frozen=True, slots=True)
class Limit:
    """A horizontal line and what it says."""

    value: float
    said: str


@dataclass(frozen=True, slots=True)
class _Plot:
    x: Scale
    y: Scale


def curves(
    found: Sequence[Curve],
    *,
    x: Axis,
    y: Axis,
    title: str,
    width: float,
    log: bool = False,
    limit: Limit | None = None,
    height: float = TALL,
) -> Markup:
    """The curves with their names at their ends. With `log` both axes are logarithmic, else y shows where 0 is not."""
    names = max((text_width(curve.name) for curve in found), default=0.0) if len(found) > 1 else 0.0
    right = width - RIGHT - min(names + 12, 0.3 * width) * (len(found) > 1)
    points = [point for curve in found for point in curve.points]
    heights = [each for point in points for each in (point.y, point.low, point.high) if each is not None]
    heights += [limit.value] if limit else []
    make = logarithmic if log else linear
    plot = _Plot(make([point.x for point in points], LEFT, right), make(heights, ABOVE + height, ABOVE))
    bottom = ABOVE + height
    ends = spread([plot.y.at(curve.points[-1].y) + 4 for curve in found], LETTERS, ABOVE + 8, bottom)
    labels = [
        text(cut(curve.name, width - right - 12), right + 12, end, css=f"of {curve.css}")
        for curve, end in zip(found, ends, strict=True)
        if len(found) > 1
    ]
    over = [] if limit is None else _limit(limit, plot)
    return drawing(
        width,
        bottom + BELOW,
        x_axis(plot.x, x, ABOVE, bottom, at=_measured(points, plot.x)),
        y_axis(plot.y, y, LEFT, right),
        *over,
        *(_curve(curve, plot) for curve in found),
        *labels,
        title=title,
        said=f"{y} over {x}. " + "; ".join(_in_words(curve) for curve in found),
    )


def _measured(points: Sequence[CurvePoint], scale: Scale) -> list[float]:
    """The values of a few points, those left out that stand too near to the one before."""
    found: list[float] = []
    for value in sorted({point.x for point in points}):
        if not found or scale.at(value) - scale.at(found[-1]) >= MEASURED:
            found.append(value)
    return found if len({point.x for point in points}) <= FEW else []


def _curve(curve: Curve, plot: _Plot) -> Markup:
    at = [(plot.x.at(point.x), plot.y.at(point.y)) for point in curve.points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
    marks = [element("path", css="curve", d=path)]
    for point, (x, y) in zip(curve.points, at, strict=True):
        if point.low is not None and point.high is not None:
            marks.append(line(x, plot.y.at(point.low), x, plot.y.at(point.high), css="interval"))
        if len(at) <= FEW or point.noted:
            marks.append(marker(curve.shape, x, y, tooltip(point.said), css="dot", radius=4.5))
    return group(
        *marks,
        *(_note(point, *where, plot) for point, where in zip(curve.points, at, strict=True) if point.noted),
        css=curve.css,
    )


def _note(point: CurvePoint, x: float, y: float, plot: _Plot) -> Markup:
    """The text beside a point, on the side that has more room."""
    first, last = plot.x.start, plot.x.end
    to_left = x - first > last - x
    room = (x - first if to_left else last - x) - 10
    shown = cut(point.said, max(room, 40))
    return text(shown, x - 9 if to_left else x + 9, y + 4, css="halo end" if to_left else "halo")


def _limit(limit: Limit, plot: _Plot) -> list[Markup]:
    y = plot.y.at(limit.value)
    said = cut(limit.said, plot.x.end - plot.x.start)
    return [
        line(plot.x.start, y, plot.x.end, y, css="limit"),
        text(said, plot.x.end, y - 6, css="tick end"),
    ]


def _in_words(curve: Curve) -> str:
    if len(curve.points) > FEW:
        least = min(curve.points, key=lambda point: point.y)
        noted = ", ".join(point.said for point in curve.points if point.noted)
        return f"{curve.name}: {len(curve.points)} points, the lowest {least.said or tick_label(least.y)}; {noted}"
    return f"{curve.name}: " + ", ".join(
        point.said or f"{tick_label(point.y)} at {tick_label(point.x)}" for point in curve.points
    )
