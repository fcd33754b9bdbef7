"""Is it still right? Two losses, judged apart because they have different cures.

*Precision loss* is the typed graph, executed literally, against the float64 reference: what the types cost, on any
backend. *Backend loss* is the engine against its typed graph: what the backend adds. Gates come first: NaN and Inf,
shapes, and an output that does not vary over its inputs, of which nothing can be said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from deploykit.parity.metrics import Distance, Top1, distance, top1, variation
from deploykit.parity.reference import Outputs, Reference
from deploykit.spec import Precision

Verdict = Literal["pass", "fail", "inconclusive"]

FLOOR_FACTOR = 3.0  # FP32 may be this many times as far from float64 as eager float32 is
MINIMUM_SQNR_DB = {Precision.FP16: 30.0, Precision.INT8: 20.0}  # INT8: with trained weights
YARDSTICK_MARGIN_DB = 1.0  # INT8 on random weights: below ONNX Runtime's own quantiser by no more than this
BACKEND_FACTOR = 2.0  # an engine may add this many times its typed graph's own error, plus the noise floor
CONSTANT = 1e-6  # relative variation over inputs below which an output says nothing
SMALLEST_FLOOR = 2.0**-24  # half a unit in the last place of float32: equal results leave no floor of zero


@dataclass(frozen=True, slots=True)
class OutputParity:
    """One output of one row. `precision` and `backend` are None where no typed graph ran."""

    output: str
    verdict: Verdict
    reason: str
    total: Distance | None  # engine against float64
    precision: Distance | None  # typed graph against float64
    backend: Distance | None  # engine against typed graph
    precision_limit: str
    backend_limit: float | None  # relative L2
    floor: float  # relative L2 of eager float32
    top1: Top1 | None


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
        worst = asdict(self.worst)
        return {
            "verdict": self.verdict,
            "sqnr_db": worst["total"] and worst["total"]["sqnr_db"],
            **worst,
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
            decibel = min(decibel, self.yardstick_db - YARDSTICK_MARGIN_DB)
            said = (
                f"SQNR at least {decibel:.1f} dB: random weights, held to onnxruntime's "
                f"quantize_static ({self.yardstick_db:.1f} dB) minus {YARDSTICK_MARGIN_DB:g}"
            )
        return 10.0 ** (-decibel / 20.0), said


def judge(
    engine: Outputs, literal: Outputs | None, reference: Reference, limits: Limits, *, blame: str = ""
) -> ParityResult:
    """Each output of `engine` against float64 and the typed graph run literally (None: the row runs no typed graph).

    `blame` is what is known of where NaN and Inf come from.
    """
    names = list(reference.exact)
    outputs = tuple(
        _judge_output(
            name,
            engine.get(name),
            literal.get(name) if literal is not None else None,
            reference.exact[name],
            reference.float32[name],
            limits,
            blame,
        )
        for name in names
    )
    images = len(next(iter(reference.exact.values())))
    weights = "random weights" if limits.random_weights else "given weights"
    return ParityResult(outputs, images, reference.source, weights)


def _judge_output(
    name: str,
    engine: np.ndarray[Any, Any] | None,
    literal: np.ndarray[Any, Any] | None,
    exact: np.ndarray[Any, Any],
    float32: np.ndarray[Any, Any],
    limits: Limits,
    blame: str,
) -> OutputParity:
    floor = max(distance(float32, exact).relative_l2, SMALLEST_FLOOR)
    allowed, said = limits.precision_limit(floor)
    if broken := next(_gates(name, engine, literal, exact, blame), None):
        return OutputParity(name, *broken, None, None, None, said, None, floor, None)
    assert engine is not None  # noqa: S101 - a gate has just said so
    total = distance(engine, exact)
    own = distance(literal, exact) if literal is not None else None
    added = distance(engine, literal) if literal is not None else None
    backend_limit = BACKEND_FACTOR * own.relative_l2 + floor if own else None
    reasons = []
    if (own or total).relative_l2 > allowed:
        what = "typed graph against float64" if own else "output against float64"
        reasons.append(f"{name}: {what} is at {_figures(own or total)}; {said}")
    if added and backend_limit and added.relative_l2 > backend_limit:
        reasons.append(
            f"{name}: the backend strays from its typed graph by {added.relative_l2:.2g} relative L2, "
            f"more than {backend_limit:.2g}"
        )
    verdict: Verdict = "fail" if reasons else "pass"
    return OutputParity(
        name, verdict, "; ".join(reasons), total, own, added, said, backend_limit, floor, top1(engine, exact)
    )


def _gates(
    name: str,
    engine: np.ndarray[Any, Any] | None,
    literal: np.ndarray[Any, Any] | None,
    exact: np.ndarray[Any, Any],
    blame: str,
) -> Iterator[tuple[Verdict, str]]:
    if engine is None:
        yield "fail", f"{name}: the engine has no such output"
        return
    for array, what in ((literal, "typed graph"), (engine, "engine")):
        if array is None:
            continue
        if array.shape != exact.shape:
            yield "fail", f"{name}: the {what} gives shape {array.shape}, float64 {exact.shape}"
        elif not np.all(np.isfinite(array)):
            share = 1.0 - float(np.mean(np.isfinite(array)))
            because = f"; {blame}" if blame else ""
            yield "fail", f"{name}: {share:.0%} of the {what}'s values are NaN or Inf{because}"
    if len(exact) > 1 and variation(exact) < CONSTANT:
        yield "inconclusive", f"{name}: the output does not vary over {len(exact)} different inputs"


def _figures(found: Distance) -> str:
    return f"{found.sqnr_db:.1f} dB ({found.relative_l2:.2g} relative L2)"


def _loss(output: OutputParity) -> float:
    if output.total is None or math.isnan(output.total.relative_l2):
        return math.inf
    return output.total.relative_l2
