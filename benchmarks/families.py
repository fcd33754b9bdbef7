"""Every network family side by side: eager PyTorch, ONNX Runtime and TensorRT, in FP32, FP16 and INT8, batch 1.

    python benchmarks/families.py [--networks lenet5,alexnet,...] [--seconds 5] [--output docs/results/families.md]

One `deploykit bench` a network, with few rounds; what it printed as rows is put together as Markdown. Weights are
seeded. Milliseconds belong to this machine, and ratios are paired within a network.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from sources import footer

from deploykit.bench import BenchSettings
from deploykit.parity import ParityResult
from deploykit.results.comparison import Report
from deploykit.results.row import Row
from deploykit.spec import BatchRange, BuildSpec, ModelSpec, Precision
from deploykit.store import Store
from deploykit.workflow.compare import Request, bench
from deploykit.workflow.workspace import Workspace

NETWORKS = (
    "lenet5,alexnet,vgg16,googlenet,bn_inception,inception_v2,inception_v3,inception_v4,inception_resnet_v2,resnet50,"
    "resnext50_32x4d,xception,mobilenet"
)
ASKED = ("torch", "ort", "trt")
LIBRARIES = ("torch", "onnxruntime-gpu", "tensorrt-rtx")
TIMES = """## Time

Median of the paired ratios to eager PyTorch in FP32 in the same run, with its 95 % interval where there were rounds
enough for one; below 1 is faster. On a CPU, ONNX Runtime computes FP16 graphs in float32. Rows that were compiled and
could not run have no time."""
PARITY = """## Parity

Signal-to-quantization-noise ratio against the network in float64, dB, and the verdict; for trt it is that of the typed
graph. The weights are random, so INT8 is held to what onnxruntime's own quantizer reaches on the same images."""
PLANS = """## Compiled plan

Kernels / megabytes of memory traffic per image in TensorRT-RTX's ahead-of-time plan."""
FAILED = {"failed": "failed"}  # what a cell without a figure says; other states need no word here
Cell = Callable[[Row], str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--seconds", type=float, default=5.0, help="time limit of the timed rounds of a network")
    parser.add_argument("--output", type=Path, help="Markdown file to write; default: stdout")
    options = parser.parse_args()
    reports = [compare(name, options.seconds) for name in options.networks.split(",")]
    text = page(reports, f"python benchmarks/families.py --seconds {options.seconds:g}")
    if options.output:
        options.output.write_text(text + footer("families.md"))
    else:
        print(text)


def compare(name: str, seconds: float) -> Report:
    """One network's rows, its artifacts in a store that goes away with it: the whole zoo would fill 20 GB."""
    request = Request(
        spec=BuildSpec(model=ModelSpec(name), batch=BatchRange.parse("1")),
        backends=ASKED,
        precisions=tuple(Precision),
        settings=BenchSettings(max_seconds=seconds),
    )
    with tempfile.TemporaryDirectory() as folder:
        report = bench(Workspace(Store.open(Path(folder))), request)
    for row in report.rows:
        print(
            f"{name} {row.backend} {row.precision} {row.state} {row.parity.verdict if row.parity else ''} {row.reason}",
            flush=True,
        )
    return report


def page(reports: list[Report], command: str) -> str:
    environment, first = reports[0].environment, reports[0].conditions
    libraries, gpu = environment.libraries, environment.gpu.name if environment.gpu else "no GPU"
    versions = [f"{name} {libraries[name]}" for name in LIBRARIES if name in libraries]
    machine = f"{environment.cpu.model}, {environment.cpu.cores} cores, {first.threads} threads, {gpu}"
    head = f"Printed by `{command}` on {machine}; {', '.join(versions)}; batch {first.batch}; seeded random weights."
    sections = ((TIMES, time_of), (PARITY, parity_of), (PLANS, plan_of))
    parts = ["# The families side by side", "", head, ""]
    for text, cell in sections:
        parts += [text, "", *table(reports, cell), ""]
    return "\n".join(parts)


def table(reports: Iterable[Report], cell: Cell) -> list[str]:
    """One line a network, one column a row of its report; columns in which no row has a figure are left out."""
    found = {
        report.rows[0].model: {f"{row.backend} {row.precision}": cell(row) for row in report.rows} for report in reports
    }
    columns = [name for name in next(iter(found.values())) if any(cells[name] for cells in found.values())]
    lines = [f"| {model} | {' | '.join(cells[name] or '-' for name in columns)} |" for model, cells in found.items()]
    return [f"| network | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns), *lines]


def time_of(row: Row) -> str:
    if row.latency_ms is None:
        return FAILED.get(row.state, "")
    ratio = row.ratio_to_first
    if ratio is None or (row.backend, row.precision) == ("torch", "fp32"):
        return f"{row.latency_ms.median:.3g} ms"
    if ratio.within_noise:
        return "within noise"
    return f"{ratio.value:.2f}" + (f" [{ratio.ci95.low:.2f}, {ratio.ci95.high:.2f}]" if ratio.ci95 else "")


def parity_of(row: Row) -> str:
    loss = row.parity.worst.loss if isinstance(row.parity, ParityResult) else None
    return f"{loss.sqnr_db:.1f} {row.parity.verdict}" if loss and row.parity else FAILED.get(row.state, "")


def plan_of(row: Row) -> str:
    return f"{row.plan.kernels} / {row.plan.mb_moved:.1f}" if row.plan else FAILED.get(row.state, "")


if __name__ == "__main__":
    main()
