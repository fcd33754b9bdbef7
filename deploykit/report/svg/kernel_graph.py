"""The graph of a plan's kernels: each a box colored by the type that it reads, below those whose tensors it reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from deploykit.report.svg.marks import cut, drawing, element, group, text, tooltip
from deploykit.results.inspection import Kernel

TYPES = {"Float": "fp32", "Half": "fp16", "BFloat16": "fp16", "Int8": "int8", "UInt8": "int8", "FP8": "int8"}
OTHER_TYPE = "other"
BOX, GAP, ROW = (196, 30), 14, 52  # width and height of a kernel's box; between boxes; between rows
MARGIN, BAR = 24, 4

Point = tuple[float, float]


def kernel_graph(layers: Sequence[Kernel]) -> Markup:
    """A box stands in the row of its longest path from an input; a bar in it shows its part of the largest's bytes."""
    edges = _edges(layers)
    depth = _depths(len(layers), edges)
    rows: dict[int, list[int]] = defaultdict(list)
    for index in range(len(layers)):
        rows[depth[index]].append(index)
    widest = max(map(len, rows.values()), default=1)
    width = 2 * MARGIN + widest * (BOX[0] + GAP) - GAP
    at = {
        index: (width / 2 + (place - (len(row) - 1) / 2) * (BOX[0] + GAP), MARGIN + number * ROW + BOX[1] / 2)
        for number, row in rows.items()
        for place, index in enumerate(row)
    }
    most = max((layer.bytes_moved for layer in layers), default=1) or 1
    return drawing(
        width,
        2 * MARGIN + max(len(rows), 1) * ROW,
        *(element("path", css="edge", d=_curve(at[writer], at[reader])) for writer, reader in edges),
        *(_box(layer, at[number], layer.bytes_moved / most) for number, layer in enumerate(layers)),
        title="Kernels of the plan, in the order of their data",
        said=f"{len(layers)} kernels and {len(edges)} tensors between them; the table of all kernels has each of them.",
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


def _box(layer: Kernel, at: Point, share: float) -> Markup:
    left, top = at[0] - BOX[0] / 2, at[1] - BOX[1] / 2
    said = [
        layer.name,
        f"{layer.kind}, reads {layer.reads}, writes {layer.writes}, {layer.bytes_moved / 1e6:.2f} MB",
        *([f"{layer.macs / 1e6:,.0f} MMACs"] if layer.macs else []),
        *([f"at least {layer.us:.2f} us, {layer.binds} bound"] if layer.us is not None else []),
        *layer.nodes,
    ]
    outline = element("rect", css="box", x=left, y=top, width=BOX[0], height=BOX[1])
    bar = element("rect", css="bytes", x=left, y=top + BOX[1] - BAR, width=BOX[0] * share, height=BAR)
    name = text(cut(layer.name, BOX[0] - 12), left + 8, at[1] + 3)
    return group(tooltip(*said), outline, bar, name, css=f"kernel {type_class(layer.reads)}")


def _curve(writer: Point, reader: Point) -> str:
    """The path from one box down to another."""
    (x0, y0), (x1, y1) = (writer[0], writer[1] + BOX[1] / 2), (reader[0], reader[1] - BOX[1] / 2)
    bend = (y1 - y0) / 2
    return f"M{x0:.1f} {y0:.1f}C{x0:.1f} {y0 + bend:.1f} {x1:.1f} {y1 - bend:.1f} {x1:.1f} {y1:.1f}"
