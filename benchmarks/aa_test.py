"""A/A test: does `bench` find no difference where there is none, and one of 5 % where there is one?

    python benchmarks/aa_test.py [--networks lenet5,mobilenet] [--runs 20] [--max-seconds 20] [--processes 3]
                                 [--save FOLDER] [--output docs/results/aa-test.md]

Each run times three rows of the same ONNX Runtime session, in processes of their own, as a table would: the first, the
same again, and one in which each run is followed by a busy wait of 5 % of the time that it took (benchmarks/slowed.py).
The second has to be "within noise" of the first in at least 18 of 20 runs; the third has to be found slower in at least
17. Then the spread of the logarithm of the second row's ratio, divided into what differs between processes, between
rounds of a process and between samples of a round: benchmarks/coverage.py simulates with these.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from slowed import Slowed
from sources import footer

from deploykit.backends.protocol import Engine
from deploykit.bench import (
    BenchSettings,
    Interval,
    Measurement,
    RowJob,
    TimedBlock,
    fingerprint,
    ratios_to_first,
    run_rows,
)
from deploykit.data.noise import noise_feeds
from deploykit.spec import BuildSpec, ModelSpec, Precision
from deploykit.store import Store
from deploykit.workflow.engine import build_with
from deploykit.workflow.rows import asked_rows
from deploykit.workflow.workspace import Workspace

SLOWER = 0.05
PAGE = """# A/A test

Printed by `{command}` on {cpu} with {cores} cores, no GPU. `same` is the ratio of a row to the
same row again, with its 95 % interval, which should hold 1 in at least 18 of 20 runs. `slower` is that of a row whose
every run is followed by a busy wait of 5 % of its time; the interval should lie above 1 in at least 17. What follows
from the spreads is in the [decision on intervals](../decisions/intervals.md).
"""
WITHIN, FOUND = 18 / 20, 17 / 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="lenet5")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--max-seconds", type=float, default=20.0)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--save", type=Path, help="folder for the figures of each network, as JSON")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    settings = BenchSettings(max_seconds=options.max_seconds, processes=options.processes)
    machine = fingerprint(threads=settings.worker_threads, seed=0, tf32=False)
    text = PAGE.format(cpu=machine.cpu.model, cores=machine.cpu.cores, command=" ".join(["python", *sys.argv]))
    for network in options.networks.split(","):
        lines = tested(network, options.runs, settings, options.save)
        text += f"\n## {network}\n\n```\n" + "\n".join(lines) + "\n```\n"
    if options.output:
        options.output.write_text(text + footer("aa-test.md"))


def tested(network: str, runs: int, settings: BenchSettings, folder: Path | None) -> list[str]:
    """What was printed: a line a run, how many were right, and the spreads."""
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    say(f"{network}, ONNX Runtime, {runs} runs of {settings.max_seconds:g} s")
    with TemporaryDirectory() as store:
        engine = engine_of(network, Path(store))
        found = [one_run(engine, number, settings, say) for number in range(runs)]
    within = sum(run["same"][0] <= 1 <= run["same"][1] for run in found)
    slower = sum(run["slower"][0] > 1 for run in found)
    counts = (("the same row is within noise", within, WITHIN), ("5 % slower is found", slower, FOUND))
    for what, count, least in counts:
        verdict = "as it should be" if count >= least * runs else f"it should be {least * runs:g}"
        say(f"{what}: {count} of {runs} runs, {verdict}")
    components = spreads(found)
    said = ", ".join(f"{name} {100 * value:.2f} %" for name, value in components.items())
    say(f"standard deviations of the ratio: {said}")
    if folder:
        (folder / f"{network}.json").write_text(json.dumps({"runs": found, "spreads": components}, indent=1))
    return lines


def engine_of(network: str, folder: Path) -> Engine:
    """ONNX Runtime's, of the network in float32."""
    workspace = Workspace(Store.open(folder))
    (asked,) = asked_rows(BuildSpec(ModelSpec(network)), ("ort",), (Precision.FP32,), strict=False)
    return build_with(workspace, asked.spec, asked.backend).engine


def one_run(engine: Engine, number: int, settings: BenchSettings, say: Callable[[str], None]) -> dict[str, Any]:
    feeds = tuple(noise_feeds(engine.inputs, count=4, batch=1, seed=number))
    jobs = [
        RowJob("first", engine, feeds),
        RowJob("same", engine, feeds),
        RowJob("slower", Slowed(engine, feeds, SLOWER)),
    ]
    measured = run_rows(jobs, settings)
    for row in measured.rows:
        if row.failure is not None:
            raise row.failure
    return told(measured, number, say)


def told(measured: Measurement, number: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The figures of one run. A ratio without an interval is right in neither case."""
    _, same, slower = ratios_to_first([row.blocks for row in measured.rows], seed=number)
    line = f"run {number + 1:2}:"
    ends = {}
    for name, ratio in (("same", same), ("slower", slower)):
        assert ratio is not None
        ends[name] = ratio.ci95 or Interval(math.nan, math.nan)
        line += f" {name} {ratio.value:.3f} [{ends[name].low:.3f}, {ends[name].high:.3f}],"
    line += f" {measured.rounds} rounds in {measured.processes} processes, {measured.seconds:.0f} s"
    say(" ".join([line, *(f"({warning})" for warning in measured.disturbance.warnings)]))
    first, other, _ = measured.rows
    return {
        **ends,
        "rounds": measured.rounds,
        "log_ratios": log_ratios(first.blocks, other.blocks),
        "within": sample_spread(first.blocks),
    }


def log_ratios(first: tuple[TimedBlock, ...], other: tuple[TimedBlock, ...]) -> list[list[float]]:
    """By process, the logarithm of the ratio of the medians in each round."""
    found: dict[int, dict[int, list[float]]] = {}
    medians = [by_round(first), by_round(other)]
    process_of = {block.round: block.process for block in first}
    for number in medians[0].keys() & medians[1].keys():
        ratio = math.log(np.median(medians[1][number]) / np.median(medians[0][number]))
        found.setdefault(process_of[number], {})[number] = ratio
    return [list(rounds.values()) for rounds in found.values()]


def by_round(blocks: tuple[TimedBlock, ...]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for block in blocks:
        found.setdefault(block.round, []).extend(block.samples_ns[1:])
    return found


def sample_spread(blocks: tuple[TimedBlock, ...]) -> float:
    """The median over the rounds of the standard deviation of the samples' logarithms, by the middle half of them."""
    logs = [np.log(samples) for samples in by_round(blocks).values()]
    return float(np.median([np.subtract(*np.percentile(each, [75, 25])) / 1.349 for each in logs]))


def spreads(found: list[dict[str, Any]]) -> dict[str, float]:
    """Standard deviations of one process, of one round in it and of one sample in that, from all runs together.

    Of processes by analysis of variance: what their means differ by, less what their rounds explain.
    """
    runs: list[list[list[float]]] = [run["log_ratios"] for run in found]
    within = [np.var(part, ddof=1) for parts in runs for part in parts if len(part) > 1]
    rounds = math.sqrt(float(np.mean(within)))
    several = [parts for parts in runs if len(parts) > 1 and min(map(len, parts)) > 1]
    if not several:
        return {"round": rounds}
    between = float(np.mean([np.var([np.mean(part) for part in parts], ddof=1) for parts in several]))
    explained = float(np.mean([np.var(part, ddof=1) / len(part) for parts in several for part in parts]))
    samples = float(np.median([run["within"] for run in found]))
    return {"process": math.sqrt(max(0.0, between - explained)), "round": rounds, "sample": samples}


if __name__ == "__main__":
    main()
