"""Two drawings of a compiled plan as inline SVG: the graph of its kernels, and the roofline.

Layer names are foreign text: they are escaped, cut where they are drawn and whole in the tooltip. Colors come from
the page's style sheet by class (`t-half`, ...), so that both drawings follow a dark theme.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from deploykit.plan.roofline import LayerTime, Roofline
from deploykit.report.templating import rendered
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
DOTS = (2.5, 13.0)  # radius of a kernel, from the shortest lower bound to the longest

Point = tuple[float, float]


def kernel_graph(layers: Sequence[Kernel]) -> Markup:
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
    return rendered(
        "plan_graph.svg.j2",
        width=round(width),
        height=round(height),
        box_width=BOX[0],
        box_height=BOX[1],
        edges=[_edge(at[writer], at[reader]) for writer, reader in edges],
        boxes=[_box(layer, at[number], layer.bytes_moved / most) for number, layer in enumerate(layers)],
    )


def roofline_plot(found: Roofline) -> Markup:
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
    return rendered(
        "roofline.svg.j2",
        width=PLOT[0],
        height=PLOT[1],
        gpu=found.gpu.name,
        left=LEFT,
        right=PLOT[0] - 16,
        bottom=PLOT[1] - BELOW,
        middle=f"{(LEFT + PLOT[0]) / 2:.1f}",
        columns=plot.columns(),
        lines=plot.lines(),
        roofs=[_roof(plot, dtype, ridge, bandwidth) for dtype, ridge in ridges.items()],
        dots=[_dot(plot, layer, layer.us / most) for layer in sorted(points, key=lambda layer: -layer.us)],
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


@dataclass(frozen=True, slots=True)
class KernelBox:
    """A kernel as it is drawn: its corner, the bar of its bytes, its name, and the lines of its tooltip."""

    css: str
    said: tuple[str, ...]
    left: str
    top: str
    bar_top: str
    bar_width: str
    text_left: str
    text_top: str
    drawn: str


def _box(layer: Kernel, at: Point, share: float) -> KernelBox:
    left, top = at[0] - BOX[0] / 2, at[1] - BOX[1] / 2
    name = printable(layer.name)
    said = [
        name,
        f"{layer.kind}, reads {layer.reads}, writes {layer.writes}, {layer.bytes_moved / 1e6:.2f} MB",
        *([f"{layer.macs / 1e6:,.0f} MMACs"] if layer.macs else []),
        *([f"at least {layer.us:.2f} us, {layer.binds} bound"] if layer.us is not None else []),
        *layer.nodes,
    ]
    return KernelBox(
        css=type_class(layer.reads),
        said=tuple(said),
        left=f"{left:.1f}",
        top=f"{top:.1f}",
        bar_top=f"{top + BOX[1] - 4:.1f}",
        bar_width=f"{BOX[0] * share:.1f}",
        text_left=f"{left + 8:.1f}",
        text_top=f"{at[1] + 3:.1f}",
        drawn=name if len(name) <= DRAWN else f"{name[: DRAWN - 1]}\u2026",
    )


def _edge(writer: Point, reader: Point) -> str:
    """The path of a curve from one box down to another."""
    (x0, y0), (x1, y1) = (writer[0], writer[1] + BOX[1] / 2), (reader[0], reader[1] - BOX[1] / 2)
    bend = (y1 - y0) / 2
    return f"M{x0:.1f} {y0:.1f}C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f} {x1:.1f} {y1:.1f}"


class _Axes:
    """From exponents of ten to pixels."""

    def __init__(self, x_low: int, x_high: int, y_low: int, y_high: int) -> None:
        self.x, self.y = (x_low, x_high), (y_low, y_high)

    def at(self, intensity: float, rate: float) -> Point:
        """Pixels of FLOP per byte and TFLOP/s."""
        return self._across(math.log10(intensity)), self._up(math.log10(rate))

    def columns(self) -> list[tuple[str, str]]:
        """Where the powers of ten of the intensity stand, with their labels."""
        return [(f"{self._across(power):.1f}", f"{10.0**power:g}") for power in range(self.x[0], self.x[1] + 1)]

    def lines(self) -> list[tuple[str, str, str]]:
        """Where the powers of ten of the rate stand, and their labels."""
        at = {power: self._up(power) for power in range(self.y[0], self.y[1] + 1)}
        return [(f"{y:.1f}", f"{y + 4:.1f}", f"{10.0**power:g}") for power, y in at.items()]

    def _across(self, power: float) -> float:
        return LEFT + (power - self.x[0]) / (self.x[1] - self.x[0]) * (PLOT[0] - 16 - LEFT)

    def _up(self, power: float) -> float:
        return PLOT[1] - BELOW - (power - self.y[0]) / (self.y[1] - self.y[0]) * (PLOT[1] - BELOW - 12)


@dataclass(frozen=True, slots=True)
class RoofLine:
    """The roof of one type: the slope of the bandwidth, then its peak."""

    css: str
    path: str
    x: str
    y: str
    label: str


def _roof(plot: _Axes, dtype: str, ridge: float, bandwidth: float) -> RoofLine:
    peak = ridge * bandwidth
    (x0, y0), (x1, y1), (x2, _) = (
        plot.at(10.0 ** plot.x[0], 10.0 ** plot.x[0] * bandwidth),
        plot.at(ridge, peak),
        plot.at(10.0 ** plot.x[1], peak),
    )
    path = f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}H{x2:.1f}"
    return RoofLine(type_class(dtype), path, f"{x2:.1f}", f"{y1 - 6:.1f}", f"{dtype} {peak:g}")


@dataclass(frozen=True, slots=True)
class Dot:
    """A kernel on the roof, the larger the longer its lower bound."""

    css: str
    x: str
    y: str
    radius: str
    name: str
    said: str


def _dot(plot: _Axes, layer: LayerTime, share: float) -> Dot:
    x, y = plot.at(layer.intensity, 2e-6 * layer.macs / layer.us)
    radius = DOTS[0] + (DOTS[1] - DOTS[0]) * math.sqrt(share)
    said = f"{layer.reads}, at least {layer.us:.2f} us, {layer.binds} bound"
    return Dot(type_class(layer.reads), f"{x:.1f}", f"{y:.1f}", f"{radius:.1f}", layer.name, said)


def _decades(values: Iterable[float]) -> tuple[int, int]:
    """Exponents of ten that hold all values, at least one decade apart."""
    found = [math.log10(value) for value in values if value > 0] or [0.0]
    low, high = math.floor(min(found)), math.ceil(max(found))
    return low, max(high, low + 1)
