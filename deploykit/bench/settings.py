"""How a table is measured: the frozen options, and how the rows share the time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from deploykit.bench.statistics import FEWEST_ROUNDS, MOST_PROCESSES
from deploykit.errors import UsageError
from deploykit.host import usable_cores

SHORTEST_BLOCK = 5  # runs: in shorter ones thread pools that wake up are all that is measured
FEWEST_RUNS = 2  # a flagged one and one that counts
LONE_RUN_SECONDS = 1.0  # a run that takes longer counts by itself: threads wake up in some 30 ms
LONGEST_BLOCK = 200
BLOCK_SECONDS = 0.05  # what a block of a fast network is stretched to
PLANNED = 0.7  # of the time limit
LEAST_LEFT = 0.25  # of the time: for the others, where one run of a slow row takes nearly all of it
WARM_UP_RUNS = 10
WARM_UP_SECONDS = 0.2
WARM_UP_CAP_SECONDS = 10.0
RESTART_PART = 2 / 3  # of the time limit at most: a third process narrows an interval more than twice the rounds do
RESTART_WARM_UP_CAP_SECONDS = 2.0  # libraries, files and clocks are warm from the first process
TARGET = 0.01  # every interval within +-1 %, as far as more rounds can make it narrow
MAX_SECONDS = 45.0
PROCESSES = 3
QUICK_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """`threads` of each worker (0: one per core this process may use).

    Every row is measured in `processes` worker processes, one after the other, among which the rounds are divided.
    `max_seconds` limits the timed rounds and the restarts between them; the first opening and warm-up come on top. A
    block has `block_runs` runs or more, the first of which is flagged; `gap_ms` of quiet follow it. At least
    `min_rounds` rounds are run where the limit allows. `throughput` adds a measurement of its own: many launches, one
    synchronization. A worker that does not answer for `answer_seconds` is killed, and its row fails.
    """

    threads: int = 0
    max_seconds: float = MAX_SECONDS
    processes: int = PROCESSES
    block_runs: int = SHORTEST_BLOCK + 1
    gap_ms: float = 50.0
    min_rounds: int = 8
    seed: int = 0
    throughput: bool = False
    answer_seconds: float = 300.0

    def __post_init__(self) -> None:
        floors = {"threads": 0, "block_runs": SHORTEST_BLOCK, "gap_ms": 0, "min_rounds": FEWEST_ROUNDS, "seed": 0}
        for name, floor in floors.items():
            if not getattr(self, name) >= floor:
                raise UsageError(f"{name} is {getattr(self, name)}", hint=f"give {floor} or more")
        if not 1 <= self.processes <= MOST_PROCESSES:
            raise UsageError(f"processes is {self.processes}", hint=f"give 1 to {MOST_PROCESSES}")
        for name in ("max_seconds", "answer_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} is {getattr(self, name)}", hint="give a finite number of seconds above 0")

    def quick(self) -> BenchSettings:
        """The same in seconds: one process, and few rounds. Raises UsageError where either was asked for."""
        if (self.processes, self.max_seconds) != (PROCESSES, MAX_SECONDS):
            raise UsageError("quick sets the processes and the time limit", hint="leave them out, or leave out quick")
        return replace(self, processes=1, max_seconds=QUICK_SECONDS)

    @property
    def worker_threads(self) -> int:
        """The number that every worker gets, resolved."""
        return self.threads or usable_cores()

    def warm_up_cap(self, rows: int) -> float:
        """Seconds of warm-up a row may take at most: its share of half the time limit, never above ten."""
        return min(WARM_UP_CAP_SECONDS, self.max_seconds / 2 / rows)

    def restart_warm_up_cap(self, rows: int) -> float:
        """The same in a later process."""
        return min(RESTART_WARM_UP_CAP_SECONDS, self.warm_up_cap(rows) / 2)

    def affordable(self, restart_seconds: float) -> int:
        """How many processes a row can have, where starting all rows again takes this long."""
        if restart_seconds <= 0:
            return 1
        return min(self.processes, 1 + int(RESTART_PART * self.max_seconds / restart_seconds))


@dataclass(frozen=True, slots=True)
class Turn:
    """How a row takes part in the rounds: `blocks` of `runs` runs in every `every`-th round, `rounds` times at most.

    `too_slow` marks a row that could not have six rounds of two short blocks in its share of the time.
    """

    runs: int
    blocks: int = 2
    every: int = 1
    rounds: int | None = None
    too_slow: bool = False

    def is_due(self, number: int) -> bool:
        """Whether the row takes part in round `number`, counted from 0."""
        return number % self.every == 0 and (self.rounds is None or number // self.every < self.rounds)


def plan_turns(run_seconds: Sequence[float], settings: BenchSettings) -> tuple[Turn, ...]:
    """The turn of each row, from the seconds that one of its runs took when warm.

    Usually every row has two blocks a round. A block lasts about 50 ms, so that fast networks collect many samples, and
    has at least `block_runs` runs. When `min_rounds` such rounds exceed the time limit, blocks shrink to five runs;
    when six rounds, the fewest that carry an interval, still exceed it, slow rows shrink to the share of the time they
    have, at least two runs: the flagged one and one that counts. A part of the limit is left free, for rows run slower
    beside each other than they did in their warm-up.

    Where even that is too long, each row has one such block a round. Where six rounds of these do not fit either, or
    one row would take more than twice its equal share, the slowest must not take the time of the others: it has its
    block in as few rounds as fit its share (at least one), spread over the first `min_rounds`, and the others divide
    what is left in the same way. Where nothing but such rows are left, they take turns until the limit.
    """
    turns = _turns(tuple(run_seconds), PLANNED * settings.max_seconds, settings)
    return tuple(replace(turn, every=1, rounds=None) for turn in turns) if all(t.too_slow for t in turns) else turns


def _turns(run_seconds: tuple[float, ...], limit: float, settings: BenchSettings) -> tuple[Turn, ...]:
    gap, count = settings.gap_ms / 1e3, len(run_seconds)
    if FEWEST_ROUNDS * _round_seconds(run_seconds, [FEWEST_RUNS] * count, gap) <= limit:
        return tuple(map(Turn, _block_lengths(run_seconds, limit, settings)))
    seconds = max(run_seconds)
    single = FEWEST_ROUNDS / 2 * _round_seconds(run_seconds, [FEWEST_RUNS] * count, gap)
    if count > 1 and single <= limit and FEWEST_ROUNDS * (FEWEST_RUNS * seconds + gap) <= 2 * limit / count:
        return (Turn(FEWEST_RUNS, blocks=1),) * count
    slowest = count - 1 - run_seconds[::-1].index(seconds)  # the last of equals: others are compared with the first
    turn = _slow_turn(seconds, limit / count, settings)
    if count == 1:
        return (turn,)
    taken = (turn.rounds or 0) * _block_seconds(seconds, gap)
    rest = run_seconds[:slowest] + run_seconds[slowest + 1 :]
    others = _turns(rest, max(limit - taken, limit * LEAST_LEFT), settings)
    return (*others[:slowest], turn, *others[slowest:])


def _slow_turn(seconds: float, share: float, settings: BenchSettings) -> Turn:
    rounds = max(1, int(share / _block_seconds(seconds, settings.gap_ms / 1e3)))
    every = max(1, settings.min_rounds // rounds)
    return Turn(_fewest_runs(seconds), blocks=1, every=every, rounds=rounds, too_slow=True)


def _fewest_runs(seconds: float) -> int:
    """Runs of the shortest block: waking up, for which the first of several is left out, is nothing beside a second."""
    return 1 if seconds >= LONE_RUN_SECONDS else FEWEST_RUNS


def _block_seconds(seconds: float, gap: float) -> float:
    return seconds * _fewest_runs(seconds) + gap


def _block_lengths(run_seconds: Sequence[float], limit: float, settings: BenchSettings) -> tuple[int, ...]:
    gap = settings.gap_ms / 1e3
    wanted = tuple(
        min(LONGEST_BLOCK, max(settings.block_runs, math.ceil(BLOCK_SECONDS / max(seconds, 1e-9))))
        for seconds in run_seconds
    )
    if settings.min_rounds * _round_seconds(run_seconds, wanted, gap) <= limit:
        return wanted
    short = tuple(min(length, SHORTEST_BLOCK) for length in wanted)
    if FEWEST_ROUNDS * _round_seconds(run_seconds, short, gap) <= limit:
        return short
    share = limit / FEWEST_ROUNDS / 2 / len(run_seconds) - gap
    return tuple(min(SHORTEST_BLOCK, max(FEWEST_RUNS, int(share / seconds))) for seconds in run_seconds)


def _round_seconds(run_seconds: Sequence[float], lengths: Sequence[int], gap: float) -> float:
    return 2 * sum(seconds * length + gap for seconds, length in zip(run_seconds, lengths, strict=True))
