"""The frame of a chart: grid, ticks, and the name and unit of each axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deploykit.report.svg.marks import cut, group, line, text, text_width
from deploykit.report.svg.scales import Axis, Scale, tick_label

TICKS_X, TICKS_Y = 62.0, 30.0  # pixels between ticks, at least
BELOW = 40.0  # room for the ticks and the name of the horizontal axis
ABOVE = 26.0  # room for the name of the vertical axis
SIDE_BY_SIDE = 460.0  # a chart at least so wide has names beside its lanes, a narrower one above them
LANE, UNDER_NAME = 34.0, 18.0
GAP = 12.0
EDGE = 10.0  # room right of a horizontal axis


def x_axis(scale: Scale, axis: Axis, top: float, bottom: float, *, at: Sequence[float] = ()) -> Markup:
    """Grid lines from `top` to `bottom`, ticks below them and the axis' name below those. Ticks stand `at` values."""
    marks = []
    right = scale.end + EDGE
    for value in at or scale.ticks(apart=TICKS_X):
        x, said = scale.at(value), tick_label(value)
        marks += [line(x, top, x, bottom, css="grid"), _below(said, x, bottom + 16, right)]
    name = f"{axis}, logarithmic" if scale.log else str(axis)
    return group(*marks, _below(cut(name, right), (scale.start + scale.end) / 2, bottom + 34, right))


def _below(said: str, x: float, y: float, right: float) -> Markup:
    """A text centered at `x`, as far as the drawing's edges let it."""
    half = text_width(said) / 2
    return text(said, min(max(x, half), max(half, right - half)), y, css="tick mid")


def y_axis(scale: Scale, axis: Axis, left: float, right: float) -> Markup:
    """Grid lines from `left` to `right`, ticks left of them, the axis' name above."""
    marks = []
    for value in scale.ticks(apart=TICKS_Y):
        y = scale.at(value)
        marks += [line(left, y, right, y, css="grid"), text(tick_label(value), left - 8, y + 4, css="tick end")]
    name = f"{axis}, logarithmic" if scale.log else str(axis)
    return group(*marks, text(name, 0, 12, css="tick"))


@dataclass(frozen=True, slots=True)
class Lanes:
    """Rows of a chart, one below the other: the name at the left, the figure at the right; above it where narrow."""

    names: Sequence[str]
    figures: Sequence[str]
    width: float

    @property
    def beside(self) -> bool:
        """Whether names and figures stand beside the lanes."""
        return self.width >= SIDE_BY_SIDE

    @property
    def left(self) -> float:
        """Where the lanes begin."""
        return min(_widest(self.names), 0.34 * self.width) + GAP if self.beside else GAP

    @property
    def right(self) -> float:
        """Where they end."""
        return self.width - (min(_widest(self.figures), 0.45 * self.width) + GAP if self.beside else GAP)

    @property
    def bottom(self) -> float:
        """Where the last one ends, and the axis begins."""
        return len(self.names) * self._height + 4

    @property
    def height(self) -> float:
        """Of the whole chart."""
        return self.bottom + BELOW

    def middle(self, index: int) -> float:
        """The height of a lane's middle."""
        return index * self._height + (0.0 if self.beside else UNDER_NAME) + LANE / 2

    def captions(self, *, faint: Sequence[int] = ()) -> Markup:
        """The names and the figures; those of the lanes in `faint` are grey."""
        marks = []
        for index, (name, figure) in enumerate(zip(self.names, self.figures, strict=True)):
            css = " soft" if index in faint else ""
            y = self.middle(index) + 4 if self.beside else index * self._height + 14
            room = self.left - GAP if self.beside else self.width - text_width(figure) - GAP
            at = self.right + GAP if self.beside else self.width
            marks.append(text(cut(name, room), 0, y, css=f"halo{css}"))
            marks.append(text(figure, at, y, css=f"halo{css}{'' if self.beside else ' end'}"))
        return group(*marks)

    @property
    def _height(self) -> float:
        return LANE if self.beside else LANE + UNDER_NAME


def _widest(texts: Sequence[str]) -> float:
    return max(map(text_width, texts), default=0.0)
