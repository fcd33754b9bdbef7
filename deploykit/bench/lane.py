"""A row while it is measured: its present worker, and what its workers have given so far."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import numpy as np

from deploykit.backends.protocol import Engine
from deploykit.bench.jobs import RowJob, RowSamples
from deploykit.bench.process import WorkerProcess
from deploykit.bench.settings import SHORTEST_BLOCK, BenchSettings, Turn
from deploykit.bench.statistics import TimedBlock
from deploykit.bench.worker import (
    Compute,
    MeasureMemory,
    MeasureThroughput,
    Memory,
    Open,
    Opened,
    Prepare,
    TimeBlock,
    Warmed,
    WarmUp,
    Workload,
)
from deploykit.errors import DeploykitError, ExecutionFailed, WorkerCrashed
from deploykit.spec import Feed

FLOOD_SECONDS = 1.0
PARITY_SECONDS = 10.0  # of a row that is timed: what its answers may take once there are FEWEST_ANSWERS
FEWEST_ANSWERS = 2


@dataclass(slots=True)
class Lane:
    """A context manager: leaving it ends its worker."""

    job: RowJob
    engine: Engine | Workload = field(init=False)
    failure: DeploykitError | None = None
    starts: list[Opened] = field(default_factory=list)
    outputs: tuple[Feed, ...] = ()
    warm_up: Warmed | None = None
    blocks: list[TimedBlock] = field(default_factory=list)
    throughput: float | None = None
    memory: Memory | None = None
    turn: Turn = field(default_factory=lambda: Turn(SHORTEST_BLOCK))
    round_seconds: float = 0.0  # of the last round it took part in, pauses included
    start_seconds: float = 0.0  # from the start of the present process to the end of its first run
    process: int = 0  # the present one, counted from 0
    worker: WorkerProcess = field(init=False)
    _open: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.engine = self.job.engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    @property
    def present(self) -> list[TimedBlock]:
        """The blocks of its present process."""
        return [block for block in self.blocks if block.process == self.process]

    def prepare(self, settings: BenchSettings, *, warm_up_cap: float | None) -> None:
        """Open, first run, parity outputs and, unless `warm_up_cap` is None, the warm-up.

        An engine that can be opened with care is, once, where its worker crashes.
        """
        self._prepare(settings, self.job.parity, warm_up_cap)
        engine = self.engine
        if isinstance(self.failure, WorkerCrashed) and isinstance(engine, Engine) and engine.careful is False:
            self.failure, self.engine, self.starts = None, replace(engine, careful=True), []
            self._prepare(settings, self.job.parity, warm_up_cap)

    def restart(self, settings: BenchSettings, *, warm_up_cap: float) -> None:
        """End the present process and warm up another, which answers the first parity feed as the first one did."""
        self.measure_memory()
        self._open.close()
        if self.failure is not None:
            return
        self.process += 1
        self._prepare(settings, self.job.parity[:1], warm_up_cap)

    def _prepare(self, settings: BenchSettings, parity: Sequence[Feed], warm_up_cap: float | None) -> None:
        threads, began = settings.worker_threads, time.perf_counter()
        self.worker = self._open.enter_context(WorkerProcess(threads=threads, answer_seconds=settings.answer_seconds))
        with self._failure_kept():
            if isinstance(self.engine, Engine):
                feeds = self.job.feeds if warm_up_cap is not None else ()
                self.starts.append(self.worker.ask(Open(self.engine, threads, feeds)))
            else:
                self.worker.ask(Prepare(self.engine, threads))
            self.start_seconds = time.perf_counter() - began
            outputs = self._answers(parity, limit=math.inf if warm_up_cap is None else PARITY_SECONDS)
            if self.process == 0:
                self.outputs = outputs
            else:
                _require_alike(self.outputs, outputs)
            if warm_up_cap is not None:
                warmed = self.worker.ask(WarmUp(warm_up_cap))
                self.warm_up = self.warm_up or warmed

    def _answers(self, feeds: Sequence[Feed], *, limit: float) -> tuple[Feed, ...]:
        """One answer a feed; fewer where the next would end after `limit` seconds, if it took as long as the last."""
        found: list[Feed] = []
        began = time.perf_counter()
        for feed in feeds:
            started = time.perf_counter()
            found.append(self.worker.ask(Compute(feed)))
            now = time.perf_counter()
            if len(found) >= FEWEST_ANSWERS and now - began + now - started > limit:
                break
        return tuple(found)

    def restart_seconds(self, warm_up_cap: float) -> float:
        """What another process would take until it is warm, by the present one."""
        return self.start_seconds + (min(self.warm_up.seconds, warm_up_cap) if self.warm_up else 0.0)

    def run_seconds(self, gap: float) -> float:
        """What a run takes: by its part of the last round it was in, or by the warm-up where it was in none."""
        if self.blocks:
            return max(0.0, self.round_seconds / self.turn.blocks - gap) / self.turn.runs
        return self.warm_up.median_seconds if self.warm_up else 0.0

    def time_block(self, number: int) -> None:
        with self._failure_kept():
            timed = self.worker.ask(TimeBlock(self.turn.runs))
            self.blocks.append(TimedBlock(number, timed.samples_ns, timed.device_ns, self.process))

    def measure_throughput(self) -> None:
        """Launches for about a second, at least ten; two of a row that is too slow for its share."""
        assert self.warm_up is not None  # noqa: S101 - a row that is alive after its warm-up has one
        wanted = round(FLOOD_SECONDS / max(self.warm_up.median_seconds, 1e-9))
        runs = max(2 if self.turn.too_slow else 10, wanted)
        with self._failure_kept():
            self.throughput = runs / self.worker.ask(MeasureThroughput(runs))

    def measure_memory(self) -> None:
        """The most of this process and of those before it; to be called where the process has done its work."""
        with self._failure_kept():
            found = self.worker.ask(MeasureMemory())
            self.memory = found.most(self.memory) if self.memory else found

    def result(self) -> RowSamples:
        return RowSamples(
            self.job.label,
            self.failure,
            tuple(self.starts),
            self.outputs,
            self.warm_up,
            tuple(self.blocks),
            self.throughput,
            self._remark(),
            self.memory,
        )

    def _remark(self) -> str:
        opened = self.starts[0].remark if self.starts else ""
        if 0 < len(self.outputs) < len(self.job.parity):
            shown, every = len(self.outputs), len(self.job.parity)
            judged = f"parity of the first {shown} of {every} runs, since it is too slow for all"
            opened = "; ".join(filter(None, (opened, judged)))
        if not self.turn.too_slow or self.failure is not None:
            return opened
        rounds, runs = len({block.round for block in self.blocks}), self.turn.runs
        each = f"{rounds} round{'' if rounds == 1 else 's'} of {runs} run{'' if runs == 1 else 's'}"
        return "; ".join(filter(None, (opened, f"only {each} fitted into its share of the time: raise --max-seconds")))

    @contextmanager
    def _failure_kept(self) -> Iterator[None]:
        """An error ends this row and its worker, and no other."""
        try:
            yield
        except DeploykitError as error:
            if self.process:
                error.message = f"in process {self.process + 1} of this row, not in the first: {error.message}"
            self.failure = error
            self.worker.kill()


def _require_alike(first: Sequence[Feed], later: Sequence[Feed]) -> None:
    """Raises ExecutionFailed where a later process answers in another form, or with numbers that are none."""
    for before, now in zip(first, later, strict=False):
        if (had := _form(before)) != (has := _form(now)):
            raise ExecutionFailed(f"its answer is {has}, and was {had}")


def _form(outputs: Feed) -> str:
    """Names, types, shapes, and whether each output is finite: `logits float32 (1, 10)`."""
    said = []
    for name, array in outputs.items():
        finite = array.dtype.kind != "f" or bool(np.isfinite(array).all())
        said.append(f"{name} {array.dtype} {array.shape}{'' if finite else ' with NaN or infinity'}")
    return ", ".join(said) or "without outputs"
