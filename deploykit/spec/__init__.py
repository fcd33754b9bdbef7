"""What the user asks for, as frozen values. Nothing here imports a framework."""

from deploykit.spec.build import (
    COST_BASED_FUSIONS,
    SAFE_FUSIONS,
    BuilderOptions,
    BuildSpec,
    DataSource,
    EngineSettings,
    Fusions,
    Synthetic,
)
from deploykit.spec.int8 import CALIBRATION_METHODS, POLICY_TERMS, REPAIRS, Calibration, QuantizationPolicy, Repair
from deploykit.spec.network import ImageAxes, ModelSpec, Scalar, TensorSpec, parse_factory_args, tensor_spec
from deploykit.spec.placement import ORT_CPU, ORT_CPU_7BIT, TENSORRT, Placement
from deploykit.spec.preprocessing import Preprocessing, PreprocessRequest
from deploykit.spec.scenarios import SCENARIOS, Scenario, parse_scenarios
from deploykit.spec.shapes import BATCH, InputRange, InputShape, SizeRange, parse_input_range, parse_input_shape
from deploykit.spec.signature import Signature, fixed_batch_of
from deploykit.spec.types import MAX_BATCH, BatchRange, Precision, Target, parse_batches
from deploykit.spec.values import Feed, Progress, Reason, silent
from deploykit.spec.weights import WeightsOrigin

__all__ = [
    "BATCH",
    "CALIBRATION_METHODS",
    "COST_BASED_FUSIONS",
    "MAX_BATCH",
    "ORT_CPU",
    "ORT_CPU_7BIT",
    "POLICY_TERMS",
    "REPAIRS",
    "SAFE_FUSIONS",
    "SCENARIOS",
    "TENSORRT",
    "BatchRange",
    "BuildSpec",
    "BuilderOptions",
    "Calibration",
    "DataSource",
    "EngineSettings",
    "Feed",
    "Fusions",
    "ImageAxes",
    "InputRange",
    "InputShape",
    "ModelSpec",
    "Placement",
    "Precision",
    "PreprocessRequest",
    "Preprocessing",
    "Progress",
    "QuantizationPolicy",
    "Reason",
    "Repair",
    "Scalar",
    "Scenario",
    "Signature",
    "SizeRange",
    "Synthetic",
    "Target",
    "TensorSpec",
    "WeightsOrigin",
    "fixed_batch_of",
    "parse_batches",
    "parse_factory_args",
    "parse_input_range",
    "parse_input_shape",
    "parse_scenarios",
    "silent",
    "tensor_spec",
]
