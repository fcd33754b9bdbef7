"""What INT8 costs trained networks in accuracy: method, Q/DQ scheme and repair, on Fashion-MNIST's test images.

    python benchmarks/int8.py [--data FOLDER] [--weights calibration/fashion] [--output docs/results/int8.md]

The networks are those of benchmarks/fashion.py, trained first where their weights are missing. Every row is judged by
all test images against the float32 network, with the paired 95 % interval of deploykit.parity.accuracy. `tensorrt`
rows run the typed graph of that scheme as it is written, `ort` rows run in ONNX Runtime on this CPU; the rows of
onnxruntime.quantization.quantize_static had the same calibration images.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import fashion
import numpy as np
from sources import footer

from deploykit.backends import get_backend
from deploykit.bench import fingerprint
from deploykit.data.inputs import calibration_inputs
from deploykit.data.labeled import labeled_inputs
from deploykit.host import library_versions
from deploykit.ort_session import compute, open_session
from deploykit.parity import distance
from deploykit.parity.accuracy import Flips, Predictions, Share
from deploykit.precision.int8.baseline import quantize_static
from deploykit.spec import (
    CALIBRATION_METHODS,
    TENSORRT,
    BuildSpec,
    Calibration,
    Feed,
    Precision,
    Repair,
)
from deploykit.store import Store
from deploykit.workflow.export import Exported, export
from deploykit.workflow.transforms import read_graph
from deploykit.workflow.typed import type_graph
from deploykit.workflow.workspace import Workspace

CALIBRATED, RUN = 256, 200  # images
REPAIRS = ("none", "clip", "equalize", "bias", "all")
CHOSEN = ("mse", "all")  # method and repair that the summary shows
ALLOWED = {"lenet5": 0.3, "small_resnet": 0.3, "small_inception": 0.3, "small_mobilenet": 0.5, "small_xception": 0.5}
COMMAND = "make int8-report"


@dataclass(frozen=True)
class Line:
    """One graph on all test images. `flips` are against the float32 network."""

    placement: str
    method: str
    repair: str
    top1: Share
    flips: Flips | None
    sqnr_db: float
    predictions: Predictions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=fashion.FASHION_MNIST)
    parser.add_argument("--weights", type=Path, default=Path("calibration/fashion"))
    parser.add_argument("--output", type=Path, help="write the report here too")
    parser.add_argument("--networks", default=",".join(fashion.NETWORKS))
    parsed = parser.parse_args()
    found: dict[str, list[Line]] = {}
    for name in parsed.networks.split(","):
        fashion.ensure_trained(name, parsed.data, parsed.weights)
        with tempfile.TemporaryDirectory() as store:
            found[name] = list(measured(name, Workspace(Store.open(Path(store))), parsed.data, parsed.weights))
    text = report(found)
    print(text)
    if parsed.output:
        parsed.output.write_text(text + footer("int8.md"))


def measured(name: str, workspace: Workspace, data: Path, weights: Path) -> Iterator[Line]:
    """The float32 network, the whole matrix, and quantize_static's."""
    began = time.perf_counter()
    model = fashion.spec_of(name, weights)
    exported = export(workspace, model)
    labeled = labeled_inputs(exported, data)
    batches = [feed for feed, _ in labeled.batches(RUN)]
    labels = np.concatenate([truth for _, truth in labeled.batches(RUN)])
    ort = get_backend("ort")

    def line(
        graph: Path | bytes, placement: str, method: str, repair: str, first: tuple | None, *, optimize: bool
    ) -> tuple:
        logits = answers(graph, exported, batches, optimize=optimize)
        predictions = Predictions.of(logits, labels)
        flips = Flips.between(first[1], predictions) if first else None
        sqnr = distance(logits, first[0]).sqnr_db if first else float("inf")
        top1 = Share(predictions.within(1), len(labels))
        print(
            f"{name} {placement} {method} {repair}: {top1.value:.4f}, {time.perf_counter() - began:.0f} s", flush=True
        )
        return logits, predictions, Line(placement, method, repair, top1, flips, sqnr, predictions)

    first = line(exported.path, "float32", "", "", None, optimize=True)
    yield first[2]
    spec = BuildSpec(model, Precision.INT8, data=data, calibration=Calibration(images=CALIBRATED))
    half = type_graph(workspace, exported, spec.with_precision(Precision.FP16), None)
    yield line(half.graph.path, "float16", "", "", first, optimize=True)[2]
    for placement, optimize in ((TENSORRT, False), (ort.placement, True)):
        assert placement is not None
        for method in CALIBRATION_METHODS:
            for repair in REPAIRS if method in ("minmax", CHOSEN[0]) else ("none", "all"):
                wanted = replace(
                    spec, calibration=Calibration(images=CALIBRATED, method=method), repair=Repair.parse(repair)
                )
                typed = type_graph(workspace, exported, wanted, placement)
                yield line(typed.graph.path, placement.name, method, repair, first, optimize=optimize)[2]
    calibration = calibration_inputs(exported, spec)
    seven = ort.placement is not None and ort.placement.weight_limit < 127
    for label, options in (
        ("quantize_static, symmetric, per tensor", {"symmetric": True, "per_channel": False}),
        ("quantize_static, symmetric, per channel", {"symmetric": True}),
        ("quantize_static, u8s8, per channel", {"seven_bits": seven}),
    ):
        content = quantize_static(read_graph(exported.path), calibration.feeds(), **options)
        yield line(content, label, "minmax", "", first, optimize="u8s8" in label)[2]


def answers(graph: Path | bytes, exported: Exported, batches: Sequence[Feed], *, optimize: bool) -> np.ndarray:
    """The logits of all test images."""
    (output,) = (spec.name for spec in exported.outputs)
    with tempfile.TemporaryDirectory() as folder:
        path = graph if isinstance(graph, Path) else Path(folder, "graph.onnx")
        if isinstance(graph, bytes):
            path.write_bytes(graph)
        session = open_session(path, optimize=optimize)
        return np.concatenate([compute(session, [output], feed)[output] for feed in batches])


def report(found: dict[str, list[Line]]) -> str:
    cpu = fingerprint(threads=0, seed=0, tf32=False).cpu
    said = ", ".join(" ".join(item) for item in library_versions(["torch", "onnxruntime-gpu"]).items())
    shown = next(iter(found.values()))[0].top1.n
    cores = f"{cpu.model} ({', '.join(cpu.flags)})"
    head = (
        "network",
        "float32 top-1",
        "`tensorrt`: drop",
        "`ort`: drop",
        "allowed",
        "per tensor",
        "quantize_static",
        "worse by",
    )
    parts = [
        "# What INT8 costs in accuracy",
        "",
        f"Made by `{COMMAND}`. Small members of the zoo's families, trained on Fashion-MNIST, are calibrated on "
        f"{CALIBRATED} of its training images and judged by all {shown} of its test images. CPU: {cores}; {said}.",
        "",
        "`tensorrt` rows run the typed graph of TensorRT's Q/DQ scheme as it is written: no engine ran, for lack of a "
        "GPU. `ort` rows are ONNX Runtime's integer kernels on this CPU; without VNNI their weights have seven "
        "bits. *Lost* counts test images that only the float32 network gets right, *gained* those that only this row "
        "does; the drop is their difference in points of top-1, with its paired 95 % interval (Agresti and Min, 2005). "
        "SQNR is against the float32 network.",
        "",
        "## Summary",
        "",
        f"INT8 here is `--calibration-method {CHOSEN[0]} --int8-repair {CHOSEN[1]}`. Beside it stand symmetric "
        "min-max with one scale per weight tensor, and ONNX Runtime's own quantizer (u8s8, per channel, min-max). "
        "*Allowed* is the drop, in points, that the benchmark accepts; *worse by* is what quantize_static loses beyond "
        "the `ort` row, paired.",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    parts += [summary(name, lines) for name, lines in found.items()]
    for name, lines in found.items():
        parts += ["", f"## {name}", "", f"float32: {percent(lines[0].top1)}", ""]
        parts += [
            "| graph | method | repair | top-1 % | lost | gained | drop, points | SQNR dB |",
            "|---|---|---|---|---|---|---|---|",
        ]
        parts += [detail(line) for line in lines[1:]]
    return "\n".join(parts) + "\n"


def summary(name: str, lines: list[Line]) -> str:
    chosen = [line for line in lines if (line.method, line.repair) == CHOSEN]
    per_tensor = next(line for line in lines if "per tensor" in line.placement)
    static = next(line for line in lines if "u8s8" in line.placement)
    ours = next(line for line in chosen if line.placement.startswith("ort"))
    against = Flips.between(ours.predictions, static.predictions)
    cells = [name, percent(lines[0].top1), *(drop(line.flips) for line in chosen), str(ALLOWED[name])]
    cells += [drop(per_tensor.flips), drop(static.flips), drop(against)]
    return f"| {' | '.join(cells)} |"


def detail(line: Line) -> str:
    flips = line.flips
    assert flips is not None
    cells = [
        line.placement,
        line.method,
        line.repair,
        f"{100 * line.top1.value:.2f}",
        str(flips.lost),
        str(flips.gained),
    ]
    return f"| {' | '.join([*cells, drop(flips), f'{line.sqnr_db:.1f}'])} |"


def drop(flips: Flips | None) -> str:
    assert flips is not None
    low, high = flips.interval
    return f"{flips.drop:+.2f} [{low:+.2f}, {high:+.2f}]"


def percent(share: Share) -> str:
    low, high = share.interval
    return f"{100 * share.value:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


if __name__ == "__main__":
    main()
