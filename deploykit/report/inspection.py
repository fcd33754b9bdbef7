"""A compiled plan in a person's words: totals, diagnosis, kernels with the most traffic, audit, comparison.

It is written from what `--json` prints. A plan has no times: microseconds here are a roofline's lower bounds, and every
heading above them says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from deploykit.data.preparation import describe_preprocessing
from deploykit.plan.audit import Audit
from deploykit.plan.diff import GroupDiff, LayerSide, PlanDiff
from deploykit.plan.roofline import Roofline
from deploykit.report.build import describe_ranges
from deploykit.report.text import (
    Table,
    count_or_size,
    kinds_legend,
    megabytes,
    ratio,
    render_facts,
    render_lines,
    render_table,
    share,
    show_table,
    with_notes,
)
from deploykit.results.inspection import Inspection, Kernel

NAMES = 2  # ONNX nodes of a kernel that are listed by name
LONGEST = 60  # characters of a name in a table
SIZES = {"weights_bytes": "weights", "activation_bytes": "activation memory in all", "scratch_bytes": "largest scratch"}
TOTALS = ("kernels", "bytes_moved", "engine_bytes", "weights_bytes", "activation_bytes", "scratch_bytes")


def render_inspection(found: Inspection, *, top: int) -> None:
    """The whole report on stdout; `top` rows of each list."""
    render_facts(inspection_facts(found))
    render_lines(["", *(f"{line.level}: {line.text}" for line in found.diagnoses)])
    _heading("Kernels by kind and type read")
    show_table(kinds_table(found))
    if legend := kinds_legend(row.kind for row in found.kernels_by_type):
        render_lines(["", f"{legend}."])
    _most_traffic(found, top)
    if found.roofline:
        _slowest(found, found.roofline, top)
    _audit(found.audit, top)
    _conversions(found)
    if found.diff:
        _difference(found, found.diff, top)


def inspection_facts(found: Inspection) -> dict[str, str]:
    """What stands above the tables."""
    summary = found.summary
    known = {said: getattr(summary, name) for name, said in SIZES.items()}
    sizes = [f"{said} {size / 1e6:.1f}" for said, size in known.items() if size is not None]
    targets = f" for {', '.join(found.targets)}" if found.targets else ""
    return {
        "plan": found.title,
        "weights": with_notes(found.weights, found.weights_notes) or "not known: the engine is from elsewhere",
        "calibration": describe_ranges(found.calibration),
        "preprocessing": describe_preprocessing(found.calibration.preprocessing if found.calibration else None),
        "compiler": f"{found.compiler}{targets}; parsed from the {found.source}",
        "kernels": f"{summary.kernels}",
        "traffic": f"{summary.mb_moved:.1f} MB for a batch of {found.batch} (computed)",
        "MB": ", ".join([f"engine {summary.engine_mb:.1f}", *sizes]),
        "matched nodes": f"{summary.weighted_matched} of {summary.weighted_nodes} layers with weights matched to "
        "kernels",
        "roofline": _bound(found.roofline),
    }


def _bound(found: Roofline | None) -> str:
    if not found:
        return ""
    return (
        f"at least {found.total_us:.1f} us per batch on {found.gpu.name}, "
        f"{share(found.memory_bound_us, found.total_us)} of it memory bound "
        f"({found.assumes})"
    )


def kinds_table(found: Inspection) -> Table:
    """Kernels by kind and type read, with their share of all bytes."""
    total = found.summary.bytes_moved
    lines = [
        (row.kind, row.reads, str(row.kernels), megabytes(row.bytes_moved), share(row.bytes_moved, total))
        for row in found.kernels_by_type
    ]
    return Table(("kind", "reads", "kernels", "MB", "of all"), lines, right=("kernels", "MB", "of all"))


def _most_traffic(found: Inspection, top: int) -> None:
    layers, total = found.layers, found.summary.bytes_moved
    _heading(f"{_most(layers, top)} kernels with the most memory traffic")
    _kernels(layers, top, by=_bytes_moved, part=lambda each: share(each.bytes_moved, total))


def _slowest(found: Inspection, bounds: Roofline, top: int) -> None:
    layers, total = found.layers, bounds.total_us
    gpu = bounds.gpu.name
    by_bytes, by_bound = (_first(layers, top, by) for by in (_bytes_moved, _lower_bound))
    if by_bytes == by_bound:
        render_lines(["", f"The same kernels, in this order, have the highest lower bounds on {gpu}."])
        return
    _heading(f"{_most(layers, top)} kernels with the highest lower bound on {gpu} (nothing was measured)")
    _kernels(layers, top, by=_lower_bound, part=lambda layer: share(layer.us or 0.0, total))


def _kernels(
    layers: Sequence[Kernel], top: int, *, by: Callable[[Kernel], float], part: Callable[[Kernel], str]
) -> None:
    bounded = any(layer.us is not None for layer in layers)
    headings = ["kernel", "kind", "reads", "writes", "MB", "MMACs", *(["us >=", "bound"] if bounded else []), "of all"]
    lines = [
        [
            _cut(layer.name),
            layer.kind,
            layer.reads,
            layer.writes,
            megabytes(layer.bytes_moved),
            f"{layer.macs / 1e6:,.0f}" if layer.macs else "",
            *([f"{layer.us:.2f}", layer.binds or ""] if bounded else []),
            part(layer),
            _named(layer.nodes),
        ]
        for layer in _first(layers, top, by)
    ]
    render_table([*headings, "ONNX nodes"], lines, right=("MB", "MMACs", "us >=", "of all"))


def _first(layers: Sequence[Kernel], top: int, by: Callable[[Kernel], float]) -> list[Kernel]:
    return sorted(layers, key=by, reverse=True)[:top]


def _bytes_moved(layer: Kernel) -> float:
    return float(layer.bytes_moved)


def _lower_bound(layer: Kernel) -> float:
    return layer.us or 0.0


def _audit(found: Audit, top: int) -> None:
    odd = [node for node in found.nodes if not node.as_wanted]
    _heading(
        f"Precision audit: {len(found.nodes) - len(odd)} of {len(found.nodes)} layers with weights compute in "
        f"{found.wanted}"
    )
    if odd:
        lines = [[_cut(node.name), node.op, node.dtype or "-", node.reason] for node in odd[:top]]
        render_table(["node", "operator", "computes in", "why"], lines)
        _more(odd, top)


def _conversions(found: Inspection) -> None:
    if not found.conversions_by_kind:
        render_lines(["There are no kernels that only convert types or layouts."])
        return
    _heading("Kernels for casts, layout changes and copies; what is fused into them stands in the table above")
    show_table(conversions_table(found))


def conversions_table(found: Inspection) -> Table:
    """The kernels that only convert, by what they convert."""
    total = found.summary.bytes_moved
    lines = [
        (
            group.what,
            str(group.kernels),
            megabytes(group.bytes_moved),
            share(group.bytes_moved, total),
            _cut(group.largest),
        )
        for group in found.conversions_by_kind
    ]
    headings = ("what", "kernels", "MB", "of all", "largest")
    return Table(headings, lines, right=("kernels", "MB", "of all"))


def _difference(found: Inspection, compared: PlanDiff, top: int) -> None:
    _heading(f"{found.beside} (a) and {found.title} (b)")
    show_table(totals_table(compared))
    _heading("Kernels by kind and type read")
    show_table(counts_table(compared))
    for title, groups in (
        ("Parts that differ", compared.changed),
        ("Kernels only in a", compared.only_a),
        ("Kernels only in b", compared.only_b),
    ):
        _groups(title, groups, top)
    render_lines(["", f"{compared.same} parts are the same; {compared.shared_nodes} ONNX nodes are in both."])


def totals_table(compared: PlanDiff) -> Table:
    """Two plans in figures."""
    sides = (compared.a, compared.b)
    lines = [
        (
            name.replace("_", " "),
            *(count_or_size(name, getattr(side, name)) for side in sides),
            ratio(compared.ratios.get(name)),
        )
        for name in TOTALS
    ]
    return Table(("", "a", "b", "b / a"), lines, right=("a", "b", "b / a"))


def counts_table(compared: PlanDiff) -> Table:
    """How many kernels of each kind and type two plans have."""
    lines = [(row.kind, row.reads, str(row.a), str(row.b)) for row in compared.kinds]
    return Table(("kind", "reads", "a", "b"), lines, right=("a", "b"))


def _groups(title: str, groups: Sequence[GroupDiff], top: int) -> None:
    if not groups:
        return
    _heading(f"{title}: {len(groups)}, the largest difference in bytes first")
    lines = [
        [
            _named(group.nodes) or _named([layer.name for layer in (*group.a, *group.b)]),
            _side(group.a),
            _side(group.b),
            f"{group.bytes_difference / 1e6:+.2f}",
            _what_differs(group),
        ]
        for group in groups[:top]
    ]
    render_table(["ONNX nodes", "a", "b", "MB", "what"], lines, right=("MB",))
    _more(groups, top)


def _what_differs(group: GroupDiff) -> str:
    types = sorted({f"{there} -> {here}" for there, here in group.retyped.values()})
    return ", ".join([*types, *(["fused differently"] if group.fused_differently else [])])


def _side(layers: Sequence[LayerSide]) -> str:
    """`2 correlation, 1 kgen, 12.3 MB`."""
    if not layers:
        return "-"
    kinds: dict[str, int] = defaultdict(int)
    for layer in layers:
        kinds[layer.kind] += 1
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"{said}, {megabytes(sum(layer.bytes_moved for layer in layers))} MB"


def _heading(text: str) -> None:
    render_lines(["", text, ""])


def _most(rows: Sequence[object], top: int) -> str:
    return f"The {top} of {len(rows)}" if top < len(rows) else f"All {len(rows)}"


def _more(rows: Sequence[object], top: int) -> None:
    if len(rows) > top:
        render_lines([f"... and {len(rows) - top} more: --top {len(rows)} lists all"])


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(map(_cut, names[:NAMES])) + more


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."
