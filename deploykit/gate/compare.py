"""Pair the rows of two results and judge every figure that both have. No figure of BASE is passed over in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from deploykit.errors import UsageError
from deploykit.gate.differences import differences
from deploykit.gate.entries import Entry, Key, Measured, entries
from deploykit.gate.judge import check_of, judge
from deploykit.gate.terms import FIGURES, Sort, Term
from deploykit.results.accuracy import AccuracyReport
from deploykit.results.gate import Check, Difference, GateReport, GateRow, Side, Verdict
from deploykit.results.row import State
from deploykit.results.saved import Kind, Results, kind_of

RAN: tuple[State, ...] = ("measured", "built")
FAMILY: Mapping[Kind, str] = {
    "bench": "a table of rows", "verify": "a table of rows", "evaluate": "accuracies", "inspect": "one plan",
    "build": "one engine",
}  # fmt: skip
SEVERITY: tuple[Verdict, ...] = ("fails", "undecided", "not compared", "holds", "not judged")


@dataclass(frozen=True, slots=True)
class _Rules:
    """`unlike` names what differs where times may not be compared, "" where they may."""

    terms: tuple[Term, ...]
    unlike: str
    same_images: bool
    allow_missing: bool


def compare_results(
    base: Results,
    new: Results,
    terms: Sequence[Term],
    *,
    sources: tuple[str, str] = ("", ""),
    across_environments: bool = False,
    allow_missing: bool = False,
) -> GateReport:
    """Every row of BASE beside that of NEW, then the rows that only NEW has.

    Raises:
        UsageError: The results are of other commands or of other networks, or BASE has no figure that a limit is for.
    """
    rows_before, rows_after = entries(base), entries(new)
    before, after = _side(base, sources[0], rows_before), _side(new, sources[1], rows_after)
    _require_alike(before, after)
    _require_figures(terms, rows_before, rows_after)
    found = tuple(differences(base, new))
    unlike = () if across_environments else tuple(each for each in found if each.of_times)
    why = f"not alike: {', '.join(each.what for each in unlike)}" if unlike else ""
    rules = _Rules(tuple(terms), why, _same_images(base, new), allow_missing)
    return GateReport(
        base=before,
        new=after,
        fail_on=tuple(map(str, terms)),
        across_environments=across_environments,
        differences=(*found, *_graphs(rows_before, rows_after)),
        rows=tuple(_rows(rows_before, rows_after, rules)),
    )


def _side(results: Results, source: str, rows: Sequence[Entry]) -> Side:
    return Side(source, kind_of(results), tuple(dict.fromkeys(entry.key.model for entry in rows)))


def _require_alike(base: Side, new: Side) -> None:
    if FAMILY[base.kind] != FAMILY[new.kind]:
        raise UsageError(f"BASE is of {base.kind}, NEW is of {new.kind}", hint="compare two results of one command")
    if not set(base.models) & set(new.models):
        raise UsageError(
            f"BASE is of {', '.join(base.models) or 'no network'}, NEW is of {', '.join(new.models) or 'no network'}",
            hint="compare two results of one network",
        )


def _require_figures(terms: Sequence[Term], base: Sequence[Entry], new: Sequence[Entry]) -> None:
    """A limit that nothing can fail is no limit."""
    for term in terms:
        if not any(term.figure in entry.figures for entry in base):
            known = [name for name in FIGURES if any(name in entry.figures for entry in (*base, *new))]
            raise UsageError(
                f"limit {term}: no row of BASE has {term.figure}", hint=f"it has {', '.join(known) or 'no figure'}"
            )


def _same_images(base: Results, new: Results) -> bool:
    if not (isinstance(base, AccuracyReport) and isinstance(new, AccuracyReport)):
        return False
    return bool(base.conditions.images_digest) and base.conditions.images_digest == new.conditions.images_digest


def _graphs(base: Sequence[Entry], new: Sequence[Entry]) -> Iterator[Difference]:
    """Rows that ran another typed graph than before."""
    after = {entry.key: entry for entry in new}
    for entry in base:
        other = after.get(entry.key)
        if other and entry.graph and other.graph and entry.graph != other.graph:
            what = f"typed graph of {entry.key.backend} {entry.key.precision}"
            yield Difference(what, entry.graph[:12], other.graph[:12], False)


def _rows(base: Sequence[Entry], new: Sequence[Entry], rules: _Rules) -> Iterator[GateRow]:
    after = {entry.key: entry for entry in new}
    for entry in base:
        yield _row(entry.key, entry, after.pop(entry.key, None), rules)
    for key, entry in after.items():
        yield _row(key, None, entry, rules)


def _row(key: Key, base: Entry | None, new: Entry | None, rules: _Rules) -> GateRow:
    lost = _lost(base, new)
    checks = () if lost or base is None or new is None else tuple(_checks(base, new, rules))
    verdicts: list[Verdict] = [check.verdict for check in checks]
    if lost:
        verdicts.append("not compared" if rules.allow_missing else "fails" if rules.terms else "not judged")
    return GateRow(
        model=key.model,
        backend=key.backend,
        precision=key.precision,
        batch=key.batch,
        mode=key.mode,
        base_state=base.state if base else None,
        new_state=new.state if new else None,
        lost=lost,
        verdict=min(verdicts, key=SEVERITY.index, default="not compared"),
        checks=checks,
    )


def _lost(base: Entry | None, new: Entry | None) -> str:
    if base is None or base.state not in RAN:
        return ""
    if new is None:
        return "NEW has no such row"
    return "" if new.state in RAN else f"{new.state} in NEW: {new.reason}"


def _checks(base: Entry, new: Entry, rules: _Rules) -> Iterator[Check]:
    for figure in FIGURES:
        terms: Sequence[Term | None] = [term for term in rules.terms if term.figure == figure] or [None]
        before, after = base.figures.get(figure), new.figures.get(figure)
        if (before is None and after is None) or _is_first(base, before, after):
            continue
        for term in terms:
            if before is None or after is None:
                yield _one_sided(figure, term, before, after, new, rules)
            elif FIGURES[figure].sort == "time" and rules.unlike:
                yield check_of(figure, term, before, after, None, "not compared", rules.unlike)
            elif before.to != after.to:
                reason = f"relative to {before.to} in BASE, to {after.to} in NEW"
                yield check_of(figure, term, before, after, None, "not compared", reason)
            else:
                yield judge(figure, term, before, after, same_images=rules.same_images)


def _is_first(base: Entry, before: Measured | None, after: Measured | None) -> bool:
    """Whether a ratio is the row's to itself, on both sides."""
    label = f"{base.key.backend} {base.key.precision}"
    return before is not None and after is not None and before.to == after.to == label


def _one_sided(
    figure: str, term: Term | None, before: Measured | None, after: Measured | None, new: Entry, rules: _Rules
) -> Check:
    """A figure that only one side has. Nobody passes a gate by dropping what it judges."""
    if before is None:
        return check_of(figure, term, before, after, None, "not compared", "BASE does not have it")
    sort: Sort = FIGURES[figure].sort
    if sort == "time" and rules.unlike:
        return check_of(figure, term, before, after, None, "not compared", rules.unlike)
    reason = f"NEW does not have it{f' ({new.reason})' if new.reason else ''}"
    fails = term is not None and not rules.allow_missing
    return check_of(figure, term, before, after, None, "fails" if fails else "not compared", reason)
