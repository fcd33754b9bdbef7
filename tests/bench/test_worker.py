"""The worker's own loop; its life as a process is tested through the coordinator."""

import gc
import itertools

import pytest

from deploykit.bench.worker import timed_runs, warm_up


class Clock:
    """Time that passes only while `run` is called: `durations` in turn, the last one for ever."""

    def __init__(self, *durations):
        self.durations, self.now, self.runs = list(durations), 0.0, 0

    def __call__(self):
        return self.now

    def run(self):
        self.now += self.durations[min(self.runs, len(self.durations) - 1)]
        self.runs += 1


@pytest.mark.parametrize(
    ("duration", "runs"),
    [(0.05, 10), (0.01, 20), (0.001, 200)],  # ten runs at least, and 200 ms at least
)
def test_warms_up_by_time_and_by_count(duration, runs):
    clock = Clock(duration)
    found = warm_up(clock.run, cap_seconds=10.0, clock=clock)
    assert (found.runs, found.settled) == (pytest.approx(runs, abs=1), True)
    assert found.median_seconds == pytest.approx(duration)


def test_goes_on_until_the_medians_agree():
    clock = Clock(*[0.3] * 12, 0.1)
    found = warm_up(clock.run, cap_seconds=100.0, clock=clock)
    assert (found.runs, found.settled) == (10, True)
    clock = Clock(*[0.3] * 6, 0.1)  # the last five of ten runs disagree with those before; of 14 they agree
    found = warm_up(clock.run, cap_seconds=100.0, clock=clock)
    assert (found.runs, found.settled, found.median_seconds) == (14, True, pytest.approx(0.1))


def test_the_cap_ends_a_warm_up_that_never_settles():
    clock = Clock(*[0.1 * 1.1**k for k in range(100)])
    found = warm_up(clock.run, cap_seconds=3.0, clock=clock)
    assert not found.settled
    assert found.seconds == pytest.approx(3.0, rel=0.2)


def test_a_slow_row_runs_once_whatever_the_cap():
    clock = Clock(60.0)
    found = warm_up(clock.run, cap_seconds=1.0, clock=clock)
    assert (found.runs, found.settled, found.median_seconds) == (1, False, 60.0)


def test_no_run_is_begun_that_would_end_behind_the_cap():
    clock = Clock(3.9)
    assert warm_up(clock.run, cap_seconds=6.0, clock=clock).runs == 1
    assert warm_up(clock.run, cap_seconds=10.0, clock=clock).runs == 2


class Nothing:
    """A run that takes no time, so that all that is measured is the loop's own."""

    def launch(self):
        pass

    def synchronize(self):
        pass

    def device_ms(self):
        return None


def test_the_loop_adds_less_than_five_microseconds_to_a_sample():
    samples = timed_runs(itertools.repeat(Nothing()), 5000).samples_ns
    undisturbed = min(sum(samples[k : k + 20]) / 20 for k in range(0, 5000, 20))  # some 0.2 us where this was written
    assert 0 < undisturbed < 5000


def test_device_times_are_kept_beside_the_host_s():
    bound = Nothing()
    bound.device_ms = lambda: 0.25
    found = timed_runs(itertools.repeat(bound), 3)
    assert (len(found.samples_ns), found.device_ns) == (3, (250_000,) * 3)
    assert gc.isenabled()
