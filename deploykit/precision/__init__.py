"""Precision lives in the graph: an optimised float graph in, a typed graph out.

FP32 is the graph itself, FP16 retypes it, INT8 writes Q/DQ pairs from a calibration table where a placement wants them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploykit.errors import UsageError
from deploykit.spec import Precision

if TYPE_CHECKING:
    import onnx_ir as ir

    from deploykit.backends.protocol import Placement
    from deploykit.precision.calibrate.table import CalibrationTable
    from deploykit.precision.float16 import Float16Report
    from deploykit.precision.int8 import Int8Report

__all__ = ["PrecisionReport", "apply"]


@dataclass(frozen=True, slots=True)
class PrecisionReport:
    """What typing the graph did: `float16` or `int8` tells, and neither for FP32, which changes nothing."""

    precision: Precision
    float16: "Float16Report | None" = None
    int8: "Int8Report | None" = None


def apply(
    model: "ir.Model",
    precision: Precision,
    *,
    keep_io: bool = True,
    table: "CalibrationTable | None" = None,
    placement: "Placement | None" = None,
) -> PrecisionReport:
    """Type `model` in place. INT8 needs `table` and `placement`, and keeps float32 inputs and outputs.

    Raises what `to_float16` and `quantise` raise, and UsageError for INT8 without its two arguments.
    """
    if precision is Precision.FP16:
        from deploykit.precision.float16 import to_float16

        return PrecisionReport(precision, float16=to_float16(model, keep_io=keep_io))
    if precision is Precision.INT8:
        from deploykit.precision.int8 import quantise

        if table is None or placement is None:
            raise UsageError(
                "INT8 needs a calibration table and a backend's placement", hint="run `deploykit calibrate` first"
            )
        return PrecisionReport(precision, int8=quantise(model, table, placement))
    return PrecisionReport(precision)
