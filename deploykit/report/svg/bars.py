"""Bars from zero with their 95 % intervals: how many times as fast each row is, or what changed by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deploykit.report.svg.frame import Lanes, x_axis
from deploykit.report.svg.marks import drawing, element, group, line, text, tooltip
from deploykit.report.svg.scales import Axis, Scale, linear

THICK, CAP = 14.0, 4.0


@dataclass(frozen=True, slots=True)
class Bar:
    """`figure` is the value as text, `limit` how far it may go. Without a value nothing is drawn: `absent` says why."""

    name: str
    css: str
    value: float | None
    low: float | None
    high: float | None
    figure: str
    absent: str = ""
    limit: float | None = None


def interval_bars(
    bars: Sequence[Bar], *, axis: Axis, title: str, width: float, reference: float | None = None
) -> Markup:
    """One bar a row; a dashed line stands at the `reference`, the value of the row that others are compared with."""
    lanes = Lanes([bar.name for bar in bars], [bar.figure for bar in bars], width)
    reached = [each for bar in bars for each in (bar.value, bar.low, bar.high, bar.limit) if each is not None]
    scale = linear([*reached, *([] if reference is None else [reference]), 0.0], lanes.left, lanes.right)
    if min(reached, default=0.0) >= 0:
        scale = linear([*reached, *([] if reference is None else [reference])], lanes.left, lanes.right, origin=True)
    marks = [_bar(bar, lanes.middle(index), scale) for index, bar in enumerate(bars)]
    dashed = [] if reference is None else [line(scale.at(reference), 0, scale.at(reference), lanes.bottom, css="base")]
    empty = [index for index, bar in enumerate(bars) if bar.value is None]
    return drawing(
        width,
        lanes.height,
        x_axis(scale, axis, 0, lanes.bottom),
        *marks,
        *dashed,
        lanes.captions(faint=empty),
        title=title,
        said=f"{axis}. " + "; ".join(f"{bar.name}: {bar.figure or bar.absent}" for bar in bars),
    )


def _bar(bar: Bar, y: float, scale: Scale) -> Markup:
    if bar.value is None:
        return text(bar.absent, scale.at(0) + 6, y + 4, css="tick halo")
    first, last = sorted((scale.at(0), scale.at(bar.value)))
    said = tooltip(f"{bar.name}: {bar.figure}")
    body = element("rect", said, x=first, y=y - THICK / 2, width=last - first, height=THICK, css="bar")
    limit = [] if bar.limit is None else [line(scale.at(bar.limit), y - 11, scale.at(bar.limit), y + 11, css="limit")]
    return group(body, *interval(bar.low, bar.high, y, scale), *limit, css=bar.css)


def interval(low: float | None, high: float | None, y: float, scale: Scale) -> list[Markup]:
    """A line over the interval with a cap at each end; nothing where there is no interval."""
    if low is None or high is None:
        return []
    x1, x2 = scale.at(low), scale.at(high)
    ends = [line(x, y - CAP, x, y + CAP, css="interval") for x in (x1, x2)]
    return [line(x1, y, x2, y, css="interval"), *ends]
