"""Pages of the documentation as a test reads them: fenced blocks, commands with the output shown, links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
SKIPPED = "..."  # a line that stands for lines of output that are not shown


@dataclass(frozen=True, slots=True)
class Block:
    language: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """One `$ ` line of a console block, and the lines of output under it."""

    line: str
    shown: tuple[str, ...]


def pages() -> list[Path]:
    """Every Markdown page: README, CONTRIBUTING, SECURITY and the site's."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]


def blocks(text: str) -> list[Block]:
    return [Block(found["language"], found["title"] or "", found["text"]) for found in FENCE.finditer(text)]


def commands(block: Block) -> Iterator[Command]:
    """Of a console block."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        yield Command(line, tuple(shown for shown in output.splitlines() if shown.strip() and shown != SKIPPED))


def links(text: str) -> list[str]:
    """Targets of the links outside of code."""
    return LINK.findall(re.sub(r"`[^`\n]*`", "", FENCE.sub("", text)))


def skeleton(line: str) -> str:
    """A line of output without what differs from machine to machine: numbers, digests, the width of columns."""
    line = re.sub(r"\b[0-9a-f]{12,}\b", "#", line)
    return re.sub(r"\s+", " ", re.sub(r"[+-]?\d[\d.,e-]*", "#", re.sub(r"-{4,}", "-", line))).strip()
