"""The coordinator: rows take turns in short blocks, so that a drifting machine touches all of them alike.

A round is a seeded permutation of the rows followed by its reverse (A B C C B A), one block each: drift that is linear
over a round cancels. Blocks are followed by a pause in which thread pools fall quiet. After each round the paired
ratios decide whether the table is sure enough; the time limit ends it otherwise. A row that is too slow for its share
of the time sits out most rounds and has one block in the others (`settings.plan_turns`): it is less sure, its row says
so, and it takes nothing from the other rows. Every row is opened, run once, asked for its parity outputs and warmed up
before the first round, one row at a time, and a row that fails leaves the others undisturbed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from deploykit.backends.protocol import Engine
from deploykit.bench.process import WorkerProcess
from deploykit.bench.settings import LEAST_LEFT, SHORTEST_BLOCK, TARGET, BenchSettings, Turn, plan_turns
from deploykit.bench.statistics import FEWEST_ROUNDS, Interval, TimedBlock, latency, ratio
from deploykit.bench.worker import (
    Compute,
    MeasureMemory,
    MeasureThroughput,
    Memory,
    Open,
    Prepare,
    TimeBlock,
    Warmed,
    WarmUp,
    Workload,
)
from deploykit.errors import DeploykitError, UsageError, WorkerCrashed
from deploykit.spec import (
    Feed,
    Progress,
    silent,
)

FLOOD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class RowJob:
    """One row to measure: timed runs rotate over `feeds`, all of one batch; `parity` feeds are answered untimed.

    A workload in place of the engine brings its own input: it takes no feeds, and its cold times are not measured.
    """

    label: str
    engine: Engine | Workload
    feeds: tuple[Feed, ...] = ()
    parity: tuple[Feed, ...] = ()


@dataclass(frozen=True, slots=True)
class RowSamples:
    """What a worker gave. `failure` is None or the error that ended the row; what came before it is kept.

    Opening counts the import of the backend's library. `outputs` has one entry per parity feed. `throughput` is runs
    per second of many launches and one synchronization; None unless asked for. `memory` is taken last of all. `remark`
    is empty, or says what the row has to own up to: what its session says, and that it was too slow for its share of
    the time and how often it was timed.
    """

    label: str
    failure: DeploykitError | None
    open_seconds: float | None
    first_run_seconds: float | None
    outputs: tuple[Feed, ...]
    warm_up: Warmed | None
    blocks: tuple[TimedBlock, ...]
    throughput: float | None
    remark: str = ""
    memory: Memory | None = None

    @property
    def cold_ms(self) -> float | None:
        """Opening and the first run, milliseconds."""
        if self.open_seconds is None or self.first_run_seconds is None:
            return None
        return 1e3 * (self.open_seconds + self.first_run_seconds)


@dataclass(frozen=True, slots=True)
class Measurement:
    """All rows in the order of their jobs; `stopped_by` says in words what ended the rounds."""

    rows: tuple[RowSamples, ...]
    stopped_by: str
    rounds: int
    seconds: float


def run_rows(jobs: Sequence[RowJob], settings: BenchSettings, progress: Progress | None = None) -> Measurement:
    """Outputs, cold times and interleaved samples of every job. Raises UsageError on jobs that cannot be timed."""
    if not jobs or any(isinstance(job.engine, Engine) and not job.feeds for job in jobs):
        raise UsageError("nothing to time", hint="give one row or more, each with an input")
    report = progress or silent
    lanes = [_Lane(job) for job in jobs]
    with ExitStack() as workers:
        for lane in lanes:
            report(f"open and warm up {lane.job.label}", 0, 1)
            lane.prepare(workers, settings, warm_up_cap=settings.warm_up_cap(len(lanes)))
            report(f"open and warm up {lane.job.label}", 1, 1)
            _pause(settings)
        stopped_by, rounds, seconds = _rounds(lanes, settings, report)
        if settings.throughput:
            for lane in _alive(lanes):
                report(f"throughput of {lane.job.label}", 0, 1)
                lane.measure_throughput()
                _pause(settings)
        for lane in _alive(lanes):
            lane.measure_memory()
    return Measurement(tuple(lane.result() for lane in lanes), stopped_by, rounds, seconds)


def run_outputs(
    jobs: Sequence[RowJob], settings: BenchSettings, progress: Progress | None = None
) -> tuple[RowSamples, ...]:
    """Only the parity outputs, one worker after the other; nothing is timed."""
    report = progress or silent
    results = []
    for job in jobs:
        lane = _Lane(job)
        report(f"run {job.label}", 0, 1)
        with ExitStack() as workers:
            lane.prepare(workers, settings, warm_up_cap=None)
        report(f"run {job.label}", 1, 1)
        results.append(lane.result())
    return tuple(results)


@dataclass(slots=True)
class _Lane:
    """A row while it is measured: its worker and what has come back so far."""

    job: RowJob
    failure: DeploykitError | None = None
    open_seconds: float | None = None
    first_run_seconds: float | None = None
    opened: str = ""
    outputs: list[Feed] = field(default_factory=list)
    warm_up: Warmed | None = None
    blocks: list[TimedBlock] = field(default_factory=list)
    throughput: float | None = None
    memory: Memory | None = None
    turn: Turn = field(default_factory=lambda: Turn(SHORTEST_BLOCK))
    round_seconds: float = 0.0  # of the last round it took part in, pauses included
    worker: WorkerProcess = field(init=False)

    def prepare(self, workers: ExitStack, settings: BenchSettings, *, warm_up_cap: float | None) -> None:
        """Open, first run, parity outputs and, unless `warm_up_cap` is None, the warm-up.

        An engine that can be opened with care is, once, where its worker crashes.
        """
        engine = self.job.engine
        self._prepare(engine, workers, settings, warm_up_cap)
        if isinstance(self.failure, WorkerCrashed) and isinstance(engine, Engine) and engine.careful is False:
            self.failure, self.outputs = None, []
            self._prepare(replace(engine, careful=True), workers, settings, warm_up_cap)

    def _prepare(
        self, engine: Engine | Workload, workers: ExitStack, settings: BenchSettings, warm_up_cap: float | None
    ) -> None:
        threads = settings.worker_threads
        self.worker = workers.enter_context(WorkerProcess(threads=threads, answer_seconds=settings.answer_seconds))
        feeds = self.job.feeds if warm_up_cap is not None else ()
        with self._failure_kept():
            if isinstance(engine, Engine):
                opened = self.worker.ask(Open(engine, threads, feeds))
                self.open_seconds, self.first_run_seconds = opened.open_seconds, opened.first_run_seconds
                self.opened = opened.remark
            else:
                self.worker.ask(Prepare(engine, threads))
            for feed in self.job.parity:
                self.outputs.append(self.worker.ask(Compute(feed)))
            if warm_up_cap is not None:
                self.warm_up = self.worker.ask(WarmUp(warm_up_cap))

    def run_seconds(self, gap: float) -> float:
        """What a run takes: by its part of the last round it was in, or by the warm-up where it was in none."""
        if self.blocks:
            return max(0.0, self.round_seconds / self.turn.blocks - gap) / self.turn.runs
        return self.warm_up.median_seconds if self.warm_up else 0.0

    def time_block(self, number: int) -> None:
        with self._failure_kept():
            timed = self.worker.ask(TimeBlock(self.turn.runs))
            self.blocks.append(TimedBlock(number, timed.samples_ns, timed.device_ns))

    def measure_throughput(self) -> None:
        """Launches for about a second, at least ten; two of a row that is too slow for its share."""
        found = latency(self.blocks, seed=0)
        assert found is not None  # noqa: S101 - a row that is alive after the rounds has samples
        runs = max(2 if self.turn.too_slow else 10, round(FLOOD_SECONDS * 1e3 / found.median))
        with self._failure_kept():
            self.throughput = runs / self.worker.ask(MeasureThroughput(runs))

    def measure_memory(self) -> None:
        with self._failure_kept():
            self.memory = self.worker.ask(MeasureMemory())

    def result(self) -> RowSamples:
        return RowSamples(
            self.job.label,
            self.failure,
            self.open_seconds,
            self.first_run_seconds,
            tuple(self.outputs),
            self.warm_up,
            tuple(self.blocks),
            self.throughput,
            self._remark(),
            self.memory,
        )

    def _remark(self) -> str:
        if not self.turn.too_slow or self.failure is not None:
            return self.opened
        rounds, runs = len({block.round for block in self.blocks}), self.turn.runs
        each = f"{rounds} round{'' if rounds == 1 else 's'} of {runs} run{'' if runs == 1 else 's'}"
        return "; ".join(filter(None, (self.opened, f"too slow for its share of the time: {each}")))

    @contextmanager
    def _failure_kept(self) -> Iterator[None]:
        """An error ends this row and its worker, and no other."""
        try:
            yield
        except DeploykitError as error:
            self.failure = error
            self.worker.kill()


def _rounds(lanes: Sequence[_Lane], settings: BenchSettings, report: Progress) -> tuple[str, int, float]:
    """Time blocks until sure or out of time: what ended it, the rounds done, the seconds they took."""
    random = np.random.default_rng(settings.seed)
    began = time.perf_counter()
    limit = math.ceil(settings.max_seconds)
    number, elapsed = 0, 0.0
    _share_time(_alive(lanes), settings)
    stopped_by = ""
    while not stopped_by and (alive := _alive(lanes)):
        report("timing rounds", min(int(elapsed), limit - 1), limit)
        order = [alive[index] for index in random.permutation(len(alive))]
        _round(number, _fitting(order, number, elapsed, settings), settings)
        number += 1
        elapsed = time.perf_counter() - began
        alive = _alive(lanes)
        # A failed row leaves its share to the others; rows may run slower beside each other than in their warm-up.
        if len(alive) < len(order) or _is_late(alive, number, elapsed, settings):
            left = max(settings.max_seconds - elapsed, LEAST_LEFT * settings.max_seconds)
            _share_time(alive, replace(settings, max_seconds=left))
        steady = [lane for lane in alive if not lane.turn.too_slow]
        deciding = steady or alive
        stopped_by = _verdict(deciding, number, elapsed, sum(lane.round_seconds for lane in deciding), settings)
        if stopped_by and len(deciding) < len(alive):
            stopped_by += " (rows that are too slow for their share of the time apart)"
    report("timing rounds", limit, limit)
    return stopped_by or "every row failed", number, elapsed


def _share_time(alive: Sequence[_Lane], settings: BenchSettings) -> None:
    gap = settings.gap_ms / 1e3
    seconds = [lane.run_seconds(gap) for lane in alive]
    for lane, each, turn in zip(alive, seconds, plan_turns(seconds, settings), strict=True):
        lane.turn, lane.round_seconds = turn, turn.blocks * (turn.runs * each + gap)


def _is_late(alive: Sequence[_Lane], rounds: int, elapsed: float, settings: BenchSettings) -> bool:
    """Whether the rows that have their share of rounds would not reach six of them at the pace of the last."""
    pace = sum(lane.round_seconds for lane in alive if not lane.turn.too_slow)
    return elapsed + max(0, FEWEST_ROUNDS - rounds) * pace > settings.max_seconds > elapsed


def _round(number: int, order: Sequence[_Lane], settings: BenchSettings) -> None:
    """One block of each row in this order, then one in the reverse of it, but for rows that have a single block."""
    began = {id(lane): 0.0 for lane in order}
    for lane in (*order, *(lane for lane in reversed(order) if lane.turn.blocks > 1)):
        if lane.failure is None:
            started = time.perf_counter()
            lane.time_block(number)
            _pause(settings)
            began[id(lane)] += time.perf_counter() - started
    for lane in order:
        lane.round_seconds = began[id(lane)]


def _fitting(order: Sequence[_Lane], number: int, elapsed: float, settings: BenchSettings) -> list[_Lane]:
    """The rows of this round; those that are too slow for their share sit out where the limit would be passed."""
    due = [lane for lane in order if lane.turn.is_due(number)]
    steady = [lane for lane in due if not lane.turn.too_slow]
    late = elapsed + sum(lane.round_seconds for lane in due) > settings.max_seconds
    return steady if steady and late and number else due


def _verdict(alive: Sequence[_Lane], rounds: int, elapsed: float, last: float, settings: BenchSettings) -> str:
    """Why to stop now; "" to go on. A round that would end past the limit, `last` seconds from now, is not begun.

    Intervals cost a bootstrap, so they are looked at every round at first and then at every tenth part of the rounds.
    """
    looked_at = rounds >= settings.min_rounds and rounds % max(1, rounds // 10) == 0
    if looked_at and alive and _sure(alive, settings.seed):
        kind = "paired ratio" if len(alive) > 1 else "median"
        return f"the 95 % interval of every {kind} is within +-{TARGET:.0%}"
    if elapsed + last > settings.max_seconds:
        return f"the time limit of {settings.max_seconds:g} s"
    return ""


def _sure(alive: Sequence[_Lane], seed: int) -> bool:
    first, *others = alive
    if not others:
        found = latency(first.blocks, seed=seed)
        return found is not None and _narrow(found.ci95, found.median)
    ratios = [ratio(lane.blocks, first.blocks, seed=seed) for lane in others]
    return all(found is not None and _narrow(found.ci95, found.value) for found in ratios)


def _narrow(interval: Interval | None, value: float) -> bool:
    return interval is not None and interval.half_width(value) <= TARGET


def _alive(lanes: Sequence[_Lane]) -> list[_Lane]:
    return [lane for lane in lanes if lane.failure is None]


def _pause(settings: BenchSettings) -> None:
    time.sleep(settings.gap_ms / 1e3)


def describe_inputs(feeds: Sequence[Feed], cache_bytes: int | None) -> str:
    """How the timed inputs relate to the last-level cache, for a table's header: `4 rotated, 2.4 MB: warm cache`."""
    total = sum(array.nbytes for feed in feeds for array in feed.values())
    return f"{len(feeds)} rotated, {describe_size(total, cache_bytes)}"


def describe_size(nbytes: int, cache_bytes: int | None) -> str:
    """Bytes beside the last-level cache: `2.4 MB: warm cache`."""
    size = f"{nbytes / 1e6:.1f} MB"
    if cache_bytes is None:
        return f"{size}; cache size unknown"
    return f"{size}, more than the {cache_bytes / 1e6:.0f} MB cache" if nbytes > cache_bytes else f"{size}: warm cache"
