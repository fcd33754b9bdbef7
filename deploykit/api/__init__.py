"""The public names: what the command line does, for Python code, with the values that go in and come out.

    import deploykit as dk

    graph = dk.export(dk.zoo("resnet50", weights="resnet50.pth"))
    table = dk.calibrate(graph, data="images/")
    engine = dk.build(graph, precision="int8", calibration=table)

Options are keyword-only and have the command line's defaults. Results are frozen values. Nothing is printed: progress
goes to `progress=`, and warnings are issued as `DeploykitWarning`. Importing this imports no framework.
"""

from deploykit.api.engines import BuiltEngine, build, open  # noqa: A004 - named as `io.open` is
from deploykit.api.gate import compare, latest_results, load_results, save_results
from deploykit.api.graphs import ExportedGraph, export
from deploykit.api.images import verify_from_bytes
from deploykit.api.models import Model, from_factory, from_module, from_name, from_onnx, zoo
from deploykit.api.pages import write_html
from deploykit.api.plans import doctor, inspect, list_models, summarize
from deploykit.api.predictions import predict
from deploykit.api.predictor import Predictor
from deploykit.api.reports import bench, evaluate, verify
from deploykit.api.steps import bench_steps
from deploykit.api.stores import clear_store, prune_store, store_entries, verify_store
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
from deploykit.results.end_to_end import EndToEnd, EndToEndRow
from deploykit.results.explanation import Explanation
from deploykit.results.from_bytes import BytesReport, PipelineRow
from deploykit.results.fusions import FusionReport
from deploykit.results.gate import Check, GateReport, GateRow
from deploykit.results.inspection import Inspection
from deploykit.results.network import NetworkSummary
from deploykit.results.predictions import PredictionResult
from deploykit.results.row import Row
from deploykit.results.scenarios import ScenarioRow, Scenarios
from deploykit.results.sensitivity import Sensitivity
from deploykit.results.store import StoreCheck, StoreListing, StoreRemoval
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
from deploykit.store.contents import Quarantined, StoredEntry
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
    "BytesReport",
    "CalibratedTable",
    "Calibration",
    "CalibrationResult",
    "Card",
    "Check",
    "CheckpointMismatch",
    "DeploykitError",
    "DeploykitWarning",
    "DeviceOutOfMemory",
    "EndToEnd",
    "EndToEndRow",
    "EnginePlan",
    "EngineSettings",
    "ExecutionFailed",
    "Explanation",
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
    "GateReport",
    "GateRow",
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
    "PipelineRow",
    "Precision",
    "PrecisionChoice",
    "PrecisionUndecided",
    "PredictionResult",
    "Predictor",
    "PreprocessRequest",
    "Preprocessing",
    "Progress",
    "QuantizationPolicy",
    "Quarantined",
    "Reason",
    "Repair",
    "Report",
    "Row",
    "ScenarioRow",
    "Scenarios",
    "Sensitivity",
    "Session",
    "ShardResult",
    "SizeRange",
    "StoreCheck",
    "StoreFailed",
    "StoreListing",
    "StoreRemoval",
    "StoredEntry",
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
    "clear_store",
    "compare",
    "doctor",
    "evaluate",
    "export",
    "from_factory",
    "from_module",
    "from_name",
    "from_onnx",
    "inspect",
    "latest_results",
    "list_models",
    "load_results",
    "merge_shards",
    "open",
    "predict",
    "prune_store",
    "save_results",
    "sensitivity",
    "store_entries",
    "summarize",
    "verify",
    "verify_from_bytes",
    "verify_store",
    "write_html",
    "zoo",
]
