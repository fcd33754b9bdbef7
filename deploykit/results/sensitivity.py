"""What `calibrate --sensitivity` answers: what INT8 costs each layer, and mixed graphs with fewer in INT8."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.data.preparation import PreparationFacts
from deploykit.results.document import Document


@dataclass(frozen=True, slots=True)
class Loss:
    """Against the float graph: SQNR of the outputs, dB; points of top-1, 95 % interval, both None without labels."""

    sqnr_db: float
    drop: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class LayerLoss:
    """A weighted layer, and what is lost when only it is in INT8."""

    node: str
    kind: str
    loss: Loss


@dataclass(frozen=True, slots=True)
class Stop:
    """A mixed graph: `left` layers in FP16, what is lost then, and its plan in words, or why it has none."""

    left: tuple[str, ...]
    loss: Loss
    plan: str
    chosen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity(Document):
    """The layers, the most sensitive first. `stops` are the mixed graphs, those of the search for a limit last."""

    model: str
    weights: str
    weights_digest: str | None
    weights_notes: tuple[str, ...]
    images: int
    data: str
    preprocessing: PreparationFacts | None
    judged_by: str
    objective: str
    method: str
    layers: tuple[LayerLoss, ...]
    stops: tuple[Stop, ...]

    @property
    def chosen(self) -> Stop | None:
        """The mixed graph that reaches the aim; None where no limit was given."""
        return next((stop for stop in self.stops if stop.chosen), None)
