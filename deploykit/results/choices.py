"""What the searches decide: fusions by cost (`--fuse auto`), INT8's layers (`plan`), the precision (`best`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deploykit.codec import shown
from deploykit.spec import SAFE_FUSIONS, Fusions, Precision


@dataclass(frozen=True, slots=True)
class FusionTrial:
    """One candidate: sites of one fusion `added` or left out, what became of the cost, and whether it was kept."""

    fusion: str
    added: bool
    sites: tuple[str, ...]
    figures: str
    kept: bool


@dataclass(frozen=True, slots=True)
class FusionDecision:
    """What `auto` stands for, and why. `change` is the cost from the safe fusions to `fusions`.

    `rewritten` counts the sites of each of them.
    """

    JSON_PROPERTIES = shown("said")

    fusions: Fusions
    rewritten: Mapping[str, int]
    objective: str
    change: str
    steps: tuple[FusionTrial, ...]
    ran_out: bool
    seconds: float
    budget_seconds: float

    def __str__(self) -> str:
        """One line for a table's header."""
        ended = f"; the budget of {self.budget_seconds:g} s ran out" if self.ran_out else ""
        return f"{self.said}; chosen by {self.objective}: {self.change}, {len(self.steps)} candidates tried{ended}"

    @property
    def said(self) -> str:
        """`safe, merge_siblings at 2 of 9 sites`."""
        missing = [name for name in SAFE_FUSIONS if name not in self.fusions.names]
        parts = [f"safe without {', '.join(missing)}" if missing else "safe"]
        for name in self.fusions.names:
            left, kept = len(self.fusions.sites_without(name)), self.rewritten.get(name, 0)
            if left or name not in SAFE_FUSIONS:
                parts.append(f"{name} at {kept} of {kept + left} sites" if left else name)
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8LayerDecision:
    """The policy with the least cost, and what each candidate's plan is, or why it has none.

    `fp16` is the plan without any INT8.
    """

    policy: str
    objective: str
    candidates: Mapping[str, str]
    fp16: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionChoice:
    """The precision, None where it is undecided, and why. `contenders` has each one's cost, or why it has none."""

    precision: Precision | None
    why: str
    contenders: Mapping[str, str]
