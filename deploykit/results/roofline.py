"""How near a row comes to what its machine can do at all: no run beats the arithmetic peak, none the memory bus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deploykit.codec import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineShare:
    """A lower bound of a run and the median that was measured, milliseconds.

        compute_ms = 2 * MACs / peak        memory_ms = bytes / bandwidth        bound_ms = max(compute_ms, memory_ms)

    The bytes are those that no kernel can leave out: weights, inputs and outputs, each once, in the row's precision,
    less the last-level cache, which may keep as much from one run to the next. `roof` says whose rates they are.
    """

    JSON_PROPERTIES = shown("bound_ms", "binds", "share", "wrong")

    roof: str
    compute_ms: float
    memory_ms: float
    measured_ms: float

    @property
    def bound_ms(self) -> float:
        """No run takes less."""
        return max(self.compute_ms, self.memory_ms)

    @property
    def binds(self) -> Literal["compute", "memory"]:
        """What the bound comes from."""
        return "compute" if self.compute_ms >= self.memory_ms else "memory"

    @property
    def share(self) -> float:
        """The bound over the median: 1 is all that the machine can do."""
        return self.bound_ms / self.measured_ms

    @property
    def wrong(self) -> bool:
        """Whether less time was measured than a run can take."""
        return self.share > 1

    @property
    def fault(self) -> str:
        """What is to be said of a share above 1; "" otherwise."""
        if not self.wrong:
            return ""
        return (
            f"measurement wrong: {self.share:.0%} of the roofline, ".replace("%", " %")
            + f"{self.measured_ms:.3g} ms where {self.binds} takes {self.bound_ms:.3g} ms at least ({self.roof})"
        )
