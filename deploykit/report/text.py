"""Plain text for stdout through rich: tables and facts that survive a pipe.

Off a terminal there are no colors, and lines are as long as their text needs. On a terminal, text is broken between
words and a table that is too wide is parted into several, each of which begins with the columns that name its rows.
Nothing is ever cut to a width. Rules are drawn in ASCII. Names of layers, files and libraries are foreign text: they
are never read as markup, and control characters in them are shown escaped.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import takewhile
from typing import TextIO

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table as RichTable
from rich.text import Text

from deploykit.quote import shown

LONGEST_LINE = 1000  # columns off a terminal; only as many as the text needs are used
SHORTEST_LINE = 20  # columns of text behind an indent, however narrow the terminal
LONG_CELL = 28  # columns from which on a cell may be broken into lines
COLUMN_GAP = 2
NAMING = {"model", "backend", "precision", "mode", "batch"}  # leading columns that say together which row it is
KERNEL_KINDS = {
    "correlation": "a convolution",
    "deconv": "a transposed convolution",
    "gemm": "a matrix product",
    "kgen": "code generated for elementwise work, data movement and reductions",
    "runtime_fusion": "a fused kernel whose code is chosen when the engine is opened",
}
RULED = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values; a value may have several lines."""

    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text. Columns headed by one of `right` are aligned to the right, lines whose index is in `dim` faint.

    A heading may have several lines; on a terminal a cell has one.
    """

    headings: Sequence[str]
    lines: Sequence[Sequence[str]]
    right: Sequence[str] = ()
    dim: Sequence[int] = ()

    def column(self, heading: str) -> list[str]:
        """The cells below a heading; empty ones where there is no such column."""
        index = self.headings.index(heading) if heading in self.headings else None
        return ["" if index is None else line[index] for line in self.lines]


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of text, none of which is empty."""

    lines: Sequence[str]


class Sheet(StringIO):
    """A file that keeps as values what is rendered on it, so that a page has what a terminal has."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Facts | Table | Lines] = []

    @property
    def table(self) -> Table:
        """The first of the tables."""
        return next(part for part in self.parts if isinstance(part, Table))


def render_table(
    headings: Sequence[str],
    lines: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    dim: Sequence[int] = (),
    file: TextIO | None = None,
) -> None:
    """One table, on stdout or on `file`; the arguments are those of `Table`."""
    show_table(Table(headings, lines, right, dim), file=file)


def show_table(table: Table, *, file: TextIO | None = None) -> None:
    """`render_table` of a value."""
    if isinstance(file, Sheet):
        file.parts.append(table)
        return
    out = console(file)
    for number, columns in enumerate(_parts(table, out.width)):
        if number:
            render_lines([""], file=file)
        with out.capture() as captured:
            out.print(_ruled(table, columns, names=_names(table) if number else 0))
        out.file.write("".join(line.rstrip(" ") + "\n" for line in captured.get().splitlines()))


def _ruled(table: Table, columns: Sequence[int], names: int) -> RichTable:
    """Some columns as rich draws them, without the lines that have nothing behind the first `names` of them."""
    found = RichTable(box=RULED, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for column in columns:
        heading = table.headings[column]
        title = Text("\n".join(map(shown, heading.splitlines())))
        whole = _width(table, column) <= LONG_CELL
        justify: JustifyMethod = "right" if heading in table.right else "left"
        found.add_column(title, justify=justify, vertical="top", no_wrap=whole, overflow="fold")
    told = [index for index, line in enumerate(table.lines) if any(line[column] for column in columns[names:])]
    for index, line in enumerate(table.lines):
        if index in told or not told:
            cells = (Text(shown(line[column])) for column in columns)
            found.add_row(*cells, style="dim" if index in table.dim else "")
    return found


def _parts(table: Table, room: int) -> list[list[int]]:
    """The columns of each part, so that a part has room; a long cell may be broken to fit, a short one is not."""
    every = range(len(table.headings))
    needs = [_width(table, column) for column in every]
    if sum(needs) + COLUMN_GAP * (len(needs) - 1) <= room:
        return [list(every)]
    needs = [min(each, LONG_CELL) + COLUMN_GAP for each in needs]
    names = list(range(_names(table)))
    begin = room + COLUMN_GAP - sum(needs[: len(names)])
    parts, left = [names[:]], begin
    for column in every[len(names) :]:
        if needs[column] > left and len(parts[-1]) > len(names):
            parts.append(names[:])
            left = begin
        parts[-1].append(column)
        left -= needs[column]
    return parts


def _names(table: Table) -> int:
    """How many of the first columns say together which line it is."""
    return max(1, sum(1 for _ in takewhile(NAMING.__contains__, table.headings)))


def _width(table: Table, column: int) -> int:
    cells = (*table.headings[column].splitlines(), *(line[column] for line in table.lines))
    return max((len(shown(cell)) for cell in cells), default=0)


def render_facts(facts: Mapping[str, object], *, file: TextIO | None = None) -> None:
    """Name and value, one pair a line; a value of several lines is indented under its first. None is left out."""
    if isinstance(file, Sheet):
        file.parts.append(Facts(facts))
        return
    said = {shown(name): value for name, value in facts.items() if value is not None and value != ""}
    width = max(map(len, said), default=0)
    for name, value in said.items():
        first, *rest = str(value).splitlines() or [""]
        lines = [f"{name.ljust(width)}  {first}", *(" " * (width + 2) + line for line in rest)]
        _print(lines, hanging=width + 2, file=file)


def with_notes(said: str | None, notes: Sequence[str]) -> str:
    """A fact and, on the lines below it, what is to be said of it."""
    return "\n".join(filter(None, (said, *notes)))


def render_lines(lines: Sequence[str], *, file: TextIO | None = None) -> None:
    """Lines of text as they are; on a terminal they are broken between words."""
    if isinstance(file, Sheet):
        file.parts += [Lines(said)] if (said := [line for line in lines if line]) else []
        return
    _print(lines, hanging=2, file=file)


def _print(lines: Sequence[str], *, hanging: int, file: TextIO | None) -> None:
    out = console(file)
    for line in lines:
        for part in _broken(shown(line), out.width, hanging):
            out.print(Text(part), soft_wrap=True)


def _broken(line: str, room: int, hanging: int) -> list[str]:
    """The line in parts that fit; whole where it is no sentence and has options, which are to be copied and pasted."""
    if len(line) <= room or (" --" in line and not line.endswith(".")):
        return [line]
    return textwrap.wrap(
        line,
        max(room, hanging + SHORTEST_LINE),
        subsequent_indent=" " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


class _Console(Console):
    """A reader that has left is an error to be handled, not the end of the process that rich makes of it."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(file: TextIO | None = None) -> Console:
    """A console on stdout that reads no markup, no emoji and no highlighting into what it prints."""
    stream = file or sys.stdout
    return _Console(
        file=stream,
        width=shutil.get_terminal_size().columns if stream.isatty() else LONGEST_LINE,
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
