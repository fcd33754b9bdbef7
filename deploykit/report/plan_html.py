"""A compiled plan as one page: what `inspect` says, the graph of kernels, the roofline, and every kernel in a table.

The page is self-contained and runs no script; its policy forbids both to whatever a layer's name may smuggle in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from deploykit.plan.diff import GroupDiff, LayerSide, PlanDiff
from deploykit.report.plan_svg import kernel_graph, roofline_plot, type_class
from deploykit.report.templating import rendered
from deploykit.report.text import count_or_size, megabytes, ratio, share
from deploykit.results.inspection import Inspection

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
MARKED = 10  # of the kernels with the most memory traffic
SIZES = {
    "engine_bytes": "engine",
    "weights_bytes": "weights",
    "activation_bytes": "activations",
    "scratch_bytes": "scratch",
}


@dataclass(frozen=True, slots=True)
class PageTable:
    """`numbers` are the columns aligned to the right, `tinted` the rows that stand out. A line break parts a cell."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...] = ()
    tinted: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditTables:
    """How many nodes compute in the type that was asked for, those that do not, and the kernels that convert."""

    in_type: int
    nodes: PageTable
    conversions: PageTable


@dataclass(frozen=True, slots=True)
class DifferenceTables:
    """Totals and kernels of two plans side by side, and the parts that differ under their headings."""

    totals: PageTable
    kinds: PageTable
    groups: tuple[tuple[str, PageTable], ...]


def plan_html(found: Inspection) -> str:
    """The page of an inspection."""
    bounds = found.roofline if found.roofline and found.roofline.has_macs and found.roofline.ridges else None
    counts = Counter(layer.reads for layer in found.layers)
    return rendered(
        "plan.html.j2",
        policy=POLICY,
        plan=found,
        facts=_facts(found),
        kinds=_kinds(found),
        key=[(dtype, type_class(dtype), count) for dtype, count in counts.most_common()],
        graph=kernel_graph(found.layers),
        bounds=bounds,
        roofline=roofline_plot(bounds) if bounds else "",
        audit=_audit(found),
        marked=MARKED,
        kernels=_kernels(found),
        difference=_difference(found.diff) if found.diff else None,
    )


def _facts(found: Inspection) -> dict[str, str]:
    summary = found.summary
    known = {said: getattr(summary, name) for name, said in SIZES.items()}
    return {
        "compiler": f"{found.compiler}, parsed from the {found.source}",
        "target": ", ".join(found.targets),
        "precision": found.precision,
        "batch": str(found.batch),
        "kernels": str(summary.kernels),
        "memory traffic": f"{summary.mb_moved:.1f} MB per batch (computed)",
        "MB": ", ".join(f"{said} {size / 1e6:.1f}" for said, size in known.items() if size is not None),
        "layers with weights": f"{summary.weighted_matched} of {summary.weighted_nodes} matched to kernels",
    }


def _kinds(found: Inspection) -> PageTable:
    total = found.summary.bytes_moved
    rows = tuple(
        (row.kind, row.reads, str(row.kernels), megabytes(row.bytes_moved), share(row.bytes_moved, total))
        for row in found.kernels_by_type
    )
    return PageTable(("kind", "reads", "kernels", "MB", "of all"), rows, numbers=(2, 3, 4))


def _audit(found: Inspection) -> AuditTables:
    odd = [node for node in found.audit.nodes if not node.as_wanted]
    nodes = tuple((node.name, node.op, node.dtype or "-", node.reason) for node in odd)
    total = found.summary.bytes_moved
    conversions = tuple(
        (group.what, str(group.kernels), megabytes(group.bytes_moved), share(group.bytes_moved, total))
        for group in found.conversions_by_kind
    )
    return AuditTables(
        len(found.audit.nodes) - len(odd),
        PageTable(("node", "operator", "computes in", "why"), nodes),
        PageTable(("what", "kernels", "MB", "of all"), conversions, numbers=(1, 2, 3)),
    )


def _kernels(found: Inspection) -> PageTable:
    layers = found.layers
    floor = sorted((layer.bytes_moved for layer in layers), reverse=True)[:MARKED][-1:] or [0]
    bounded = any(layer.us is not None for layer in layers)
    headings = ("", "kernel", "kind", "reads", "writes", "MB", "MMACs", *(("us at least",) if bounded else ()))
    rows = tuple(
        (
            str(number),
            layer.name,
            layer.kind,
            layer.reads,
            layer.writes,
            megabytes(layer.bytes_moved),
            f"{layer.macs / 1e6:,.0f}" if layer.macs else "",
            *((f"{layer.us:.2f}",) if bounded else ()),
            "\n".join(layer.nodes),
            "\n".join(layer.modules),
        )
        for number, layer in enumerate(layers, start=1)
    )
    tinted = tuple(number for number, layer in enumerate(layers) if layer.bytes_moved >= floor[0])
    numbers = (0, 5, 6, *((7,) if bounded else ()))
    return PageTable((*headings, "ONNX nodes", "PyTorch modules"), rows, numbers=numbers, tinted=tinted)


def _difference(compared: PlanDiff) -> DifferenceTables:
    totals = tuple(
        (
            name.replace("_", " "),
            *(count_or_size(name, getattr(side, name)) for side in (compared.a, compared.b)),
            ratio(compared.ratios.get(name)),
        )
        for name in ("kernels", "bytes_moved", *SIZES)
    )
    kinds = tuple((row.kind, row.reads, str(row.a), str(row.b)) for row in compared.kinds)
    return DifferenceTables(
        PageTable(("", "a", "b", "b / a"), totals, numbers=(1, 2, 3)),
        PageTable(("kind", "reads", "a", "b"), kinds, numbers=(2, 3)),
        (
            ("Parts that differ", _groups(compared.changed)),
            ("Only in a", _groups(compared.only_a)),
            ("Only in b", _groups(compared.only_b)),
        ),
    )


def _groups(groups: Sequence[GroupDiff]) -> PageTable:
    rows = tuple(
        ("\n".join(group.nodes), _side(group.a), _side(group.b), f"{group.bytes_difference / 1e6:+.2f}")
        for group in groups
    )
    return PageTable(("ONNX nodes", "a: kind, type, MB", "b: kind, type, MB", "MB"), rows, numbers=(3,))


def _side(layers: Sequence[LayerSide]) -> str:
    return "\n".join(f"{layer.kind} {layer.reads} {megabytes(layer.bytes_moved)}" for layer in layers)
