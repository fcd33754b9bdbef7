"""Two drawings of a compiled plan as inline SVG: the graph of its kernels, and the roofline.

Layer names are foreign text: they are escaped, cut where they are drawn and whole in the tooltip. Colors come from
the page's style sheet by class (`t-half`, ...), so that both drawings follow a dark theme.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape

from deploykit.plan.roofline import LayerTime, Roofline
from deploykit.report.text import printable
from deploykit.results.inspection import Kernel

TYPES = {
    "Float": "t-float",
    "Half": "t-half",
    "BFloat16": "t-half",
    "Int8": "t-int8",
    "UInt8": "t-int8",
    "FP8": "t-int8",
}
OTHER_TYPE = "t-other"
BOX, GAP, ROW = (190, 30), 14, 52  # width and height of a kernel's box; between boxes; between rows
MARGIN, DRAWN = 24, 26  # characters of a name that fit into a box
PLOT, LEFT, BELOW = (720, 380), 64, 48
DOTS = (2.5, 13.0)  # radius of the least and of the dearest kernel

Point = tuple[float, float]


def kernel_graph(layers: Sequence[Kernel]) -> str:
    """Every kernel a box colored by the type it reads, below the kernels whose tensors it reads.

    A box stands in the row of its longest path from an input; a bar in it shows its part of the bytes of the largest.
    """
    edges = _edges(layers)
    depth = _depths(len(layers), edges)
    rows: dict[int, list[int]] = defaultdict(list)
    for index in range(len(layers)):
        rows[depth[index]].append(index)
    widest = max(map(len, rows.values()), default=1)
    width = 2 * MARGIN + widest * (BOX[0] + GAP) - GAP
    height = 2 * MARGIN + max(len(rows), 1) * ROW
    at = {
        index: (
            width / 2 + (place - (len(row) - 1) / 2) * (BOX[0] + GAP),
            MARGIN + number * ROW + BOX[1] / 2,
        )
        for number, row in rows.items()
        for place, index in enumerate(row)
    }
    most = max((layer.bytes_moved for layer in layers), default=1) or 1
    lines = [_edge(at[writer], at[reader]) for writer, reader in edges]
    boxes = [_box(number, layer, at[number], layer.bytes_moved / most) for number, layer in enumerate(layers)]
    return _svg(width, height, "Kernels of the plan, in the order of their data", [*lines, *boxes])


def roofline_plot(found: Roofline) -> str:
    """Kernels that compute products, at their intensity and the rate that the bound allows; both axes logarithmic.

    `found` is a `Roofline` as JSON holds it. A point lies on the roof by construction: nothing was measured.
    """
    points = [layer for layer in found.layers if layer.macs and layer.us]
    bandwidth = found.gpu.bandwidth_gbs / 1e3  # TB/s: FLOP/byte times it is TFLOP/s
    ridges = found.ridges
    reached = [layer.intensity for layer in points] + list(ridges.values())
    x_low, x_high = _decades(reached)
    y_low, y_high = _decades([low * bandwidth for low in (10**x_low, *ridges.values())])
    plot = _Axes(x_low, x_high, y_low, y_high)
    most = max((layer.us for layer in points), default=1.0)
    return _svg(
        PLOT[0],
        PLOT[1],
        f"Roofline of {found.gpu.name}: lower bounds, nothing was measured",
        [
            *plot.grid(),
            *(_roof(plot, dtype, ridge, bandwidth) for dtype, ridge in ridges.items()),
            *(_dot(plot, layer, layer.us / most) for layer in sorted(points, key=lambda layer: -layer.us)),
        ],
    )


def type_class(dtype: str) -> str:
    """The style sheet's class for a type by TensorRT's name."""
    return TYPES.get(dtype, OTHER_TYPE)


def _edges(layers: Sequence[Kernel]) -> list[tuple[int, int]]:
    """Pairs of kernels (writer, reader) by tensors' names. Where a Concat is in place, several write one tensor."""
    writers: dict[str, list[int]] = defaultdict(list)
    found = []
    for index, layer in enumerate(layers):
        sources = {source for name in layer.inputs for source in writers[name]}
        found += [(source, index) for source in sorted(sources)]
        for name in layer.outputs:
            writers[name].append(index)
    return found


def _depths(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    depth = [0] * count
    for writer, reader in edges:  # in the order of readers, so that a writer's depth is final
        depth[reader] = max(depth[reader], depth[writer] + 1)
    return depth


def _box(number: int, layer: Kernel, at: Point, share: float) -> str:
    left, top = at[0] - BOX[0] / 2, at[1] - BOX[1] / 2
    name = printable(layer.name)
    drawn = name if len(name) <= DRAWN else f"{name[: DRAWN - 1]}\u2026"
    said = [
        name,
        f"{layer.kind}, reads {layer.reads}, writes {layer.writes}, {layer.bytes_moved / 1e6:.2f} MB",
        *([f"{layer.macs / 1e6:,.0f} MMACs"] if layer.macs else []),
        *([f"at least {layer.us:.2f} us, {layer.binds} bound"] if layer.us is not None else []),
        *map(printable, layer.nodes),
    ]
    return (
        f'<g class="kernel {type_class(layer.reads)}" id="k{number}"><title>{_text(chr(10).join(said))}</title>'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{BOX[0]}" height="{BOX[1]}" rx="4"/>'
        f'<rect class="bar" x="{left:.1f}" y="{top + BOX[1] - 4:.1f}" width="{BOX[0] * share:.1f}" height="4"/>'
        f'<text x="{left + 8:.1f}" y="{at[1] + 3:.1f}">{_text(drawn)}</text></g>'
    )


def _edge(writer: Point, reader: Point) -> str:
    (x0, y0), (x1, y1) = (writer[0], writer[1] + BOX[1] / 2), (reader[0], reader[1] - BOX[1] / 2)
    bend = (y1 - y0) / 2
    curve = f"C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f} {x1:.1f} {y1:.1f}"
    return f'<path class="edge" d="M{x0:.1f} {y0:.1f}{curve}"/>'


class _Axes:
    """From exponents of ten to pixels."""

    def __init__(self, x_low: int, x_high: int, y_low: int, y_high: int) -> None:
        self.x, self.y = (x_low, x_high), (y_low, y_high)

    def at(self, intensity: float, rate: float) -> Point:
        """Pixels of FLOP per byte and TFLOP/s."""
        return self._across(math.log10(intensity)), self._up(math.log10(rate))

    def grid(self) -> list[str]:
        lines = []
        for power in range(self.x[0], self.x[1] + 1):
            x = self._across(power)
            lines.append(f'<path class="grid" d="M{x:.1f} 12V{PLOT[1] - BELOW}"/>')
            lines.append(f'<text class="tick mid" x="{x:.1f}" y="{PLOT[1] - BELOW + 18}">{10.0**power:g}</text>')
        for power in range(self.y[0], self.y[1] + 1):
            y = self._up(power)
            lines.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{PLOT[0] - 16}"/>')
            lines.append(f'<text class="tick end" x="{LEFT - 8}" y="{y + 4:.1f}">{10.0**power:g}</text>')
        x, y = (LEFT + PLOT[0]) / 2, PLOT[1] - 8
        lines.append(f'<text class="tick mid" x="{x:.1f}" y="{y}">arithmetic intensity, FLOP per byte moved</text>')
        lines.append(f'<text class="tick" x="{LEFT + 6}" y="24">TFLOP/s or TOP/s at most</text>')
        return lines

    def _across(self, power: float) -> float:
        return LEFT + (power - self.x[0]) / (self.x[1] - self.x[0]) * (PLOT[0] - 16 - LEFT)

    def _up(self, power: float) -> float:
        return PLOT[1] - BELOW - (power - self.y[0]) / (self.y[1] - self.y[0]) * (PLOT[1] - BELOW - 12)


def _roof(plot: _Axes, dtype: str, ridge: float, bandwidth: float) -> str:
    peak = ridge * bandwidth
    (x0, y0), (x1, y1), (x2, _) = (
        plot.at(10.0 ** plot.x[0], 10.0 ** plot.x[0] * bandwidth),
        plot.at(ridge, peak),
        plot.at(10.0 ** plot.x[1], peak),
    )
    return (
        f'<g class="roof {type_class(dtype)}"><path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}H{x2:.1f}"/>'
        f'<text class="end" x="{x2:.1f}" y="{y1 - 6:.1f}">{_text(dtype)} {peak:g}</text></g>'
    )


def _dot(plot: _Axes, layer: LayerTime, share: float) -> str:
    x, y = plot.at(layer.intensity, 2e-6 * layer.macs / layer.us)
    radius = DOTS[0] + (DOTS[1] - DOTS[0]) * math.sqrt(share)
    said = f"{printable(layer.name)}\n{layer.reads}, at least {layer.us:.2f} us, {layer.binds} bound"
    return (
        f'<circle class="{type_class(layer.reads)}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
        f"<title>{_text(said)}</title></circle>"
    )


def _decades(values: Iterable[float]) -> tuple[int, int]:
    """Exponents of ten that hold all values, at least one decade apart."""
    found = [math.log10(value) for value in values if value > 0] or [0.0]
    low, high = math.floor(min(found)), math.ceil(max(found))
    return low, max(high, low + 1)


def _svg(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{_text(title)}">{"".join(parts)}</svg>'
    )


def _text(text: str) -> str:
    return escape(text, quote=True)
