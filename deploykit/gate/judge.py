"""Whether the change of a figure is beyond a limit, and whether that is sure.

A figure of the compiled plan or of parity is exact: its change is beyond the limit or is not. A time and an accuracy
have intervals, and fail only where these leave out that nothing has changed:

    a time      the 95 % intervals of BASE and of NEW do not overlap. That they do not by chance alone is rarer than
                1 in 100 where both cover as they claim, so no change is called one more easily than by airspeed
                velocity (asv), which asks the same of intervals of 99 % where it has no test of the samples.
    accuracy    paired where both results say which images they were right on, and the images are the same: the
                interval of `Flips`. Else by Newcombe's hybrid of two score intervals (Statistics in Medicine 17, 1998,
                method 10), which takes the two sets of images for independent.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from deploykit.bench import Interval
from deploykit.gate.entries import Measured
from deploykit.gate.terms import FIGURES, PERCENT, Term
from deploykit.parity.accuracy import Flips, Share
from deploykit.results.gate import Check, Verdict


@dataclass(frozen=True, slots=True)
class Change:
    """NEW less BASE in `unit`. `unsure` says why there is no interval where one is required."""

    value: float
    unit: str
    interval: Interval | None = None
    unsure: str = ""


def judge(figure: str, term: Term | None, base: Measured, new: Measured, *, same_images: bool) -> Check:
    """The check of one figure that both rows have."""
    if isinstance(base.value, str) or isinstance(new.value, str):
        failed = base.value == "pass" and new.value != "pass"
        verdict: Verdict = "not judged" if term is None else "fails" if failed else "holds"
        return check_of(figure, term, base, new, None, verdict)
    if math.isnan(base.value) or math.isnan(new.value):
        return _not_a_number(figure, term, base, new)
    change = _change(figure, term, base, new, same_images=same_images)
    return check_of(figure, term, base, new, change, *_verdict(term, change))


def _verdict(term: Term | None, change: Change) -> tuple[Verdict, str]:
    if term is None:
        return "not judged", change.unsure
    if not term.is_beyond(change.value):
        return "holds", ""
    if change.unsure:
        return "undecided", change.unsure
    if change.interval is not None and change.interval.covers(0.0):
        return "undecided", "within noise: the interval of the change includes 0"
    return "fails", ""


def _not_a_number(figure: str, term: Term | None, base: Measured, new: Measured) -> Check:
    """A figure that was a number and is none has got worse, whatever the limit."""
    broken = isinstance(base.value, float) and not math.isnan(base.value)
    side = "NEW" if broken else "BASE"
    verdict: Verdict = "fails" if broken and term else "not compared"
    return check_of(figure, term, base, new, None, verdict, f"it is not a number in {side}")


def _change(figure: str, term: Term | None, base: Measured, new: Measured, *, same_images: bool) -> Change:
    assert isinstance(base.value, float) and isinstance(new.value, float)  # noqa: S101, PT018 - `judge` has asked
    unit = term.unit if term else FIGURES[figure].changes[0]
    value = _difference(base.value, new.value, unit)
    if FIGURES[figure].sort == "time":
        return _timed(base, new, value, unit)
    if base.share and new.share:
        flips = _flips(base, new) if same_images else None
        return Change(value, unit, _points(flips.interval if flips else newcombe(base.share, new.share)))
    return Change(value, unit)


def _difference(base: float, new: float, unit: str) -> float:
    if base == new:
        return 0.0
    if unit != PERCENT:
        return new - base
    return 100 * (new / base - 1) if base else math.inf


def _timed(base: Measured, new: Measured, value: float, unit: str) -> Change:
    if base.interval is None or new.interval is None:
        side, lacking = ("BASE", base) if base.interval is None else ("NEW", new)
        return Change(value, unit, None, f"{lacking.undecided} in {side}")
    low = _difference(base.interval.high, new.interval.low, unit)
    high = _difference(base.interval.low, new.interval.high, unit)
    return Change(value, unit, Interval(low, high))


def _flips(base: Measured, new: Measured) -> Flips | None:
    """Which of the same images are right on one side only; None where the two results do not say."""
    if base.right is None or new.right is None or base.share is None or new.share is None:
        return None
    if base.share.n != new.share.n:
        return None
    before, after = int(base.right or "0", 16), int(new.right or "0", 16)
    return Flips(base.share.n, (before & ~after).bit_count(), (after & ~before).bit_count(), Counter())


def _points(drop: tuple[float, float]) -> Interval:
    """The interval of a drop as that of a change."""
    return Interval(-drop[1], -drop[0])


def newcombe(base: Share, new: Share) -> tuple[float, float]:
    """The 95 % interval of the drop from `base` to `new`, in points, for independent sets of images."""
    (low_b, high_b), (low_n, high_n) = base.interval, new.interval
    drop, b, n = base.value - new.value, base.value, new.value
    return (100 * (drop - math.hypot(b - low_b, high_n - n)), 100 * (drop + math.hypot(high_b - b, n - low_n)))


def check_of(
    figure: str,
    term: Term | None,
    base: Measured | None,
    new: Measured | None,
    change: Change | None,
    verdict: Verdict,
    reason: str = "",
) -> Check:
    """A figure of both results, of which either may be missing, and what is said of it."""
    return Check(
        figure=figure,
        unit=FIGURES[figure].unit,
        base=base.value if base else None,
        new=new.value if new else None,
        change=change.value if change else None,
        change_unit=change.unit if change else "",
        interval=change.interval if change else None,
        limit=str(term) if term else "",
        verdict=verdict,
        reason=reason,
    )
