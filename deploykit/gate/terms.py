"""Limits in words: `p50>3%,sqnr<-1dB,kernels>0` are changes, NEW less BASE, at which the gate fails."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from deploykit.errors import UsageError

Sort = Literal["time", "plan", "parity", "accuracy"]
PERCENT = "%"
BOUND = r"(?P<sign>[<>])\s*(?P<bound>[+-]?(?:\d+\.?\d*|\.\d+))\s*(?P<unit>%|[A-Za-z]*)"
TERM = re.compile(rf"(?P<figure>\w+)\s*(?:{BOUND})?")


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a row: what it `says`, its unit, and the units that a change of it may be given in, usual first.

    One with `bare` limits may be given without a unit. A figure without units of change is a verdict.
    """

    sort: Sort
    says: str
    unit: str
    changes: tuple[str, ...]
    bare: str | None = None


FIGURES: Mapping[str, Figure] = {
    "p50": Figure("time", "median time of a run", "ms", (PERCENT, "ms")),
    "device": Figure("time", "median time of a run by the device's clock", "ms", (PERCENT, "ms")),
    "ratio": Figure("time", "time over that of the first row", "", (PERCENT,), PERCENT),
    "kernels": Figure("plan", "kernels of the compiled plan", "", ("", PERCENT), ""),
    "mb": Figure("plan", "megabytes that the kernels read and write per batch", "MB", (PERCENT, "MB"), "MB"),
    "engine_mb": Figure("plan", "size of the engine", "MB", (PERCENT, "MB"), "MB"),
    "activation_mb": Figure("plan", "memory for activations", "MB", (PERCENT, "MB"), "MB"),
    "sqnr": Figure("parity", "SQNR of the worst output against float64", "dB", ("dB",), "dB"),
    "agreement": Figure("parity", "whole numbers or items of the worst output that agree", "%", ("points",), "points"),
    "parity": Figure("parity", "the parity verdict: fails where a pass is one no more", "", ()),
    "top1": Figure("accuracy", "top-1 accuracy", "%", ("points",), "points"),
    "top5": Figure("accuracy", "top-5 accuracy", "%", ("points",), "points"),
}


@dataclass(frozen=True, slots=True)
class Term:
    """The gate fails where `figure` changes by more (">") or less ("<") than `bound`, in `unit`."""

    figure: str
    sign: str
    bound: float
    unit: str

    def __str__(self) -> str:
        return f"{self.figure}{self.sign}{self.bound:g}{_written(self.unit)}" if self.sign else self.figure

    def is_beyond(self, change: float) -> bool:
        return change > self.bound if self.sign == ">" else change < self.bound


def parse_terms(text: str) -> tuple[Term, ...]:
    """Terms with commas between. Raises UsageError, which lists the figures that there are."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError("no limit is given", hint=_known())
    return tuple(dict.fromkeys(_parsed(part) for part in parts))


def _parsed(text: str) -> Term:
    found = TERM.fullmatch(text)
    if found is None:
        raise UsageError(f"cannot read the limit {text!r}", hint=_known())
    name = found["figure"].lower()
    if name not in FIGURES:
        raise UsageError(f"limit {text!r}: there is no figure {name!r}", hint=_known())
    figure = FIGURES[name]
    if (found["sign"] is None) != (not figure.changes):
        wanted = "stands alone" if not figure.changes else f"has a bound, such as {_example(name)}"
        raise UsageError(f"limit {text!r}: {name} {wanted}", hint=_known())
    if found["sign"] is None:
        return Term(name, "", 0.0, "")
    return Term(name, found["sign"], float(found["bound"]), _unit(text, name, found["unit"]))


def _unit(text: str, name: str, said: str) -> str:
    figure = FIGURES[name]
    by_lower = {unit.lower(): unit for unit in figure.changes}
    if not said and figure.bare is not None:
        return figure.bare
    if said.lower() not in by_lower or not said:
        units = " or ".join(unit or "no unit" for unit in figure.changes)
        raise UsageError(f"limit {text!r}: the change of {name} is in {units}", hint=f"write {_example(name)}")
    return by_lower[said.lower()]


def _example(name: str) -> str:
    figure = FIGURES[name]
    sign = "<-" if figure.sort in ("parity", "accuracy") else ">"
    return f"{name}{sign}1{_written(figure.changes[0])}" if figure.changes else name


def _written(unit: str) -> str:
    """Points go without saying."""
    return "" if unit == "points" else unit


def _known() -> str:
    return f"known limits: {', '.join(map(_example, FIGURES))}"
