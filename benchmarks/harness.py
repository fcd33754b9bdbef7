"""What timing costs: a worker's loop beside a bare one, on the null backend and on ONNX Runtime.

    python benchmarks/harness.py [--network resnet50] [--rounds 12] [--processes 3]

Null backend: one bound run, in this process, by the samples of the worker's loop and by a loop with nothing but the run
in it, in turns of 200 runs.

ONNX Runtime: `WorkerProcess` as `bench` uses it, and a process of nothing but `InferenceSession.run_with_iobinding` and
two clock readings, on the same file, inputs, threads and session options; blocks in turns (A B B A), each pair of
processes restarted. Read as a table reads two rows: the ratio of the medians, paired by round.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from aa_test import engine_of

from deploykit.backends.null import NullBackend
from deploykit.backends.protocol import Bound, Engine
from deploykit.bench import BenchSettings, TimedBlock, fingerprint, latency
from deploykit.bench.process import WorkerProcess
from deploykit.bench.statistics import ratio
from deploykit.bench.worker import Open, TimeBlock, WarmUp, timed_runs
from deploykit.data.noise import noise_feeds
from deploykit.spec import Feed, Precision, TensorSpec

RUNS, PART = 200, 20
BLOCK = 11  # runs, the flagged one with them
GAP_SECONDS = 0.05
BARE = """
import itertools, json, sys, time
import numpy as np
import onnxruntime as ort
path, feeds, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
options = ort.SessionOptions()
options.intra_op_num_threads = threads
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
bindings = []
for feed in np.load(feeds).values():
    binding = session.io_binding()
    binding.bind_ortvalue_input(session.get_inputs()[0].name, ort.OrtValue.ortvalue_from_numpy(feed, "cpu", 0))
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")
    bindings.append(binding)
bindings = itertools.cycle(bindings)
for line in sys.stdin:
    samples = []
    for _ in range(int(line)):
        binding = next(bindings)
        began = time.perf_counter_ns()
        session.run_with_iobinding(binding)
        samples.append(time.perf_counter_ns() - began)
    print(json.dumps(samples), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--rounds", type=int, default=12, help="of each pair of processes")
    parser.add_argument("--processes", type=int, default=3)
    options = parser.parse_args()
    settings = BenchSettings()
    cpu = fingerprint(threads=settings.worker_threads, seed=0, tf32=False).cpu
    print(f"{cpu.model}, {cpu.cores} cores")
    on_the_null_backend()
    with TemporaryDirectory() as folder:
        on_onnxruntime(engine_of(options.network, Path(folder)), options, settings, Path(folder))


def on_the_null_backend(turns: int = 40) -> float:
    """Microseconds that the worker's loop adds to a run of the null backend.

    By the fastest twenty runs in a row on either side, which nothing interrupted.
    """
    bound = null_bound()
    ours, bare = math.inf, math.inf
    for _ in range(turns):
        samples = timed_runs(iter([bound] * RUNS), RUNS).samples_ns
        ours = min(ours, *(sum(samples[k : k + PART]) / PART / 1e3 for k in range(0, RUNS, PART)))
        bare = min(bare, *(bare_loop(bound) for _ in range(RUNS // PART)))
    print(f"null backend: {ours:.2f} us a run, bare loop {bare:.2f} us: {ours - bare:+.2f} us")
    return ours - bare


def bare_loop(bound: Bound) -> float:
    """Microseconds a run."""
    began = time.perf_counter_ns()
    for _ in range(PART):
        bound.launch()
        bound.synchronize()
    return (time.perf_counter_ns() - began) / PART / 1e3


def null_bound() -> Bound:
    images, logits = TensorSpec("images", ("batch", 3, 8, 8), "float32"), TensorSpec("logits", ("batch", 10), "float32")
    engine = Engine("null", "null", Precision.FP32, (images,), (logits,))
    session = NullBackend().open(engine)
    return session.bind({"images": np.random.default_rng(0).standard_normal((1, 3, 8, 8), np.float32)})


def on_onnxruntime(engine: Engine, options: argparse.Namespace, settings: BenchSettings, folder: Path) -> None:
    feeds = tuple(noise_feeds(engine.inputs, count=4, batch=1, seed=0))
    ours: list[TimedBlock] = []
    bare: list[TimedBlock] = []
    for process in range(options.processes):
        one_pair(engine, feeds, settings, folder, (ours, bare), process, options.rounds)
    found, plain, paired = latency(ours, seed=0), latency(bare, seed=0), ratio(ours, bare, seed=0)
    assert found is not None
    assert plain is not None
    assert paired is not None
    print(f"{options.network} in ONNX Runtime: {found.median:.3f} ms, bare loop {plain.median:.3f} ms")
    interval = f" [{paired.ci95.low:.4f}, {paired.ci95.high:.4f}]" if paired.ci95 else ""
    print(f"  ratio {paired.value:.4f}{interval}, {paired.rounds} rounds in {paired.processes} pairs of processes")


def one_pair(
    engine: Engine,
    feeds: tuple[Feed, ...],
    settings: BenchSettings,
    folder: Path,
    blocks: tuple[list[TimedBlock], list[TimedBlock]],
    process: int,
    rounds: int,
) -> None:
    """Time both sides in turns and add their blocks to those of earlier pairs."""
    threads = settings.worker_threads
    saved = folder / "feeds.npz"
    np.savez(saved, *(next(iter(feed.values())) for feed in feeds))
    command = [sys.executable, "-c", BARE, str(engine.path), str(saved), str(threads)]
    with (
        WorkerProcess(threads=threads, answer_seconds=300.0) as worker,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as bare,
    ):
        assert bare.stdin is not None
        assert bare.stdout is not None
        worker.ask(Open(engine, threads, feeds))
        worker.ask(WarmUp(3.0))

        def ask_bare(runs: int) -> tuple[int, ...]:
            print(runs, file=bare.stdin, flush=True)
            return tuple(json.loads(bare.stdout.readline()))

        ask_bare(50)
        sides = (lambda: worker.ask(TimeBlock(BLOCK)).samples_ns, lambda: ask_bare(BLOCK))
        for number in range(process * rounds, (process + 1) * rounds):
            for side in (0, 1, 1, 0) if number % 2 else (1, 0, 0, 1):
                time.sleep(GAP_SECONDS)
                blocks[side].append(TimedBlock(number, sides[side](), process=process))
        bare.stdin.close()


if __name__ == "__main__":
    main()
