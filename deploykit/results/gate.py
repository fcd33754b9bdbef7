"""What `compare` answers: two saved results, every figure of every row that both have, and what the limits say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from deploykit.bench import Interval
from deploykit.codec import shown
from deploykit.errors import DeploykitError, GateFailed
from deploykit.results.document import Document
from deploykit.results.row import State
from deploykit.results.saved import Kind

Verdict = Literal["fails", "undecided", "not compared", "holds", "not judged"]
SHOWN = 3  # checks that an error quotes


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure of a row in both results, held to one limit.

        fails         the change is beyond the limit, and its interval, where the figure has one, leaves out no change
        undecided     it may be beyond the limit: the interval of the change includes 0, or there is no interval
        not compared  the two figures cannot be compared, or one is missing
        holds         anything else
        not judged    no limit was given for this figure

    `change` is NEW less BASE in `change_unit`; in "%" it is relative to BASE. `interval` is that of the change: of 95 %
    for a difference of accuracies; for a time its ends are what the 95 % intervals of both figures allow at most.
    """

    figure: str
    unit: str
    base: float | str | None
    new: float | str | None
    change: float | None
    change_unit: str
    interval: Interval | None
    limit: str
    verdict: Verdict
    reason: str = ""

    @property
    def changed(self) -> bool:
        """Whether the figure differs at all."""
        return self.base != self.new

    @property
    def said(self) -> str:
        """The change in words: `+5.0 % [+3.1, +7.0]`, `pass -> fail`; "" where there is none."""
        if isinstance(self.base, str) or isinstance(self.new, str):
            return f"{self.base} -> {self.new}" if self.changed and self.base and self.new else ""
        if self.change is None:
            return ""
        places = 2 if self.change_unit in ("ms", "MB", "points") else 1 if self.change_unit else 0
        ends = f"[{self.interval.low:+.{places}f}, {self.interval.high:+.{places}f}]" if self.interval else ""
        return " ".join(filter(None, (f"{self.change:+.{places}f}", self.change_unit, ends)))


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """One row in both results. A state is None where that result has no such row.

    `lost` says what became of a row that BASE has and NEW has not, or where it no longer ran. It fails where there are
    limits, but for rows that may be missing.
    """

    model: str
    backend: str
    precision: str
    batch: int
    mode: str | None
    base_state: State | None
    new_state: State | None
    lost: str
    verdict: Verdict
    checks: tuple[Check, ...]

    @property
    def label(self) -> str:
        """`ort int8, batch 8`."""
        return ", ".join(filter(None, (f"{self.backend} {self.precision}", f"batch {self.batch}", self.mode or "")))


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not the same on both sides. `of_times` says that times are not compared across it."""

    what: str
    base: str
    new: str
    of_times: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.base} in BASE, {self.new} in NEW"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two results: the file that it came from ("" in Python), the command, and its networks."""

    source: str
    kind: Kind
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport(Document):
    """BASE and NEW beside each other.

    `fail_on` has the limits as they were given, `differences` what else is not the same. Times are compared across
    environments that differ only where `across_environments` asked for it.
    """

    JSON_PROPERTIES = shown("verdict")

    base: Side
    new: Side
    fail_on: tuple[str, ...]
    across_environments: bool
    differences: tuple[Difference, ...]
    rows: tuple[GateRow, ...]

    @property
    def verdict(self) -> Verdict:
        """`fails` where any row does, `not judged` without limits, `holds` where one limit does and none fails."""
        if not self.fail_on:
            return "not judged"
        if any(row.verdict == "fails" for row in self.rows):
            return "fails"
        judged = {check.verdict for row in self.rows for check in row.checks if check.limit}
        return "holds" if "holds" in judged else "undecided" if "undecided" in judged else "not compared"

    @property
    def failure(self) -> DeploykitError | None:
        """GateFailed with the first checks that fail; None where none does."""
        if self.verdict != "fails":
            return None
        failed = list(self.failed())
        more = f" (and {len(failed) - SHOWN} more)" if len(failed) > SHOWN else ""
        return GateFailed("; ".join(failed[:SHOWN]) + more)

    def failed(self) -> Iterator[str]:
        """What fails, one line each."""
        for row in self.rows:
            if row.verdict == "fails" and row.lost:
                yield f"{row.label}: {row.lost}"
            for check in row.checks:
                if check.verdict == "fails":
                    yield f"{row.label}: {check.limit} ({check.said or check.reason})"

    def raise_if_failed(self) -> None:
        """Raise `failure`, where there is one.

        Raises:
            GateFailed: A limit does not hold, or a row is lost.
        """
        if failure := self.failure:
            raise failure
