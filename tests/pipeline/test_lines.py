"""The exit code comes from what each row is and from its verdict; a verdict that is missing is no pass."""

import pytest

from deploykit.parity import GateMissed, OutputParity, ParityResult, Undecided
from deploykit.pipeline.lines import exit_code
from deploykit.report.row import Row


def row(state, parity=None, **options):
    reason = "" if state == "measured" else "why"
    return Row(
        model="m", backend="ort", precision="fp32", batch=1, state=state, reason=reason, parity=parity, **options
    )


def result(verdict):
    return ParityResult((OutputParity("y", "engine", verdict, "", "", floor=1e-6),), 4, "test", "given weights")


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([row("measured", result("pass")), row("built", result("pass"))], 0),
        ([row("measured", result("pass")), row("unavailable")], 0),
        ([row("unavailable"), row("unavailable")], 4),
        ([row("measured", result("fail"))], 3),
        ([row("measured", result("inconclusive"))], 3),
        ([row("measured", Undecided("no reference"))], 3),
        ([row("measured")], 3),
        ([row("built"), row("unavailable")], 3),
        ([row("failed", GateMissed("a weight overflows"))], 3),
        ([row("failed"), row("measured", result("fail"))], 1),
        ([row("measured", mode="forward")], 0),
    ],
)
def test_rows_that_were_compared(rows, code):
    assert exit_code(rows) == code


def test_rows_that_were_not_to_be_compared_need_no_verdict():
    assert exit_code([row("measured")], compared=False) == 0
    assert exit_code([row("measured", GateMissed("2 points of top-1 lost"))], compared=False) == 3
