"""The range of an activation, for both grids that a placement may put it on."""

import math
from dataclasses import dataclass

FLOAT32_MAX = 3.4028234663852886e38


@dataclass(frozen=True, slots=True)
class Range:
    """`lo` to `hi` for the grid that holds 0 anywhere, `threshold` on either side of 0 for the symmetric one.

    Not given (NaN), `threshold` is the larger magnitude of the two ends.
    """

    lo: float
    hi: float
    threshold: float = math.nan

    def __post_init__(self) -> None:
        if math.isnan(self.threshold):
            object.__setattr__(self, "threshold", max(abs(self.lo), abs(self.hi)))
        elif self.threshold < 0:
            raise ValueError(f"the threshold {self.threshold:g} is not above 0")

    def __or__(self, other: "Range") -> "Range":
        """The smallest range that holds both."""
        return Range(min(self.lo, other.lo), max(self.hi, other.hi), max(self.threshold, other.threshold))
