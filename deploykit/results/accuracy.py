"""What `evaluate` answers: how often each row is right, and on which images it differs from the first."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.bench.environment import Machine
from deploykit.errors import DeploykitError, GateFailed
from deploykit.parity import Parity
from deploykit.parity.accuracy import Flips, Share
from deploykit.results.document import Document
from deploykit.results.failure import failure_of
from deploykit.results.row import Nothing, Row, State


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyConditions:
    """What all rows share.

    `classes` is how many the data has, `network_classes` how many the network tells apart, `calibration` what INT8's
    ranges come from, in words. `skipped` names images that could not be read, `excluded` counts those that were left
    out because INT8 was calibrated on them or on copies of them. `max_drop` is how many points of top-1 a row may lose
    against the first; None sets no limit.
    """

    model: str
    weights: str
    weights_digest: str | None
    weights_notes: tuple[str, ...]
    data: str
    preprocessing: str
    classes: int
    network_classes: int
    skipped: tuple[str, ...]
    excluded: int
    calibration: str
    batch: int
    threads: int
    max_drop: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyEnvironment(Machine):
    """The machine, and the conditions of the rows."""

    conditions: AccuracyConditions


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyLine:
    """A row of `evaluate` as JSON has it; shares are 0 to 1, drops in points of top-1."""

    model: str
    weights: str
    backend: str
    flavour: str
    precision: str
    state: State
    reason: str
    note: str
    typed_digest: str | None
    batch: int
    file_bytes: int | None
    gate: Parity | Nothing
    images: int | None
    top1: Share | None
    top5: Share | None
    against_first: Flips | None


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """A row that did not run has nothing but its state. `flips` are against the first row that ran."""

    row: Row
    top1: Share | None = None
    top5: Share | None = None
    flips: Flips | None = None

    def __json__(self) -> AccuracyLine:
        row = self.row
        return AccuracyLine(
            model=row.model,
            weights=row.weights,
            backend=row.backend,
            flavour=row.flavour,
            precision=row.precision,
            state=row.state,
            reason=row.reason,
            note=row.note,
            typed_digest=row.typed_digest,
            batch=row.batch,
            file_bytes=row.file_bytes,
            gate=row.parity or Nothing(),
            images=self.top1.n if self.top1 else None,
            top1=self.top1,
            top5=self.top5,
            against_first=self.flips,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyReport(Document):
    """The rows in the order in which they were asked for."""

    environment: AccuracyEnvironment
    rows: tuple[AccuracyRow, ...]

    @property
    def conditions(self) -> AccuracyConditions:
        """What all rows share."""
        return self.environment.conditions

    @property
    def failure(self) -> DeploykitError | None:
        """Why the table as a whole fails, an error with its exit code; None where no row fails.

        A limit on the drop that no row could be held to has not been met.
        """
        failure = failure_of([line.row for line in self.rows], compared=False)
        if failure is None and self.conditions.max_drop is not None and not any(line.flips for line in self.rows):
            return GateFailed(
                "--max-drop could not be checked: fewer than two rows run here", hint="name two that do: --backends ort"
            )
        return failure

    @property
    def unchecked(self) -> tuple[str, ...]:
        """The rows that were built and cannot run here, so that the limit on the drop was not applied to them."""
        if self.conditions.max_drop is None:
            return ()
        return tuple(line.row.label for line in self.rows if line.row.state == "built")

    def raise_if_failed(self) -> None:
        """Raise `failure`, where there is one.

        Raises:
            ExecutionFailed: A row failed.
            GateFailed: No row failed, and a drop is too large, or was limited and could not be measured.
            BackendMissing: Nothing was available.
        """
        if failure := self.failure:
            raise failure
