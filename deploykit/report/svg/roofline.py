"""A roofline: the rate that memory and arithmetic allow at each intensity, and what lies on it or below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deploykit.report.svg.frame import ABOVE, BELOW, x_axis, y_axis
from deploykit.report.svg.marks import drawing, element, group, marker, text, text_width, tooltip
from deploykit.report.svg.scales import Axis, Scale, logarithmic, spread, tick_label

LEFT, RIGHT, TALL = 56.0, 14.0, 300.0
RADII = (2.5, 13.0)  # of the point of least weight, and of the heaviest
LETTERS = 15.0


@dataclass(frozen=True, slots=True)
class Roof:
    """The peak of one type, in the unit of the vertical axis."""

    name: str
    css: str
    peak: float


@dataclass(frozen=True, slots=True)
class RoofPoint:
    """Something that computes: operations a byte, the rate reached, and the share of the heaviest point (0 to 1).

    A `name` that is `shown` stands beside the point.
    """

    name: str
    css: str
    shape: str
    intensity: float
    rate: float
    weight: float
    said: str
    shown: bool = False


def roofline(
    roofs: Sequence[Roof],
    points: Sequence[RoofPoint],
    *,
    bandwidth: float,
    x: Axis,
    y: Axis,
    title: str,
    width: float,
    height: float = TALL,
) -> Markup:
    """The roofs of all types over one slope. Operations a byte times `bandwidth` is the unit of the vertical axis."""
    bottom = ABOVE + height
    ridges = [roof.peak / bandwidth for roof in roofs]
    reached = [point.intensity for point in points]
    across = logarithmic([*reached, *ridges, *(ridge * 3 for ridge in ridges)], LEFT, width - RIGHT)
    heights = [roof.peak for roof in roofs] + [point.rate for point in points] + [across.low * bandwidth]
    up = logarithmic(heights, bottom, ABOVE)
    ends = spread([up.at(roof.peak) - 6 for roof in roofs], LETTERS, ABOVE, bottom)
    drawn = [_roof(roof, end, bandwidth, across, up) for roof, end in zip(roofs, ends, strict=True)]
    heaviest_first = sorted(points, key=lambda point: -point.weight)
    return drawing(
        width,
        bottom + BELOW,
        x_axis(across, x, ABOVE, bottom),
        y_axis(up, y, LEFT, width - RIGHT),
        *drawn,
        *(_point(point, across, up) for point in heaviest_first),
        title=title,
        said=f"{y} over {x}. " + "; ".join([*map(_peak, roofs), *(f"{p.name}: {p.said}" for p in heaviest_first[:12])]),
    )


def _roof(roof: Roof, label: float, bandwidth: float, across: Scale, up: Scale) -> Markup:
    """The slope of the bandwidth up to the peak, then flat."""
    foot = max(across.low, up.low / bandwidth)
    x0, y0 = across.at(foot), up.at(foot * bandwidth)
    x1, y1 = across.at(roof.peak / bandwidth), up.at(roof.peak)
    path = element("path", css="roof", d=f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}H{across.end:.1f}")
    return group(path, text(_peak(roof), across.end, label, css="of end"), css=roof.css)


def _peak(roof: Roof) -> str:
    return f"{roof.name} {tick_label(float(f'{roof.peak:.4g}'))}"


def _point(point: RoofPoint, across: Scale, up: Scale) -> Markup:
    x, y = across.at(point.intensity), up.at(point.rate)
    radius = RADII[0] + (RADII[1] - RADII[0]) * math.sqrt(point.weight)
    said = tooltip(point.name, point.said)
    marks = [marker(point.shape, x, y, said, css="kernel-dot", radius=radius)]
    if point.shown:
        to_left = x + radius + 6 + text_width(point.name) > across.end
        at = x - radius - 5 if to_left else x + radius + 5
        marks.append(text(point.name, at, y + 4, css="halo end" if to_left else "halo"))
    return group(*marks, css=point.css)
