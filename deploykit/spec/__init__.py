"""What the user asks for, as frozen values. Nothing here imports a framework."""

from deploykit.spec.build import PRICED_FUSIONS, SAFE_FUSIONS, BuilderOptions, BuildSpec, Fusions
from deploykit.spec.int8 import CALIBRATION_METHODS, POLICY_TERMS, REPAIRS, Calibration, QuantisationPolicy, Repair
from deploykit.spec.network import ModelSpec, Preprocessing, Scalar, TensorSpec, parse_factory_args, parse_input_shape
from deploykit.spec.types import MAX_BATCH, BatchRange, Precision, Target

__all__ = [
    "CALIBRATION_METHODS",
    "MAX_BATCH",
    "POLICY_TERMS",
    "PRICED_FUSIONS",
    "REPAIRS",
    "SAFE_FUSIONS",
    "BatchRange",
    "BuildSpec",
    "BuilderOptions",
    "Calibration",
    "Fusions",
    "ModelSpec",
    "Precision",
    "Preprocessing",
    "QuantisationPolicy",
    "Repair",
    "Scalar",
    "Target",
    "TensorSpec",
    "parse_factory_args",
    "parse_input_shape",
]
