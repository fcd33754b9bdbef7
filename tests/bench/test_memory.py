"""The memory of a row: the peak of its own worker, and what that holds on the GPU."""

from dataclasses import dataclass

import numpy as np
from fake_nvml import make_nvml, needs_compiler
from null_rows import make_job, quick

from deploykit.bench import RowJob, run_outputs, run_rows
from deploykit.bench.peaks import Work
from deploykit.bench.worker import Memory

MEGABYTE = 10**6


@dataclass(frozen=True)
class Greedy:
    """Touches `megabytes` at its first run and gives them back."""

    megabytes: int

    def prepare(self, *, threads):
        sizes = iter([self.megabytes])

        def work():
            if size := next(sizes, 0):
                np.ones(size * MEGABYTE, np.uint8).sum()

        return Work(work)


def test_the_peak_is_of_the_rows_own_worker_also_after_the_memory_is_given_back():
    held = np.ones(150 * MEGABYTE, np.uint8)  # of the coordinator, in no worker
    jobs = [RowJob(f"greedy {size}", Greedy(size)) for size in (10, 160)]
    small, large = run_rows(jobs, quick(max_seconds=0.2)).rows
    assert 0 < small.memory.peak < held.nbytes
    assert 100 * MEGABYTE < large.memory.peak - small.memory.peak < 200 * MEGABYTE
    assert small.memory.device is None


def test_a_row_that_is_not_timed_has_none():
    (row,) = run_outputs([make_job()], quick())
    assert row.memory is None


@needs_compiler
def test_a_row_has_what_its_worker_holds_on_the_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(make_nvml(tmp_path)))
    monkeypatch.setenv("FAKE_NVML", "1:5,me:123456789")
    (row,) = run_rows([make_job()], quick(max_seconds=0.2)).rows
    assert row.memory.device == 123456789


def test_of_several_processes_the_most_counts():
    assert Memory(5, None).most(Memory(3, 7)) == Memory(5, 7)
    assert Memory(None, None).most(Memory(None, None)) == Memory(None, None)
