"""What `evaluate` answers: how often each row is right, and on which images it differs from the first."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from deploykit.bench.environment import Machine
from deploykit.errors import DeploykitError, GateFailed
from deploykit.parity import Parity
from deploykit.parity.accuracy import Flips, Share
from deploykit.results.document import Document
from deploykit.results.failure import failure_of
from deploykit.results.row import Nothing, Row, RowAccuracy, State


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyConditions:
    """What all rows share.

    `classes` is how many the data has, `network_classes` how many the network tells apart, `calibration` what INT8's
    ranges come from, in words. `skipped` names images that could not be read, `excluded` counts those that were left
    out because INT8 was calibrated on them or on copies of them. `max_drop` is how many points of top-1 a row may lose
    against the first; None sets no limit. `images_digest` is the same for the same images in the same order.
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
    images_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyEnvironment(Machine):
    """The machine, and the conditions of the rows."""

    conditions: AccuracyConditions


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyLine:
    """A row of `evaluate` as JSON has it; shares are 0 to 1, drops in points of top-1, `right` as in `AccuracyRow`."""

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
    right: str | None = None


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """A row that did not run has nothing but its state. `flips` are against the first row that ran.

    `right` says for each image whether its label is the first choice: one bit each in hexadecimal, the first image in
    the highest bit, zeros behind the last. By it two results on the same images can be compared image by image.
    """

    row: Row
    top1: Share | None = None
    top5: Share | None = None
    flips: Flips | None = None
    right: str | None = None

    def __post_init__(self) -> None:
        if self.right is None:
            return
        hits, images = (self.top1.hits, self.top1.n) if self.top1 else (0, 0)
        fits = re.fullmatch(r"[0-9a-f]*", self.right) and len(self.right) == 2 * math.ceil(images / 8)
        if not fits or int(self.right or "0", 16).bit_count() != hits:
            raise ValueError(f"right does not say which {hits} of {images} images are")

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
            right=self.right,
        )

    @classmethod
    def from_json(cls, line: AccuracyLine) -> AccuracyRow:
        """The row that such a line was written of."""
        names = ("model", "weights", "backend", "flavour", "precision", "state", "reason", "note", "typed_digest")
        gate = None if isinstance(line.gate, Nothing) else line.gate
        known = {name: getattr(line, name) for name in (*names, "batch", "file_bytes")}
        row = Row(**known, parity=gate)
        return cls(row, line.top1, line.top5, line.against_first, line.right)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyReport(Document):
    """The rows in the order in which they were asked for."""

    environment: AccuracyEnvironment
    rows: tuple[AccuracyRow, ...]

    @property
    def conditions(self) -> AccuracyConditions:
        """What all rows share."""
        return self.environment.conditions

    def accuracy_of(self, row: Row, *, weights_digest: str | None) -> RowAccuracy | None:
        """Top-1 of what `row` runs: the same backend on the same typed graph; None where no row here is that.

        A backend that runs the module itself has no typed graph: there the weights have to be the same, and the
        precision.
        """
        same_weights = weights_digest is not None and weights_digest == self.conditions.weights_digest
        for line in self.rows:
            theirs = line.row
            if line.top1 is None or (theirs.backend, theirs.precision) != (row.backend, row.precision):
                continue
            if theirs.typed_digest == row.typed_digest and (row.typed_digest is not None or same_weights):
                return RowAccuracy(line.top1, self.conditions.data)
        return None

    @property
    def failure(self) -> DeploykitError | None:
        """Why the table as a whole fails, an error with its exit code; None where no row fails.

        A limit on the drop that no row could be held to has not been met.
        """
        failure = failure_of([line.row for line in self.rows], compared=False)
        if failure is None and self.conditions.max_drop is not None and not any(line.flips for line in self.rows):
            return GateFailed(
                "--max-drop could not be checked: fewer than two rows run here",
                hint="name two that do, such as --backends ort,torch",
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
