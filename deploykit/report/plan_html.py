"""A compiled plan as one page: what `inspect` says, the graph of kernels, the roofline, and every kernel in a table.

The page is self-contained and runs no script; its policy forbids both to whatever a layer's name may smuggle in. Every
text in it is escaped, control characters too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape

from deploykit.plan.audit import Audit
from deploykit.plan.diagnosis import Diagnosis
from deploykit.plan.diff import GroupDiff
from deploykit.plan.roofline import Roofline
from deploykit.report.plan_svg import kernel_graph, roofline_plot, type_class
from deploykit.report.text import count_or_size, megabytes, printable, ratio, share
from deploykit.results.inspection import ConversionGroup, Inspection, Kernel

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
MARKED = 10  # of the kernels that move the most bytes
SIZES = {
    "engine_bytes": "engine",
    "weights_bytes": "weights",
    "activation_bytes": "activations",
    "scratch_bytes": "scratch",
}
AHEAD = "An ahead-of-time plan: kernels, types and bytes are those of the engine. No time in it was measured."
STYLE = """
:root{--ink:#1d2430;--soft:#5c6675;--page:#fff;--panel:#f5f6f8;--line:#dde1e7;--warn:#a8480a;
--float:#c98a1b;--half:#2f74b5;--int8:#2c8a6b;--other:#8a8f99}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa4b2;--page:#14181f;--panel:#1c222b;--line:#303843;
--warn:#f0a35e;--float:#dba53f;--half:#5b9fdd;--int8:#4fb592;--other:#8b93a1}}
*{box-sizing:border-box}
body{margin:0 auto;padding:40px 32px 80px;max-width:1240px;background:var(--page);color:var(--ink);
font:15px/1.55 system-ui,sans-serif}
h1{font-size:26px;margin:0 0 4px}h2{font-size:17px;margin:44px 0 12px}p{margin:6px 0}.soft{color:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 22px;margin:18px 0 0}dt{color:var(--soft)}dd{margin:0}
ul.said{list-style:none;padding:0;margin:22px 0 0}
ul.said li{padding:9px 14px;margin:0 0 8px;background:var(--panel);border-left:4px solid var(--line);border-radius:3px}
ul.said li.warning{border-color:var(--warn)}ul.said li.ok{border-color:var(--int8)}
ul.said b{display:inline-block;min-width:74px}ul.said li.warning b{color:var(--warn)}
.scroll{overflow:auto;max-height:640px;border:1px solid var(--line);border-radius:5px;background:var(--panel);
margin:0 0 14px}
.scroll.wide{max-height:none}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px;width:100%}
th{position:sticky;top:0;background:var(--panel);text-align:left;font-weight:600;border-bottom:1px solid var(--line)}
th,td{padding:5px 10px;vertical-align:top}td{border-bottom:1px solid var(--line);overflow-wrap:anywhere}
td:not(.n){min-width:88px}.n{text-align:right;white-space:nowrap}
tr.most td{background:color-mix(in srgb,var(--warn) 11%,transparent)}
.key{display:flex;gap:20px;flex-wrap:wrap;margin:0 0 10px;color:var(--soft);font-size:13px}
.key i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
i.t-float{background:var(--float)}i.t-half{background:var(--half)}i.t-int8{background:var(--int8)}
i.t-other{background:var(--other)}
svg{display:block;margin:0 auto;font:11px system-ui,sans-serif}svg text{fill:var(--ink)}
.t-float{--type:var(--float)}.t-half{--type:var(--half)}.t-int8{--type:var(--int8)}.t-other{--type:var(--other)}
.kernel rect{fill:color-mix(in srgb,var(--type) 24%,var(--page));stroke:var(--type)}
.kernel rect.bar{fill:var(--type);stroke:none}.edge{fill:none;stroke:var(--soft);stroke-opacity:.55}
.grid{stroke:var(--line)}.roof path{fill:none;stroke:var(--type);stroke-width:2}svg .roof text{fill:var(--type)}
circle{fill:var(--type);fill-opacity:.5;stroke:var(--type)}.mid{text-anchor:middle}.end{text-anchor:end}
svg .tick{fill:var(--soft)}
@media print{.scroll{max-height:none;overflow:visible}body{max-width:none}}
"""


def plan_html(found: Inspection) -> str:
    """The page of an inspection."""
    title = _text(found.title)
    parts = [
        f"<header><h1>{title}</h1><p class=soft>{AHEAD}</p>{_facts(found)}</header>",
        _said(found.diagnoses),
        _section("Kernels by kind and type read", _kinds(found)),
        _section("The graph", _key(found.layers) + f"<div class=scroll>{kernel_graph(found.layers)}</div>"),
        _roofline(found.roofline),
        _audit(found.audit, found.conversions_by_kind, found.summary.bytes_moved),
        _section(f"All {len(found.layers)} kernels", _kernels(found)),
        _difference(found),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(filter(None, parts)) + "\n"
        "</body>\n</html>\n"
    )


def _facts(found: Inspection) -> str:
    summary = found.summary
    known = {said: getattr(summary, name) for name, said in SIZES.items()}
    sizes = [f"{said} {size / 1e6:.1f}" for said, size in known.items() if size is not None]
    facts = {
        "compiler": f"{found.compiler}, parsed from the {found.source}",
        "target": ", ".join(found.targets),
        "precision": found.precision,
        "batch": found.batch,
        "kernels": summary.kernels,
        "memory traffic": f"{summary.mb_moved:.1f} MB a batch (computed)",
        "MB": ", ".join([f"engine {summary.engine_mb:.1f}", *sizes]),
        "Conv/Gemm nodes": f"{summary.weighted_accounted} of {summary.weighted_nodes} matched to kernels",
    }
    pairs = "".join(f"<dt>{name}</dt><dd>{_text(value)}</dd>" for name, value in facts.items() if value != "")
    return f"<dl>{pairs}</dl>"


def _said(diagnoses: Sequence[Diagnosis]) -> str:
    lines = [
        f'<li class="{_text(each.level)}"><b>{_text(each.level)}</b> {_text(each.text)}</li>' for each in diagnoses
    ]
    return f"<ul class=said>{''.join(lines)}</ul>"


def _kinds(found: Inspection) -> str:
    total = found.summary.bytes_moved
    rows = [
        (row.kind, row.reads, row.kernels, megabytes(row.bytes_moved), share(row.bytes_moved, total))
        for row in found.kernels_by_type
    ]
    return _table(("kind", "reads", "kernels", "MB", "of all"), rows, numbers=(2, 3, 4))


def _key(layers: Sequence[Kernel]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for layer in layers:
        counts[layer.reads] += 1
    shown = [
        f'<span><i class="{type_class(dtype)}"></i>{_text(dtype)}: {count} kernels</span>'
        for dtype, count in sorted(counts.items(), key=lambda item: -item[1])
    ]
    return f"<p class=key>{''.join(shown)}<span>The bar in a box is its share of the largest kernel's bytes.</span></p>"


def _roofline(found: Roofline | None) -> str:
    if not found or not found.has_macs or not found.ridges:
        return ""
    approximate = found.gpu.approximate
    doubts = f" Approximate figures: {', '.join(approximate)}." if approximate else ""
    note = (
        f"At least {found.total_us:.1f} us a batch on {found.gpu.name}: {found.assumes}.{doubts} "
        "A circle is a kernel that computes products, its area the lower bound of its time."
    )
    return _section("Roofline", f"<p class=soft>{_text(note)}</p><div class='scroll wide'>{roofline_plot(found)}</div>")


def _audit(found: Audit, groups: Sequence[ConversionGroup], total: int) -> str:
    odd = [node for node in found.nodes if not node.as_wanted]
    count = len(found.nodes)
    said = f"<p>{count - len(odd)} of {count} convolutions and matrix products compute in {_text(found.wanted)}.</p>"
    nodes = [(node.name, node.op, node.dtype or "-", node.reason) for node in odd]
    converting = [
        (group.what, group.kernels, megabytes(group.bytes_moved), share(group.bytes_moved, total)) for group in groups
    ]
    return _section(
        "Precision audit",
        said
        + (_table(("node", "operator", "computes in", "why"), nodes) if nodes else "")
        + "<h2>Kernels that only convert</h2>"
        + (
            _table(("what", "kernels", "MB", "of all"), converting, numbers=(1, 2, 3)) if converting else "<p>None.</p>"
        ),
    )


def _kernels(found: Inspection) -> str:
    layers = found.layers
    floor = sorted((layer.bytes_moved for layer in layers), reverse=True)[:MARKED][-1:] or [0]
    bounded = any(layer.us is not None for layer in layers)
    headings = ("", "kernel", "kind", "reads", "writes", "MB", "MMACs", *(("us at least",) if bounded else ()))
    rows = [
        (
            number,
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
    ]
    most = {number for number, layer in enumerate(layers) if layer.bytes_moved >= floor[0]}
    note = f"<p class=soft>In the order of execution; the {MARKED} with the most memory traffic are tinted.</p>"
    numbers = (0, 5, 6, *((7,) if bounded else ()))
    return note + _table((*headings, "ONNX nodes", "PyTorch modules"), rows, numbers=numbers, most=most)


def _difference(found: Inspection) -> str:
    compared = found.diff
    if not compared:
        return ""
    a, b = compared.a, compared.b
    names = ("kernels", "bytes_moved", *SIZES)
    totals = [
        (
            name.replace("_", " "),
            *(count_or_size(name, getattr(side, name)) for side in (a, b)),
            ratio(compared.ratios.get(name)),
        )
        for name in names
    ]
    kinds = [(row.kind, row.reads, row.a, row.b) for row in compared.kinds]
    parts = [
        _table(("", "a", "b", "b / a"), totals, numbers=(1, 2, 3)),
        _table(("kind", "reads", "a", "b"), kinds, numbers=(2, 3)),
    ]
    for title, groups in (
        ("Parts that differ", compared.changed),
        ("Only in a", compared.only_a),
        ("Only in b", compared.only_b),
    ):
        if groups:
            parts.append(f"<h2>{title}</h2>{_groups(groups)}")
    return _section(f"Beside {found.beside} (a), this plan being b", "".join(parts))


def _groups(groups: Iterable[GroupDiff]) -> str:
    rows = [
        (
            "\n".join(group.nodes),
            "\n".join(f"{layer.kind} {layer.reads} {megabytes(layer.bytes_moved)}" for layer in group.a),
            "\n".join(f"{layer.kind} {layer.reads} {megabytes(layer.bytes_moved)}" for layer in group.b),
            f"{group.bytes_difference / 1e6:+.2f}",
        )
        for group in groups
    ]
    return _table(("ONNX nodes", "a: kind, type, MB", "b: kind, type, MB", "MB"), rows, numbers=(3,))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{content}</section>"


def _table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Sequence[int] = (),
    most: Iterable[int] = (),
) -> str:
    """`numbers` are the columns aligned to the right, `most` the rows that are tinted. A line break parts a cell."""
    tinted = set(most)
    head = "".join(f"<th{_class(column in numbers)}>{_text(name)}</th>" for column, name in enumerate(headings))
    lines = []
    for index, row in enumerate(rows):
        cells = "".join(f"<td{_class(column in numbers)}>{_cell(value)}</td>" for column, value in enumerate(row))
        lines.append(f"<tr{' class=most' if index in tinted else ''}>{cells}</tr>")
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def _class(number: bool) -> str:
    return " class=n" if number else ""


def _cell(value: object) -> str:
    return "<br>".join(map(_text, str(value).split("\n")))


def _text(value: object) -> str:
    return escape(printable(value), quote=True)
