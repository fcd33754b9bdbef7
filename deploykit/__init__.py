"""deploykit takes convolutional networks from PyTorch through ONNX to TensorRT engines, and proves what comes out.

    import deploykit as dk

    engine = dk.build("resnet50", precision="fp16", target="sm_89")
    print(dk.verify("resnet50", precisions=["fp32", "fp16"]).to_json())

The names are those of `deploykit.api`, which is imported when the first of them is used. Neither imports a framework.
"""

from sys import modules
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploykit.api import *  # noqa: F403

    __version__: str

__all__ = [  # noqa: F405
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
    "__version__",
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


class _Package(ModuleType):
    """`deploykit.zoo`, `bench`, `export` and `doctor` are functions, though parts of the package have these names, too.

    The import system would put the part in the function's place. `from deploykit.zoo import registry` does not mind.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in __all__):
            super().__setattr__(name, value)


modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'deploykit' has no attribute {name!r}")
    if name == "__version__":
        from importlib.metadata import version

        found: object = version("deploykit")
    else:
        from deploykit import api

        found = getattr(api, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
