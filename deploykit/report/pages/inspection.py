"""The page of a compiled plan: what `inspect` says, the graph of kernels, the roofline, every kernel in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from deploykit.plan.diff import GroupDiff, LayerSide, PlanDiff
from deploykit.plan.roofline import Roofline
from deploykit.report.inspection import (
    conversions_table,
    counts_table,
    inspection_facts,
    kinds_table,
    totals_table,
)
from deploykit.report.page import FactList, Figures, Grid, Key, Notes, Page, Paragraph, Part, Picture, Section, figure
from deploykit.report.svg.kernel_graph import kernel_graph, type_class
from deploykit.report.svg.roofline import Roof, RoofPoint, roofline
from deploykit.report.svg.scales import Axis
from deploykit.report.text import Table, kinds_legend, megabytes
from deploykit.results.inspection import Inspection

MARKED = 10  # of the kernels with the most memory traffic


def inspection_page(found: Inspection) -> Page:
    """The page of an inspection."""
    facts = {name: value for name, value in inspection_facts(found).items() if name not in ("plan", "roofline")}
    return Page(
        title=found.title,
        lede=f"Compiled by {found.compiler}, read from the {found.source}. No time in it was measured.",
        opening=(FactList(facts), Notes([(each.level, each.text) for each in found.diagnoses])),
        sections=tuple(_sections(found)),
    )


def _sections(found: Inspection) -> Iterator[Section]:
    legend = kinds_legend(row.kind for row in found.kernels_by_type)
    said = (Paragraph(f"{legend}."),) if legend else ()
    yield Section("Kernels by kind and type read", (Grid(kinds_table(found)), *said))
    yield Section("The graph", (_key(found), Picture(kernel_graph(found.layers))))
    if found.roofline:
        yield Section("Roofline", tuple(_bounds(found.roofline)))
    yield Section("Precision audit", tuple(_audit(found)))
    converts = Grid(conversions_table(found)) if found.conversions_by_kind else Paragraph("None.")
    yield Section("Kernels for casts, layout changes and copies", (converts,))
    order = f"In the order of execution; the {MARKED} with the most memory traffic are tinted."
    yield Section(f"All {len(found.layers)} kernels", (Paragraph(order), _kernels(found)))
    if found.diff:
        yield Section(f"Beside {found.beside} (a), this plan being b", tuple(_difference(found.diff)))


def _key(found: Inspection) -> Key:
    counts = Counter(layer.reads for layer in found.layers)
    entries = [(type_class(dtype), f"{dtype}: {count} kernels") for dtype, count in counts.most_common()]
    return Key(entries, "The bar in a box is its share of the largest kernel's bytes.")


def _bounds(found: Roofline) -> Iterator[Part]:
    """What the bound is, and the chart where products and peaks are known."""
    doubtful = f" Approximate figures: {', '.join(found.gpu.approximate)}." if found.gpu.approximate else ""
    yield Paragraph(f"At least {found.total_us:.1f} us per batch on {found.gpu.name}: {found.assumes}.{doubtful}")
    if not (found.has_macs and found.ridges):
        yield Paragraph("No chart: the MACs of the plan's kernels, or the GPU's peak rates, are not known.")
        return
    caption = (
        "A circle is a kernel with MACs (a convolution or a matrix product); larger circles have a higher lower bound. "
        "It lies on the roof by construction: nothing was measured."
    )

    roofs, points = _roofs(found)
    chart = partial(
        roofline,
        roofs,
        points,
        bandwidth=found.gpu.bandwidth_gbs / 1e3,
        x=Axis("intensity", "FLOP per byte moved"),
        y=Axis("rate at most", "TFLOP/s or TOP/s"),
    )
    yield Figures((figure(f"Kernels on the roof of {found.gpu.name}", caption, chart),))


def _roofs(found: Roofline) -> tuple[list[Roof], list[RoofPoint]]:
    bandwidth = found.gpu.bandwidth_gbs / 1e3  # TB/s: FLOP a byte times it is TFLOP/s
    roofs = [Roof(dtype, type_class(dtype), ridge * bandwidth) for dtype, ridge in found.ridges.items()]
    layers = [layer for layer in found.layers if layer.macs and layer.us]
    most = max((layer.us for layer in layers), default=1.0)
    points = [
        RoofPoint(
            name=layer.name,
            css=type_class(layer.reads),
            shape="circle",
            intensity=layer.intensity,
            rate=2e-6 * layer.macs / layer.us,
            weight=layer.us / most,
            said=f"{layer.reads}, at least {layer.us:.2f} us, {layer.binds} bound",
        )
        for layer in layers
    ]
    return roofs, points


def _audit(found: Inspection) -> Iterator[Part]:
    nodes = found.audit.nodes
    odd = [node for node in nodes if not node.as_wanted]
    yield Paragraph(f"{len(nodes) - len(odd)} of {len(nodes)} layers with weights compute in {found.audit.wanted}.")
    if odd:
        lines = [(node.name, node.op, node.dtype or "-", node.reason) for node in odd]
        yield Grid(Table(("node", "operator", "computes in", "why"), lines))


def _kernels(found: Inspection) -> Grid:
    layers = found.layers
    least = sorted((layer.bytes_moved for layer in layers), reverse=True)[:MARKED][-1:] or [0]
    bounded = any(layer.us is not None for layer in layers)
    headings = ("kernel", "", "kind", "reads", "writes", "MB", "MMACs", *(("us at least",) if bounded else ()))
    lines = [
        (
            layer.name,
            str(number),
            layer.kind,
            layer.reads,
            layer.writes,
            megabytes(layer.bytes_moved),
            f"{layer.macs / 1e6:,.0f}" if layer.macs else "",
            *((f"{layer.us:.2f}" if layer.us is not None else "",) if bounded else ()),
            "\n".join(layer.nodes),
            "\n".join(layer.modules),
        )
        for number, layer in enumerate(layers, start=1)
    ]
    table = Table((*headings, "ONNX nodes", "PyTorch modules"), lines, right=("", "MB", "MMACs", "us at least"))
    return Grid(table, [number for number, layer in enumerate(layers) if layer.bytes_moved >= least[0]])


def _difference(compared: PlanDiff) -> Iterator[Part]:
    yield Grid(totals_table(compared))
    yield Grid(counts_table(compared))
    for title, groups in (
        ("Parts that differ", compared.changed),
        ("Only in a", compared.only_a),
        ("Only in b", compared.only_b),
    ):
        if groups:
            yield Paragraph(f"{title}: {len(groups)}")
            yield Grid(_groups(groups))


def _groups(groups: Sequence[GroupDiff]) -> Table:
    lines = [
        ("\n".join(group.nodes), _side(group.a), _side(group.b), f"{group.bytes_difference / 1e6:+.2f}")
        for group in groups
    ]
    return Table(("ONNX nodes", "a: kind, type, MB", "b: kind, type, MB", "MB"), lines, right=("MB",))


def _side(layers: Sequence[LayerSide]) -> str:
    return "\n".join(f"{layer.kind} {layer.reads} {megabytes(layer.bytes_moved)}" for layer in layers)
