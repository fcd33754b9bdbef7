"""What deploykit itself costs: start-up, a cache hit, a build, and `export` beside a bare torch.onnx.export.

    python benchmarks/costs.py [--model resnet152] [--repeats 3]

Every figure is a process of its own, run here and now; the two sides of the export are run in turns. Seconds belong to
this machine; the ratio travels. Peak memory is the process's maximum resident set.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deploykit.spec import ModelSpec

BARE = """
import sys, warnings
warnings.filterwarnings("ignore")
from pathlib import Path
import torch
from deploykit.spec import ModelSpec
from deploykit.weights import load_module
module = load_module(ModelSpec({model!r}), Path({weights!r}))
example = (torch.zeros(2, 3, 224, 224),)
torch.onnx.export(module, example, {target!r}, dynamo=True, verbose=False, external_data=False,
                  dynamic_shapes=({{0: torch.export.Dim("batch")}},))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet152")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        start_up(options.repeats)
        export_beside_bare(options.model, options.repeats, Path(folder))
        build_and_cache_hit(options.model, Path(folder))


def start_up(repeats: int) -> None:
    for arguments in (["--help"], ["list"]):
        seconds = [run(["-m", "deploykit", *arguments])[0] for _ in range(max(5, repeats))]
        print(f"deploykit {arguments[0]}: {1e3 * statistics.median(seconds):.0f} ms")


def export_beside_bare(model: str, repeats: int, folder: Path) -> None:
    from deploykit.modules.state import write_state
    from deploykit.weights import seeded_state

    weights = folder / "weights.safetensors"
    write_state(seeded_state(ModelSpec(model)), weights)
    ours: list[tuple[float, float]] = []
    bare: list[tuple[float, float]] = []
    for number in range(repeats):
        store = folder / f"store{number}"
        command = ["export", model, "--weights", str(weights), "--no-check", "--store", str(store)]
        code = BARE.format(model=model, weights=str(weights), target=str(folder / "bare.onnx"))
        ours.append(run(["-m", "deploykit", *command]))
        bare.append(run(["-c", code]))
    for name, figures in (("deploykit export", ours), ("torch.onnx.export to a file", bare)):
        seconds, megabytes = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{model}, {name}: {seconds:.1f} s, peak {megabytes:.0f} MB")
    for index, what in enumerate(("time", "peak memory")):
        ratios = sorted(one[index] / other[index] for one, other in zip(ours, bare, strict=True))
        print(f"  {what}: {statistics.median(ratios):.2f} times [{ratios[0]:.2f}, {ratios[-1]:.2f}] the bare export")


def build_and_cache_hit(model: str, folder: Path) -> None:
    store, weights = folder / "store0", folder / "weights.safetensors"
    command = [
        "-m",
        "deploykit",
        "build",
        model,
        "--precision",
        "fp16",
        "--weights",
        str(weights),
        "--store",
        str(store),
    ]
    print(f"{model}, build fp16 after export: {run(command)[0]:.1f} s")
    print(f"{model}, the same build again: {run(command)[0]:.2f} s")


def run(arguments: list[str]) -> tuple[float, float]:
    """Seconds and peak megabytes of one Python process. Raises CalledProcessError with its stderr on failure."""
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments, stderr=errors)
    return time.perf_counter() - began, usage.ru_maxrss / 1e3


if __name__ == "__main__":
    main()
