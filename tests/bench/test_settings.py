import os

import pytest

from deploykit.bench.settings import BenchSettings, block_lengths
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
        ((0.5, 0.02), 12.0, (2, 5)),  # 0.3 s a block: the slow row gives runs up, the fast one none
        ((5.0, 0.02), 12.0, (2, 5)),  # a flagged run and one that counts, whatever it takes
    ],
)
def test_block_lengths_follow_the_time_limit(run_seconds, max_seconds, expected):
    settings = BenchSettings(max_seconds=max_seconds, block_runs=6, gap_ms=50.0, min_rounds=8)
    assert block_lengths(run_seconds, settings) == expected


def test_warm_up_takes_a_share_of_the_time_limit():
    assert BenchSettings(max_seconds=4.0).warm_up_cap(2) == 1.0
    assert BenchSettings(max_seconds=600.0).warm_up_cap(2) == 10.0
