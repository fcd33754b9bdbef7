"""Observers: what calibration remembers of an activation. One pass over the data, in memory that does not grow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, Self

from numpy import ndarray


@dataclass(frozen=True, slots=True)
class Range:
    """The interval [lo, hi] that a quantised activation must represent."""

    lo: float
    hi: float

    def __or__(self, other: "Range") -> "Range":
        """The smallest range that holds both."""
        return Range(min(self.lo, other.lo), max(self.hi, other.hi))


class Observer(Protocol):
    """Sees an activation batch by batch; `merge` joins what two workers saw of different images."""

    def observe(self, values: "ndarray[Any, Any]") -> None:
        """Take in one batch of finite values, not empty, of any shape."""
        ...

    def merge(self, other: Self) -> None: ...

    def range(self) -> Range:
        """The range to quantise; call it after at least one `observe`."""
        ...


class MinMaxObserver:
    """The extremes themselves: nothing is clipped, and one outlier costs every other value resolution."""

    def __init__(self) -> None:
        self._lo = float("inf")
        self._hi = float("-inf")

    def observe(self, values: "ndarray[Any, Any]") -> None:
        self._lo = min(self._lo, float(values.min()))
        self._hi = max(self._hi, float(values.max()))

    def merge(self, other: Self) -> None:
        self._lo = min(self._lo, other._lo)
        self._hi = max(self._hi, other._hi)

    def range(self) -> Range:
        return Range(self._lo, self._hi)


OBSERVERS: Mapping[str, Callable[[], Observer]] = MappingProxyType({"minmax": MinMaxObserver})
