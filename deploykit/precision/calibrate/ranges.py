"""The range of an activation, for both grids that a placement may put it on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """`lo` to `hi` for the grid that holds 0 anywhere, `threshold` on either side of 0 for the symmetric one.

    Not given (negative), `threshold` is the larger magnitude of the two ends.
    """

    lo: float
    hi: float
    threshold: float = -1.0

    def __post_init__(self) -> None:
        if self.threshold < 0:
            object.__setattr__(self, "threshold", max(abs(self.lo), abs(self.hi)))

    def __or__(self, other: "Range") -> "Range":
        """The smallest range that holds both."""
        return Range(min(self.lo, other.lo), max(self.hi, other.hi), max(self.threshold, other.threshold))
