import os

import pytest

from deploykit.bench.settings import BenchSettings, Turn, plan_turns
from deploykit.errors import UsageError


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"threads": -1}, "threads is -1; give 0 or more"),
        ({"block_runs": 4}, "block_runs is 4; give 5 or more"),
        ({"gap_ms": -0.5}, "gap_ms is -0.5; give 0 or more"),
        ({"gap_ms": float("nan")}, "gap_ms is nan; give 0 or more"),
        ({"min_rounds": 5}, "min_rounds is 5; give 6 or more"),
        ({"max_seconds": 0.0}, "max_seconds is 0.0; give a finite number of seconds above 0"),
        ({"max_seconds": float("inf")}, "max_seconds is inf; give a finite number of seconds above 0"),
        ({"processes": 0}, "processes is 0; give 1 to 20"),
        ({"processes": 21}, "processes is 21; give 1 to 20"),
        ({"answer_seconds": float("nan")}, "answer_seconds is nan; give a finite number of seconds above 0"),
    ],
)
def test_refuses_settings_that_cannot_be_kept(option, message):
    with pytest.raises(UsageError) as caught:
        BenchSettings(**option)
    assert str(caught.value) == message


def test_threads_are_resolved_to_the_cores_of_this_process():
    assert BenchSettings(threads=3).worker_threads == 3
    assert BenchSettings().worker_threads == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("run_seconds", "max_seconds", "expected"),
    [
        ((0.040, 0.020), 60.0, (6, 6)),  # slower than 50 ms / 6: as asked
        ((0.005, 0.040), 60.0, (10, 6)),  # fast rows are stretched to 50 ms
        ((1e-5, 0.0), 60.0, (200, 200)),  # but not without end
        ((0.5, 0.02), 75.0, (6, 6)),  # 8 rounds of 6.44 s fit into 0.7 of 75 s
        ((0.5, 0.02), 60.0, (5, 5)),  # 8 of them do not, 6 rounds of 5.4 s do
        ((0.2, 0.02), 12.0, (2, 5)),  # 0.3 s a block: the slow row gives runs up, the fast one none
    ],
)
def test_block_lengths_follow_the_time_limit(run_seconds, max_seconds, expected):
    assert turns(run_seconds, max_seconds) == tuple(map(Turn, expected))


def turns(run_seconds, max_seconds=60.0):
    return plan_turns(run_seconds, BenchSettings(max_seconds=max_seconds, block_runs=6, gap_ms=50.0, min_rounds=8))


def slow(rounds, every, runs=1):
    return Turn(runs, blocks=1, every=every, rounds=rounds, too_slow=True)


@pytest.mark.parametrize(
    ("run_seconds", "expected"),
    [
        # A share is 0.7 * 60 / 5 = 8.4 s: two runs of 3.9 s. The others have 34 s for six rounds of 10 s or eight of 3.
        ((0.34, 3.9, 0.2, 0.2, 0.1), (Turn(2), slow(2, every=4), Turn(3), Turn(3), Turn(5))),
        ((0.05, 3.9, 0.03, 0.03, 0.02), (Turn(6), slow(2, every=4), Turn(6), Turn(6), Turn(6))),
        # One run takes more than the share, and more than all of the time: still one, and the others have a part.
        ((0.05, 30.0), (Turn(6), slow(1, every=8))),
        ((0.05, 300.0), (Turn(6), slow(1, every=8))),
        # One block a round of each row where two are too many; the last of equals is left out where one is.
        ((0.9, 0.9, 0.9, 0.01), (Turn(2, blocks=1),) * 4),
        ((0.9, 0.9, 0.9, 0.9, 0.01), (*(Turn(2, blocks=1),) * 3, slow(4, every=2, runs=2), Turn(2, blocks=1))),
        # Twice its share of those is too much for one row, though they would fit.
        ((2.6, 0.05, 0.05), (slow(5, every=1), Turn(6), Turn(6))),
        # Nothing but slow rows: they take turns until the limit.
        ((4.0,), (slow(None, every=1),)),
        ((4.0, 5.0), (slow(None, every=1), slow(None, every=1))),
        ((), ()),
    ],
)
def test_a_row_that_is_too_slow_does_not_take_the_time_of_the_others(run_seconds, expected):
    found = turns(run_seconds)
    assert found == expected
    fast = [(seconds, turn) for seconds, turn in zip(run_seconds, found, strict=True) if not turn.too_slow]
    assert sum(6 * turn.blocks * (seconds * turn.runs + 0.05) for seconds, turn in fast) < 42


def test_a_slow_row_s_rounds_are_spread_over_the_first():
    assert [number for number in range(30) if slow(3, every=2).is_due(number)] == [0, 2, 4]
    assert all(map(Turn(5).is_due, range(30)))


def test_warm_up_takes_a_share_of_the_time_limit():
    assert BenchSettings(max_seconds=4.0).warm_up_cap(2) == 1.0
    assert BenchSettings(max_seconds=600.0).warm_up_cap(2) == 10.0


def test_quick_is_one_process_of_a_few_seconds_and_sets_them_itself():
    found = BenchSettings(threads=3).quick()
    assert (found.processes, found.max_seconds, found.threads) == (1, 5.0, 3)
    for chosen in ({"processes": 2}, {"max_seconds": 9.0}):
        with pytest.raises(UsageError, match="quick sets the processes and the time limit; leave them out"):
            BenchSettings(**chosen).quick()


def test_a_later_process_warms_up_in_less_time():
    assert BenchSettings(max_seconds=600.0).restart_warm_up_cap(2) == 2.0
    assert BenchSettings(max_seconds=4.0).restart_warm_up_cap(2) == 0.5
