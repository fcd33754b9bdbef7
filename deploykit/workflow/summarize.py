"""What a network is made of: nothing is exported, computed or stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deploykit.io.loader import read_onnx
from deploykit.results.network import NetworkSummary
from deploykit.spec import ModelSpec
from deploykit.summary import BlockCost, Summary, depthwise_costs
from deploykit.zoo import registry


def summarize(model: ModelSpec) -> NetworkSummary:
    """The layers of `model`, from shapes alone, with its paper and where it deviates from it.

    Weights and seed are not read. Raises as `registry.card_of`, `read_onnx`, `of_module` and `of_onnx` do.
    """
    if model.is_onnx:
        from deploykit.summary.onnx_graph import of_onnx

        file = read_onnx(Path(model.name))
        model.require_inputs([each.name for each in file.graph.input])
        return NetworkSummary(model=model.label, layers=of_onnx(file, model.shapes))
    card = registry.card_of(model)
    layers = _layers(model)
    return NetworkSummary(
        model=model.label,
        layers=layers,
        blocks=_cost_law(model, layers) if "width_mult" in card.options else (),
        paper=card.paper,
        arxiv=card.arxiv,
        year=card.year,
        deviations=card.deviations,
    )


def _layers(model: ModelSpec) -> Summary:
    from deploykit.summary.module import of_module

    return of_module(lambda: registry.construct(model), registry.input_specs(model))


def _cost_law(model: ModelSpec, layers: Summary) -> tuple[BlockCost, ...]:
    """MobileNet's law, for a network with a width multiplier, against the same network without multipliers."""
    full = replace(model, width_mult=None, image_size=None, input_shape=None)
    wide = layers if full == model else _layers(full)
    return depthwise_costs(layers, wide, width_mult=1.0 if model.width_mult is None else model.width_mult)
