"""Rows that are measured in several processes, one after the other, on real workers."""

import itertools

import numpy as np
import pytest
from null_rows import make_engine, make_feeds, make_job, quick

from deploykit.bench import BenchSettings, RowJob, latency, ratios_to_first, run_rows
from deploykit.bench.interleave import _Rounds
from deploykit.bench.statistics import TimedBlock
from deploykit.bench.worker import Opened

FAULTS = {
    "crash": "the worker process was killed by SIGSEGV",
    "crash in a round": "the worker process was killed by SIGSEGV",
    "hang": "no answer within 6 s; its worker was killed",
    "nan": "its answer is logits float32 (3, 10) with NaN or infinity, and was logits float32 (3, 10)",
    "shape": "its answer is logits float32 (3, 3), and was logits float32 (3, 10)",
    "empty": "its answer is logits float32 (0, 10), and was logits float32 (3, 10)",
    "nothing": "its answer is without outputs, and was logits float32 (3, 10)",
}
LATER = "in process 2 of this row, not in the first: "


def relapsing(number, fault, path, **options):
    return make_job("relapsing", note=f"{number}|{fault}|{path}", **options)


@pytest.fixture
def every_process(monkeypatch):
    """As many processes as asked for, however little time there is for them on a busy machine."""
    monkeypatch.setattr(BenchSettings, "affordable", lambda self, seconds: self.processes)


def test_rounds_are_divided_among_processes_of_every_row(plugins, every_process, tmp_path):
    jobs = [relapsing(0, "", tmp_path / name, label=name, parity=make_feeds(1)) for name in "ab"]
    found = run_rows(jobs, quick(processes=3, max_seconds=4.0))
    assert (found.processes, found.stopped_by != "") == (3, True)
    for row, name in zip(found.rows, "ab", strict=True):
        assert (tmp_path / name).read_text() == "xxx"  # opened as often
        assert len(row.starts) == len(row.cold_starts_ms) == 3
        assert row.cold_ms == sorted(row.cold_starts_ms)[1]
        assert len(row.outputs) == 1
        processes = [block.process for block in row.blocks]
        assert processes == sorted(processes)
        assert set(processes) == {0, 1, 2}
        assert {block.round for block in row.blocks} == set(range(found.rounds))
    first, other = ([(block.round, block.process) for block in row.blocks] for row in found.rows)
    assert first == other
    ratios = ratios_to_first([row.blocks for row in found.rows], seed=0)
    assert [ratio.processes for ratio in ratios] == [3, 3]
    assert latency(found.rows[0].blocks, seed=0).processes == 3


@pytest.mark.parametrize(
    "faults",
    [
        ("crash", "crash in a round"),
        pytest.param(("hang",), marks=pytest.mark.full),
        ("nan", "shape", "empty", "nothing"),
    ],
    ids=" and ".join,
)
def test_what_breaks_in_the_second_process_costs_one_row(plugins, every_process, tmp_path, faults):
    parity = make_feeds(1, batch=3)
    jobs = [relapsing(2, fault, tmp_path / fault, parity=parity) for fault in faults]
    settings = quick(processes=2, max_seconds=2.0, answer_seconds=6.0 if "hang" in faults else 300.0)
    *broken, sound = run_rows([*jobs, make_job(parity=parity)], settings).rows
    for row, fault in zip(broken, faults, strict=True):
        assert str(row.failure).startswith(LATER + FAULTS[fault])
        assert "\n" not in str(row.failure)
        assert {block.process for block in row.blocks} == {0}
    assert sound.failure is None
    assert {block.process for block in sound.blocks} == {0, 1}


def test_what_breaks_in_the_first_process_is_said_without_its_number(plugins, tmp_path):
    faults = ("crash", "crash in a round")
    jobs = [relapsing(1, fault, tmp_path / fault) for fault in faults]
    *broken, sound = run_rows([*jobs, make_job()], quick()).rows
    for row, fault in zip(broken, faults, strict=True):
        assert str(row.failure).startswith(FAULTS[fault])
    assert sound.failure is None


@pytest.mark.full
def test_a_row_that_is_too_slow_stays_in_its_first_process_and_starves_no_other(plugins, every_process):
    jobs = [make_job(label="a"), make_job("slower", label="slow"), make_job(label="b")]
    found = run_rows(jobs, quick(processes=3, max_seconds=5.0))
    first, slow, other = found.rows
    assert "fitted into its share of the time" in slow.remark
    assert {block.process for block in slow.blocks} == {0}
    for row in (first, other):
        assert {block.process for block in row.blocks} == {0, 1, 2}
        assert len(row.blocks) > len(slow.blocks)


def test_fewer_processes_where_starting_them_takes_too_long(plugins):
    """A start with its warm-up takes a fifth of a second or more, for which two thirds of half one have no room."""
    found = run_rows([make_job(label=name) for name in "ab"], quick(processes=3, max_seconds=0.5))
    assert found.processes == 1
    (processes, seconds) = found.gave_up
    assert processes.startswith("one process for each row, not 3: starting all of them again takes ")
    assert processes.endswith("; intervals leave out how much processes differ")
    assert seconds == "0.5 s of rounds a batch, not 45: fewer rounds and wider intervals"


@pytest.mark.parametrize(
    ("restart_seconds", "processes"), [(0.0, 1), (0.1, 3), (15.0, 3), (15.1, 2), (30.0, 2), (30.1, 1)]
)
def test_restarts_take_two_thirds_of_the_limit_at_most(restart_seconds, processes):
    assert BenchSettings(max_seconds=45.0).affordable(restart_seconds) == processes


class Row:
    """A row as the rule that ends a generation sees it: values of rounds, by process."""

    failure, turn = None, type("Turn", (), {"too_slow": False})

    def __init__(self, *processes):
        self.present = [TimedBlock(k, (1, round(1e6 * value))) for k, value in enumerate(processes[-1])]
        self.start_seconds = 0.0


def sure(rows, rounds, **options):
    ended = _Rounds(rows, BenchSettings(**{"processes": 3, **options}), lambda *_: None, None)
    ended.processes = ended.settings.processes
    return ended._sure(rows, rounds)


@pytest.mark.parametrize(
    ("values", "rounds", "processes", "said"),
    [
        ((1.0, 1.004), 8, 1, "the 95 % interval of every paired ratio is within +-1 %"),
        ((1.0, 1.004), 7, 1, ""),  # fewer than min_rounds
        ((1.0, 1.03), 8, 1, ""),
        ((1.0, 1.03), 8, 3, "the 95 % interval of every paired ratio in each process is within +-1.7 %"),
        ((1.0, 1.03), 5, 3, ""),  # an interval needs six
        ((1.0, 1.3), 8, 3, ""),
    ],
)
def test_what_ends_a_generation(values, rounds, processes, said):
    steady = Row([1.0] * rounds)
    other = Row([value for value, _ in zip(itertools.cycle(values), range(rounds), strict=False)])
    assert sure([steady, other], rounds, processes=processes) == said


def test_how_far_processes_lie_apart_ends_nothing():
    """A rule that looked at it would stop where three agree by chance, and claim too much."""
    apart = Row([9.0] * 8, [1.0] * 8)
    assert sure([Row([1.0] * 8, [1.0] * 8), apart], 8) == sure([Row([1.0] * 8), Row([1.0] * 8)], 8) != ""


def test_cold_starts_are_those_of_processes_that_ran():
    engine, feeds = make_engine(), make_feeds(1)
    (row,) = run_rows([RowJob("null", engine, feeds)], quick(max_seconds=0.5)).rows
    assert row.cold_ms == pytest.approx(row.cold_starts_ms[0])
    assert isinstance(row.starts[0], Opened)
    np.testing.assert_array_less(0, row.cold_starts_ms)
