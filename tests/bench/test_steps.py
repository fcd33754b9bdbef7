"""Single steps timed in a real worker process."""

import statistics

import numpy as np
import pytest
from step_workloads import Breaking, Counted, Unreadable

from deploykit.bench import StepSettings, per_batch, step_latency, time_steps
from deploykit.errors import ExecutionFailed, UsageError


def test_exactly_the_steps_asked_for_are_run_and_all_are_kept(tmp_path):
    found = time_steps(Counted(tmp_path / "steps"), StepSettings(burn_in=3, steps=17, threads=1))
    assert found.failure is None
    assert (len(found.burn_in_ns), len(found.samples_ns)) == (3, 17)
    assert len((tmp_path / "steps").read_bytes()) == 20  # preparing ran none


def test_burn_in_is_kept_apart(tmp_path):
    found = time_steps(Counted(tmp_path / "steps", slow_steps=4), StepSettings(burn_in=4, steps=5, threads=1))
    assert min(found.burn_in_ns) >= 50e6
    assert statistics.median(found.samples_ns) < 50e6


def test_without_burn_in_the_first_step_counts(tmp_path):
    seen = []
    workload = Counted(tmp_path / "steps", slow_steps=1)
    found = time_steps(workload, StepSettings(burn_in=0, steps=2, threads=1), lambda *step: seen.append(step))
    assert found.burn_in_ns == ()
    assert found.samples_ns[0] >= 50e6
    assert "burn-in steps" not in {phase for phase, _, _ in seen}


def test_progress_counts_slow_steps_one_by_one(tmp_path):
    seen = []
    workload = Counted(tmp_path / "steps", seconds=0.6)
    time_steps(workload, StepSettings(burn_in=1, steps=3, threads=1), lambda *step: seen.append(step))
    assert seen == [
        ("prepare the steps", 0, 1), ("prepare the steps", 1, 1),
        ("burn-in steps", 0, 1), ("burn-in steps", 1, 1),
        ("timed steps", 0, 3), ("timed steps", 1, 3), ("timed steps", 2, 3), ("timed steps", 3, 3),
    ]  # fmt: skip


@pytest.mark.full
def test_many_slow_steps_are_not_taken_for_a_hang(tmp_path):
    settings = StepSettings(burn_in=0, steps=14, threads=1, answer_seconds=4.0)
    found = time_steps(Counted(tmp_path / "steps", seconds=0.4), settings)  # 5.6 s in all, 0.8 s an answer
    assert found.failure is None
    assert len(found.samples_ns) == 14


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        (Breaking(0, "fail"), "^ValueError: cannot be prepared$"),
        (Breaking(4, "fail"), "^RuntimeError: step says no$"),
        (Breaking(4, "killed"), "killed by SIGKILL; probably out of memory: try a smaller batch$"),
        (Breaking(4, "hang"), "^no answer within 3 s; its worker was killed$"),
        (Unreadable(), "^ModuleNotFoundError: No module named 'elsewhere'$"),
    ],
    ids=["prepare", "step", "killed", "hang", "unreadable"],
)
def test_what_breaks_is_one_line_and_what_came_before_is_kept(workload, message):
    found = time_steps(workload, StepSettings(burn_in=1, steps=50, threads=1, answer_seconds=3.0))
    with pytest.raises(ExecutionFailed, match=message):
        raise found.failure
    assert "\n" not in str(found.failure)
    assert len(found.burn_in_ns) == (1 if isinstance(workload, Breaking) and workload.number else 0)
    assert len(found.samples_ns) < 4


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"burn_in": -1}, "burn_in is -1; give 0 or more"),
        ({"steps": 1}, "steps is 1; give 2 or more"),
        ({"threads": -1}, "threads is -1; give 0 or more"),
        ({"answer_seconds": float("nan")}, "answer_seconds is nan; give a finite number of seconds above 0"),
    ],
)
def test_refuses_settings_that_cannot_be_kept(option, message):
    with pytest.raises(UsageError) as caught:
        StepSettings(**option)
    assert str(caught.value) == message


def test_the_documented_defaults():
    settings = StepSettings()
    assert (settings.burn_in, settings.steps) == (10, 100)
    assert settings.answer_seconds >= 3600  # a training step may take minutes


@pytest.mark.parametrize("size", [2, 3, 100])
def test_mean_and_sample_standard_deviation(size):
    samples = [int(value) for value in np.random.default_rng(size).integers(10**6, 10**9, size)]
    found = per_batch(samples, burn_in=7)
    assert found.mean == pytest.approx(statistics.fmean(samples) / 1e6, rel=1e-12)
    assert found.sd == pytest.approx(statistics.stdev(samples) / 1e6, rel=1e-12)
    assert found.sd == pytest.approx(np.std(np.array(samples), ddof=1) / 1e6, rel=1e-12)
    assert (found.n, found.burn_in) == (size, 7)


def test_every_step_counts_in_its_percentiles_and_there_is_no_interval():
    found = step_latency([value * 10**6 for value in range(64, 0, -1)])
    assert (found.median, found.n, found.flagged, found.ci95) == (32.5, 64, 0, None)
    assert (found.p90, found.p95) == (58.0, None)
    assert step_latency([10**6] * 63).p90 is None
    assert step_latency([]) is None
