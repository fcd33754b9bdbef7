"""The public names: what the command line does, for Python code, with the values that go in and come out.

    import deploykit as dk

    graph = dk.export(dk.zoo("resnet50", weights="resnet50.pth"))
    table = dk.calibrate(graph, data="images/")
    engine = dk.build(graph, precision="int8", calibration=table)

Options are keyword-only and have the command line's defaults. Results are frozen values. Nothing is printed: progress
goes to `progress=`, and warnings are issued as `DeploykitWarning`. Importing this imports no framework.
"""

from deploykit.api.engines import BuiltEngine, build, open  # noqa: A004 - named as `io.open` is
from deploykit.api.graphs import ExportedGraph, export
from deploykit.api.models import Model, from_factory, from_module, from_name, from_onnx, zoo
from deploykit.api.pages import write_html
from deploykit.api.plans import doctor, inspect, list_models, summarize
from deploykit.api.reports import bench, bench_steps, evaluate, verify
from deploykit.api.tables import CalibratedTable, calibrate, calibrate_shard, merge_shards, sensitivity
from deploykit.backends.protocol import Session
from deploykit.doctor import Finding
from deploykit.errors import (
    BackendMissing,
    BuildFailed,
    CheckpointMismatch,
    DeploykitError,
    DeploykitWarning,
    DeviceOutOfMemory,
    ExecutionFailed,
    ExportFailed,
    Float16Overflow,
    GateFailed,
    InvalidFeed,
    PrecisionUndecided,
    StoreFailed,
    UnknownName,
    UnreadOption,
    UnsupportedGraph,
    UntrustedArtifact,
    UsageError,
    WorkerCrashed,
)
from deploykit.parity import ParityResult
from deploykit.plan.gpus import Gpu
from deploykit.plan.model import EnginePlan
from deploykit.results.accuracy import AccuracyReport, AccuracyRow
from deploykit.results.build import BuildResult, ExportResult, UndecidedResult
from deploykit.results.calibration import CalibrationResult, ShardResult
from deploykit.results.choices import FusionDecision, Int8LayerDecision, PrecisionChoice
from deploykit.results.comparison import Report
from deploykit.results.fusions import FusionReport
from deploykit.results.inspection import Inspection
from deploykit.results.network import NetworkSummary
from deploykit.results.row import Row
from deploykit.results.sensitivity import Sensitivity
from deploykit.spec import (
    BatchRange,
    BuilderOptions,
    BuildSpec,
    Calibration,
    EngineSettings,
    Feed,
    Fusions,
    InputRange,
    InputShape,
    ModelSpec,
    Precision,
    Preprocessing,
    PreprocessRequest,
    Progress,
    QuantizationPolicy,
    Reason,
    Repair,
    SizeRange,
    Synthetic,
    Target,
    TensorSpec,
    WeightsOrigin,
)
from deploykit.zoo.registry import Card

__all__ = [
    "AccuracyReport",
    "AccuracyRow",
    "BackendMissing",
    "BatchRange",
    "BuildFailed",
    "BuildResult",
    "BuildSpec",
    "BuilderOptions",
    "BuiltEngine",
    "CalibratedTable",
    "Calibration",
    "CalibrationResult",
    "Card",
    "CheckpointMismatch",
    "DeploykitError",
    "DeploykitWarning",
    "DeviceOutOfMemory",
    "EnginePlan",
    "EngineSettings",
    "ExecutionFailed",
    "ExportFailed",
    "ExportResult",
    "ExportedGraph",
    "Feed",
    "Finding",
    "Float16Overflow",
    "FusionDecision",
    "FusionReport",
    "Fusions",
    "GateFailed",
    "Gpu",
    "InputRange",
    "InputShape",
    "Inspection",
    "Int8LayerDecision",
    "InvalidFeed",
    "Model",
    "ModelSpec",
    "NetworkSummary",
    "ParityResult",
    "Precision",
    "PrecisionChoice",
    "PrecisionUndecided",
    "PreprocessRequest",
    "Preprocessing",
    "Progress",
    "QuantizationPolicy",
    "Reason",
    "Repair",
    "Report",
    "Row",
    "Sensitivity",
    "Session",
    "ShardResult",
    "SizeRange",
    "StoreFailed",
    "Synthetic",
    "Target",
    "TensorSpec",
    "UndecidedResult",
    "UnknownName",
    "UnreadOption",
    "UnsupportedGraph",
    "UntrustedArtifact",
    "UsageError",
    "WeightsOrigin",
    "WorkerCrashed",
    "bench",
    "bench_steps",
    "build",
    "calibrate",
    "calibrate_shard",
    "doctor",
    "evaluate",
    "export",
    "from_factory",
    "from_module",
    "from_name",
    "from_onnx",
    "inspect",
    "list_models",
    "merge_shards",
    "open",
    "sensitivity",
    "summarize",
    "verify",
    "write_html",
    "zoo",
]
