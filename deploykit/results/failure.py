"""What a table comes to as a whole: nothing, or the error that its exit code and `raise_if_failed` stand for."""

from __future__ import annotations

from collections.abc import Sequence

from deploykit.errors import BackendMissing, DeploykitError, ExecutionFailed, GateFailed
from deploykit.parity import GateMissed
from deploykit.results.row import Row, RowHead


def failure_of(rows: Sequence[Row], *, compared: bool = True) -> DeploykitError | None:
    """ExecutionFailed, GateFailed or BackendMissing, in this order; None where the table holds.

    A row failed, or parity or another gate did not hold, or nothing was available. A verdict that is missing did not
    hold either, where rows are `compared` with the reference: those that were built or measured have one each.
    """
    if broken := [row for row in rows if row.state == "failed" and row.parity is None]:
        return ExecutionFailed(_said(f"{broken[0].label} failed", broken[0].reason, broken))
    if missed := [row for row in rows if not _holds(row, compared=compared)]:
        return GateFailed(_missed(missed))
    if {row.state for row in rows} == {"unavailable"}:
        return BackendMissing(_said(f"{rows[0].label} is unavailable", rows[0].reason, rows))
    return None


def failed_below(rows: Sequence[RowHead], where: str) -> DeploykitError | None:
    """The error of the first row that failed in a table below the first, as `where` says; None where none did."""
    broken = next((row for row in rows if row.state == "failed"), None)
    return ExecutionFailed(f"{broken.label} failed {where}: {broken.reason}") if broken else None


def exit_code(rows: Sequence[Row], *, compared: bool = True) -> int:
    """That of `failure_of`, 0 where there is none."""
    failure = failure_of(rows, compared=compared)
    return failure.exit_code if failure else 0


def _holds(row: Row, *, compared: bool) -> bool:
    """Whether a row's verdict is a pass, or it needs none: it has no engine, or steps that nothing is compared with."""
    if row.parity is not None:
        return row.parity.verdict == "pass"
    return not compared or row.mode is not None or row.state not in ("measured", "built")


def _missed(rows: Sequence[Row]) -> str:
    first = rows[0]
    if isinstance(first.parity, GateMissed):
        return _said(f"{first.label} did not pass", first.parity.reason, rows)
    if first.parity is None:
        return _said(f"parity of {first.label} is inconclusive", "it has no verdict", rows)
    verdict = "failed" if first.parity.verdict == "fail" else "is inconclusive"
    return _said(f"parity of {first.label} {verdict}", first.parity.reason, rows)


def _said(what: str, reason: str, rows: Sequence[Row]) -> str:
    """What the first of the rows came to, and how many others there are."""
    others = len(rows) - 1
    more = f" (and {others} other row{'s' if others > 1 else ''})" if others else ""
    return f"{what}: {reason}{more}"
