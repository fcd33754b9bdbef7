"""What `verify --from-bytes` answers: how far pipelines from the same image files to a network's input are apart."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.bench.environment import Machine
from deploykit.data.pipelines import Step
from deploykit.errors import DeploykitError, ExecutionFailed, GateFailed
from deploykit.results.document import Document
from deploykit.results.row import State


@dataclass(frozen=True, slots=True)
class PixelDifference:
    """How far inputs are apart on the scale of pixels, 0 to 255: the mean over all, and the largest."""

    mean: float
    max: float


@dataclass(frozen=True, slots=True)
class OutputDifference:
    """What the network makes of it: SQNR of its worst output, dB, and how many of `images` keep their first class.

    `same_class` is None where the network is no classifier.
    """

    sqnr_db: float
    images: int
    same_class: int | None = None


@dataclass(frozen=True, slots=True)
class StepCost:
    """One step done otherwise than the reference does it, all others as the reference has them.

    `output` is None where the step makes no difference to the input that could matter.
    """

    step: Step
    said: str
    input: PixelDifference
    output: OutputDifference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRow:
    """A pipeline beside the reference. What could not run has nothing but its state and the reason.

    `steps` are those that differ: of a pipeline whose steps nobody knows, the faults that explain its difference.
    """

    pipeline: str
    flavour: str = ""
    state: State
    reason: str = ""
    input: PixelDifference | None = None
    output: OutputDifference | None = None
    steps: tuple[StepCost, ...] = ()
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesConditions:
    """What all rows share. `limit` is the mean difference of inputs, of 255, that a pipeline may have."""

    model: str
    weights: str
    weights_digest: str | None
    weights_notes: tuple[str, ...]
    data: str
    files: int
    images: tuple[str, ...]
    undecodable: tuple[str, ...]
    preprocessing: str
    network: str
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesEnvironment(Machine):
    """The machine, and the conditions of the rows."""

    conditions: BytesConditions


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesReport(Document):
    """Pipelines beside the network's own declaration, and what usual `faults` would cost this network."""

    environment: BytesEnvironment
    rows: tuple[PipelineRow, ...]
    faults: tuple[StepCost, ...]

    @property
    def conditions(self) -> BytesConditions:
        """What all rows share."""
        return self.environment.conditions

    @property
    def failure(self) -> DeploykitError | None:
        """Why the table as a whole fails, an error with its exit code; None where no row fails."""
        for row in self.rows:
            if row.state == "failed":
                return ExecutionFailed(f"pipeline {row.pipeline} failed: {row.reason}")
        for row in self.rows:
            if row.verdict == "fail":
                return GateFailed(f"pipeline {row.pipeline} does not hold: {row.reason}")
        return None

    def raise_if_failed(self) -> None:
        """Raise `failure`, where there is one.

        Raises:
            ExecutionFailed: A pipeline failed.
            GateFailed: A pipeline's inputs are too far from the reference's.
        """
        if failure := self.failure:
            raise failure
