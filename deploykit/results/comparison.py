"""What `bench` and `verify` answer: a table of rows, the conditions they share, and the machine's fingerprint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from deploykit.bench.disturbance import Disturbance
from deploykit.bench.environment import Machine
from deploykit.bench.peaks import CpuPeaks
from deploykit.codec import shown
from deploykit.errors import DeploykitError
from deploykit.results.document import Document
from deploykit.results.end_to_end import EndToEnd
from deploykit.results.failure import failure_of
from deploykit.results.row import Row
from deploykit.results.scenarios import Scenarios
from deploykit.results.sweep import Saturation, saturation


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What every row of a table shares, stated above it. Empty text is left out.

    `weights` says where they came from (`WeightsOrigin.facts`), `fusions` which rewrites the graphs have where those
    are not the default ones. `inputs` describes the timed input tensors, `preprocessing` how images became them and who
    says so, `calibration` what gave INT8 its ranges and its layers, `copies` whether transfers are inside the timed
    region, `stopped_by` what ended the measurement. Every row had as many `processes`, one after the other; `gave_up`
    says what a longer measurement would have, and `disturbance` what else went on in the machine.

    `cpu_peaks` are the roofs of rows that ran on the CPU.

    Where a table has several `batches`, `batch` is the first of them, and what differs is said batch by batch; `rounds`
    and `seconds` are those of all.

    `parity_checked` is False under `bench --quick`: rows have no verdict, and need none.

    `against` says which other graph was judged, by whose limits, and how its inputs and outputs were paired.

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
    processes: int = 0
    gave_up: tuple[str, ...] = ()
    disturbance: Disturbance | None = None
    step: str = ""
    loss: str = ""
    burn_in: int = 0
    steps: int = 0
    batches: tuple[int, ...] = ()
    cpu_peaks: CpuPeaks | None = None
    against: tuple[str, ...] = ()
    parity_checked: bool = True

    @classmethod
    def of_batches(cls, each: Sequence[Conditions]) -> Conditions:
        """The conditions of one table that holds all batches: the first's, and batch by batch what differs."""
        first, *others = each
        if not others:
            return first
        disturbed = [said.disturbance for said in each if said.disturbance]
        return replace(
            first,
            batches=tuple(said.batch for said in each),
            inputs=_by_batch({said.batch: said.inputs for said in each}),
            preprocessing=_by_batch({said.batch: said.preprocessing for said in each}),
            calibration=_by_batch({said.batch: said.calibration for said in each}),
            copies=next((said.copies for said in each if said.copies), ""),
            stopped_by=_by_batch({said.batch: said.stopped_by for said in each}, alike=" for each batch"),
            rounds=sum(said.rounds for said in each),
            seconds=sum(said.seconds for said in each),
            processes=min(said.processes for said in each),
            gave_up=tuple(dict.fromkeys(text for said in each for text in said.gave_up)),
            disturbance=Disturbance.worst(disturbed) if disturbed else None,
        )


def _by_batch(texts: Mapping[int, str], *, alike: str = "") -> str:
    """One text where all are `alike`, which is put after it; else each behind its batch."""
    if len(set(texts.values())) == 1:
        text = next(iter(texts.values()))
        return text and f"{text}{alike}"
    return "; ".join(f"batch {batch}: {text}" for batch, text in texts.items() if text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonEnvironment(Machine):
    """The machine, and the conditions of the rows."""

    conditions: Conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Document):
    """The rows in the order in which they were asked for, the batches of a backend at a precision together.

    `end_to_end` is the second table of `bench --end-to-end` and `scenarios` that of `--scenario`, None where they were
    not asked for.
    """

    JSON_PROPERTIES = shown("saturation")

    environment: ComparisonEnvironment
    rows: tuple[Row, ...]
    end_to_end: EndToEnd | None = None
    scenarios: Scenarios | None = None

    @property
    def conditions(self) -> Conditions:
        """What all rows share."""
        return self.environment.conditions

    @property
    def saturation(self) -> tuple[Saturation, ...]:
        """Where images per second saturate, of every backend and precision measured at several batches."""
        return saturation(self.rows)

    @property
    def failure(self) -> DeploykitError | None:
        """Why the table as a whole fails, an error with its exit code; None where no row fails."""
        below = (table.failure for table in (self.end_to_end, self.scenarios) if table is not None)
        rows = failure_of(self.rows, compared=self.conditions.parity_checked)
        return rows or next(filter(None, below), None)

    def raise_if_failed(self) -> None:
        """Raise `failure`, where there is one.

        Raises:
            ExecutionFailed: A row failed.
            GateFailed: No row failed, and a verdict is not a pass.
            BackendMissing: Nothing was available.
        """
        if failure := self.failure:
            raise failure
