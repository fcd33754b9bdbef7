"""Numerical parity: the float64 reference, the distances from it, and the two verdicts."""

from deploykit.parity.file_reference import file_reference
from deploykit.parity.metrics import Distance, Top1, distance, sqnr_db, top1
from deploykit.parity.reference import CHUNK, Reference, double_outputs, graph_reference, joined, module_reference
from deploykit.parity.verdict import Limits, OutputParity, ParityResult, judge

__all__ = [
    "CHUNK",
    "Distance",
    "Limits",
    "OutputParity",
    "ParityResult",
    "Reference",
    "Top1",
    "distance",
    "double_outputs",
    "file_reference",
    "graph_reference",
    "joined",
    "judge",
    "module_reference",
    "sqnr_db",
    "top1",
]
