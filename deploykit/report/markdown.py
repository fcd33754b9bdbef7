"""The verdicts of `compare` as Markdown for a pull request.

The text may be posted with rights that whoever made the results does not have. So all that comes out of a result stands
in code spans, where GitHub reads neither HTML nor links, mentions, images or commands, and the length is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence

from deploykit.quote import printable
from deploykit.report.gate import Line, equal, lines_of, verdict_of
from deploykit.results.gate import GateReport

LONGEST = 60_000  # characters; GitHub takes 65,536
LONGEST_QUOTE = 300
HEADINGS = ("row", "figure", "BASE", "NEW", "change", "verdict", "why")
RULE = "|---|---|---:|---:|---|---|---|"
MARK = "<!-- deploykit compare -->"
CUT = "\n\nThe rest is left out: it does not fit a comment."


def markdown(report: GateReport) -> str:
    """A heading with the verdict, a table of what changed, and the rest folded away."""
    lines = list(lines_of(report))
    loud, quiet = [line for line in lines if not line.quiet], [line for line in lines if line.quiet]
    parts = [MARK, f"### {verdict_of(report)}", _sides(report)]
    if loud:
        parts.append(_table(loud))
    if report.differences:
        parts.append(_folded("What differs between BASE and NEW", "\n".join(_differences(report))))
    if quiet:
        parts.append(_folded(f"{len(quiet)} figures are equal", "\n\n".join((*equal_lines(quiet), _table(quiet)))))
    return _bounded(parts, unfolded=4 if loud else 3) + "\n"


def code(text: str) -> str:
    """The text in a code span, in one line; "" stays empty."""
    plain = printable(text).replace("`", "'").replace("|", "\u00a6")
    return f"`{plain[:LONGEST_QUOTE]}`" if plain.strip() else ""


def equal_lines(quiet: Sequence[Line]) -> list[str]:
    return [code(line) for line in equal(quiet)]


def _sides(report: GateReport) -> str:
    said = [
        f"{name} is {code(side.source) or 'given'}, {side.kind} of {', '.join(map(code, side.models))}"
        for name, side in (("BASE", report.base), ("NEW", report.new))
    ]
    limits = f" Limits: {', '.join(map(code, report.fail_on))}." if report.fail_on else ""
    return f"{'; '.join(said)}.{limits}"


def _table(lines: Sequence[Line]) -> str:
    rows = [f"| {' | '.join(_cells(line))} |" for line in lines]
    return "\n".join([f"| {' | '.join(HEADINGS)} |", RULE, *rows])


def _cells(line: Line) -> list[str]:
    verdict = "**fails**" if line.verdict == "fails" else line.verdict
    words = [code(text) for text in (line.row, line.figure, line.base, line.new, line.change)]
    return [*words, verdict, code(line.reason)]


def _differences(report: GateReport) -> list[str]:
    times = "compared all the same" if report.across_environments else "not compared"
    return [
        f"- {code(each.what)}: {code(each.base)} in BASE, {code(each.new)} in NEW"
        + (f" (times are {times})" if each.of_times else "")
        for each in report.differences
    ]


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _bounded(parts: Sequence[str], *, unfolded: int) -> str:
    """Without the folded parts, where it is too long, then without the last lines of the table."""
    kept = list(parts)
    while len(text := "\n\n".join(kept)) > LONGEST and len(kept) > unfolded:
        kept.pop()
    if len(text) > LONGEST:
        text = text[:LONGEST].rpartition("\n")[0]
    return text if text == "\n\n".join(parts) else text + CUT
