"""What the steps that change a graph say of it: kept by the store, printed by `export` and `build`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SkippedNode:
    """A node that a step left as it was, and why."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class PassRecord:
    """One pass over one graph: the outputs it rewrote, what it skipped and why, and what it cost."""

    name: str
    rewritten: tuple[str, ...]
    skipped: tuple[SkippedNode, ...]
    nodes_before: int
    nodes_after: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PassLedger:
    """The records of all passes, in the order in which they ran."""

    passes: tuple[PassRecord, ...]

    def __getitem__(self, name: str) -> PassRecord:
        """The record of the pass called `name`; KeyError when it did not run."""
        for record in self.passes:
            if record.name == name:
                return record
        raise KeyError(name)

    @property
    def nodes_before(self) -> int:
        """Nodes before the first pass."""
        return self.passes[0].nodes_before if self.passes else 0

    @property
    def nodes_after(self) -> int:
        """Nodes after the last pass."""
        return self.passes[-1].nodes_after if self.passes else 0
