"""What `bench` and `verify` answer: a table of rows, the conditions they share, and the machine's fingerprint."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.bench.environment import Machine
from deploykit.errors import DeploykitError
from deploykit.results.document import Document
from deploykit.results.end_to_end import EndToEnd
from deploykit.results.failure import failure_of
from deploykit.results.row import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What every row of a table shares, stated above it. Empty text is left out.

    `weights` says where they came from (`WeightsOrigin.facts`), `fusions` which rewrites the graphs have where those
    are not the default ones. `inputs` describes the timed input tensors, `preprocessing` how images became them and who
    says so, `calibration` what gave INT8 its ranges and its layers, `copies` whether transfers are inside the timed
    region, `stopped_by` what ended the measurement.

    Under `bench --mode`: what one `step` does, its `loss` where it has one, and how many steps were burn-in and timed.
    """

    model: str
    batch: int
    threads: int
    tf32: bool
    weights: str = ""
    weights_digest: str | None = None
    weights_notes: tuple[str, ...] = ()
    fusions: str = ""
    inputs: str = ""
    preprocessing: str = ""
    calibration: str = ""
    copies: str = ""
    stopped_by: str = ""
    rounds: int = 0
    seconds: float = 0.0
    step: str = ""
    loss: str = ""
    burn_in: int = 0
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonEnvironment(Machine):
    """The machine, and the conditions of the rows."""

    conditions: Conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Document):
    """The rows in the order in which they were asked for.

    `end_to_end` is the second table of `bench --end-to-end`, None where that was not asked for.
    """

    environment: ComparisonEnvironment
    rows: tuple[Row, ...]
    end_to_end: EndToEnd | None = None

    @property
    def conditions(self) -> Conditions:
        """What all rows share."""
        return self.environment.conditions

    @property
    def failure(self) -> DeploykitError | None:
        """Why the table as a whole fails, an error with its exit code; None where no row fails."""
        return failure_of(self.rows) or (self.end_to_end.failure if self.end_to_end else None)

    def raise_if_failed(self) -> None:
        """Raise `failure`, where there is one.

        Raises:
            ExecutionFailed: A row failed.
            GateFailed: No row failed, and a verdict is not a pass.
            BackendMissing: Nothing was available.
        """
        if failure := self.failure:
            raise failure
