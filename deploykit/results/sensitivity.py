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
    """A layer with weights, and what is lost when only it is in INT8."""

    node: str
    kind: str
    loss: Loss


@dataclass(frozen=True, slots=True)
class MixedGraph:
    """A mixed graph: `kept_fp16` are the layers that it keeps out of INT8.

    `loss` is measured with them in float32; `plan`, in words, is compiled with them in FP16, or says why there is none.
    """

    kept_fp16: tuple[str, ...]
    loss: Loss
    plan: str
    chosen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity(Document):
    """Layers, the most sensitive first, and mixed graphs, those with fewer layers in FP16 first.

    `measured_on` says on which images the losses were measured, `plan_cost_by` how plans are compared.
    """

    model: str
    weights: str
    weights_digest: str | None
    weights_notes: tuple[str, ...]
    calibration_images: int
    data: str
    preprocessing: PreparationFacts | None
    measured_on: str
    plan_cost_by: str
    method: str
    layers: tuple[LayerLoss, ...]
    mixed_graphs: tuple[MixedGraph, ...]

    @property
    def chosen(self) -> MixedGraph | None:
        """The mixed graph that reaches the aim; None where no limit was given."""
        return next((graph for graph in self.mixed_graphs if graph.chosen), None)
