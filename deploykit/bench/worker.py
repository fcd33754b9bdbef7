"""A worker process: it opens one session, or prepares one workload, and does what the coordinator asks of it.

One process per row, because two backends in one process disturb each other: idle thread pools spin, and eager PyTorch
runs at half its speed beside ONNX Runtime sessions. A crash or an out-of-memory kill then costs one row.

The coordinator starts it as `python -c "...main()" FD`, where FD is one end of a `multiprocessing.Pipe`; stdout and
stderr already point at a log file, so no library can write into the coordinator's output. A thread does nothing but
read requests: when the coordinator is gone, by whatever signal, its end of the pipe closes, and that thread ends this
process and all that it started, even in the middle of a run.
"""

from __future__ import annotations

import gc
import itertools
import os
import queue
import signal
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NoReturn, Protocol

from deploykit.backends.nvml import process_device_memory
from deploykit.backends.protocol import (
    Bound,
    Engine,
    Session,
)
from deploykit.bench.settings import TARGET, WARM_UP_RUNS, WARM_UP_SECONDS
from deploykit.errors import DEBUG_VARIABLE, DeploykitError, ExecutionFailed, first_line, own_frame, unforeseen
from deploykit.host import peak_memory_bytes
from deploykit.spec import Feed

WHERE_FOREIGN_CODE_IS_CALLED = "deploykit/bench/worker.py:"
WINDOW = 5  # runs whose median is compared with that of the runs before


class Workload(Protocol):
    """A recipe for work that is no session, such as a training step. It is pickled, and prepared in the worker."""

    def prepare(self, *, threads: int) -> Bound:
        """All that is not to be timed: `launch` and `synchronize` are then one step. Nothing has run yet."""
        ...


@dataclass(frozen=True, slots=True)
class Open:
    """Open the session, bind every feed and run the first; answered with `Opened`."""

    engine: Engine
    threads: int
    feeds: tuple[Feed, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """Seconds. Opening includes importing the backend's library; None where no feed was to be run.

    `remark` is what the session has to own up to, "" for nothing.
    """

    open_seconds: float
    first_run_seconds: float | None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Prepare a workload in place of a session and run nothing; answered with None."""

    workload: Workload
    threads: int


@dataclass(frozen=True, slots=True)
class Compute:
    """Run a feed, host to host; answered with its outputs."""

    feed: Feed


class Task(Protocol):
    """Work on the open session that brings its own clock. It is pickled, and run in the worker."""

    def run(self, session: Session) -> Any:
        """The answer, which is pickled too."""
        ...


@dataclass(frozen=True, slots=True)
class Do:
    """Run a task on the session; answered with what the task answers."""

    task: Task


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Run until settled, `cap_seconds` at most; answered with `Warmed`."""

    cap_seconds: float


@dataclass(frozen=True, slots=True)
class Warmed:
    """`settled`: the medians of the last two windows agree within 1 %; otherwise the cap ended the warm-up."""

    runs: int
    seconds: float
    settled: bool
    median_seconds: float


@dataclass(frozen=True, slots=True)
class TimeBlock:
    """Time `runs` runs, each synchronized, the inputs rotating; answered with `Timed`."""

    runs: int


@dataclass(frozen=True, slots=True)
class Timed:
    """The samples of one block, in nanoseconds; `device_ns` is empty where there are no device events."""

    samples_ns: tuple[int, ...]
    device_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MeasureThroughput:
    """Launch `runs` times and synchronize once; answered with the seconds it took."""

    runs: int


@dataclass(frozen=True, slots=True)
class MeasureMemory:
    """Answered with `Memory`."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: the most that the worker had resident at once, and what it holds on the GPU now; None where unknown."""

    peak: int | None
    device: int | None

    def most(self, other: Memory) -> Memory:
        """The larger of each."""
        return Memory(_larger(self.peak, other.peak), _larger(self.device, other.device))


def _larger(one: int | None, two: int | None) -> int | None:
    return max((size for size in (one, two) if size is not None), default=None)


@dataclass(frozen=True, slots=True)
class Close:
    """Close the session and end the process; not answered."""


Request = Open | Prepare | Compute | Do | WarmUp | TimeBlock | MeasureThroughput | MeasureMemory
Requests = queue.SimpleQueue[Request | Close | Exception]  # the last: a request that could not be read


def main() -> None:
    """Serve the pipe whose file descriptor is the first argument."""
    pipe = Connection(int(sys.argv[1]))
    requests: Requests = queue.SimpleQueue()
    threading.Thread(target=_read, args=(pipe, requests), daemon=True).start()
    with _Row() as row:
        while not isinstance(request := requests.get(), Close):
            try:
                if isinstance(request, Exception):
                    raise request
                answer: Any = row.answer(request)
            except Exception as error:  # noqa: BLE001 - whatever a backend raises becomes the row's reason
                traceback.print_exc()
                answer = _portable(error)
            try:
                pipe.send(answer)
            except OSError:
                _end()


def _read(pipe: Connection, requests: Requests) -> None:
    while True:
        try:
            requests.put(pipe.recv())
        except (EOFError, OSError):
            _end()
        except Exception as error:  # noqa: BLE001 - whatever unpickling raises becomes the row's reason
            requests.put(error)


def _end() -> NoReturn:
    """End this process at once, with every process that it started when it leads its group."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _portable(error: Exception) -> DeploykitError:
    """The error as one that the coordinator can rebuild, in one line.

    What a plug-in's backend or a workload raised is told as it is; what came through our own code is a defect of ours.
    """
    if type(error).__module__ == DeploykitError.__module__ and isinstance(error, DeploykitError):
        return error
    where = own_frame(error)
    if where is not None and not where.startswith(WHERE_FOREIGN_CODE_IS_CALLED):
        return ExecutionFailed(unforeseen(error), hint=f"please report it with the output under {DEBUG_VARIABLE}=1")
    kind, said = type(error).__name__, first_line(error)
    return ExecutionFailed(f"{kind}: {said}" if said != kind else kind)


class _Row:
    """The session of one row, and its inputs in place."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._session: Session
        self._bounds: Iterator[Bound]

    def __enter__(self) -> _Row:
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def answer(self, request: Request) -> object:
        match request:
            case Open():
                return self._start(request)
            case Prepare(workload, threads):
                self._bounds = itertools.cycle([workload.prepare(threads=threads)])
                return None
            case Compute(feed):
                return self._session.run(feed)
            case Do(task):
                return task.run(self._session)
            case WarmUp(cap_seconds):
                return warm_up(self._run, cap_seconds=cap_seconds)
            case TimeBlock(runs):
                return timed_runs(self._bounds, runs)
            case MeasureThroughput(runs):
                return self._measure_throughput(runs)
            case MeasureMemory():
                return Memory(peak_memory_bytes(), process_device_memory(os.getpid()))

    def _start(self, request: Open) -> Opened:
        from deploykit.backends import get_backend

        began = time.perf_counter()
        backend = get_backend(request.engine.backend)
        self._session = self._open.enter_context(backend.open(request.engine, threads=request.threads))
        opened = time.perf_counter()
        if not request.feeds:
            return Opened(opened - began, None, self._remark)
        self._bounds = itertools.cycle([self._session.bind(feed) for feed in request.feeds])
        bound = time.perf_counter()
        self._run()
        return Opened(opened - began, time.perf_counter() - bound, self._remark)

    @property
    def _remark(self) -> str:
        """A session of a plug-in may be without."""
        return str(getattr(self._session, "remark", ""))

    def _run(self) -> Bound:
        bound = next(self._bounds)
        bound.launch()
        bound.synchronize()
        return bound

    def _measure_throughput(self, runs: int) -> float:
        began = time.perf_counter()
        for _ in range(runs):
            bound = next(self._bounds)
            bound.launch()
        bound.synchronize()
        return time.perf_counter() - began


def timed_runs(bounds: Iterator[Bound], runs: int) -> Timed:
    """The next `runs` of `bounds`, each synchronized, with the garbage collector held back meanwhile."""
    samples, device = [], []
    gc.collect()
    gc.disable()
    for _ in range(runs):
        bound = next(bounds)
        began = time.perf_counter_ns()
        bound.launch()
        bound.synchronize()
        samples.append(time.perf_counter_ns() - began)
        if (milliseconds := bound.device_ms()) is not None:
            device.append(round(milliseconds * 1e6))
    gc.enable()
    return Timed(tuple(samples), tuple(device))


def warm_up(run: Callable[[], object], *, cap_seconds: float, clock: Callable[[], float] = time.perf_counter) -> Warmed:
    """Run for at least 200 ms and ten runs, then until the medians of the last two windows of five agree within 1 %.

    `cap_seconds` ends it earlier: no run is begun that would end later, if it took as long as the last; one is made.
    """
    began = clock()
    seconds: list[float] = []
    settled = False
    while not settled and (not seconds or clock() - began + seconds[-1] < cap_seconds):
        started = clock()
        run()
        seconds.append(clock() - started)
        long_enough = len(seconds) >= WARM_UP_RUNS and clock() - began >= WARM_UP_SECONDS
        settled = long_enough and _agree(seconds[-2 * WINDOW : -WINDOW], seconds[-WINDOW:])
    return Warmed(len(seconds), clock() - began, settled, statistics.median(seconds[-WINDOW:]))


def _agree(before: list[float], now: list[float]) -> bool:
    earlier, later = statistics.median(before), statistics.median(now)
    return abs(later - earlier) <= TARGET * earlier
