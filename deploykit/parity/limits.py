"""What a row is held to: one table of limits, and the figures behind it in docs/decisions/parity-limits.md.

The float32 noise floor is how far eager float32 (or ONNX Runtime, running a file as written) is from float64. It scales
FP32's limit up to a ceiling: three times a bad floor would pass anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from deploykit.parity.channels import Group, Part, find_groups, measure_part
from deploykit.parity.kinds import REAL_KINDS, Kind, kind_of
from deploykit.parity.metrics import distance, sqnr_of_images
from deploykit.parity.reference import Outputs
from deploykit.parity.sets import Agreement, agreement, comparable
from deploykit.spec import Precision
from deploykit.spec.arrays import Array

FLOOR_FACTOR = 3.0  # FP32 may be this many times as far from float64 as eager float32 is
FLOOR_CEILING = 1e-3  # relative L2 that FP32 never exceeds; a floor above it is no floor
SMALLEST_FLOOR = 2.0**-21  # relative L2: four units in the last place of float32; a floor below it was luck
LEAST_LIMIT = 2.0**-19  # FP32: no whole output is held to less than sixteen units, whatever order sums are taken in
MINIMUM_SQNR_DB = {Precision.FP16: 30.0, Precision.INT8: 20.0}  # of a whole output; INT8: with trained weights
PART_SQNR_DB = {Precision.FP32: 40.0, Precision.FP16: 20.0, Precision.INT8: 10.0}  # of what varies in a group
PART_FLOOR_FACTOR = 10.0  # FP32: as FLOOR_FACTOR, of a group; few values make the ratio uncertain
SINGLE_MARGIN_DB = 10.0  # a single channel may be below its group's limit by this much
AGREEMENT = {Precision.FP32: 0.999, Precision.FP16: 0.99, Precision.INT8: 0.9}  # of whole numbers and of items
LEAST_FLOOR_AGREEMENT = 0.98  # of float32 with float64, or INT8's own limit: less is no floor; one may always differ
ITEM_TOLERANCE = {Precision.FP32: 1e-3, Precision.FP16: 0.1, Precision.INT8: 0.3}  # of a figure's spread over items
BASELINE_MARGIN_DB = 1.0  # INT8 on random weights: below ONNX Runtime's own quantizer by no more than this
FEWEST_PAIRED, PAIRED_ERRORS, MOST_UNCERTAIN_DB = 3, 2.0, 1.0  # images, standard errors and dB: `uncertain_db`
BASELINE_MARGIN = 0.05  # the same of shares of agreement
WEAKEST_DB, WEAKEST_PART_DB, WEAKEST_SHARE = 6.0, 3.0, 0.5  # a baseline below one of them is none
BACKEND_FACTOR = 2.0  # an engine may add this many times its typed graph's own error, plus the noise floor
# A file that is quantized already, run in FP32: between the two, three times what two float executions differ by.
QUANTIZED_SQNR_DB = (30.0, 20.0)


@dataclass(frozen=True, slots=True)
class Limits:
    """`precision` is the type that the row computes in. `quantized`: the network itself has Q and DQ inside.

    `baseline` holds the outputs of ONNX Runtime's own quantizer on the same images, for INT8 on random weights, and
    `baseline_db` the lowest SQNR among them; `no_baseline` says why there is none where there should be.
    """

    precision: Precision
    random_weights: bool
    baseline_db: float | None = None
    baseline: Outputs = field(default_factory=dict)
    no_baseline: str = ""
    quantized: bool = False

    def of_output(self, floor: float, *, uncertain_db: float = 0.0) -> tuple[float, str]:
        """The largest relative L2 allowed against float64, and the limit in the user's words.

        `uncertain_db` is by how much few images leave it open how the row compares with the baseline.
        """
        if self.precision is Precision.FP32 and self.quantized:
            near, far = (_relative(decibel) for decibel in QUANTIZED_SQNR_DB)
            allowed = min(max(FLOOR_FACTOR * floor, near), far)
            return (
                allowed,
                f"at most {allowed:.2g} relative L2: the file rounds to integers, and float32 itself is {floor:.2g} "
                "from float64",
            )
        if self.precision is Precision.FP32:
            allowed = FLOOR_FACTOR * floor
            if allowed < LEAST_LIMIT:
                return LEAST_LIMIT, f"at most {LEAST_LIMIT:.2g} relative L2 (16 units in the last place of float32)"
            said = f"at most {FLOOR_FACTOR:g}x the float32 noise floor of {floor:.2g}"
            capped = f", and at most {FLOOR_CEILING:g}" if allowed > FLOOR_CEILING else ""
            return min(allowed, FLOOR_CEILING), f"{said}{capped}, relative L2"
        decibel = self.minimum_db
        said = f"SQNR at least {decibel:g} dB"
        if self._by_baseline and self.baseline_db is not None:
            decibel = self.baseline_db - BASELINE_MARGIN_DB - uncertain_db
            said = (
                f"SQNR at least {decibel:.1f} dB, for random weights: ONNX Runtime's quantize_static "
                f"({self.baseline_db:.1f} dB) - {BASELINE_MARGIN_DB:g} dB"
            )
            said += f" - {uncertain_db:.1f} dB (uncertainty over the images)" if uncertain_db >= 0.05 else ""
        if self._by_baseline and self.no_baseline:
            said += f" (the limit of trained weights: there is no baseline for random ones, {self.no_baseline})"
        return _relative(decibel), said

    @property
    def minimum_db(self) -> float:
        """The fixed limit of FP16 and INT8."""
        return MINIMUM_SQNR_DB[Precision.INT8 if self.quantized else self.precision]

    @property
    def largest_floor(self) -> float:
        """Relative L2 of eager float32 beyond which nothing can be judged by it."""
        if self.precision is not Precision.FP32:
            return _relative(self.minimum_db)
        return _relative(QUANTIZED_SQNR_DB[1]) if self.quantized else FLOOR_CEILING

    @property
    def part_db(self) -> float:
        """The fixed limit of what varies in a group."""
        return PART_SQNR_DB[Precision.INT8 if self.quantized else self.precision]

    def uncertain_db(self, name: str, candidate: Array, exact: Array) -> float:
        """By how much the row may be below the baseline's limit for no other reason than the choice of the images, dB.

        Two quantizers that are equally good differ on an image by a decibel or two either way, and on eight images by
        half a decibel. This is twice the standard error of the paired differences, at most 1 dB.
        """
        if not self._by_baseline or name not in self.baseline or len(exact) < FEWEST_PAIRED:
            return 0.0
        apart = sqnr_of_images(candidate, exact) - sqnr_of_images(self.baseline[name], exact)
        if not np.isfinite(apart).all():
            return 0.0
        return min(PAIRED_ERRORS * float(apart.std(ddof=1)) / math.sqrt(len(apart)), MOST_UNCERTAIN_DB)

    def of_part(self, name: str, group: Group, exact: Array, floor_db: float, *, uncertain_db: float = 0.0) -> Part:
        """The lowest SQNR for what varies in a group, and for its worst channel, dB; `floor_db` is float32's own."""
        limit = self.part_db
        if self.precision is Precision.FP32 and not self.quantized:
            limit = max(limit, floor_db - _decibel(PART_FLOOR_FACTOR))
        single = limit - SINGLE_MARGIN_DB
        if self._by_baseline and name in self.baseline:
            baseline = measure_part(group, self.baseline[name], exact)
            margin = BASELINE_MARGIN_DB + uncertain_db
            limit = min(limit, baseline.sqnr_db - margin)
            worst = baseline.sqnr_db if baseline.worst_db is None else baseline.worst_db
            single = min(single, worst - margin)
        return Part(str(group), limit, None, single)

    def of_agreement(self, baseline: Agreement | None, floor: Agreement) -> float:
        """The smallest share of agreement allowed: where that is less than one value, one may differ."""
        share = AGREEMENT[Precision.INT8 if self.quantized else self.precision]
        if self._by_baseline and baseline is not None:
            share = min(share, baseline.share - BASELINE_MARGIN)
        spare = 0 if self.precision is Precision.FP32 and not self.quantized else 1
        most = max(floor.wrong + 1, int(FLOOR_FACTOR * (1.0 - self.least_floor_agreement) * floor.of))
        by_floor = min(int(FLOOR_FACTOR * floor.wrong), most) if floor.wrong else 0
        allowed = min(max(int((1.0 - share) * floor.of) + spare, by_floor), floor.of)
        return 1.0 - allowed / floor.of if floor.of else 1.0

    @property
    def least_floor_agreement(self) -> float:
        """The share of whole numbers, or items, that float32 itself must have right for a row to be judged by it."""
        return min(LEAST_FLOOR_AGREEMENT, AGREEMENT[Precision.INT8 if self.quantized else self.precision])

    def item_tolerance(self) -> float:
        return ITEM_TOLERANCE[Precision.INT8 if self.quantized else self.precision]

    @property
    def _by_baseline(self) -> bool:
        return self.precision is Precision.INT8 and self.random_weights and not self.quantized


def floor_of(group: Group, float32: Array, exact: Array, least: float) -> float:
    """How near float32 itself is in what varies of a group, dB, were it `least` away (relative L2) at the least."""
    part = measure_part(group, float32, exact)
    values = group.of_output(exact)
    varying = float(np.linalg.norm(values - values.mean(axis=1, keepdims=True)))
    return min(part.sqnr_db, -_decibel(least * float(np.linalg.norm(values)) / varying))


def baseline_db(baseline: Outputs, exact: Outputs, kinds: Mapping[str, Kind]) -> float | None:
    """The lowest SQNR of the quantizer's real outputs, dB; None where it has none."""
    shown = [name for name, array in exact.items() if array.dtype.kind == "f" and name not in kinds]
    return min((distance(baseline[name], exact[name]).sqnr_db for name in shown), default=None)


def too_weak(baseline: Outputs, exact: Outputs, kinds: Mapping[str, Kind]) -> str:
    """Why the quantizer's own outputs are too wrong for a row to be held to them, "" where they are not.

    A limit below them would pass anything.
    """
    for name, array in exact.items():
        found, kind = baseline[name], kind_of(array, kinds.get(name))
        if not comparable(found, array):
            return f"quantize_static itself gives {name} of shape {found.shape}, not {array.shape}"
        if array.dtype.kind != "f" or kind.name not in REAL_KINDS:
            share = agreement(found, array, kind, ITEM_TOLERANCE[Precision.INT8]).share
            if share < WEAKEST_SHARE:
                return f"quantize_static itself has {share:.0%} of {name} right"
            continue
        whole = distance(found, array).sqnr_db
        if whole < WEAKEST_DB:
            return f"quantize_static itself reaches only {whole:.1f} dB in {name}"
        for part in (measure_part(group, found, array) for group in find_groups(array)):
            if part.sqnr_db < WEAKEST_PART_DB:
                at = f"[{part.channels}]" if part.channels else ""
                return f"quantize_static itself reaches only {part.sqnr_db:.1f} dB in the mean-removed {name}{at}"
    return ""


def _relative(decibel: float) -> float:
    return float(10.0 ** (-decibel / 20.0))


def _decibel(factor: float) -> float:
    return 20.0 * math.log10(factor)
