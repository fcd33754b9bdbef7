"""A network's layers as a table for people and as CSV for spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

from deploykit.quote import printable
from deploykit.report.text import render_facts, render_lines, render_table

if TYPE_CHECKING:
    from deploykit.results.network import NetworkSummary
    from deploykit.summary import BlockCost, LayerRow

NOTES = (
    "Parameters as PyTorch counts them; MACs of convolutions and matrix products; activations: elements of the output."
    " All for one image.",
    "Receptive field: side in pixels, borders left aside (Araujo, Norris, Sim, Distill 2019). `whole image`: each"
    " element depends on every pixel. `?`: not followed.",
)
LAW = (
    "Cost law of each depthwise separable block: D_K^2 aM (r D_F)^2 + aM aN (r D_F)^2 (arXiv 1704.04861, equation 7).",
    "D_F is the side of the block's output map. `law` takes aM, aN and r D_F unrounded, `law, real channels` has the"
    " channels that there are;",
    "what `counted` differs by comes from rounding: of channels and maps in the first case, of maps alone in the"
    " second.",
)


def render_layers(network: NetworkSummary) -> None:
    """The header, one line per layer with totals, and MobileNet's cost law where it applies."""
    layers = network.layers
    origin = ", ".join(part for part in (network.paper, _arxiv(network.arxiv), str(network.year or "")) if part)
    deviations = "\n".join(network.deviations)
    render_facts({"model": network.model, "input": _by(layers.image), "paper": origin, "deviations": deviations})
    render_lines([""])
    headings = ["layer", "kind", "output", "parameters", "MACs", "activations", "receptive\nfield"]
    total = ["total", "", "", f"{layers.params:,}", f"{layers.macs:,}", f"{layers.activations:,}", ""]
    render_table(headings, [*map(_line, layers.rows), total], right=headings[3:])
    render_lines(["", *NOTES])
    if network.blocks:
        render_lines(["", *LAW, ""])
        _render_law(network.blocks)


def layers_csv(network: NetworkSummary) -> str:
    """One line per layer under a heading, no totals: they are sums. Fields without a value are empty."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["name", "kind", "call", "output", "params", "macs", "activations", "receptive_field", "whole_image"]
    )
    for row in network.layers.rows:
        counts = (row.params, row.macs, row.activations)
        seen = _by(row.receptive_field or ())
        output = _by(row.output or ())
        writer.writerow(
            [printable(row.name), printable(row.kind), row.call, output, *counts, seen, int(row.whole_image)]
        )
    return text.getvalue()


def _line(row: LayerRow) -> list[str]:
    name = row.name if row.call <= 1 else f"{row.name} ({row.call})"
    counts = (_or_blank(row.params), _or_blank(row.macs), _or_blank(row.activations))
    return [name, row.kind, _output(row), *counts, _receptive_field(row)]


def _output(row: LayerRow) -> str:
    if row.call == 0:
        return "not called"
    return "?" if row.output is None else _by(row.output)


def _receptive_field(row: LayerRow) -> str:
    if row.whole_image:
        return "whole image"
    if row.receptive_field is None:
        return "?" if row.call else ""
    square = len(set(row.receptive_field)) == 1
    return str(row.receptive_field[0]) if square else _by(row.receptive_field)


def _render_law(blocks: Sequence[BlockCost]) -> None:
    headings = [
        "block", "aM -> aN", "channels", "r D_F", "D_F", "law", "law,\nreal channels", "counted", "counted\n- law",
        "counted - law,\nreal channels", "of full\nwidth and size",
    ]  # fmt: skip
    lines = [
        [
            block.name,
            " -> ".join(f"{width:g}" for width in block.paper_channels),
            " -> ".join(map(str, block.channels)),
            f"{block.paper_side:g}",
            str(block.side),
            *_costs(block.paper_law, block.real_channels_law, block.counted),
            f"{block.of_full:.4f}",
        ]
        for block in blocks
    ]
    laws = (sum(block.paper_law for block in blocks), sum(block.real_channels_law for block in blocks))
    counted, full = sum(block.counted for block in blocks), sum(block.full for block in blocks)
    total = ["total", "", "", "", "", *_costs(*laws, counted), f"{counted / full:.4f}"]
    render_table(headings, [*lines, total], right=headings[3:])


def _costs(paper_law: float, real_channels_law: float, counted: int) -> list[str]:
    laws = (paper_law, real_channels_law)
    return [*map(_number, laws), f"{counted:,}", *(_number(counted - law) for law in laws)]


def _number(value: float) -> str:
    """Whole numbers without a fraction, others with one digit."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _arxiv(number: str) -> str:
    return f"arXiv {number}" if number else ""


def _or_blank(count: int) -> str:
    return f"{count:,}" if count else ""
