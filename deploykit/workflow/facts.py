"""What the store keeps beside the files of each step, as the values that the step returned."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.plan.summary import PlanSummary
from deploykit.precision.reports import CorrectionReport, EqualizationReport
from deploykit.results.build import TypingReport
from deploykit.spec import Reason, TensorSpec, WeightsOrigin
from deploykit.spec.reports import PassLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFacts:
    """What a graph takes and gives."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizedFacts(GraphFacts):
    """An optimized graph: what each pass did, and what its file said.

    `seconds` is what tracing and optimizing took, None where the trace was at hand. `computes_in` lists the types of a
    file that is not plainly float32; `normalizes` says what the graph does to its input by itself, `preprocess` what
    the file notes of the preprocessing that it wants, `notes` what had to be put right to read a file, `nan` the
    weights that hold NaN. `equalized` is None where no channels were equalized.
    """

    ledger: PassLedger
    seconds: float | None = None
    nan: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    normalizes: str = ""
    preprocess: str | None = None
    computes_in: tuple[str, ...] = ()
    equalized: EqualizationReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedFacts(GraphFacts):
    """A typed graph; `report` is None where somebody else typed it, `correction` where no biases were corrected.

    `seconds` is what the typing took, its calibration apart.
    """

    report: TypingReport | None = None
    note: str = ""
    correction: CorrectionReport | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts(GraphFacts):
    """A compiled engine, see `backends.protocol.Engine`, how long it took to build, and whose weights it has."""

    backend: str
    flavour: str
    reason: Reason | None
    note: str
    plan: PlanSummary | None
    seconds: float
    weights: WeightsOrigin


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFacts:
    """A network's state: where it is from, and the classes and channels that a checkpoint told."""

    origin: WeightsOrigin
    num_classes: int | None
    in_channels: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFacts:
    """What a network returns, where it had to be run to know."""

    outputs: tuple[TensorSpec, ...]
