"""Is it still right? Two losses, judged apart because they have different cures.

*Precision loss* is the typed graph, executed without runtime optimizations, against the float64 reference: what the
types cost, on any backend. *Backend loss* is the engine against its typed graph: what the backend adds. Gates come
first: NaN and Inf, shapes, values that collapse, an output that does not vary over its inputs and a float32 noise floor
that is too high to judge by. What is measured depends on what an output is made of (`kinds.py`); the limits stand in
`limits.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deploykit.parity.channels import Group, Part, find_groups, measure_part
from deploykit.parity.kinds import REAL_KINDS, Kind, kind_of
from deploykit.parity.limits import (
    BACKEND_FACTOR,
    FLOOR_FACTOR,
    PART_SQNR_DB,
    SMALLEST_FLOOR,
    Limits,
    floor_of,
)
from deploykit.parity.metrics import (
    Distance,
    distance,
    distribution_axis,
    sqnr_of_images,
    top1,
    variation,
)
from deploykit.parity.reference import Outputs, Reference
from deploykit.parity.results import OutputParity, ParityResult, Scope, Verdict
from deploykit.parity.sets import Agreement, agreement, comparable
from deploykit.spec import Precision
from deploykit.spec.arrays import Array

ALIKE = 0.01  # of a probability over the images: less does not tell classes apart
FEWEST_IMAGES, ALONE_DB = 3, 10.0  # from when on, and how far below the median, an image by itself is named
# Variation over inputs below which agreement is that of a constant, and says nothing: of the output's size, and of what
# varies in it at all, places included.
CONSTANT, CONSTANT_OF_VARYING = 1e-5, 1e-3


def judge(
    engine: Outputs | None,
    literal: Outputs | None,
    reference: Reference,
    limits: Limits,
    *,
    kinds: Mapping[str, Kind] | None = None,
    blame: str = "",
) -> ParityResult:
    """Each output against float64: of the engine (None: it cannot run here) and of the typed graph as written
    (None: the row runs no typed graph). `kinds` is what the graph says of its outputs, `blame` what is known of where
    NaN and Inf come from.
    """
    outputs = tuple(
        _judge_output(
            _Case(
                name=name,
                scope="typed graph" if engine is None else "engine",
                engine=None if engine is None else engine.get(name),
                literal=None if literal is None else literal.get(name),
                exact=exact,
                float32=reference.float32[name],
                least_floor=max(reference.least_floor, SMALLEST_FLOOR),
                kind=kind_of(exact, (kinds or {}).get(name)),
                blame=blame,
            ),
            limits,
        )
        for name, exact in reference.exact.items()
    )
    rows = [len(reference.exact[found.output]) for found in outputs if found.kind not in ("fixed", "selected")]
    images = next(iter(rows), max(map(len, reference.exact.values())))
    weights = "random weights" if limits.random_weights else "given weights"
    return ParityResult(outputs, images, reference.source, weights)


def closeness_db(candidate: Outputs, exact: Outputs, kinds: Mapping[str, Kind]) -> float:
    """One figure for how near a quantized graph is: the lowest SQNR of an output, dB, as judged by all measures.

    What varies in a group of channels is held to less than a whole output (`PART_SQNR_DB`) and counts by so much more;
    whole numbers and items count 20 dB where nine of ten agree, 10 dB more for a tenth of the disagreement. Collapsed
    values count as minus infinity.
    """
    return min(_closeness(candidate[name], array, kind_of(array, kinds.get(name))) for name, array in exact.items())


@dataclass(frozen=True, slots=True)
class _Case:
    """What is known of one output before it is judged."""

    name: str
    scope: Scope
    engine: Array | None
    literal: Array | None
    exact: Array
    float32: Array
    least_floor: float
    kind: Kind
    blame: str

    def shown(self) -> Iterator[tuple[Scope, Array]]:
        """What there is to compare, the typed graph first."""
        if self.literal is not None:
            yield "typed graph", self.literal
        if self.engine is not None:
            yield "engine", self.engine


def _judge_output(case: _Case, limits: Limits) -> OutputParity:
    found = OutputParity(
        case.name, case.scope, "pass", "", precision_limit_text="", floor=math.nan, kind=case.kind.name
    )
    if (case.engine if case.scope == "engine" else case.literal) is None:
        return replace(found, verdict="fail", reason=f"{case.name}: the {case.scope} has no such output")
    real = case.exact.dtype.kind == "f" and case.kind.name in REAL_KINDS
    return _judge_real(case, limits, found) if real else _judge_items(case, limits, found)


def _judge_real(case: _Case, limits: Limits, output: OutputParity) -> OutputParity:
    if unlike := next(_shapes_and_infinities(case), None):
        verdict, reason = unlike
        return replace(output, verdict=verdict, reason=reason)
    case = _finite(case)
    floor = max(distance(case.float32, case.exact).relative_l2, case.least_floor)
    uncertain = limits.uncertain_db(case.name, next(case.shown())[1], case.exact)
    allowed, said = limits.of_output(floor, uncertain_db=uncertain)
    output = replace(output, floor=floor, precision_limit_text=said)
    output = _with_distances(case, output)
    groups = find_groups(case.exact)
    own = {what: [measure_part(group, array, case.exact) for group in groups] for what, array in case.shown()}
    output = replace(output, parts=tuple(own[case.scope]))
    for what, parts in own.items():
        if collapsed := [_place(case.name, part, f"the {what}: {part.broken}") for part in parts if part.broken]:
            return replace(output, verdict="fail", broken=True, reason=f"values collapsed: {'; '.join(collapsed)}")
    floors = [floor_of(group, case.float32, case.exact, case.least_floor) for group in groups]
    if doubt := next(_doubts(case, floor, [*zip(groups, floors, strict=True)], limits), None):
        return replace(output, verdict="inconclusive", reason=doubt)
    reasons = whole = [*_total_reasons(case, output, limits, allowed, said)]
    for index, (group, floor_db) in enumerate(zip(groups, floors, strict=True)):
        limit = limits.of_part(case.name, group, case.exact, floor_db, uncertain_db=uncertain)
        reasons = [*reasons, *_part_reasons(case, index, own, limit)]
        if case.engine is not None and case.literal is not None:
            added = measure_part(group, case.engine, case.literal)
            reasons = [*reasons, *_part_strays(case, added, own["typed graph"][index], limit, floor_db)]
    if reasons and not whole and (doubt := _answers_alike(case)):
        return replace(output, verdict="inconclusive", reason="; ".join((*reasons, doubt)))
    judged = output.precision_loss or output.total
    if reasons and limits.quantized and judged and judged.relative_l2 <= FLOOR_FACTOR * floor:
        reasons.append(
            f"two float executions of this quantized file differ by {floor:.2g} themselves: the difference may be "
            "rounding, not a fault"
        )
        return replace(output, verdict="inconclusive", reason="; ".join(reasons))
    return _concluded(output, reasons, limits)


def _answers_alike(case: _Case) -> str:
    """What is said of a classifier whose images all have one answer; "" of any other network."""
    axis = distribution_axis(case.exact)
    if axis is None or len(case.exact) < 2:
        return ""
    probabilities = case.exact if case.exact.min() >= 0 else np.exp(case.exact)
    spread = float(np.ptp(probabilities, axis=0).max())
    if spread >= ALIKE:
        return ""
    return (
        f"no probability differs by more than {spread:.2g} between the images, too little to tell a sound row from a "
        "wrong one: show it images of several classes"
    )


def _concluded(output: OutputParity, reasons: list[str], limits: Limits) -> OutputParity:
    if not reasons:
        return output
    return replace(output, verdict="inconclusive" if limits.no_baseline else "fail", reason="; ".join(reasons))


def _with_distances(case: _Case, output: OutputParity) -> OutputParity:
    """All distances of the whole output, and top-1."""
    total = None if case.engine is None else distance(case.engine, case.exact)
    own = None if case.literal is None else distance(case.literal, case.exact)
    added = None if case.engine is None or case.literal is None else distance(case.engine, case.literal)
    shown = case.engine if case.engine is not None else case.literal
    return replace(
        output,
        total=total,
        precision_loss=own,
        backend_loss=added,
        backend_limit=BACKEND_FACTOR * own.relative_l2 + output.floor if own and added else None,
        top1=top1(shown, case.exact) if shown is not None else None,
    )


def _total_reasons(case: _Case, output: OutputParity, limits: Limits, allowed: float, said: str) -> Iterator[str]:
    """The reasons why a whole output fails; an FP32 engine that is near float64 itself only rounds in another order."""
    judged = output.precision_loss or output.total
    if judged and judged.relative_l2 > allowed:
        what = "typed graph against float64" if output.precision_loss else "output against float64"
        yield "; ".join(
            (f"{case.name}: {what}: SQNR {_figures(judged)}, {_limit(said)}", *_where_it_lies(case, output))
        )
    near = limits.precision is Precision.FP32 and output.total is not None and output.total.relative_l2 <= allowed
    added, most = output.backend_loss, output.backend_limit
    if added and most and added.relative_l2 > most and not near:
        yield (
            f"{case.name}: the engine differs from its typed graph by {added.relative_l2:.2g} relative L2, limit: at "
            f"most {most:.2g}"
        )


def _where_it_lies(case: _Case, output: OutputParity) -> Iterator[str]:
    """What tells a loss that is everywhere from one in few places: an image by itself, and the classes that changed."""
    _, judged = next(case.shown())
    if distribution_axis(case.exact) is not None and output.top1 is not None:
        agreeing = output.top1.of - len(output.top1.flip_margins)
        yield f"the most probable class is the same in {agreeing} of {output.top1.of} positions"
    each = sqnr_of_images(judged, case.exact)
    worst, median = int(each.argmin()), float(np.median(each))
    if len(each) >= FEWEST_IMAGES and each[worst] < median - ALONE_DB:
        yield f"image {worst + 1} of {len(each)} has an SQNR of {each[worst]:.1f} dB, the median image {median:.1f} dB"


def _part_reasons(case: _Case, index: int, own: Mapping[Scope, list[Part]], limit: Part) -> Iterator[str]:
    """The groups whose limit the typed graph misses, or the engine where no typed graph ran."""
    what = next(iter(own))
    part = own[what][index]
    if part.sqnr_db < limit.sqnr_db:
        yield f"{case.name}: {what} against float64: {_varying(part.channels, part.sqnr_db, limit.sqnr_db)}"
    elif part.worst_db is not None and limit.worst_db is not None and part.worst_db < limit.worst_db:
        channel = f"channel {part.worst}"
        yield f"{case.name}: {what} against float64: {_varying(channel, part.worst_db, limit.worst_db)}"


def _part_strays(case: _Case, added: Part, own: Part, limit: Part, floor_db: float) -> Iterator[str]:
    """What the engine adds to a group: held to its typed graph's own error as whole outputs are, where it matters."""
    allowed = BACKEND_FACTOR * _ratio(own.sqnr_db) + _ratio(floor_db)
    if _ratio(added.sqnr_db) > allowed and added.sqnr_db < limit.sqnr_db:
        least = min(limit.sqnr_db, -20.0 * math.log10(allowed))
        yield (
            f"{case.name}: the engine differs from its typed graph: {_varying(added.channels, added.sqnr_db, least)}"
        )


def _shapes_and_infinities(case: _Case) -> Iterator[tuple[Verdict, str]]:
    if np.isnan(case.exact).any():
        share = float(np.mean(np.isnan(case.exact)))
        yield "inconclusive", f"{case.name}: {share:.0%} of the float64 reference's own values are NaN"
    for what, array in case.shown():
        if array.shape != case.exact.shape:
            yield "fail", f"{case.name}: the {what} gives shape {array.shape}, float64 {case.exact.shape}"
            return
        endless = ~np.isfinite(case.exact)
        wrong = np.where(endless, array != case.exact, ~np.isfinite(array))
        if wrong.any():
            because = f"; {case.blame}" if case.blame else ""
            yield "fail", f"{case.name}: {float(np.mean(wrong)):.0%} of the {what}'s values are NaN or Inf{because}"


def _finite(case: _Case) -> _Case:
    """The case with 0 where reference and candidates are infinite alike, as in a mask."""
    endless = ~np.isfinite(case.exact)
    if not endless.any():
        return case
    return replace(
        case,
        exact=np.where(endless, 0.0, case.exact),
        float32=np.where(endless, 0.0, case.float32),
        engine=None if case.engine is None else np.where(endless, 0.0, case.engine),
        literal=None if case.literal is None else np.where(endless, 0.0, case.literal),
    )


def _doubts(case: _Case, floor: float, parts: Sequence[tuple[Group, float]], limits: Limits) -> Iterator[str]:
    """Why agreement, or its lack, would say nothing."""
    if case.kind.name == "fixed":
        return
    at_all = math.hypot(*(group.varying(case.exact) for group, _ in parts))
    least = max(CONSTANT, CONSTANT_OF_VARYING * at_all)
    if not parts or (len(case.exact) > 1 and variation(case.exact) < least):
        yield f"{case.name}: the output does not vary over {len(case.exact)} different inputs; agreement says nothing"
    causes = "the network draws random numbers, rounds to integers or magnifies its own rounding"
    if not floor <= limits.largest_floor:
        yield (
            f"{case.name}: float32 itself is {floor:.2g} relative L2 from float64, more than "
            f"{limits.largest_floor:.2g}: {causes}, and no row can be judged by it"
        )
    for group, floor_db in parts:
        if not floor_db >= limits.part_db:
            yield (
                f"{_at(case.name, str(group))}: SQNR of the mean-removed output: float32 itself reaches only "
                f"{floor_db:.1f} dB there, {limits.part_db:g} dB are required: {causes}, or it varies too little "
                "beside its mean"
            )


def _judge_items(case: _Case, limits: Limits, result: OutputParity) -> OutputParity:
    """Whole numbers place by place, items as sets."""
    for what, array in case.shown():
        if not comparable(array, case.exact):
            reason = f"{case.name}: the {what} gives shape {array.shape}, float64 {case.exact.shape}"
            return replace(result, verdict="fail", reason=reason)
    floor = _agreement(case.float32, case, limits)
    baseline = limits.baseline.get(case.name)
    share = limits.of_agreement(
        _agreement(baseline, case, limits) if baseline is not None and comparable(baseline, case.exact) else None,
        floor,
    )
    noun = "values" if case.kind.name == "whole" else "items"
    said = f"at least {100 * share:.1f} % of {noun} equal the float64 result"
    own = {what: _agreement(array, case, limits) for what, array in case.shown()}
    result = replace(result, floor=1.0 - floor.share, precision_limit_text=said, agreement=own[case.scope])
    if case.kind.name != "fixed" and _all_alike(case.exact):
        reason = f"{case.name}: the output does not vary over the inputs; agreement says nothing"
        return replace(result, verdict="inconclusive", reason=reason)
    if floor.share < limits.least_floor_agreement and floor.wrong > 1:
        agreed = f"float32 itself agrees with float64 in {100 * floor.share:.1f} % only"
        reason = f"{case.name}: {agreed}; no row can be judged by it"
        return replace(result, verdict="inconclusive", reason=reason)
    reasons = [
        f"{case.name}: {what}: {100 * agreed.share:.1f} % of {agreed.of} {noun} equal the float64 result, limit: at "
        f"least {100 * share:.1f} %"
        for what, agreed in own.items()
        if agreed.share < share - 1e-12
    ]
    return _concluded(result, reasons, limits)


def _agreement(candidate: Array, case: _Case, limits: Limits) -> Agreement:
    return agreement(candidate, case.exact, case.kind, limits.item_tolerance())


def _all_alike(exact: Array) -> bool:
    """Whether all images, or runs, get the same answer."""
    if len(exact) < 2:
        return False
    return all(np.array_equal(exact[0], row) for row in exact[1:])


def _closeness(candidate: Array, exact: Array, kind: Kind) -> float:
    if exact.dtype.kind != "f" or kind.name not in REAL_KINDS:
        case = _Case("", "engine", candidate, None, exact, exact, SMALLEST_FLOOR, kind, "")
        if not comparable(candidate, exact):
            return -math.inf
        agreed = _agreement(candidate, case, Limits(Precision.INT8, random_weights=False))
        return math.inf if not agreed.wrong else 10.0 - 10.0 * math.log10(1.0 - agreed.share)
    figures = [distance(candidate, exact).sqnr_db]
    for group in find_groups(exact):
        part = measure_part(group, candidate, exact)
        figures.append(-math.inf if part.broken else part.sqnr_db + 20.0 - PART_SQNR_DB[Precision.INT8])
    return min(figures)


def _place(name: str, part: Part, said: str) -> str:
    return f"{_at(name, part.channels)}: {said}"


def _at(name: str, channels: str) -> str:
    return f"{name}[{channels}]" if channels else name


def _limit(said: str) -> str:
    """`limit: at least 20 dB`, from the words of `Limits.of_output`."""
    return f"limit: {said.removeprefix('SQNR ')}"


def _varying(channels: str, sqnr_db: float, least_db: float) -> str:
    """How near what varies is, of some channels or of all, beside its limit."""
    of = f" ({channels})" if channels else ""
    return f"SQNR of the mean-removed output{of} {sqnr_db:.1f} dB, limit: at least {least_db:.1f} dB"


def _figures(distance: Distance) -> str:
    return f"{distance.sqnr_db:.1f} dB ({distance.relative_l2:.2g} relative L2)"


def _ratio(decibel: float) -> float:
    return float(10.0 ** (-decibel / 20.0))
