"""What a comparison came to: an output's figures and verdict, a row's, or why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

from deploykit.parity.channels import Part
from deploykit.parity.kinds import KindName
from deploykit.parity.metrics import Distance, Top1
from deploykit.parity.sets import Agreement

Verdict = Literal["pass", "fail", "inconclusive"]
Scope = Literal["engine", "typed graph"]
SEVERITY: dict[Verdict, int] = {"fail": 0, "inconclusive": 1, "pass": 2}


@dataclass(frozen=True, slots=True)
class OutputParity:
    """One output of one row.

    `scope` is "engine", or "typed graph" where the engine cannot run here and only the precision verdict is known.
    `precision_loss` and `backend_loss` are None where no typed graph ran, `total` and `backend_loss` where no engine
    did.

    Whole numbers and items have an `agreement` in place of distances. `parts` has the groups of channels of the row's
    own scope where there are any; `broken` is set where values collapsed.
    """

    output: str
    scope: Scope
    verdict: Verdict
    reason: str
    precision_limit_text: str
    floor: float  # relative L2 of eager float32, or the share of its whole numbers that are wrong
    kind: KindName = "real"
    total: Distance | None = None  # engine against float64
    precision_loss: Distance | None = None  # typed graph against float64
    backend_loss: Distance | None = None  # engine against typed graph
    backend_limit: float | None = None  # relative L2
    agreement: Agreement | None = None
    parts: tuple[Part, ...] = ()
    broken: bool = False
    top1: Top1 | None = None

    @property
    def loss(self) -> Distance | None:
        """Against float64, of the engine where it ran, else of the typed graph."""
        return self.total or self.precision_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityDocument(OutputParity):
    """A row's parity as JSON has it: the figures of its worst output, the row's verdict and reason, all outputs."""

    sqnr_db: float | None
    images: int
    reference: str
    weights_kind: str
    outputs: tuple[OutputParity, ...]


@dataclass(frozen=True, slots=True)
class ParityResult:
    """All outputs of one row; its verdict is the worst among them, its figures those of that output."""

    outputs: tuple[OutputParity, ...]
    images: int
    reference: str
    weights_kind: str  # "random weights" or "given weights"

    @property
    def worst(self) -> OutputParity:
        """The worst of the outputs that read the inputs, where any does: a constant says nothing of the rest."""
        telling = [output for output in self.outputs if output.kind != "fixed" or output.verdict == "fail"]
        return min(telling or self.outputs, key=lambda output: (SEVERITY[output.verdict], -_loss(output)))

    @property
    def verdict(self) -> Verdict:
        """The worst of the outputs' verdicts; inconclusive where no output reads the inputs."""
        if all(output.kind == "fixed" and output.verdict == "pass" for output in self.outputs):
            return "inconclusive"  # nothing here reads the inputs
        return self.worst.verdict

    @property
    def reason(self) -> str:
        """Why the verdict is what it is, with the figures and their limits."""
        if self.verdict == "inconclusive" and self.worst.verdict == "pass":
            return "no output reads the network's inputs; agreement says nothing"
        return self.worst.reason

    def __json__(self) -> ParityDocument:
        worst = self.worst
        figures = {each.name: getattr(worst, each.name) for each in fields(worst)}
        return ParityDocument(
            **{**figures, "verdict": self.verdict, "reason": self.reason},
            sqnr_db=worst.loss.sqnr_db if worst.loss else None,
            images=self.images,
            reference=self.reference,
            weights_kind=self.weights_kind,
            outputs=self.outputs,
        )

    @classmethod
    def from_json(cls, found: ParityDocument) -> ParityResult:
        """Raises ValueError for a document without an output."""
        if not found.outputs:
            raise ValueError("no output was compared")
        return cls(found.outputs, found.images, found.reference, found.weights_kind)


@dataclass(frozen=True, slots=True)
class LayerError:
    """One layer's tensor against float64, dB: `sqnr_db` in the whole graph, `own_db` from exact operands.

    `layer` is the PyTorch module, or the node of a graph that knows none. Where nothing differs a figure is infinite,
    where a value is NaN or infinite minus infinity; JSON has null for both, and `broken` tells them apart.
    """

    layer: str
    node: str
    operator: str
    tensor: str
    sqnr_db: float
    own_db: float
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Undecided:
    """Nothing could be compared, for a reason. It is no pass: the exit code is that of a gate that did not hold."""

    reason: str
    verdict: Literal["inconclusive"] = "inconclusive"


@dataclass(frozen=True, slots=True)
class GateMissed:
    """A gate ahead of the comparison did not hold, such as a weight that float16 cannot hold."""

    reason: str
    verdict: Literal["fail"] = "fail"


Parity = ParityResult | Undecided | GateMissed


def _loss(output: OutputParity) -> float:
    if output.agreement is not None:
        return 1.0 - output.agreement.share
    if output.loss is None or math.isnan(output.loss.relative_l2):
        return math.inf
    return output.loss.relative_l2
