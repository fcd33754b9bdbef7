"""How often a 95 % interval of the paired ratio holds the true one, and what stopping when it is narrow does to that.

    python benchmarks/coverage.py [--trials 1000] [--spreads FILE.json]

Simulated, with a fixed seed. A table has two rows that are alike (or the second is 5 % slower, for the last column).
What a sample takes is exp(drift of the round + process of the row + the row in this round + the sample): the drift is
common to both rows; the others are normal, but for the samples, whose upper half is spread twice as far, as times are.
The standard deviations are those that benchmarks/aa_test.py measured and saved, or the ones below.

The rules:

    one process, fixed              18 rounds of one process, rounds resampled
    one process, looked at          the same, stopped when the interval is within +-1 %, at most 60 rounds
    three, bootstrap, fixed         6 rounds in each of 3 processes; processes resampled, then rounds in them
    three, bootstrap, looked at     after each round of the third process, stopped when within +-1 %, at most 20 of it
    three, Student, fixed           6 rounds in each of 3 processes, deploykit's interval
    more until narrow               deploykit's interval after each process from the third on, stopped when within
                                    +-1 %, at most 20 processes of 6 rounds
    deploykit                       each of 3 processes stopped by its own rounds, at most 20; deploykit's interval
"""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deploykit.bench import Interval, TimedBlock
from deploykit.bench.settings import TARGET
from deploykit.bench.statistics import percentile, ratio

SPREADS = {"process": 0.01, "round": 0.01, "sample": 0.02}
SLOWER = 0.05
SAMPLES = 10  # of two blocks of a round, the flagged ones left out
DRIFT = 0.05
RESAMPLES = 1000


@dataclass
class Pair:
    """Two rows that are measured; `random` makes up what their samples take."""

    random: np.random.Generator
    spreads: dict[str, float]
    slower: float = 0.0
    rows: tuple[list[TimedBlock], list[TimedBlock]] = field(default_factory=lambda: ([], []))
    process: int = -1
    number: int = 0

    def restart(self) -> None:
        self.process += 1
        # The measured spread is that of the ratio, to which each of both rows contributes half.
        first, other = self.random.normal(0, self.spreads["process"] / math.sqrt(2), 2)
        self._effects = (first, other + math.log1p(self.slower))

    def rounds(self, count: int) -> None:
        for _ in range(count):
            drift = self.random.normal(0, DRIFT)
            for row, effect in zip(self.rows, self._effects, strict=True):
                here = drift + effect + self.random.normal(0, self.spreads["round"] / math.sqrt(2))
                noise = self.random.normal(0, self.spreads["sample"], SAMPLES)
                taken = np.exp(here + np.where(noise > 0, 2 * noise, noise))
                row.append(TimedBlock(self.number, (10**9, *(round(1e7 * each) for each in taken)), (), self.process))
            self.number += 1

    def interval(self, *, of_process: int | None = None) -> Interval | None:
        first, other = (
            [block for block in row if of_process is None or block.process == of_process] for row in self.rows
        )
        found = ratio(other, first, seed=0)
        return found.ci95 if found else None

    def bootstrap(self) -> Interval:
        """Processes drawn with replacement, then rounds in each; the mean of the medians."""
        parts: dict[int, list[float]] = {}
        for block, base in zip(self.rows[1], self.rows[0], strict=True):
            one, other = (np.median(each.samples_ns[1:]) for each in (block, base))
            parts.setdefault(block.process, []).append(math.log(one / other))
        medians = np.array(
            [
                np.median(np.array(part)[self.random.integers(0, len(part), (RESAMPLES, len(part)))], axis=1)
                for part in parts.values()
            ]
        )
        drawn = medians[self.random.integers(0, len(parts), (len(parts), RESAMPLES)), np.arange(RESAMPLES)]
        means = np.sort(np.exp(drawn.mean(axis=0)))
        return Interval(percentile(means, 2.5), percentile(means, 97.5))


def narrow(interval: Interval | None, target: float = TARGET) -> bool:
    return interval is not None and interval.half_width(1.0) <= target


def one_fixed(pair: Pair) -> Interval | None:
    pair.restart()
    pair.rounds(18)
    return pair.interval()


def one_looked_at(pair: Pair) -> Interval | None:
    pair.restart()
    pair.rounds(8)
    while pair.number < 60 and not narrow(pair.interval()):
        pair.rounds(max(1, pair.number // 10))
    return pair.interval()


def three(pair: Pair) -> None:
    for _ in range(3):
        pair.restart()
        pair.rounds(6)


def three_bootstrap(pair: Pair) -> Interval:
    three(pair)
    return pair.bootstrap()


def three_looked_at(pair: Pair) -> Interval:
    three(pair)
    while pair.number < 12 + 20 and not narrow(found := pair.bootstrap()):
        pair.rounds(1)
    return found


def three_student(pair: Pair) -> Interval | None:
    three(pair)
    return pair.interval()


def more_until_narrow(pair: Pair) -> Interval | None:
    three(pair)
    while pair.process < 19 and not narrow(pair.interval()):
        pair.restart()
        pair.rounds(6)
    return pair.interval()


def deploykit(pair: Pair) -> Interval | None:
    for process in range(3):
        pair.restart()
        pair.rounds(6)
        done = 6
        while done < 20 and not narrow(pair.interval(of_process=process), TARGET * math.sqrt(3)):
            pair.rounds(1)
            done += 1
    return pair.interval()


RULES: dict[str, Callable[[Pair], Interval | None]] = {
    "one process, fixed": one_fixed,
    "one process, looked at": one_looked_at,
    "three, bootstrap, fixed": three_bootstrap,
    "three, bootstrap, looked at": three_looked_at,
    "three, Student, fixed": three_student,
    "more until narrow": more_until_narrow,
    "deploykit": deploykit,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--spreads", type=Path, nargs="*", default=[], help="what benchmarks/aa_test.py saved")
    options = parser.parse_args()
    cases = {path.stem: json.loads(path.read_text())["spreads"] for path in options.spreads} or {"made up": SPREADS}
    for name, spreads in cases.items():
        said = ", ".join(f"{key} {100 * value:.2f} %" for key, value in spreads.items())
        print(f"{name}: {said}; {options.trials} trials")
        print(f"{'rule':30} holds 1   +- (median)   rounds   finds 5 %")
        for rule in RULES:
            print(f"{rule:30} {line(rule, spreads, options.trials)}", flush=True)


def line(rule: str, spreads: dict[str, float], trials: int) -> str:
    held, widths, rounds, found = 0, [], [], 0
    for trial in range(trials):
        pair = Pair(np.random.default_rng([trial, 0]), spreads)
        interval = RULES[rule](pair)
        assert interval is not None
        held += interval.covers(1.0)
        widths.append(interval.half_width(1.0))
        rounds.append(pair.number)
        slower = RULES[rule](Pair(np.random.default_rng([trial, 1]), spreads, SLOWER))
        assert slower is not None
        found += slower.low > 1
    return (
        f"{100 * held / trials:5.1f} %   {100 * float(np.median(widths)):7.2f} %   {np.mean(rounds):8.1f}"
        f"   {100 * found / trials:6.1f} %"
    )


if __name__ == "__main__":
    main()
