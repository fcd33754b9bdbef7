"""A/A test: does `bench` find no difference where there is none, and one of 5 % where there is one?

    python benchmarks/aa_test.py [--network lenet5] [--runs 20] [--max-seconds 20] [--processes 3] [--save FILE.json]

Each run times three rows of the same ONNX Runtime session, in processes of their own, as a table would: the first, the
same again, and one in which each run is followed by a busy wait of 5 % of the time that it took (benchmarks/slowed.py).
The second has to be "within noise" of the first in at least 18 of 20 runs; the third has to be found slower in at least
17. Then the spread of the logarithm of the second row's ratio, divided into what differs between processes, between
rounds of a process and between samples of a round: benchmarks/coverage.py simulates with these.
"""

import argparse
import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from slowed import Slowed

from deploykit.backends.protocol import Engine
from deploykit.bench import BenchSettings, Measurement, RowJob, TimedBlock, fingerprint, ratios_to_first, run_rows
from deploykit.data.noise import noise_feeds
from deploykit.spec import BuildSpec, ModelSpec, Precision
from deploykit.store import Store
from deploykit.workflow.engine import build_with
from deploykit.workflow.rows import asked_rows
from deploykit.workflow.workspace import Workspace

SLOWER = 0.05
WITHIN, FOUND = 18 / 20, 17 / 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lenet5")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--max-seconds", type=float, default=20.0)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    settings = BenchSettings(max_seconds=options.max_seconds, processes=options.processes)
    cpu = fingerprint(threads=settings.worker_threads, seed=0, tf32=False).cpu
    print(f"{cpu.model}, {cpu.cores} cores; {options.network}, {options.runs} runs of {options.max_seconds:g} s")
    with TemporaryDirectory() as folder:
        engine = engine_of(options.network, Path(folder))
        found = [one_run(engine, number, settings) for number in range(options.runs)]
    within = sum(run["same"]["within_noise"] for run in found)
    slower = sum(not run["slower"]["within_noise"] and run["slower"]["value"] > 1 for run in found)
    counts = (("the same row is within noise", within, WITHIN), ("5 % slower is found", slower, FOUND))
    for what, count, least in counts:
        verdict = "as it should be" if count >= least * len(found) else f"should be {least:.0%}"
        print(f"{what}: {count} of {len(found)} runs, {verdict}")
    components = spreads(found)
    said = ", ".join(f"{name} {100 * value:.2f} %" for name, value in components.items())
    print(f"standard deviations of the ratio: {said}")
    if options.save:
        options.save.write_text(json.dumps({"runs": found, "spreads": components}, indent=1))


def engine_of(network: str, folder: Path) -> Engine:
    """ONNX Runtime's, of the network in float32."""
    workspace = Workspace(Store.open(folder))
    (asked,) = asked_rows(BuildSpec(ModelSpec(network)), ("ort",), (Precision.FP32,), strict=False)
    return build_with(workspace, asked.spec, asked.backend).engine


def one_run(engine: Engine, number: int, settings: BenchSettings) -> dict[str, object]:
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
    return told(measured, number)


def told(measured: Measurement, number: int) -> dict[str, object]:
    _, same, slower = ratios_to_first([row.blocks for row in measured.rows], seed=number)
    assert same is not None
    assert slower is not None
    line = f"run {number + 1:2}:"
    for name, ratio in (("same", same), ("slower", slower)):
        interval = f"[{ratio.ci95.low:.3f}, {ratio.ci95.high:.3f}]" if ratio.ci95 else "no interval"
        line += f" {name} {ratio.value:.3f} {interval}{' within noise' if ratio.within_noise else ''},"
    line += f" {measured.rounds} rounds in {measured.processes} processes, {measured.seconds:.0f} s"
    print(line, *(f"({warning})" for warning in measured.disturbance.warnings), flush=True)
    first, other, _ = measured.rows
    return {
        "same": {"value": same.value, "ci95": same.ci95, "within_noise": same.within_noise},
        "slower": {"value": slower.value, "ci95": slower.ci95, "within_noise": slower.within_noise},
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


def spreads(found: list[dict[str, object]]) -> dict[str, float]:
    """Standard deviations of one process, of one round in it and of one sample in that, from all runs together.

    Of processes by analysis of variance: what their means differ by, less what their rounds explain.
    """
    runs: list[list[list[float]]] = [run["log_ratios"] for run in found]  # type: ignore[misc]
    within = [np.var(part, ddof=1) for parts in runs for part in parts if len(part) > 1]
    rounds = math.sqrt(float(np.mean(within)))
    several = [parts for parts in runs if len(parts) > 1 and min(map(len, parts)) > 1]
    if not several:
        return {"round": rounds}
    between = float(np.mean([np.var([np.mean(part) for part in parts], ddof=1) for parts in several]))
    explained = float(np.mean([np.var(part, ddof=1) / len(part) for parts in several for part in parts]))
    samples = float(np.median([run["within"] for run in found]))  # type: ignore[arg-type]
    return {"process": math.sqrt(max(0.0, between - explained)), "round": rounds, "sample": samples}


if __name__ == "__main__":
    main()
