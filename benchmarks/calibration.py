"""What a calibration costs beside onnxruntime.quantization.quantize_static, and how fast either INT8 graph is.

    python benchmarks/calibration.py [--network resnet50] [--images 16,64] [--repeats 3]

Both make an INT8 graph with entropy calibration from the same float graph and the same images, each in a process of its
own, in turns. Seconds and peak memory (the process's maximum resident set) belong to this machine; the ratio is what to
read. Then three graphs run in ONNX Runtime in interleaved rounds: float32, deploykit's INT8, quantize_static's own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploykit.backends import get_backend
from deploykit.backends.protocol import (
    Engine,
    TypedGraph,
)
from deploykit.bench import BenchSettings, RowJob, fingerprint, latency, ratios_to_first, run_rows
from deploykit.data.inputs import inputs_for, noise_feeds
from deploykit.spec import Feed, ModelSpec, Precision, TensorSpec
from deploykit.store import Store
from deploykit.workflow.export import export
from deploykit.workflow.workspace import Workspace

CHILD = """
import json, sys, time
from pathlib import Path
import calibration as script
from deploykit.host import peak_memory_bytes
began = time.perf_counter()
getattr(script, sys.argv[1])(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
print(json.dumps({"seconds": time.perf_counter() - began, "peak_gb": peak_memory_bytes() / 1e9}))
"""
ROTATED = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--images", default="16,64", help="how many, with commas between")
    parser.add_argument("--repeats", type=int, default=3)
    parsed = parser.parse_args()
    cpu = fingerprint(threads=0, seed=0, tf32=False).cpu
    print(f"{cpu.model}, {cpu.cores} cores ({', '.join(cpu.flags)})")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        exported = export(Workspace(Store.open(store)), ModelSpec(parsed.network))
        graphs = {name: Path(folder) / f"{name}.onnx" for name in ("ours", "theirs")}
        for images in map(int, parsed.images.split(",")):
            compare(parsed.network, store, graphs, images, parsed.repeats)
        race(exported.path, graphs, exported.inputs, exported.outputs)


def compare(network: str, store: Path, graphs: dict[str, Path], images: int, repeats: int) -> None:
    """Time and peak memory of both, in turns."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in graphs}
    for _ in range(repeats):
        for name, path in graphs.items():
            command = [sys.executable, "-c", CHILD, name, network, str(store), str(path), str(images)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    for name, label in (("ours", "deploykit"), ("theirs", "quantize_static")):
        seconds, peak = ([run[key] for run in found[name]] for key in ("seconds", "peak_gb"))
        print(f"{network}, entropy, {images} images, {label}: {statistics.median(seconds):.1f} s, {max(peak):.2f} GB")
    pairs = [theirs["seconds"] / ours["seconds"] for ours, theirs in zip(found["ours"], found["theirs"], strict=True)]
    print(f"  {statistics.median(pairs):.1f} times as fast [{min(pairs):.1f}, {max(pairs):.1f}]", flush=True)


def ours(network: str, store: Path, path: Path, images: int) -> None:
    """Count, choose ranges and quantize for ONNX Runtime's CPU kernels."""
    from deploykit import graph
    from deploykit.precision.calibrate.collect import observe
    from deploykit.precision.calibrate.observations import CalibrationRun, Observations
    from deploykit.precision.int8.quantize import quantize
    from deploykit.workflow.transforms import read_graph

    exported, feeds = shown(network, store, images)
    model = read_graph(exported.path)
    run = CalibrationRun(graph_digest=exported.digest, data_digest="0" * 64, preprocessing="", batches=images)
    table = observe(model, feeds, Observations(run)).table("entropy")
    placement = get_backend("ort").placement
    assert placement is not None
    quantize(model, table, placement)
    path.write_bytes(graph.serialize(model))


def theirs(network: str, store: Path, path: Path, images: int) -> None:
    from deploykit.host import saturates_u8s8
    from deploykit.precision.int8.baseline import quantize_static
    from deploykit.workflow.transforms import read_graph

    exported, feeds = shown(network, store, images)
    model = read_graph(exported.path)
    path.write_bytes(quantize_static(model, feeds, method="Entropy", seven_bits=saturates_u8s8()))


def shown(network: str, store: Path, images: int):
    exported = export(Workspace(Store.open(store)), ModelSpec(network))
    feeds: Iterator[Feed] = inputs_for(exported, "calibration", count=images, batch=1, data=None).feeds()
    return exported, feeds


def race(
    exported: Path, graphs: dict[str, Path], inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> None:
    """All three in ONNX Runtime, batch 1; the paired ratio to float32 and of our INT8 to theirs."""
    feeds = tuple(noise_feeds(inputs, count=ROTATED, batch=1, seed=0))
    jobs = []
    for label, path in (
        ("float32", exported),
        ("int8 deploykit", graphs["ours"]),
        ("int8 quantize_static", graphs["theirs"]),
    ):
        typed = TypedGraph(path, "", Precision.INT8, None, inputs, outputs)
        jobs.append(RowJob(label, engine(typed), feeds))
    measured = run_rows(jobs, BenchSettings(max_seconds=60))
    rows = [row.blocks for row in measured.rows]
    to_float, to_theirs = ratios_to_first(rows, seed=0), ratios_to_first([rows[2], rows[1]], seed=0)[1]
    for row, ratio in zip(measured.rows, to_float, strict=True):
        found = latency(row.blocks, seed=0)
        if found is not None and ratio is not None:
            print(f"{row.label}: {found.median:.2f} ms, {1 / ratio.value:.2f} times as fast as float32")
    if to_theirs is not None and to_theirs.ci95 is not None:
        low, high = to_theirs.ci95.low, to_theirs.ci95.high
        print(f"int8 deploykit takes {to_theirs.value:.3f} [{low:.3f}, {high:.3f}] times what quantize_static's takes")


def engine(typed: TypedGraph) -> Engine:
    from deploykit.spec import EngineSettings

    return get_backend("ort").build(typed, EngineSettings())


if __name__ == "__main__":
    main()
