"""What a graph costs: a compiled plan in figures, or measured times, and how two of them compare."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploykit.bench import Interval
from deploykit.codec import json_name, shown

WORTH = 5e-4  # a difference below this share of a figure, which reads as 0.0 %, is none


@dataclass(frozen=True, slots=True)
class PlanCost:
    """A compiled plan in figures; `roofline_us` is the lower bound on the GPU that was named, else None."""

    kernels: int
    bytes_moved: int
    roofline_us: float | None = None

    @property
    def leading(self) -> float:
        """The figure that comes first: the roofline in microseconds where there is one, else bytes."""
        return self._figures()[0]

    def sign(self, other: PlanCost) -> int:
        """-1 where this costs less, 1 where it costs more, 0 where neither.

        The roofline decides where there is one, then bytes, then kernels.
        """
        for mine, theirs in zip(self._figures(), other._figures(), strict=True):
            if abs(mine - theirs) > WORTH * theirs:
                return -1 if mine < theirs else 1
        return 0

    def change_to(self, other: PlanCost) -> str:
        """`219.2 -> 252.0 MB (+15.0 %), 74 -> 65 kernels`, and the lower bounds where they are known."""
        moved = f"{self.bytes_moved / 1e6:.1f} -> {other.bytes_moved / 1e6:.1f} MB"
        share = f"({other.bytes_moved / self.bytes_moved - 1:+.1%})".replace("%", " %")
        kernels = f"{self.kernels} -> {other.kernels} kernels"
        bound = (
            f", lower bound {self.roofline_us:.1f} -> {other.roofline_us:.1f} us"
            if self.roofline_us is not None and other.roofline_us is not None
            else ""
        )
        return f"{moved} {share}, {kernels}{bound}"

    def __str__(self) -> str:
        bound = "" if self.roofline_us is None else f", at least {self.roofline_us:.1f} us"
        return f"{self.kernels} kernels, {self.bytes_moved / 1e6:.1f} MB{bound}"

    def _figures(self) -> tuple[float, ...]:
        bound = () if self.roofline_us is None else (self.roofline_us,)
        return (*bound, self.bytes_moved, self.kernels)


@dataclass(frozen=True, slots=True)
class PlanCosts:
    """The plan without a rewrite and with it; `all_sites` with each of its sites, where some were left out."""

    without: PlanCost
    with_it: PlanCost = field(metadata=json_name("with"))
    all_sites: PlanCost | None = None


@dataclass(frozen=True, slots=True)
class TimeCost:
    """Milliseconds of a graph beside those of another, and the paired `ratio` of the first to the second."""

    JSON_PROPERTIES = shown("within_noise")

    ms: float
    other_ms: float
    ratio: float
    ci95: Interval | None

    @property
    def sign(self) -> int:
        """-1 where the first is surely faster, 1 where it is surely slower, 0 within noise."""
        if self.ci95 is None or self.ci95.covers(1.0):
            return 0
        return -1 if self.ci95.high < 1.0 else 1

    @property
    def within_noise(self) -> bool | None:
        """Whether the interval of the ratio covers 1; None where there were too few rounds for an interval."""
        return None if self.ci95 is None else self.ci95.covers(1.0)

    def __str__(self) -> str:
        said = f"[{self.ci95.low:.3f}, {self.ci95.high:.3f}]" if self.ci95 else "[too few rounds]"
        noise = ", within noise" if self.within_noise else ""
        return f"{self.ms:.2f} against {self.other_ms:.2f} ms, {self.ratio:.3f} {said} times{noise}"
