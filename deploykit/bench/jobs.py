"""What is to be measured, and what came of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from deploykit.backends.protocol import Engine
from deploykit.bench.disturbance import Disturbance
from deploykit.bench.statistics import TimedBlock
from deploykit.bench.worker import Memory, Opened, Warmed, Workload
from deploykit.errors import DeploykitError
from deploykit.spec import Feed


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
    """What a row's workers gave. `failure` is None or the error that ended the row; what came before it is kept.

    `starts` has one entry per process that opened: opening counts the import of the backend's library. `outputs`, one
    per parity feed, and `warm_up` are those of the first process; a timed row that is too slow for all parity feeds has
    answered the first of them, which `remark` says. `throughput` is runs per second of many launches and
    one synchronization; None unless asked for. `memory` is that of the last process, after its last run. `remark` is
    empty, or says what the row has to own up to: what its session says, and that it was too slow for its share of the
    time and how often it was timed.
    """

    label: str
    failure: DeploykitError | None
    starts: tuple[Opened, ...]
    outputs: tuple[Feed, ...]
    warm_up: Warmed | None
    blocks: tuple[TimedBlock, ...]
    throughput: float | None
    remark: str = ""
    memory: Memory | None = None

    @property
    def cold_starts_ms(self) -> tuple[float, ...]:
        """Opening and the first run of each process, milliseconds."""
        return tuple(
            1e3 * (each.open_seconds + each.first_run_seconds)
            for each in self.starts
            if each.first_run_seconds is not None
        )

    @property
    def cold_ms(self) -> float | None:
        """The median over the processes."""
        return statistics.median(self.cold_starts_ms) if self.cold_starts_ms else None


@dataclass(frozen=True, slots=True)
class Measurement:
    """All rows in the order of their jobs; `stopped_by` says in words what ended the rounds.

    Rows had as many `processes`, one after the other. `gave_up` says what a longer measurement would have, and
    `disturbance` what else went on in the machine.
    """

    rows: tuple[RowSamples, ...]
    stopped_by: str
    rounds: int
    seconds: float
    processes: int
    gave_up: tuple[str, ...]
    disturbance: Disturbance


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
