"""What the pages of `bench`, `verify` and `evaluate` share: how a row is drawn, and what is said of the machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deploykit.bench.environment import Machine
from deploykit.report.page import FactList, Part, Section, part_of
from deploykit.report.svg.marks import MARKERS
from deploykit.report.text import Sheet
from deploykit.results.row import Row

PRECISIONS = ("fp32", "fp16", "int8")


def read_sheet(sheet: Sheet) -> tuple[Part, list[Part], list[Section]]:
    """What a terminal shows: its conditions, the tables and remarks below them, and what begins with facts again."""
    conditions, *rest = map(part_of, sheet.parts)
    opening: list[Part] = []
    sections: list[Section] = []
    parts = opening
    for part in rest:
        if isinstance(part, FactList):
            parts = []
            sections.append(Section(next(iter(part.facts)).capitalize(), parts))
        parts.append(part)
    return conditions, opening, sections


def color_of(precision: str) -> str:
    """The style sheet's class of a precision."""
    return precision if precision in PRECISIONS else "other"


def shapes_of(names: Iterable[str]) -> dict[str, str]:
    """A marker for each name, in their order."""
    return {name: MARKERS[index % len(MARKERS)] for index, name in enumerate(dict.fromkeys(names))}


def missing(rows: Sequence[Row], what: str) -> str:
    """A sentence on rows without a figure: what they lack and their states."""
    states: dict[str, list[str]] = {}
    for row in rows:
        states.setdefault(row.state, []).append(row.label)
    said = "; ".join(f"{', '.join(labels)} ({state})" for state, labels in states.items())
    return f" {what}: {said}." if said else ""


def verdict_of(failure: Exception | None, well: str) -> tuple[str, str]:
    """The note that a page begins with: why the command fails, or what went `well`."""
    return ("warning", str(failure)) if failure else ("ok", well)


def machine_section(machine: Machine) -> Section:
    """What has to be equal before two pages may be compared."""
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    cpu, gpu = machine.cpu, machine.gpu
    facts: dict[str, object] = {
        "CPU": f"{cpu.model}, {cpu.cores} cores",
        "instructions": ", ".join(cpu.flags),
        "governor": cpu.governor,
        "clock": f"{cpu.clock_mhz:.0f} MHz" if cpu.clock_mhz else None,
        "last-level cache": f"{cpu.cache_bytes / 2**20:.1f} MiB" if cpu.cache_bytes else None,
        "memory": f"{machine.memory_bytes / 2**30:.1f} GiB" if machine.memory_bytes else None,
        "GPU": gpu.name if gpu else "none",
        "load at the start": f"{machine.load_average:.2f}" if machine.load_average is not None else None,
        "system": f"{machine.os}, Python {machine.python}",
        "libraries": libraries,
        "deploykit": machine.git_revision,
        "seed": machine.seed,
    }
    return Section("Machine and libraries", (FactList(facts),))
