"""Real worker processes on the null backend and on its misbehaving relatives."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from null_rows import make_engine, make_feeds, make_job, quick

from deploykit.backends.null import NullBackend
from deploykit.bench import RowJob, describe_inputs, ratios_to_first, run_outputs, run_rows
from deploykit.errors import DeviceOutOfMemory, ExecutionFailed, InvalidFeed, UnknownName, UsageError, WorkerCrashed
from deploykit.spec import Precision


def expected(feed, precision=Precision.FP32):
    with NullBackend().open(make_engine(precision=precision)) as session:
        return session.run(feed)


def test_samples_outputs_and_cold_times_come_from_the_same_workers():
    parity = make_feeds(2, batch=3, seed=9)
    jobs = [make_job(label="a", parity=parity), make_job(label="b", precision=Precision.INT8)]
    found = run_rows(jobs, quick())
    first, second = found.rows
    assert [row.label for row in found.rows] == ["a", "b"]
    assert [row.failure for row in found.rows] == [None, None]
    for feed, outputs in zip(parity, first.outputs, strict=True):
        np.testing.assert_array_equal(outputs["logits"], expected(feed)["logits"])
    assert second.outputs == ()
    (start,) = first.starts
    assert 0 < start.open_seconds + start.first_run_seconds == pytest.approx(first.cold_ms / 1e3)
    assert first.warm_up.runs >= 10
    assert first.warm_up.seconds >= 0.2
    assert all(sample > 0 for block in first.blocks for sample in block.samples_ns)
    assert first.throughput is None


def test_every_round_is_an_order_and_its_reverse():
    found = run_rows([make_job(label="a"), make_job(label="b")], quick(max_seconds=3.0))
    for row in found.rows:
        assert [block.round for block in row.blocks] == [k for k in range(found.rounds) for _ in range(2)]
        assert {len(block.samples_ns) for block in row.blocks} == {len(row.blocks[0].samples_ns)}
        assert len(row.blocks[0].samples_ns) >= 6
    assert [r.rounds for r in ratios_to_first([row.blocks for row in found.rows], seed=0)] == [found.rounds] * 2


def test_the_time_limit_ends_it_and_is_named(plugins):
    found = run_rows([make_job("slow")], quick(max_seconds=2.0, min_rounds=100))
    assert found.stopped_by == "the time limit of 2 s"
    assert {len(block.samples_ns) for block in found.rows[0].blocks} == {2}  # 0.1 s a run leaves no time for more
    assert found.rounds == len(found.rows[0].blocks) <= 10  # of 0.2 s or more each


@pytest.mark.full
def test_a_row_that_is_too_slow_is_timed_less_and_starves_no_other(plugins):
    jobs = [make_job(label="a"), make_job("slower", label="slow"), make_job(label="b"), make_job(label="c")]
    found = run_rows(jobs, quick(max_seconds=5.0))
    first, slow, *others = found.rows
    assert slow.remark == "only 1 round of 2 runs fitted into its share of the time: raise --max-seconds"
    assert [len(block.samples_ns) for block in slow.blocks] == [2]
    assert [row.remark for row in (first, *others)] == [""] * 3
    assert found.rounds >= 6
    ratios = ratios_to_first([row.blocks for row in found.rows], seed=0)
    assert [ratio.ci95 is not None for ratio in ratios] == [True, False, True, True]
    assert found.seconds < 6.0
    assert "too slow for their share" in found.stopped_by


@pytest.mark.full
def test_rows_that_slow_down_beside_each_other_have_shorter_blocks(plugins):
    found = run_rows([make_job(), make_job("tiring")], quick(max_seconds=4.0))  # 200 runs a block by its warm-up
    lengths = [len(block.samples_ns) for block in found.rows[1].blocks]
    assert lengths[0] == 200
    assert max(lengths[2:]) < 100
    assert found.rounds >= 6


@pytest.mark.full
def test_what_a_failed_row_leaves_goes_to_the_slow_ones(plugins):
    found = run_rows([make_job("killed"), make_job("slow"), make_job("slow", label="too")], quick(max_seconds=3.0))
    assert found.rows[0].failure is not None
    assert min(len(row.blocks) for row in found.rows[1:]) >= 4


@pytest.mark.parametrize(
    ("backend", "kind", "words"),
    [
        ("abort", WorkerCrashed, r"killed by SIGABRT \(it last wrote: terminate called: bad_alloc\)"),
        ("exit", ExecutionFailed, "the worker process exited with code 7"),
        ("raise", ExecutionFailed, "^ValueError: first line$"),
        ("outofmemory", DeviceOutOfMemory, "^12 GB do not fit; use a smaller --batch$"),
        ("killed", ExecutionFailed, "killed by SIGKILL; probably out of memory: try a smaller batch"),
        ("nobackend", UnknownName, "unknown backend 'nobackend'"),
    ],
)
def test_a_row_that_breaks_costs_one_row(plugins, backend, kind, words):
    found = run_rows([make_job(backend), make_job()], quick())
    broken, sound = found.rows
    assert type(broken.failure) is kind
    assert broken.blocks == ()
    with pytest.raises(kind, match=words):
        raise broken.failure
    assert sound.failure is None
    assert found.rounds >= 6
    # Twice in each round; fewer where something else holds the cores for a second and the row seems too slow.
    assert found.rounds <= len(sound.blocks) <= 2 * found.rounds


@pytest.mark.parametrize(
    ("careful", "note", "ends"),
    [(False, "", "carefully"), (False, "in any case", "killed by SIGABRT"), (None, "", "killed by SIGABRT")],
)
def test_a_row_that_crashes_is_tried_once_with_care_where_its_backend_knows_how(plugins, careful, note, ends):
    job = make_job("careless", note=note, parity=make_feeds(1))
    (found,) = run_outputs([replace(job, engine=replace(job.engine, careful=careful))], quick())
    assert ends in (found.remark or str(found.failure))
    assert len(found.outputs) == (found.failure is None)


def test_a_row_that_hangs_is_killed(plugins):
    began = time.monotonic()
    found = run_rows([make_job("hanging")], quick(answer_seconds=1.0))  # it would sleep for an hour
    assert str(found.rows[0].failure) == "no answer within 1 s; its worker was killed"
    assert (found.stopped_by, found.rounds) == ("every row failed", 0)
    assert time.monotonic() - began < 600


def test_what_a_library_prints_stays_out_of_stdout_and_stderr(plugins, capfd):
    found = run_rows([make_job("noisy")], quick())
    assert found.rows[0].failure is None
    assert capfd.readouterr() == ("", "")


def test_workers_get_the_number_of_threads_and_spin_alike(plugins, monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "infinity")
    found = run_rows([make_job("threads")], quick(threads=2))
    assert "threads=2 ['2', '10000']" in str(found.rows[0].failure)


def test_throughput_is_a_measurement_of_its_own():
    row = run_rows([make_job()], quick(throughput=True)).rows[0]
    assert row.throughput > 100  # runs a second; one takes some ten microseconds


def test_outputs_alone_need_no_rounds():
    feed = make_feeds(1, batch=5)[0]
    job = RowJob("fp16", make_engine(precision=Precision.FP16), (), (feed,))
    (row,) = run_outputs([job], quick())
    np.testing.assert_array_equal(row.outputs[0]["logits"], expected(feed, Precision.FP16)["logits"])
    assert (row.blocks, row.warm_up, row.cold_ms) == ((), None, None)


def test_a_feed_that_does_not_fit_fails_its_row():
    feeds = ({"images": np.zeros((1, 3, 9, 9), np.float32)},)
    (row,) = run_outputs([RowJob("null", make_engine(), (), feeds)], quick())
    assert type(row.failure) is InvalidFeed


def test_refuses_jobs_without_inputs():
    for jobs in ([], [RowJob("null", make_engine(), ())]):
        with pytest.raises(UsageError, match="nothing to time"):
            run_rows(jobs, quick())


def test_progress_ends_every_phase(plugins):
    seen = []
    run_rows([make_job()], quick(max_seconds=0.5), progress=lambda *step: seen.append(step))
    assert seen[0] == ("open and warm up null", 0, 1)
    assert seen[1] == ("open and warm up null", 1, 1)
    assert seen[-1] == ("timing rounds", 1, 1)
    assert all(0 <= done <= total for _, done, total in seen)


def test_inputs_are_told_from_the_cache():
    feeds = make_feeds(4, batch=1)  # 4 x 768 bytes
    assert describe_inputs(feeds, 10_000_000) == "4 rotated, 0.0 MB: warm cache"
    assert describe_inputs(feeds, 3000) == "4 rotated, 0.0 MB, more than the 0 MB cache"
    assert describe_inputs(feeds, None) == "4 rotated, 0.0 MB; cache size unknown"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_no_worker_outlives_the_coordinator(plugins, tmp_path, ending):
    note = tmp_path / "pids"
    script = textwrap.dedent(f"""
        from null_rows import make_job, quick
        from deploykit.bench import run_rows
        run_rows([make_job("parent", note={str(note)!r})], quick(max_seconds=600.0, min_rounds=10**6))
    """)
    path = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"PYTHONPATH": path}
    coordinator = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL)
    try:
        pids = [int(pid) for pid in _wait_for(lambda: note.exists() and note.read_text()).split()]
        time.sleep(0.5)
        assert all(_running(pid) for pid in pids)
        coordinator.send_signal(ending)
        coordinator.wait(60)
        _wait_for(lambda: not any(_running(pid) for pid in pids))
    finally:
        coordinator.kill()
        coordinator.wait()


def test_what_a_worker_started_ends_with_its_row(plugins, tmp_path):
    note = tmp_path / "pids"
    found = run_rows([make_job("parent", note=str(note))], quick())
    assert found.rows[0].failure is None
    pids = [int(pid) for pid in note.read_text().split()]
    _wait_for(lambda: not any(_running(pid) for pid in pids))


def _wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "still waiting"
        time.sleep(0.05)
    return found


def _running(pid):
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
