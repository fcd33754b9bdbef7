"""Numerical parity: the float64 reference, the distances from it, and the two verdicts."""

from deploykit.parity.coordinates import coordinate_noise
from deploykit.parity.file_reference import file_reference
from deploykit.parity.kinds import Kind, output_kinds
from deploykit.parity.limits import Limits, baseline_db, too_weak
from deploykit.parity.metrics import Distance, Top1, distance, sqnr_db, sqnr_of_images, top1
from deploykit.parity.module import module_reference
from deploykit.parity.reference import (
    CHUNK,
    PLAIN_REFERENCES,
    Reference,
    apart,
    double_outputs,
    graph_reference,
    joined,
    unlike,
)
from deploykit.parity.results import GateMissed, LayerError, OutputParity, Parity, ParityResult, Undecided
from deploykit.parity.sets import Agreement
from deploykit.parity.verdict import closeness_db, judge

__all__ = [
    "CHUNK",
    "PLAIN_REFERENCES",
    "Agreement",
    "Distance",
    "GateMissed",
    "Kind",
    "LayerError",
    "Limits",
    "OutputParity",
    "Parity",
    "ParityResult",
    "Reference",
    "Top1",
    "Undecided",
    "apart",
    "baseline_db",
    "closeness_db",
    "coordinate_noise",
    "distance",
    "double_outputs",
    "file_reference",
    "graph_reference",
    "joined",
    "judge",
    "module_reference",
    "output_kinds",
    "sqnr_db",
    "sqnr_of_images",
    "too_weak",
    "top1",
    "unlike",
]
