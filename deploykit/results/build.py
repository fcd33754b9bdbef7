"""What `export` and `build` answer: paths, digests and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploykit.data.preparation import PreparationFacts
from deploykit.parity import ParityResult
from deploykit.plan.summary import PlanSummary
from deploykit.precision.reports import CorrectionReport, EqualizationReport, Float16Report, Int8Report
from deploykit.results.calibration import CalibrationSource
from deploykit.results.choices import FusionDecision, Int8LayerDecision, PrecisionChoice
from deploykit.results.document import Document
from deploykit.results.fusions import FusionReport
from deploykit.spec.reports import PassRecord

TypingReport = Float16Report | Int8Report


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult(Document):
    """The optimized graph. `passes` says what each pass did, `check` how near it is to float64, on `checked_on`.

    `seconds` has what was done this time; what came from the store took none.
    """

    model: str
    weights: str
    weights_digest: str | None
    weights_notes: tuple[str, ...]
    onnx: Path
    digest: str
    from_store: bool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes_exported: int
    nodes: int
    passes: tuple[PassRecord, ...]
    notes: tuple[str, ...]
    check: ParityResult | None
    checked_on: str | None
    seconds: Mapping[str, float]
    decision: FusionDecision | None = None
    fusion_report: FusionReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OverflowResult:
    """Whether float16 overflows on `images` images: where it does `first`, and the option that cures it.

    `note` says which images those were, or why none were looked at.
    """

    images: int
    first: str | None
    keep_fp32: tuple[str, ...]
    cure: str | None
    note: str
    data: str | None = None
    preprocessing: PreparationFacts | None = None

    @property
    def warning(self) -> str:
        """One line that a person can act upon; "" where nothing overflows."""
        return f"float16 overflow in {self.first} ({self.note}); {self.cure}" if self.first else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairResult:
    """What was done for INT8's accuracy."""

    asked: str
    equalized: EqualizationReport | None
    correction: CorrectionReport | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult(Document):
    """An engine. `precision_report` says what became of the graph's types, `plan` what was compiled.

    `reason` says why it cannot run here. `decision`, `best` and `int8_layers` are the answers of the searches that were
    asked for; `defaults` has the options that nobody gave.
    """

    model: str
    notes: tuple[str, ...]
    weights: str
    weights_digest: str | None
    weights_notes: tuple[str, ...]
    backend: str
    flavour: str
    precision: str
    targets: tuple[str, ...]
    batch: str
    tf32: bool
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    onnx: Path
    typed_onnx: Path | None
    typed_digest: str | None
    precision_report: TypingReport | None
    overflow: OverflowResult | None
    repair: RepairResult | None
    calibration: CalibrationSource | None
    engine: Path | None
    engine_digest: str | None
    build_log: Path | None
    plan: PlanSummary | None
    runs_here: bool
    reason: str | None
    note: str | None
    decision: FusionDecision | None
    best: PrecisionChoice | None
    int8_layers: Int8LayerDecision | None
    from_store: bool
    seconds: Mapping[str, float]
    defaults: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UndecidedResult(Document):
    """What `build --precision best` answers where it cannot decide: no engine was chosen."""

    model: str
    weights: str
    weights_digest: str | None
    weights_notes: tuple[str, ...]
    backend: str
    precision: None = None
    engine: None = None
    best: PrecisionChoice
    seconds: Mapping[str, float]
