"""One workload timed step after step, by itself: burn-in, then the steps that count.

This is how training frameworks are usually compared (mean and standard deviation per batch), and it answers another
question than interleaved rows do: what a step costs, not which of two is faster. A step of a large network may take a
minute, so they are asked for in small chunks, between which the coordinator reports how many are done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from deploykit.bench.process import WorkerProcess
from deploykit.bench.worker import Prepare, TimeBlock, Workload
from deploykit.errors import DeploykitError, UsageError
from deploykit.host import usable_cores
from deploykit.spec import (
    Progress,
    silent,
)

CHUNK_SECONDS = 1.0  # what a chunk of fast steps is stretched to; a slower step is a chunk of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """`steps` are timed after `burn_in` others, on `threads` CPU threads (0: one per core this process may use).

    A worker that does not answer for `answer_seconds` is killed: preparing, and each step, has that long.
    """

    burn_in: int = 10
    steps: int = 100
    threads: int = 0
    answer_seconds: float = 3600.0

    def __post_init__(self) -> None:
        for name, floor in {"burn_in": 0, "steps": 2, "threads": 0}.items():
            if getattr(self, name) < floor:
                raise UsageError(f"{name} is {getattr(self, name)}", hint=f"give {floor} or more")
        if not 0 < self.answer_seconds < math.inf:
            raise UsageError(f"answer_seconds is {self.answer_seconds}", hint="give a finite number of seconds above 0")

    @property
    def worker_threads(self) -> int:
        """The number that the worker gets, resolved."""
        return self.threads or usable_cores()


@dataclass(frozen=True, slots=True)
class StepSamples:
    """Nanoseconds of host time a synchronized step, in the order they were taken.

    `failure` is None or the error that ended the row; what came before it is kept.
    """

    burn_in_ns: tuple[int, ...] = ()
    samples_ns: tuple[int, ...] = ()
    failure: DeploykitError | None = None


def time_steps(workload: Workload, settings: StepSettings, progress: Progress = silent) -> StepSamples:
    """Prepare the workload in a worker process of its own and time its steps; a worker's end is the row's failure."""
    burn_in_ns: list[int] = []
    samples_ns: list[int] = []
    failure = None
    threads = settings.worker_threads
    with WorkerProcess(threads=threads, answer_seconds=settings.answer_seconds) as worker:
        try:
            progress("prepare the steps", 0, 1)
            worker.ask(Prepare(workload, threads))
            progress("prepare the steps", 1, 1)
            _collect(worker, burn_in_ns, settings.burn_in, "burn-in steps", progress)
            _collect(worker, samples_ns, settings.steps, "timed steps", progress)
        except DeploykitError as error:
            failure = error
            worker.kill()
    return StepSamples(tuple(burn_in_ns), tuple(samples_ns), failure)


def _collect(worker: WorkerProcess, samples_ns: list[int], count: int, phase: str, progress: Progress) -> None:
    """Time `count` steps in chunks, as many steps in one as fit into CHUNK_SECONDS by the pace of the last."""
    chunk = 1
    while (left := count - len(samples_ns)) > 0:
        progress(phase, len(samples_ns), count)
        timed = worker.ask(TimeBlock(min(chunk, left)))
        samples_ns += timed.samples_ns
        chunk = max(1, int(CHUNK_SECONDS * 1e9 / max(samples_ns[-1], 1)))
    if count:
        progress(phase, count, count)
