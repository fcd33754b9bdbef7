"""What a table comes to as a whole, and what it raises."""

import pytest

from deploykit.bench import fingerprint
from deploykit.errors import BackendMissing, ExecutionFailed, GateFailed
from deploykit.parity import GateMissed, Undecided
from deploykit.results.comparison import ComparisonEnvironment, Conditions, Report
from deploykit.results.failure import failure_of
from deploykit.results.row import Row


def row(state, *, backend="ort", parity=None):
    reason = "" if state == "measured" else "its reason"
    return Row(model="net", backend=backend, precision="fp32", batch=1, state=state, reason=reason, parity=parity)


def test_a_row_that_failed_comes_before_a_gate_and_a_gate_before_what_is_missing():
    missing, failed = row("unavailable", backend="trt"), row("failed", backend="torch")
    gate = row("measured", parity=GateMissed("0.5 dB below"))
    assert isinstance(failure_of([missing, gate, failed]), ExecutionFailed)
    assert isinstance(failure_of([missing, gate]), GateFailed)
    assert isinstance(failure_of([missing]), BackendMissing)


def test_the_first_row_is_named_with_its_reason_and_the_others_are_counted():
    rows = [row("measured", backend=name, parity=Undecided("no images")) for name in ("ort", "torch", "trt")]
    assert str(failure_of(rows)) == "parity of ort fp32 is inconclusive: no images (and 2 other rows)"
    assert str(failure_of(rows[:2])).endswith("(and 1 other row)")
    assert str(failure_of([row("failed")])) == "ort fp32 failed: its reason"


def test_a_row_without_a_verdict_holds_only_where_rows_are_not_compared():
    assert isinstance(failure_of([row("measured")]), GateFailed)
    assert failure_of([row("measured")], compared=False) is None


def test_a_report_raises_its_failure():
    machine = fingerprint(threads=1, seed=0, tf32=False)
    conditions = Conditions(model="net", batch=1, threads=1, tf32=False)
    environment = ComparisonEnvironment(**machine.facts(), conditions=conditions)
    report = Report(environment=environment, rows=(row("unavailable"),))
    with pytest.raises(BackendMissing, match="ort fp32 is unavailable: its reason"):
        report.raise_if_failed()
    assert report.failure.exit_code == 4
