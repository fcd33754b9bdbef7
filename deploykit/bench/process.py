"""The coordinator's side of a worker process: start it, ask it, and say how it died.

Every worker gets the same environment, of which one setting is about fairness. GNU OpenMP, which eager PyTorch computes
with, lets a thread spin at the end of each parallel region, 300,000 turns by its default. On an idle machine the others
arrive long before that. Where another process holds a core they arrive late, and each of a network's hundreds of
regions burns a core that the late thread needs: ResNet-50 on two threads and two cores, one of them shared with a busy
loop, then takes about ten times its time. With SPIN_TURNS a thread sleeps sooner. Alone that changes nothing (paired
ratio 0.98 to 1.00); beside the busy loop it takes a quarter to a third of what the default takes. Never spinning
(OMP_WAIT_POLICY=passive) helps as much there but costs 50 % alone, 1,000 turns cost 35 % and 3,000 17 %.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from multiprocessing import Pipe
from types import TracebackType
from typing import Any, Self, overload

from deploykit.bench.worker import (
    Close,
    Compute,
    Do,
    MeasureMemory,
    MeasureThroughput,
    Memory,
    Open,
    Opened,
    Prepare,
    Request,
    TimeBlock,
    Timed,
    Warmed,
    WarmUp,
)
from deploykit.errors import BackendMissing, DeploykitError, ExecutionFailed, WorkerCrashed, debugging
from deploykit.host import search_path
from deploykit.quote import printable
from deploykit.spec import Feed

CLOSING_SECONDS = 10.0
LOG_TAIL_BYTES = 4000
SPIN_TURNS = 10_000
COMMAND = "from deploykit.bench.worker import main; main()"

logger = logging.getLogger(__name__)


class WorkerProcess:
    """One worker, in a process group of its own, its output in a log file. A context manager: leaving it ends it."""

    def __init__(self, *, threads: int, answer_seconds: float) -> None:
        if os.name != "posix":
            raise BackendMissing("rows run in POSIX worker processes", hint="use Linux, macOS or WSL")
        self._answer_seconds = answer_seconds
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._pipe, theirs = Pipe()
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our own module
            [sys.executable, "-P", "-c", COMMAND, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C goes to the coordinator alone
            env=os.environ | _environment(threads),
        )
        theirs.close()
        self.pid = self._process.pid
        self._ended = False

    @overload
    def ask(self, request: Open) -> Opened: ...
    @overload
    def ask(self, request: Prepare) -> None: ...
    @overload
    def ask(self, request: Compute) -> Feed: ...
    @overload
    def ask(self, request: Do) -> Any: ...
    @overload
    def ask(self, request: WarmUp) -> Warmed: ...
    @overload
    def ask(self, request: TimeBlock) -> Timed: ...
    @overload
    def ask(self, request: MeasureThroughput) -> float: ...
    @overload
    def ask(self, request: MeasureMemory) -> Memory: ...
    def ask(self, request: Request) -> object:
        """The answer. Raises what the worker raised, and ExecutionFailed when it died or stayed silent too long,
        WorkerCrashed when a signal ended it."""
        try:
            self._pipe.send(request)
            answered = self._pipe.poll(self._answer_seconds)
            answer = self._pipe.recv() if answered else None
        except (EOFError, OSError):
            raise self._died() from None
        if not answered:
            self.kill()
            raise ExecutionFailed(f"no answer within {self._answer_seconds:g} s; its worker was killed")
        if isinstance(answer, DeploykitError):
            logger.debug("worker %d wrote: %s", self.pid, self._tail())
            if debugging():
                print("\n".join(map(printable, self._tail().splitlines())), file=sys.stderr)
            raise answer
        return answer

    def kill(self) -> None:
        """End the worker and whatever it started, now. Harmless when it was called before."""
        if not self._ended:
            with suppress(ProcessLookupError, PermissionError):  # nothing of the group is left
                os.killpg(self.pid, signal.SIGKILL)
            self._ended = True
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._ended:
                self._pipe.send(Close())
                self._process.wait(CLOSING_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            logger.debug("worker %d did not close by itself", self.pid)
        finally:
            self.kill()
            self._pipe.close()
            self._log.close()

    def _died(self) -> ExecutionFailed:
        try:
            code = self._process.wait(CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return ExecutionFailed("the worker process closed its pipe but did not end; it was killed")
        tail = self._tail()
        logger.debug("worker %d wrote: %s", self.pid, tail)
        said = f" (it last wrote: {tail.splitlines()[-1].strip()})" if tail else ""
        if code >= 0:
            return ExecutionFailed(f"the worker process exited with code {code}{said}")
        name = signal.Signals(-code).name
        what = f"the worker process was killed by {name}{said}"
        if name == "SIGKILL":
            return ExecutionFailed(what, hint="probably out of memory: try a smaller batch")
        return WorkerCrashed(what)

    def _tail(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - LOG_TAIL_BYTES))
        return self._log.read().decode(errors="replace").strip()


def _environment(threads: int) -> dict[str, str]:
    return {"PYTHONPATH": search_path(), "OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": str(SPIN_TURNS)}
