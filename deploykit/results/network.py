"""What `summary` answers: a network layer by layer, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.results.document import Document
from deploykit.summary.rows import BlockCost, LayerRow, Summary


@dataclass(frozen=True, slots=True)
class LayerTotals:
    """Sums over the layers of a network, for one image."""

    params: int
    macs: int
    activations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkDocument(Document):
    """A network's layers as JSON has them."""

    model: str
    input: tuple[int, ...]
    paper: str
    arxiv: str
    year: int | None
    deviations: tuple[str, ...]
    layers: tuple[LayerRow, ...]
    totals: LayerTotals
    cost_law: tuple[BlockCost, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSummary(Document):
    """A network's layers, with what is known of where it comes from; `blocks` where the cost law applies to it."""

    model: str
    layers: Summary
    blocks: tuple[BlockCost, ...] = ()
    paper: str = ""
    arxiv: str = ""
    year: int | None = None
    deviations: tuple[str, ...] = ()

    def __json__(self) -> NetworkDocument:
        layers = self.layers
        return NetworkDocument(
            model=self.model,
            input=layers.image,
            paper=self.paper,
            arxiv=self.arxiv,
            year=self.year,
            deviations=self.deviations,
            layers=layers.rows,
            totals=LayerTotals(layers.params, layers.macs, layers.activations),
            cost_law=self.blocks,
        )
