"""From values to pixels: linear and logarithmic scales, and where their ticks stand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

STEPS = (1, 2, 5, 10)  # a tick is one of these times a power of ten
MOST = 8  # ticks of a scale
NARROW = 4.0  # a logarithmic scale that spans less than this factor has evenly spaced ticks


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows and in which unit: no axis is without one."""

    label: str
    unit: str

    def __post_init__(self) -> None:
        if not self.label or not self.unit:
            raise ValueError(f"an axis has a label and a unit, not {self.label!r} and {self.unit!r}")

    def __str__(self) -> str:
        return f"{self.label} ({self.unit})"


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` at the pixels from `start` to `end`; what lies outside is drawn at the edge."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, here = (self._even(each) for each in (self.low, self.high, max(value, self.low)))
        return self.start + min(1.0, (here - low) / (high - low)) * (self.end - self.start)

    def ticks(self, *, apart: float) -> list[float]:
        """Round values that are at least `apart` pixels apart, as many as are easily read."""
        choices = [list(each) for each in (self._log_ticks() if self.log else self._even_ticks())]
        fitting = [each for each in choices if 1 < len(each) <= MOST and self._apart(each) >= apart]
        return max(fitting, key=len, default=min(filter(None, choices), key=len, default=[]))

    def _even(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def _apart(self, ticks: list[float]) -> float:
        at = [self.at(tick) for tick in ticks]
        return min(abs(b - a) for a, b in pairwise(at))

    def _even_ticks(self) -> Iterator[list[float]]:
        span = self.high - self.low
        power = math.floor(math.log10(span)) - 1
        for step in (factor * 10.0**exponent for exponent in range(power, power + 3) for factor in STEPS[:3]):
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if 1 < last - first + 1 <= 40:
                yield [round(number * step, 12) for number in range(first, last + 1)]

    def _log_ticks(self) -> Iterator[list[float]]:
        if self.high / self.low < NARROW:
            yield from self._even_ticks()
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for factors in (STEPS[:3], (1, 3), (1,)):
            found = [factor * 10.0**power for power in decades for factor in factors]
            yield [value for value in found if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)]
        for every in (2, 3, 4, 6):
            found = [10.0**power for power in decades if power % every == 0]
            yield [value for value in found if self.low <= value <= self.high]


def linear(values: Iterable[float], start: float, end: float, *, origin: bool = False) -> Scale:
    """A scale with room on both sides of the values; with `origin` it begins at 0, as bars do."""
    found = [*_finite(values), *([0.0] if origin else [])] or [0.0, 1.0]
    low, high = min(found), max(found)
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return Scale(0.0 if origin else low - room, high + room, start, end)


def logarithmic(values: Iterable[float], start: float, end: float) -> Scale:
    """The same for positive values; others have no place on it."""
    found = [value for value in _finite(values) if value > 0] or [1.0]
    room = max(1.05, (max(found) / min(found)) ** 0.06)
    return Scale(min(found) / room, max(found) * room, start, end, log=True)


def tick_label(value: float) -> str:
    """Thousands with commas, small numbers as they are."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near to the wanted ones as can be, `gap` apart and between `low` and `high` where there is room."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    found = list(wanted)
    for before, here in pairwise(order):
        found[here] = max(found[here], found[before] + gap)
    limit = high
    for here in reversed(order):
        found[here] = max(min(found[here], limit), low)
        limit = found[here] - gap
    return found


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
