"""How often a 95 % interval of the paired ratio holds the true one, and what stopping when it is narrow does to that.

    python benchmarks/coverage.py [--trials 1000] [--spreads FILE.json ...]

Simulated, with a fixed seed; two rows that are alike. The logarithm of a round's ratio is that of two medians of ten
samples, and what its process and the round add; all normal, but for the samples, whose upper half is spread twice as
far, as times are. The standard deviations are those that benchmarks/aa_test.py measured and saved, or the ones below.
The machine's drift is common to both rows of a round and cancels, so it is left out. How often a row that is 5 % slower
is found follows from the same trials, for a factor moves the interval and leaves its width.

The rules:

    one process, fixed              18 rounds of one process, rounds resampled
    one process, looked at          the same, stopped when the interval is within +-1 %, at most 60 rounds
    three, bootstrap, fixed         6 rounds in each of 3 processes; processes resampled, then rounds in them
    three, bootstrap, looked at     after each round of the third process, stopped when within +-1 %, at most 20 of it
    three, Student, fixed           6 rounds in each of 3 processes, deploykit's interval
    more until narrow               deploykit's interval after each process from the third on, stopped when within
                                    +-1 %, at most 10 processes of 6 rounds
    deploykit                       each of 3 processes stopped by its own rounds, at most 20; deploykit's interval

All trials of a rule are computed at once; those of `deploykit` are computed again by its own functions, one by one, and
have to be the same.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deploykit.bench import TimedBlock
from deploykit.bench.settings import TARGET
from deploykit.bench.statistics import RESAMPLES, STUDENT_975, ratio

SPREADS = {
    "like processes": {"process": 0.002, "round": 0.01, "sample": 0.02},
    "made up": {"process": 0.01, "round": 0.01, "sample": 0.02},
    "unlike processes": {"process": 0.02, "round": 0.005, "sample": 0.02},
}
SLOWER = 0.05
SAMPLES = 10  # of two blocks of a round, the flagged ones left out
LEAST, MOST = 6, 20  # rounds of a process
AT_ONCE = 2**24  # values that are resampled together
CHECKED = 20  # trials

Values = np.ndarray[Any, np.dtype[Any]]
# Lower and upper ends, and rounds taken, one of each a trial.
Found = tuple[Values, Values, Values]


def log_ratios(spreads: dict[str, float], trials: int, processes: int, rounds: int, seed: int) -> Values:
    """By trial, process and round."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, spreads["sample"], (trials, processes, rounds, 2, SAMPLES))
    medians = np.median(np.where(noise > 0, 2 * noise, noise), axis=-1)
    added = random.normal(0, spreads["process"], (trials, processes, 1)) + random.normal(
        0, spreads["round"], (trials, processes, rounds)
    )
    found: Values = added + medians[..., 0] - medians[..., 1]
    return found


def of_rounds(values: Values) -> tuple[Values, Values]:
    """The interval of the median of each trial's rounds, drawn as `median_interval` draws them."""
    trials, count = values.shape
    draws = np.random.default_rng(0).integers(0, count, (RESAMPLES, count - 1))
    low, high = np.empty(trials), np.empty(trials)
    step = max(1, AT_ONCE // draws.size)
    for start in range(0, trials, step):
        medians = np.sort(np.median(values[start : start + step][:, draws], axis=2), axis=1)
        low[start : start + step], high[start : start + step] = ends(medians)
    return low, high


def of_processes(parts: list[Values], rounds: Values | None = None) -> tuple[Values, Values]:
    """deploykit's interval of each trial; `parts` are its rounds by process, `rounds` all of them."""
    medians = np.stack([np.median(part, axis=1) for part in parts], axis=1)
    low, high = of_rounds(np.concatenate(parts, axis=1) if rounds is None else rounds)
    spread = medians.std(axis=1, ddof=1) / math.sqrt(len(parts))
    half = np.maximum(STUDENT_975[len(parts) - 2] * spread, (high - low) / 2)
    center = medians.mean(axis=1)
    return center - half, center + half


def hierarchical(parts: list[Values], seed: int) -> tuple[Values, Values]:
    """Processes drawn with replacement, then rounds in each; the mean of the medians."""
    random = np.random.default_rng(seed)
    drawn = np.zeros((len(parts[0]), RESAMPLES))
    for _ in parts:
        chosen = random.integers(0, len(parts), RESAMPLES)
        for index, part in enumerate(parts):
            (here,) = np.nonzero(chosen == index)
            rounds = random.integers(0, part.shape[1], (len(here), part.shape[1]))
            drawn[:, here] += np.median(part[:, rounds], axis=2) / len(parts)
    return ends(np.sort(drawn, axis=1))


def ends(ordered: Values) -> tuple[Values, Values]:
    """The 2.5 and 97.5 percentile by nearest rank."""
    count = ordered.shape[1]
    return ordered[:, math.ceil(0.025 * count) - 1], ordered[:, math.ceil(0.975 * count) - 1]


def until_narrow(look: Callable[[Values, int], tuple[Values, Values]], trials: int, looks: list[int]) -> Found:
    """`look(trials, n)` with n = each of `looks` in turn, for the trials whose interval was not within +-1 % before."""
    low, high, taken = np.empty(trials), np.empty(trials), np.zeros(trials, int)
    going = np.arange(trials)
    for count in looks:
        low[going], high[going] = look(going, count)
        taken[going] = count
        going = going[(high - low)[going] / 2 > TARGET]
        if not going.size:
            break
    return low, high, taken


def one_fixed(spreads: dict[str, float], trials: int) -> Found:
    values = log_ratios(spreads, trials, 1, 18, seed=1)[:, 0]
    return *of_rounds(values), np.full(trials, 18)


def one_looked_at(spreads: dict[str, float], trials: int) -> Found:
    values = log_ratios(spreads, trials, 1, 60, seed=1)[:, 0]
    looks = [count for count in range(8, 61) if count % max(1, count // 10) == 0]
    return until_narrow(lambda going, count: of_rounds(values[going, :count]), trials, looks)


def three_bootstrap(spreads: dict[str, float], trials: int) -> Found:
    values = log_ratios(spreads, trials, 3, LEAST, seed=2)
    return *hierarchical(list(values.swapaxes(0, 1)), seed=3), np.full(trials, 18)


def three_looked_at(spreads: dict[str, float], trials: int) -> Found:
    values = log_ratios(spreads, trials, 3, MOST, seed=2)

    def look(going: Values, count: int) -> tuple[Values, Values]:
        first, second, third = (values[going, process] for process in range(3))
        return hierarchical([first[:, :LEAST], second[:, :LEAST], third[:, : count - 2 * LEAST]], seed=count)

    return until_narrow(look, trials, list(range(3 * LEAST, 2 * LEAST + MOST + 1)))


def three_student(spreads: dict[str, float], trials: int) -> Found:
    values = log_ratios(spreads, trials, 3, LEAST, seed=2)
    return *of_processes(list(values.swapaxes(0, 1))), np.full(trials, 18)


def more_until_narrow(spreads: dict[str, float], trials: int) -> Found:
    values = log_ratios(spreads, trials, 10, LEAST, seed=2)

    def look(going: Values, count: int) -> tuple[Values, Values]:
        return of_processes([values[going, process] for process in range(count // LEAST)])

    return until_narrow(look, trials, [LEAST * processes for processes in range(3, 11)])


def deploykit(spreads: dict[str, float], trials: int) -> Found:
    values = log_ratios(spreads, trials, 3, MOST, seed=2)
    taken = np.stack([stopped_by_own_rounds(values[:, process]) for process in range(3)], axis=1)
    low, high = np.empty(trials), np.empty(trials)
    for counts in np.unique(taken, axis=0):
        (here,) = np.nonzero((taken == counts).all(axis=1))
        parts = [values[here, process, :count] for process, count in enumerate(counts)]
        low[here], high[here] = of_processes(parts)
    for trial in range(min(CHECKED, trials)):
        check(values[trial], taken[trial], low[trial], high[trial])
    return low, high, taken.sum(axis=1)


def stopped_by_own_rounds(values: Values) -> Values:
    """The rounds of one process of each trial, until their interval is as narrow as one of three has to be."""
    taken, going = np.full(len(values), MOST), np.arange(len(values))
    for count in range(LEAST, MOST):
        low, high = of_rounds(values[going, :count])
        done = (high - low) / 2 <= TARGET * math.sqrt(3)
        taken[going[done]] = count
        going = going[~done]
    return taken


def check(values: Values, taken: Values, low: float, high: float) -> None:
    """Raises AssertionError where deploykit's functions give another interval; they average ratios, not logarithms."""
    rows: tuple[list[TimedBlock], list[TimedBlock]] = ([], [])
    for process, count in enumerate(taken):
        for value in values[process, :count]:
            for row, ms in zip(rows, (1.0, math.exp(value)), strict=True):
                row.append(TimedBlock(len(row), (0, round(1e9 * ms)), (), process))
    found = ratio(rows[1], rows[0], seed=0)
    assert found is not None
    assert found.ci95 is not None
    assert np.allclose(np.log(found.ci95), (low, high), atol=1e-4), (found.ci95, low, high)


RULES: dict[str, Callable[[dict[str, float], int], Found]] = {
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
    saved = {path.stem: json.loads(path.read_text())["spreads"] for path in options.spreads}
    for name, spreads in (saved or SPREADS).items():
        said = ", ".join(f"{key} {100 * value:.2f} %" for key, value in spreads.items())
        print(f"{name}: standard deviations {said}; {options.trials} trials")
        print(f"  {'rule':28} holds the true ratio   +- (median)   rounds   finds 5 %")
        for rule, run in RULES.items():
            low, high, taken = run(spreads, options.trials)
            holds, finds = np.mean((low <= 0) & (high >= 0)), np.mean(low + math.log1p(SLOWER) > 0)
            width = np.median(high - low) / 2
            line = f"{holds:20.1%}   {width:11.2%}   {np.mean(taken):6.1f}   {finds:9.1%}"
            print(f"  {rule:28} {line}", flush=True)


if __name__ == "__main__":
    main()
