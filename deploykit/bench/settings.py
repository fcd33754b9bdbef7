"""How a table is measured: the frozen options, and how long a block of runs should be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deploykit.bench.statistics import FEWEST_ROUNDS
from deploykit.errors import UsageError
from deploykit.host import usable_cores

SHORTEST_BLOCK = 5  # runs: in shorter ones thread pools that wake up are all that is measured
LONGEST_BLOCK = 200
BLOCK_SECONDS = 0.05  # what a block of a fast network is stretched to
PLANNED = 0.7  # of the time limit
WARM_UP_RUNS = 10
WARM_UP_SECONDS = 0.2
WARM_UP_CAP_SECONDS = 10.0
TARGET = 0.01  # every interval within +-1 %


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """`threads` of each worker (0: one per core this process may use).

    `max_seconds` limits the timed rounds; opening and warm-up come on top. A block has `block_runs` runs or more, the
    first of which is flagged; `gap_ms` of quiet follow it. At least `min_rounds` rounds are run where the limit allows.
    `throughput` adds a measurement of its own: many launches, one synchronisation. A worker that does not answer for
    `answer_seconds` is killed, and its row fails.
    """

    threads: int = 0
    max_seconds: float = 60.0
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
        for name in ("max_seconds", "answer_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} is {getattr(self, name)}", hint="give a finite number of seconds above 0")

    @property
    def worker_threads(self) -> int:
        """The number that every worker gets, resolved."""
        return self.threads or usable_cores()

    def warm_up_cap(self, rows: int) -> float:
        """Seconds of warm-up a row may take at most: its share of half the time limit, never above ten."""
        return min(WARM_UP_CAP_SECONDS, self.max_seconds / 2 / rows)


def block_lengths(run_seconds: Sequence[float], settings: BenchSettings) -> tuple[int, ...]:
    """Runs per block of each row, from the seconds one run took when warm.

    A block lasts about 50 ms, so that fast networks collect many samples, and has at least `block_runs` runs. When
    `min_rounds` such rounds (two blocks a row) exceed the time limit, blocks shrink to five runs; when six rounds, the
    fewest that carry an interval, still exceed it, slow rows shrink to the share of the time they have, at least two
    runs: the flagged one and one that counts. A row so slow that even this is too long is timed in fewer rounds. A part
    of the limit is left free, for rows run slower beside each other than they did in their warm-up.
    """
    gap, limit = settings.gap_ms / 1e3, PLANNED * settings.max_seconds
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
    return tuple(min(SHORTEST_BLOCK, max(2, int(share / seconds))) for seconds in run_seconds)


def _round_seconds(run_seconds: Sequence[float], lengths: Sequence[int], gap: float) -> float:
    return 2 * sum(seconds * length + gap for seconds, length in zip(run_seconds, lengths, strict=True))
