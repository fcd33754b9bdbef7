"""Plain text for stdout through rich: tables and facts that survive a pipe.

Off a terminal there are no colors. Nothing is cut to a width: lines are as long as their text needs. Rules are drawn
in ASCII. Names of layers, files and libraries are foreign text: they are never read as markup, and control characters
in them are shown escaped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

LONGEST_LINE = 1000  # columns; only as many as the text needs are used
KERNEL_KINDS = {
    "correlation": "a convolution",
    "deconv": "a transposed convolution",
    "gemm": "a matrix product",
    "kgen": "code generated for elementwise work, data movement and reductions",
    "runtime_fusion": "a fused kernel whose code is chosen when the engine is opened",
}
RULED = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def render_table(
    headings: Sequence[str],
    lines: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    dim: Sequence[int] = (),
    file: TextIO | None = None,
) -> None:
    """One table. Columns headed by one of `right` are aligned to the right; lines whose index is in `dim` are faint.

    A heading may have several lines; a cell has one, and lines longer than a terminal are left to it.
    """
    table = Table(box=RULED, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for heading in headings:
        title = Text("\n".join(map(printable, heading.splitlines())))
        table.add_column(title, justify="right" if heading in right else "left", vertical="top")
    for index, line in enumerate(lines):
        table.add_row(*(Text(printable(cell)) for cell in line), style="dim" if index in dim else "")
    out = console(file)
    with out.capture() as captured:
        out.print(table)
    out.file.write("".join(line.rstrip(" ") + "\n" for line in captured.get().splitlines()))


def render_facts(facts: Mapping[str, object], *, file: TextIO | None = None) -> None:
    """Name and value, one pair a line; a value of several lines is indented under its first. None is left out."""
    shown = {printable(name): value for name, value in facts.items() if value is not None and value != ""}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        first, *rest = str(value).splitlines() or [""]
        render_lines([f"{name.ljust(width)}  {first}", *(" " * (width + 2) + line for line in rest)], file=file)


def with_notes(said: str | None, notes: Sequence[str]) -> str:
    """A fact and, on the lines below it, what is to be said of it."""
    return "\n".join(filter(None, (said, *notes)))


def render_lines(lines: Sequence[str], *, file: TextIO | None = None) -> None:
    """Lines of text as they are."""
    out = console(file)
    for line in lines:
        out.print(Text(printable(line)), soft_wrap=True)


def console(file: TextIO | None = None) -> Console:
    """A console on stdout that reads no markup, no emoji and no highlighting into what it prints."""
    stream = file or sys.stdout
    return Console(
        file=stream,
        width=LONGEST_LINE,
        force_terminal=stream.isatty(),
        markup=False,
        emoji=False,
        highlight=False,
    )


def kinds_legend(kinds: Iterable[str]) -> str:
    """What those kinds of kernels are whose names say it to few; "" where all speak for themselves."""
    return "; ".join(f"{kind}: {KERNEL_KINDS[kind]}" for kind in sorted(set(kinds) & KERNEL_KINDS.keys()))


def megabytes(size: int) -> str:
    """Bytes in units of 1e6."""
    return f"{size / 1e6:,.2f}"


def share(part: float, whole: float) -> str:
    """`12.3%`; empty where there is no whole."""
    return f"{part / whole:.1%}" if whole else ""


def count_or_size(name: str, value: int | None) -> str:
    """A plan's total as text: `kernels` are counted, everything else is bytes."""
    if value is None:
        return "-"
    return f"{value:,}" if name == "kernels" else f"{megabytes(value)} MB"


def ratio(value: float | None) -> str:
    """To three decimals."""
    return "-" if value is None else f"{value:.3f}"


def printable(text: Any) -> str:
    """The text with every control character written as its escape, so that it cannot steer a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(text))
