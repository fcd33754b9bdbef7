"""A result as one page: what it is made of, and the page as text.

Every command's page is made of these parts by one template. It is self-contained and runs no script; its policy forbids
both to whatever a foreign name may smuggle in. Figures are those of the terminal's tables, character for character.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias

from markupsafe import Markup

from deploykit.report.templating import rendered
from deploykit.report.text import Facts, Lines, Table

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
PHONE, HALF, WHOLE = 340.0, 520.0, 880.0  # widths that figures are drawn at, pixels


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A sentence or a few."""

    KIND: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True, slots=True)
class Notes:
    """Conclusions, each with its level: `ok`, `note` or `warning`."""

    KIND: ClassVar[str] = "notes"
    lines: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Remarks:
    """Lines below a table."""

    KIND: ClassVar[str] = "remarks"
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class FactList:
    """Names and values; a value may have several lines."""

    KIND: ClassVar[str] = "facts"
    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table; a cell may have several lines. Lines whose index is in `tinted` stand out."""

    KIND: ClassVar[str] = "table"
    table: Table
    tinted: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Key:
    """Colors by their class in the style sheet, and what each stands for; `more` is said after them."""

    KIND: ClassVar[str] = "key"
    entries: Sequence[tuple[str, str]]
    more: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing of any size, which scrolls where it is larger than the page."""

    KIND: ClassVar[str] = "picture"
    drawing: Markup


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart drawn twice, for a page and for a phone. `caption` says how to read it and what is missing from it."""

    title: str
    caption: str
    wide: Markup
    narrow: Markup
    half: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """Charts, two beside each other where there is room."""

    KIND: ClassVar[str] = "figures"
    figures: Sequence[Figure]


Part: TypeAlias = Paragraph | Notes | Remarks | FactList | Grid | Key | Picture | Figures


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Page:
    """`lede` says in a sentence what the page shows; the `opening` stands below it without a heading."""

    title: str
    lede: str
    opening: Sequence[Part]
    sections: Sequence[Section]


def part_of(rendered_part: Facts | Table | Lines) -> Part:
    """What was rendered for a terminal, as a part of a page."""
    match rendered_part:
        case Facts():
            return FactList(rendered_part.facts)
        case Table():
            return Grid(rendered_part)
        case Lines():
            return Remarks(rendered_part.lines)


class Drawn(Protocol):
    """A chart of which all is known but its name and its width."""

    def __call__(self, *, title: str, width: float) -> Markup: ...


def figure(title: str, caption: str, draw: Drawn, *, half: bool = False) -> Figure:
    """The figure that `draw` makes, for a page and for a phone."""
    wide = draw(title=title, width=HALF if half else WHOLE)
    return Figure(title, caption, wide, draw(title=title, width=PHONE), half)


def page_html(page: Page) -> str:
    """The text of the page."""
    return rendered("page.html.j2", policy=POLICY, page=page)
