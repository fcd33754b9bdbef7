"""What else went on in the machine while rows were measured: other processes, throttling, battery.

Read from /proc and /sys at a few moments, never inside a block. What a system does not tell is None.

    others      the share of the cores this process may use that neither it nor its workers held, from the busy time in
                /proc/stat (in it what a hypervisor took, "steal") minus the processor time of the process and of the
                sessions that its workers lead. A row whose threads fill the cores and that loses the share x runs
                x / (1 - x) slower, so above 5 % it is told: the size of difference that a table is to find.
    heat        thermal throttling of a core, as the kernel counts it: any is told.
    quota       seconds in which a container's CPU quota stopped its processes: more than 1 % of the time is told.
    clock       the highest clock of any core at the end of a round. Below the base clock, where the driver tells it, no
                core reached even what is guaranteed; elsewhere below 60 % of the highest, since with all cores at work
                70 to 90 % are usual.
    battery     a supply of mains power that is off line, or the system's battery discharging.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploykit.codec import shown

OTHERS = 0.05
QUOTA = 0.01
CLOCK = 0.6
SHORTEST = 0.2  # seconds: the kernel counts in hundredths
IDLE = (3, 4)  # columns of /proc/stat: idle, waiting for a disk
GUEST = 8  # this column and the next are in the first two already


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """Shares of the cores that other processes held before and during the rounds, and what slowed the cores down.

    `clock_share` is the highest clock seen over the base clock, or over the highest where there is no `base_clock`.
    """

    JSON_PROPERTIES = shown("warnings")

    others_before: float | None = None
    others_during: float | None = None
    heat_events: int | None = None
    quota_share: float | None = None
    clock_share: float | None = None
    base_clock: bool = False
    on_battery: bool | None = None

    @classmethod
    def worst(cls, each: Sequence[Disturbance]) -> Disturbance:
        """Of measurements one after the other: the largest share of others, all heat, the lowest clock."""
        heat = [one.heat_events for one in each if one.heat_events is not None]
        clocks = [one.clock_share for one in each if one.clock_share is not None]
        power = [one.on_battery for one in each if one.on_battery is not None]
        return cls(
            others_before=_largest(one.others_before for one in each),
            others_during=_largest(one.others_during for one in each),
            heat_events=sum(heat) if heat else None,
            quota_share=_largest(one.quota_share for one in each),
            clock_share=min(clocks, default=None),
            base_clock=any(one.base_clock for one in each),
            on_battery=any(power) if power else None,
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each thing that makes these figures doubtful."""
        return tuple(self._warnings())

    def _warnings(self) -> Iterator[str]:
        shares = {"before the rounds": self.others_before, "during the rounds": self.others_during}
        busy = [f"{share:.0%} of the cores {when}" for when, share in shares.items() if share and share > OTHERS]
        if busy:
            yield f"other processes held {' and '.join(busy)}: end them and measure again"
        if self.heat_events:
            yield f"thermal throttling slowed the cores {self.heat_events} times"
        if self.quota_share and self.quota_share > QUOTA:
            yield f"the container's CPU quota throttled the rows for {self.quota_share:.0%} of the time"
        if self.clock_share is not None and self.clock_share < (1.0 if self.base_clock else CLOCK):
            kind = "base" if self.base_clock else "highest"
            yield f"no core ran faster than {self.clock_share:.0%} of its {kind} clock"
        if self.on_battery:
            yield "the machine runs on battery"


def _largest(shares: Iterable[float | None]) -> float | None:
    return max((share for share in shares if share is not None), default=None)


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters of the kernel, in seconds: of the cores together, of them idle, and of our own processes."""

    seconds: float
    total: float | None
    idle: float
    own: float
    heat_events: int | None
    quota_seconds: float | None


@dataclass(slots=True)
class Watch:
    """Readings at moments of one measurement; `root` has the folders proc and sys, `clock` tells seconds."""

    root: Path = Path("/")
    clock: Callable[[], float] = time.perf_counter
    readings: list[Reading] = field(default_factory=list)
    highest: float | None = None

    def read(self, workers: Sequence[int]) -> None:
        """The counters now; `workers` are the process ids of those that live."""
        total, idle = self._cores()
        heat = self._numbers("sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count")
        own = self._own_seconds(set(workers))
        self.readings.append(
            Reading(self.clock(), total, idle, own, int(sum(heat)) if heat else None, self._quota_seconds())
        )

    def look_at_clock(self) -> None:
        """To be called at the end of a block, before the clock falls."""
        now = max(self._numbers("sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"), default=None)
        if now is not None:
            self.highest = max(self.highest or 0.0, now)

    def result(self) -> Disturbance:
        """From three readings: when rows were opened, at the first round, and after the last."""
        before, began, ended = self.readings
        base, highest = (
            max(self._numbers(f"sys/devices/system/cpu/cpu*/cpufreq/{name}"), default=None)
            for name in ("base_frequency", "cpuinfo_max_freq")
        )
        reference = base or highest
        return Disturbance(
            others_before=_others(before, began),
            others_during=_others(began, ended),
            heat_events=None if ended.heat_events is None else ended.heat_events - (before.heat_events or 0),
            quota_share=_quota_share(began, ended),
            clock_share=self.highest / reference if self.highest and reference else None,
            base_clock=base is not None,
            on_battery=self._on_battery(),
        )

    def _cores(self) -> tuple[float | None, float]:
        """Seconds that the cores of this process have counted, and those of them idle."""
        usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
        names = {f"cpu{number}" for number in usable}
        lines = [line.split() for line in self._text("proc/stat").splitlines()]
        cores = [[int(each) for each in line[1:]] for line in lines if line and line[0] in names]
        if not cores:
            return None, 0.0
        ticks = _ticks()
        return sum(sum(core[:GUEST]) for core in cores) / ticks, sum(core[k] for core in cores for k in IDLE) / ticks

    def _own_seconds(self, sessions: set[int]) -> float:
        """Processor time of this process, of its children that have ended and of the sessions that workers lead."""
        times = os.times()
        seconds = times.user + times.system + times.children_user + times.children_system
        for file in (self.root / "proc").glob("[0-9]*/stat"):
            with suppress(OSError, ValueError, IndexError):
                fields = file.read_text().rpartition(")")[2].split()
                if int(fields[3]) in sessions:
                    seconds += sum(map(int, fields[11:15])) / _ticks()
        return seconds

    def _quota_seconds(self) -> float | None:
        for line in self._text("sys/fs/cgroup/cpu.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == "throttled_usec":
                return int(value) / 1e6
        return None

    def _on_battery(self) -> bool | None:
        supplies = list(self.root.glob("sys/class/power_supply/*"))
        kinds = {supply: self._text(supply / "type") for supply in supplies}
        mains = [self._text(supply / "online") for supply, kind in kinds.items() if kind in ("Mains", "USB")]
        batteries = [
            self._text(supply / "status")
            for supply, kind in kinds.items()
            if kind == "Battery" and self._text(supply / "scope") != "Device"  # of a mouse, say
        ]
        if not batteries:
            return None
        return "Discharging" in batteries and "1" not in mains

    def _numbers(self, pattern: str) -> list[float]:
        found = []
        for file in self.root.glob(pattern):
            with suppress(ValueError):
                found.append(float(self._text(file)))
        return found

    def _text(self, path: str | Path) -> str:
        try:
            return (self.root / path).read_text().strip()
        except OSError:
            return ""


def _others(before: Reading, after: Reading) -> float | None:
    if before.total is None or after.total is None or after.seconds - before.seconds < SHORTEST:
        return None
    total = after.total - before.total
    busy = total - (after.idle - before.idle)
    return min(1.0, max(0.0, (busy - (after.own - before.own)) / total)) if total > 0 else None


def _quota_share(before: Reading, after: Reading) -> float | None:
    if before.quota_seconds is None or after.quota_seconds is None:
        return None
    return (after.quota_seconds - before.quota_seconds) / max(after.seconds - before.seconds, 1e-9)


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")
