"""Is it still right? Two losses, judged apart because they have different cures.

*Precision loss* is the typed graph, executed literally, against the float64 reference: what the types cost, on any
backend. *Backend loss* is the engine against its typed graph: what the backend adds. Gates come first: NaN and Inf,
shapes, and an output that does not vary over its inputs, of which nothing can be said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from deploykit.parity.metrics import Array, Distance, Top1, distance, top1, variation
from deploykit.parity.reference import Outputs, Reference
from deploykit.spec import Precision

Verdict = Literal["pass", "fail", "inconclusive"]
Scope = Literal["engine", "typed graph"]

FLOOR_FACTOR = 3.0  # FP32 may be this many times as far from float64 as eager float32 is
MINIMUM_SQNR_DB = {Precision.FP16: 30.0, Precision.INT8: 20.0}  # INT8: with trained weights
YARDSTICK_MARGIN_DB = 1.0  # INT8 on random weights: below ONNX Runtime's own quantiser by no more than this
BACKEND_FACTOR = 2.0  # an engine may add this many times its typed graph's own error, plus the noise floor
CONSTANT = 1e-3  # relative variation over inputs below which agreement is that of a constant, and says nothing
SMALLEST_FLOOR = 2.0**-21  # four units in the last place of float32, by which kernels of a shallow network may differ


@dataclass(frozen=True, slots=True)
class OutputParity:
    """One output of one row.

    `scope` is "engine", or "typed graph" where the engine cannot run here and only the precision verdict is known.
    `precision` and `backend` are None where no typed graph ran, `total` and `backend` where no engine did.
    """

    output: str
    scope: Scope
    verdict: Verdict
    reason: str
    precision_limit: str
    floor: float  # relative L2 of eager float32
    total: Distance | None = None  # engine against float64
    precision: Distance | None = None  # typed graph against float64
    backend: Distance | None = None  # engine against typed graph
    backend_limit: float | None = None  # relative L2
    top1: Top1 | None = None

    @property
    def loss(self) -> Distance | None:
        """Against float64, of the engine where it ran, else of the typed graph."""
        return self.total or self.precision


@dataclass(frozen=True, slots=True)
class ParityResult:
    """All outputs of one row; its verdict is the worst among them, its figures those of that output."""

    outputs: tuple[OutputParity, ...]
    images: int
    reference: str
    weights: str  # "random weights" or "given weights"

    @property
    def worst(self) -> OutputParity:
        order: dict[Verdict, int] = {"fail": 0, "inconclusive": 1, "pass": 2}
        return min(self.outputs, key=lambda output: (order[output.verdict], -_loss(output)))

    @property
    def verdict(self) -> Verdict:
        return self.worst.verdict

    def as_dict(self) -> dict[str, Any]:
        loss = self.worst.loss
        return {
            "verdict": self.verdict,
            "sqnr_db": loss.sqnr_db if loss else None,
            **asdict(self.worst),
            "images": self.images,
            "reference": self.reference,
            "weights": self.weights,
            "outputs": [asdict(output) for output in self.outputs],
        }


@dataclass(frozen=True, slots=True)
class Limits:
    """What a row is held to. `yardstick_db` is the SQNR of ONNX Runtime's own quantiser, for INT8 on random weights."""

    precision: Precision
    random_weights: bool
    yardstick_db: float | None = None

    def precision_limit(self, floor: float) -> tuple[float, str]:
        """The largest relative L2 allowed against float64, and the limit in the user's words."""
        if self.precision is Precision.FP32:
            return FLOOR_FACTOR * floor, f"at most {FLOOR_FACTOR:g}x the float32 noise floor of {floor:.2g}"
        decibel = MINIMUM_SQNR_DB[self.precision]
        said = f"SQNR at least {decibel:g} dB"
        if self.precision is Precision.INT8 and self.random_weights and self.yardstick_db is not None:
            decibel = self.yardstick_db - YARDSTICK_MARGIN_DB
            said = (
                f"SQNR at least {decibel:.1f} dB: random weights, held to onnxruntime's "
                f"quantize_static ({self.yardstick_db:.1f} dB) minus {YARDSTICK_MARGIN_DB:g}"
            )
        return 10.0 ** (-decibel / 20.0), said


def judge(
    engine: Outputs | None, literal: Outputs | None, reference: Reference, limits: Limits, *, blame: str = ""
) -> ParityResult:
    """Each output against float64: of the engine (None: it cannot run here) and of the typed graph run literally
    (None: the row runs no typed graph). `blame` is what is known of where NaN and Inf come from.
    """
    outputs = tuple(
        _judge_output(
            _Case(
                name=name,
                scope="typed graph" if engine is None else "engine",
                engine=None if engine is None else engine.get(name),
                literal=None if literal is None else literal.get(name),
                exact=exact,
                floor=max(distance(reference.float32[name], exact).relative_l2, SMALLEST_FLOOR, reference.least_floor),
                blame=blame,
            ),
            limits,
        )
        for name, exact in reference.exact.items()
    )
    images = len(next(iter(reference.exact.values())))
    weights = "random weights" if limits.random_weights else "given weights"
    return ParityResult(outputs, images, reference.source, weights)


@dataclass(frozen=True, slots=True)
class _Case:
    """What is known of one output before it is judged."""

    name: str
    scope: Scope
    engine: Array | None
    literal: Array | None
    exact: Array
    floor: float
    blame: str


def _judge_output(case: _Case, limits: Limits) -> OutputParity:
    allowed, said = limits.precision_limit(case.floor)
    found = OutputParity(case.name, case.scope, "pass", "", precision_limit=said, floor=case.floor)
    if broken := next(_gates(case), None):
        verdict, reason = broken
        return replace(found, verdict=verdict, reason=reason)
    total = None if case.engine is None else distance(case.engine, case.exact)
    own = None if case.literal is None else distance(case.literal, case.exact)
    added = None if case.engine is None or case.literal is None else distance(case.engine, case.literal)
    backend_limit = BACKEND_FACTOR * own.relative_l2 + case.floor if own and added else None
    reasons = []
    judged = own or total
    assert judged is not None  # noqa: S101 - a gate has just said so
    if judged.relative_l2 > allowed:
        what = "typed graph against float64" if own else "output against float64"
        reasons.append(f"{case.name}: {what} is at {_figures(judged)}; {said}")
    if added and backend_limit and added.relative_l2 > backend_limit:
        reasons.append(
            f"{case.name}: the backend strays from its typed graph by {added.relative_l2:.2g} relative L2, "
            f"more than {backend_limit:.2g}"
        )
    shown = case.engine if case.engine is not None else case.literal
    return replace(
        found,
        verdict="fail" if reasons else "pass",
        reason="; ".join(reasons),
        total=total,
        precision=own,
        backend=added,
        backend_limit=backend_limit,
        top1=top1(shown, case.exact) if shown is not None else None,
    )


def _gates(case: _Case) -> Iterator[tuple[Verdict, str]]:
    if (case.engine if case.scope == "engine" else case.literal) is None:
        yield "fail", f"{case.name}: the {case.scope} has no such output"
        return
    for array, what in ((case.literal, "typed graph"), (case.engine, "engine")):
        if array is None:
            continue
        if array.shape != case.exact.shape:
            yield "fail", f"{case.name}: the {what} gives shape {array.shape}, float64 {case.exact.shape}"
        elif not np.all(np.isfinite(array)):
            share = 1.0 - float(np.mean(np.isfinite(array)))
            because = f"; {case.blame}" if case.blame else ""
            yield "fail", f"{case.name}: {share:.0%} of the {what}'s values are NaN or Inf{because}"
    if len(case.exact) > 1 and variation(case.exact) < CONSTANT:
        yield (
            "inconclusive",
            f"{case.name}: the output does not vary over {len(case.exact)} different inputs; agreement says nothing",
        )


def _figures(found: Distance) -> str:
    return f"{found.sqnr_db:.1f} dB ({found.relative_l2:.2g} relative L2)"


def _loss(output: OutputParity) -> float:
    if output.loss is None or math.isnan(output.loss.relative_l2):
        return math.inf
    return output.loss.relative_l2
