"""What passes between all parts: arrays by name, progress, and the reason why something cannot be had."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import ndarray

Feed = Mapping[str, "ndarray[Any, Any]"]
Progress = Callable[[str, int, int], None]  # (phase, steps done, steps in all); perhaps from a compiler's own thread


def silent(_phase: str, _done: int, _total: int) -> None:
    """Progress for callers that want none."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something cannot be had here, and what to do about it ("" where nothing can be done)."""

    what: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.what}; {self.fix}" if self.fix else self.what
