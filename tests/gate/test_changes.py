"""Which rows are paired, what may be compared, and when a limit fails."""

import math
from dataclasses import replace

import numpy as np
import pytest
from made_up_results import MACHINE, accuracy, blocks, parity, plan, row, table

from deploykit.errors import GateFailed, UsageError
from deploykit.gate.compare import compare_results
from deploykit.gate.terms import parse_terms
from deploykit.results.gate import Check


def judged(base, new, limits="", **options):
    return compare_results(base, new, parse_terms(limits) if limits else (), **options)


def checks(report, figure):
    return {row.label: check for row in report.rows for check in row.checks if check.figure == figure}


def only(report, figure) -> Check:
    (found,) = checks(report, figure).values()
    return found


def test_a_row_that_got_slower_fails_and_one_that_did_not_holds():
    base = table(row("torch", ms=40), row("ort", ms=20), row("ort", "int8", ms=7))
    new = table(row("torch", ms=40.1), row("ort", ms=22), row("ort", "int8", ms=7.02))
    report = judged(base, new, "p50>3%")
    found = checks(report, "p50")
    assert [each.verdict for each in found.values()] == ["holds", "fails", "holds"]
    slow = found["ort fp32, batch 1"]
    assert slow.change == pytest.approx(10, abs=1)
    assert slow.interval.low < slow.change < slow.interval.high
    with pytest.raises(GateFailed, match=r"ort fp32, batch 1: p50>3% \(\+\d+\.\d % \[\+"):
        report.raise_if_failed()
    assert report.failure.exit_code == 3


def test_intervals_that_overlap_never_fail_however_far_the_medians_are_apart():
    noisy = {"noise": 0.3, "rounds": 6, "runs": 3}
    base = table(row(blocks=blocks(10, seed=1, **noisy)))
    new = table(row(blocks=blocks(11.5, seed=2, **noisy)))
    found = only(judged(base, new, "p50>3%"), "p50")
    assert (found.verdict, found.change > 3) == ("undecided", True)
    assert "the interval of the change includes 0" in found.reason


def test_without_an_interval_nothing_is_decided():
    alone = table(row(blocks=blocks(10, processes=1)))
    twice = table(row(blocks=blocks(20)))
    found = only(judged(alone, twice, "p50>3%"), "p50")
    assert found.verdict == "undecided"
    assert (
        found.reason == "one process: its interval leaves out how much processes differ (bench --processes 3) in BASE"
    )
    assert only(judged(alone, alone, "p50>3%"), "p50").verdict == "holds"


def test_single_steps_are_undecided():
    steps = table(row(mode="forward", steps_ns=(10, 11, 12)))
    steps = replace(steps, rows=(replace(steps.rows[0], latency_ms=table(row(ms=10)).rows[0].latency_ms),))
    slower = replace(steps, rows=(replace(steps.rows[0], latency_ms=table(row(ms=20)).rows[0].latency_ms),))
    assert only(judged(steps, slower, "p50>3%"), "p50").verdict == "undecided"


def test_times_come_from_the_samples_and_not_from_what_the_file_says_of_them():
    base, new = table(row(ms=10)), table(row(ms=12))
    touched = replace(new, rows=(replace(new.rows[0], latency_ms=base.rows[0].latency_ms),))
    assert only(judged(base, touched, "p50>3%"), "p50").verdict == "fails"


def test_equal_rows_seldom_fail_and_five_percent_are_found():
    wrong = found = 0
    for seed in range(40):
        base = table(row(blocks=blocks(10, noise=0.02, seed=seed)))
        again = table(row(blocks=blocks(10, noise=0.02, seed=1000 + seed)))
        slower = table(row(blocks=blocks(10.5, noise=0.02, seed=2000 + seed)))
        wrong += judged(base, again, "p50>0.1%").verdict == "fails"
        found += judged(base, slower, "p50>3%").verdict == "fails"
    assert wrong <= 1
    assert found >= 38


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"cpu": replace(MACHINE.cpu, model="Another CPU")}, "CPU"),
        ({"cpu": replace(MACHINE.cpu, flags=("avx2",))}, "instruction set"),
        ({"threads": 1}, "threads"),
        ({"libraries": {"torch": "2.11.0", "onnxruntime": "1.22.0"}}, "torch"),
        ({"libraries": {"torch": "2.10.0"}}, "onnxruntime"),
    ],
)
def test_times_of_unlike_environments_are_not_compared_and_everything_else_is(change, what):
    base = table(row(ms=10, parity=parity(40), plan=plan(58)))
    new = table(row(ms=20, parity=parity(30), plan=plan(60)), machine=replace(MACHINE, **change))
    report = judged(base, new, "p50>3%,kernels>0,sqnr<-1dB")
    assert [only(report, name).verdict for name in ("p50", "kernels", "sqnr")] == ["not compared", "fails", "fails"]
    assert only(report, "p50").reason == f"not alike: {what}"
    assert [each.what for each in report.differences if each.of_times] == [what]
    told = judged(base, new, "p50>3%", across_environments=True)
    assert only(told, "p50").verdict == "fails"


def test_nothing_compared_is_not_a_gate_that_holds():
    report = judged(table(row(ms=10)), table(row(ms=20), machine=replace(MACHINE, threads=1)), "p50>3%")
    assert (report.verdict, report.failure) == ("not compared", None)


def test_figures_of_the_plan_are_exact():
    base = table(row("trt", state="built", plan=plan(58, moved=500_000_000)))
    new = table(row("trt", state="built", plan=plan(57, moved=504_000_000, engine=51_000_000)))
    report = judged(base, new, "kernels>0,mb>1%,mb>3MB,engine_mb>1%")
    assert [(each.limit, each.verdict) for each in report.rows[0].checks if each.limit] == [
        ("kernels>0", "holds"),
        ("mb>1%", "holds"),
        ("mb>3MB", "fails"),
        ("engine_mb>1%", "fails"),
    ]


def test_a_ratio_is_compared_only_to_the_same_first_row():
    base = table(row("torch", ms=40), row("ort", ms=20))
    report = judged(base, table(row("torch", ms=60), row("ort", ms=30)), "ratio>3%")
    assert {label: each.verdict for label, each in checks(report, "ratio").items()} == {"ort fp32, batch 1": "holds"}
    other = judged(base, table(row("ort", ms=20), row("torch", ms=40)), "ratio>3%")
    assert {each.verdict for each in checks(other, "ratio").values()} == {"not compared"}
    assert "to torch fp32 in BASE, to ort fp32 in NEW" in checks(other, "ratio")["ort fp32, batch 1"].reason


@pytest.mark.parametrize(("first", "second", "wanted"), [(math.nan, 30, "not compared"), (30, math.nan, "fails")])
def test_a_figure_that_is_not_a_number(first, second, wanted):
    report = judged(table(row(parity=parity(first))), table(row(parity=parity(second))), "sqnr<-100dB")
    assert only(report, "sqnr").verdict == wanted
    assert "it is not a number in" in only(report, "sqnr").reason


def test_no_error_at_all_is_an_infinite_sqnr():
    exact = table(row(parity=parity(math.inf)))
    assert only(judged(exact, exact, "sqnr<-1dB"), "sqnr").verdict == "holds"
    assert only(judged(exact, table(row(parity=parity(40))), "sqnr<-1dB"), "sqnr").verdict == "fails"


def test_a_verdict_that_was_a_pass():
    passed, failed = table(row(parity=parity(40))), table(row(parity=parity(39, "fail")))
    assert only(judged(passed, failed, "parity"), "parity").said == "pass -> fail"
    assert judged(passed, failed, "parity").verdict == "fails"
    assert judged(failed, passed, "parity").verdict == "holds"
    assert judged(failed, failed, "parity").verdict == "holds"


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ([], "NEW has no such row"),
        ([row("ort", "int8", state="failed")], "failed in NEW: no GPU here"),
        ([row("ort", "int8", state="unavailable")], "unavailable in NEW: no GPU here"),
    ],
)
def test_a_row_that_is_gone_or_did_not_run_fails_unless_it_may(now, said):
    base, new = table(row(ms=10), row("ort", "int8", ms=5)), table(row(ms=10), *now)
    report = judged(base, new, "p50>3%")
    assert [(each.verdict, each.lost) for each in report.rows] == [("holds", ""), ("fails", said)]
    assert said in str(report.failure)
    assert judged(base, new, "p50>3%", allow_missing=True).verdict == "holds"
    assert judged(base, new).verdict == "not judged"


def test_a_row_that_only_new_has_is_shown_and_does_not_fail():
    report = judged(table(row(ms=10)), table(row(ms=10), row("ort", "int8", ms=5)), "p50>3%")
    assert [(each.label, each.base_state, each.verdict) for each in report.rows] == [
        ("ort fp32, batch 1", "measured", "holds"),
        ("ort int8, batch 1", None, "not compared"),
    ]


def test_a_figure_with_a_limit_that_new_lacks_fails():
    base = table(row(ms=10, parity=parity(40)))
    found = only(judged(base, table(row(ms=10)), "sqnr<-1dB"), "sqnr")
    assert (found.verdict, found.reason) == ("fails", "NEW does not have it")
    assert only(judged(base, table(row(ms=10)), "p50>3%"), "sqnr").verdict == "not compared"


def test_rows_are_paired_by_batch_and_mode_and_twins_by_their_place():
    base = table(row(ms=10, batch=1), row(ms=30, batch=8), row(ms=50, batch=8))
    new = table(row(ms=30, batch=8), row(ms=50, batch=8), row(ms=10, batch=1))
    assert judged(base, new, "p50>1%").verdict == "holds"


def test_a_limit_that_no_row_has_a_figure_for_is_refused():
    with pytest.raises(UsageError, match="limit kernels>0: no row of BASE has kernels; it has p50, ratio"):
        judged(table(row(ms=10)), table(row(ms=10)), "kernels>0")


def test_other_networks_and_other_commands_are_refused():
    with pytest.raises(UsageError, match="BASE is of net, NEW is of other"):
        judged(table(row(ms=1)), table(row(ms=1, model="other")))
    with pytest.raises(UsageError, match="BASE is of bench, NEW is of evaluate"):
        judged(table(row(ms=1)), accuracy([True, False]))


def test_another_typed_graph_and_other_conditions_are_named():
    base = table(row(parity=parity(40)), preprocessing="a", weights_digest="1" * 64)
    new = table(row(parity=parity(40), typed_digest="cd" * 32), preprocessing="b", weights_digest="1" * 64)
    assert [str(each) for each in judged(base, new).differences] == [
        "preprocessing: a in BASE, b in NEW",
        "typed graph of ort fp32: abababababab in BASE, cdcdcdcdcdcd in NEW",
    ]


def answers(count, wrong):
    return [number not in wrong for number in range(count)]


def test_an_accuracy_on_the_same_images_is_judged_by_those_that_flipped():
    """Six of 1,000 images lost: far within the noise of two samples of images, and not of one and the same."""
    base, new = answers(1000, range(100)), answers(1000, range(106))
    paired = only(judged(accuracy(base), accuracy(new), "top1<-0.3"), "top1")
    assert paired.change == pytest.approx(-0.6)
    assert (paired.verdict, paired.interval.high < 0) == ("fails", True)
    independent = only(judged(accuracy(base), accuracy(new, digest="d2"), "top1<-0.3"), "top1")
    assert independent.change == pytest.approx(-0.6)
    assert independent.verdict == "undecided"
    assert independent.interval.low < paired.interval.low < paired.interval.high < independent.interval.high


def test_an_accuracy_that_fell_far_fails_without_the_same_images_too():
    found = only(judged(accuracy(answers(1000, range(100))), accuracy(answers(800, range(160))), "top1<-0.3"), "top1")
    assert (found.verdict, round(found.change)) == ("fails", -10)


def test_a_small_drop_holds_and_a_gain_does_too():
    base = accuracy(answers(1000, range(100)))
    assert judged(base, accuracy(answers(1000, range(102))), "top1<-0.3").verdict == "holds"
    assert judged(base, accuracy(answers(1000, range(50))), "top1<-0.3").verdict == "holds"


def test_newcombe_agrees_with_the_paper():
    """Newcombe 1998, table II, contrast (a): 56/70 and 48/80 give 0.0524 to 0.3339 by method 10."""
    from deploykit.gate.judge import newcombe
    from deploykit.parity.accuracy import Share

    assert np.allclose(newcombe(Share(56, 70), Share(48, 80)), (5.24, 33.39), atol=0.006)
