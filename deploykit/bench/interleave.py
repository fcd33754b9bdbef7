"""The coordinator: rows take turns in short blocks, so that a drifting machine touches all of them alike.

A round is a seeded permutation of the rows followed by its reverse (A B C C B A), one block each: drift that is linear
over a round cancels. Blocks are followed by a pause in which thread pools fall quiet. Every row is opened, run once,
asked for its parity outputs and warmed up before the first round, one row at a time, and a row that fails leaves the
others undisturbed.

The rounds are divided among generations of processes: between two of them every row's worker is closed and another
opened, so that rounds pair rows whose processes are new alike. A generation ends when its own rounds are as sure as
they have to be, by the intervals of this process alone, or when its part of the time is over. It never looks at how
far processes lie apart, which is what the interval of a row rests on: a measurement that could stop as soon as three
processes agree by chance would claim too much (docs/decisions/intervals.md).

A row that is too slow for its share of the time sits out most rounds and has one block in the others
(`settings.plan_turns`): it is less sure, stays in its first process, its row says so, and it takes nothing from the
other rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np

from deploykit.backends.protocol import Engine
from deploykit.bench.disturbance import Watch
from deploykit.bench.jobs import Measurement, RowJob, RowSamples
from deploykit.bench.lane import Lane
from deploykit.bench.settings import LEAST_LEFT, MAX_SECONDS, PROCESSES, TARGET, BenchSettings, plan_turns
from deploykit.bench.statistics import FEWEST_ROUNDS, Interval, latency, ratio
from deploykit.errors import UsageError
from deploykit.spec import Progress, silent


def run_rows(jobs: Sequence[RowJob], settings: BenchSettings, progress: Progress | None = None) -> Measurement:
    """Outputs, cold times and interleaved samples of every job. Raises UsageError on jobs that cannot be timed."""
    if not jobs or any(isinstance(job.engine, Engine) and not job.feeds for job in jobs):
        raise UsageError("nothing to time", hint="give one row or more, each with an input")
    report, watch = progress or silent, Watch()
    lanes = [Lane(job) for job in jobs]
    with ExitStack() as workers:
        for lane in lanes:
            workers.enter_context(lane)
        watch.read(())
        for lane in lanes:
            report(f"open and warm up {lane.job.label}", 0, 1)
            lane.prepare(settings, warm_up_cap=settings.warm_up_cap(len(lanes)))
            report(f"open and warm up {lane.job.label}", 1, 1)
            _pause(settings)
        watch.read([lane.worker.pid for lane in lanes])
        rounds = _Rounds(lanes, settings, report, watch)
        rounds.share_time(settings.max_seconds)
        if settings.throughput:
            _measure_throughput(lanes, settings, report)
        stopped_by = rounds.run()
        seconds = rounds.elapsed
        watch.read([lane.worker.pid for lane in lanes])
        for lane in _alive(lanes):
            lane.measure_memory()
    return Measurement(
        tuple(lane.result() for lane in lanes),
        stopped_by,
        rounds.number,
        seconds,
        rounds.processes,
        rounds.gave_up(),
        watch.result(),
    )


def run_outputs(
    jobs: Sequence[RowJob], settings: BenchSettings, progress: Progress | None = None
) -> tuple[RowSamples, ...]:
    """Only the parity outputs, one worker after the other; nothing is timed."""
    report = progress or silent
    results = []
    for job in jobs:
        report(f"run {job.label}", 0, 1)
        with Lane(job) as lane:
            lane.prepare(settings, warm_up_cap=None)
        report(f"run {job.label}", 1, 1)
        results.append(lane.result())
    return tuple(results)


def _measure_throughput(lanes: Sequence[Lane], settings: BenchSettings, report: Progress) -> None:
    for lane in _alive(lanes):
        report(f"throughput of {lane.job.label}", 0, 1)
        lane.measure_throughput()
        _pause(settings)
        report(f"throughput of {lane.job.label}", 1, 1)


@dataclass(slots=True)
class _Rounds:
    """The timed rounds of all generations, and the restarts between them."""

    lanes: Sequence[Lane]
    settings: BenchSettings
    report: Progress
    watch: Watch
    number: int = 0  # rounds done
    processes: int = 1
    at_limit: bool = False  # whether the time limit ended them
    restarts: float = 0.0  # seconds that starting all rows again takes, by the first time
    slow_seconds: float = 0.0  # that rows took which are too slow for their share, beside others that are not
    _random: np.random.Generator = field(init=False)
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.settings.seed)
        self._began = time.perf_counter()

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self._began

    def run(self) -> str:
        """Generation after generation; what ended the rounds, in words."""
        self._began = time.perf_counter()
        self.restarts = self._restart_seconds()
        self.processes = self.settings.affordable(self.restarts)
        self.share_time(self._left(0))
        endings = []
        for generation in range(self.processes):
            if generation:
                self._restart()
            if not _alive(self.lanes):
                break
            endings.append(self._generation(generation))
        total = math.ceil(self.settings.max_seconds)
        self.report("timing rounds", total, total)
        if not _alive(self.lanes):
            return "every row failed"
        steady = _steady(self.lanes)
        apart = " (not counting rows that are too slow for their share of the time)" * (
            0 < len(steady) < len(_alive(self.lanes))
        )
        self.at_limit = "" in endings
        return (f"the time limit of {self.settings.max_seconds:g} s" if self.at_limit else endings[-1]) + apart

    def gave_up(self) -> tuple[str, ...]:
        """What a longer measurement would have."""
        said, asked, seconds = [], self.settings.processes, self.settings.max_seconds
        why = (
            f"starting all of them again takes {self.restarts:.0f} s"
            if self.restarts
            else "no row is fast enough for it"
        )
        since = f", not {asked}: {why}" * (self.processes < asked)
        if self.processes == 1:
            said.append(f"one process for each row{since}; intervals leave out how much processes differ")
        elif self.processes < PROCESSES:
            said.append(f"{self.processes} processes for each row{since}; intervals are wide")
        if self.at_limit and seconds < MAX_SECONDS:
            said.append(f"{seconds:g} s of rounds a batch, not {MAX_SECONDS:g}: fewer rounds and wider intervals")
        return tuple(said)

    def share_time(self, left: float) -> None:
        """Give the rows that are alive their turns in `left` seconds of rounds."""
        alive, gap = _alive(self.lanes), self.settings.gap_ms / 1e3
        seconds = [lane.run_seconds(gap) for lane in alive]
        least = LEAST_LEFT * self.settings.max_seconds
        turns = plan_turns(seconds, replace(self.settings, max_seconds=max(left, least)))
        for lane, each, turn in zip(alive, seconds, turns, strict=True):
            lane.turn, lane.round_seconds = turn, turn.blocks * (turn.runs * each + gap)

    def _generation(self, generation: int) -> str:
        """Rounds until these processes are sure, and why they are; "" where their part of the time is over first."""
        began, first, slow = self.elapsed, self.number, self.slow_seconds
        part = self._part(generation)
        while alive := _alive(self.lanes):
            total = math.ceil(self.settings.max_seconds)
            self.report("timing rounds", min(int(self.elapsed), total - 1), total)
            self._round([alive[index] for index in self._random.permutation(len(alive))])
            done = self.number - first
            spent = self.elapsed - began - (self.slow_seconds - slow)
            # A failed row leaves its share to the others; rows may run slower beside each other than in their warm-up.
            if len(_alive(self.lanes)) < len(alive) or self._is_late(done, spent, part):
                self.share_time(self._left(generation))
            deciding = _steady(self.lanes) or _alive(self.lanes)
            if said := self._sure(deciding, done):
                return said
            pace = sum(lane.round_seconds for lane in deciding)
            if spent + pace > part or self.elapsed + pace > self.settings.max_seconds:
                return ""
        return ""

    def _round(self, order: Sequence[Lane]) -> None:
        """One block of each row in this order, then one in the reverse of it, but for rows that have a single block."""
        order = self._fitting(order)
        took = {id(lane): 0.0 for lane in order}
        for lane in (*order, *(lane for lane in reversed(order) if lane.turn.blocks > 1)):
            if lane.failure is None:
                started = time.perf_counter()
                lane.time_block(self.number)
                if lane is order[-1]:
                    self.watch.look_at_clock()
                _pause(self.settings)
                took[id(lane)] += time.perf_counter() - started
        for lane in order:
            lane.round_seconds = took[id(lane)]
        if any(not lane.turn.too_slow for lane in order):
            self.slow_seconds += sum(lane.round_seconds for lane in order if lane.turn.too_slow)
        self.number += 1

    def _fitting(self, order: Sequence[Lane]) -> list[Lane]:
        """The rows of this round; those that are too slow for their share sit out where the limit would be passed."""
        due = [lane for lane in order if lane.turn.is_due(self.number)]
        steady = [lane for lane in due if not lane.turn.too_slow]
        late = self.elapsed + sum(lane.round_seconds for lane in due) > self.settings.max_seconds
        return steady if steady and late and self.number else due

    def _restart(self) -> None:
        """Every row that has its share of rounds goes on in another process."""
        for lane in _steady(self.lanes):
            self.report(f"restart {lane.job.label}", 0, 1)
            lane.restart(self.settings, warm_up_cap=self.settings.restart_warm_up_cap(len(self.lanes)))
            self.report(f"restart {lane.job.label}", 1, 1)
            _pause(self.settings)

    def _restart_seconds(self) -> float:
        cap, gap = self.settings.restart_warm_up_cap(len(self.lanes)), self.settings.gap_ms / 1e3
        return sum(lane.restart_seconds(cap) + gap for lane in _steady(self.lanes))

    def _left(self, generation: int) -> float:
        """Seconds for rounds from now on, the restarts after this generation set aside."""
        restarts = self._restart_seconds() * (self.processes - 1 - generation)
        return self.settings.max_seconds - self.elapsed - restarts

    def _part(self, generation: int) -> float:
        """What this generation has of them, blocks of rows that are too slow for their share apart."""
        steady = _steady(self.lanes)
        slow = [lane for lane in _alive(self.lanes) if lane.turn.too_slow] if steady else []
        blocks = sum(max(0, (lane.turn.rounds or 0) - len(lane.blocks)) * lane.round_seconds for lane in slow)
        return (self._left(generation) - blocks) / (self.processes - generation)

    def _is_late(self, done: int, spent: float, part: float) -> bool:
        """Whether the rows that have their share of rounds would not reach their fewest at the pace of the last."""
        pace = sum(lane.round_seconds for lane in _steady(self.lanes))
        fewest = math.ceil(FEWEST_ROUNDS / self.processes)
        return spent + max(0, fewest - done) * pace > part > spent

    def _sure(self, deciding: Sequence[Lane], done: int) -> str:
        """Why these processes need no more rounds; "" where they do.

        Intervals cost a bootstrap, so they are looked at every round at first and then at every tenth part of them.
        The mean of n processes is surer than each of them by the square root of n, which each may be less sure by.
        """
        least = math.ceil(self.settings.min_rounds / self.processes)
        target = TARGET * math.sqrt(self.processes)
        if not deciding or done < least or done % max(1, done // 10) or not _narrow(deciding, target):
            return ""
        kind = "paired ratio" if len(deciding) > 1 else "median"
        where = " in each process" if self.processes > 1 else ""
        return f"the 95 % interval of every {kind}{where} is within +-{100 * target:.2g} %"


def _narrow(deciding: Sequence[Lane], target: float) -> bool:
    """Whether every interval from the present processes alone is within the target."""
    first, *others = deciding
    if not others:
        found = latency(first.present, seed=0)
        return found is not None and _within(found.ci95, found.median, target)
    ratios = [ratio(lane.present, first.present, seed=0) for lane in others]
    return all(found is not None and _within(found.ci95, found.value, target) for found in ratios)


def _within(interval: Interval | None, value: float, target: float) -> bool:
    return interval is not None and interval.half_width(value) <= target


def _alive(lanes: Sequence[Lane]) -> list[Lane]:
    return [lane for lane in lanes if lane.failure is None]


def _steady(lanes: Sequence[Lane]) -> list[Lane]:
    return [lane for lane in lanes if lane.failure is None and not lane.turn.too_slow]


def _pause(settings: BenchSettings) -> None:
    time.sleep(settings.gap_ms / 1e3)
