"""What a table comes to as a whole: nothing, or the error that its exit code and `raise_if_failed` stand for."""

from __future__ import annotations

from collections.abc import Sequence

from deploykit.errors import BackendMissing, DeploykitError, ExecutionFailed, GateFailed
from deploykit.results.row import Row


def failure_of(rows: Sequence[Row], *, compared: bool = True) -> DeploykitError | None:
    """ExecutionFailed, GateFailed or BackendMissing, in this order; None where the table holds.

    A row failed, or parity or another gate did not hold, or nothing was available. A verdict that is missing did not
    hold either, where rows are `compared` with the reference: those that were built or measured have one each.
    """
    if broken := [row for row in rows if row.state == "failed" and row.parity is None]:
        return ExecutionFailed(_said(broken, "failed", broken[0].reason))
    if missed := [row for row in rows if not _holds(row, compared=compared)]:
        return GateFailed(_said(missed, "does not hold", _verdict(missed[0])))
    if {row.state for row in rows} == {"unavailable"}:
        return BackendMissing(_said(rows, "is unavailable", rows[0].reason))
    return None


def exit_code(rows: Sequence[Row], *, compared: bool = True) -> int:
    """That of `failure_of`, 0 where there is none."""
    failure = failure_of(rows, compared=compared)
    return failure.exit_code if failure else 0


def _holds(row: Row, *, compared: bool) -> bool:
    """Whether a row's verdict is a pass, or it needs none: it has no engine, or steps that nothing is compared with."""
    if row.parity is not None:
        return row.parity.verdict == "pass"
    return not compared or row.mode is not None or row.state not in ("measured", "built")


def _verdict(row: Row) -> str:
    return f"{row.parity.verdict}, {row.parity.reason}" if row.parity else "it has no verdict"


def _said(rows: Sequence[Row], what: str, reason: str) -> str:
    """The first of the rows, and how many others there are."""
    others = len(rows) - 1
    more = f" (and {others} other row{'s' if others > 1 else ''})" if others else ""
    return f"{rows[0].label} {what}: {reason}{more}"
