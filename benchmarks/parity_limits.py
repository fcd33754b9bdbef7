"""The figures behind the limits of parity verdicts, as the tables of docs/decisions/parity-limits.md.

    python benchmarks/parity_limits.py [--networks test_resnet,resnet18]

Three tables: sane networks (what a limit must let pass), lost outputs (what it must not), and files that are quantized
already (how far two right executions of one differ). Weights are random (seeded), so INT8 is held to ONNX Runtime's
quantizer; nothing here needs a GPU.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from deploykit.bench import BenchSettings
from deploykit.data.inputs import calibration_inputs, inputs_for
from deploykit.ort_session import compute, open_session
from deploykit.parity import distance, double_outputs, joined
from deploykit.parity.channels import find_groups, measure_part
from deploykit.precision.int8.baseline import quantize_static
from deploykit.spec import BatchRange, BuildSpec, Calibration, ModelSpec, Precision
from deploykit.store import Store
from deploykit.workflow.compare import Request, verify
from deploykit.workflow.export import export
from deploykit.workflow.transforms import read_graph
from deploykit.workflow.workspace import Workspace

NETWORKS = "test_convnet,test_resnet,test_mobilenet,lenet5,mobilenet,resnet18"
SHOWN = 4


def sane(workspace: Workspace, names: list[str]) -> Iterator[tuple[str, ...]]:
    """Network, row, float32's floor, and the SQNR of the output and of what varies in it."""
    for name in names:
        spec = BuildSpec(ModelSpec(name), batch=BatchRange.parse("1"), calibration=Calibration(images=16))
        request = Request(spec, ("ort", "trt"), tuple(Precision), BenchSettings())
        for row in verify(workspace, request).rows:
            worst = row.parity.worst
            parts = " ".join(f"{part.sqnr_db:.1f}" for part in worst.parts)
            yield name, row.label, f"{worst.floor:.1e}", f"{worst.loss.sqnr_db:.1f}", parts, row.parity.verdict


def lost() -> Iterator[tuple[str, ...]]:
    """What is wrong, and the SQNR of the output, of each group, and what is said of it."""
    random = np.random.default_rng(0)
    boxes, scores = 640 * random.random((8, 4, 400)), random.random((8, 6, 400))
    detector = np.concatenate([boxes, scores], axis=1)
    depth, flat = (1000 + spread * random.random((8, 1, 32, 32)) for spread in (1.0, 20.0))
    logits = random.normal(size=(8, 1000)) * np.exp(random.normal(size=1000) / 2)
    logits[:, 7] *= 1e-3
    step = 640 / 127
    cases = {
        "boxes in pixels beside scores, INT8 of one scale": (detector, np.round(detector / step) * step),
        "depth of 1000 to 1001, FP16": (depth, depth.astype(np.float16)),
        "depth of 1000 to 1020, FP16 (sane)": (flat, flat.astype(np.float16)),
        "1000 logits, one class hardly varies, INT8 (sane)": (logits, np.round(logits * 12) / 12),
    }
    for what, (exact, found) in cases.items():
        parts = [measure_part(group, found, exact) for group in find_groups(exact)]
        figures = "; ".join(f"{part.channels or 'all'}: {part.sqnr_db:.1f}" for part in parts)
        said = "; ".join(part.broken for part in parts if part.broken)
        yield what, f"{distance(found, exact).sqnr_db:.1f}", figures, said


def quantized(workspace: Workspace, names: list[str]) -> Iterator[tuple[str, ...]]:
    """Network, and the SQNR of: the quantized file against the float one; two executions of it against float64's."""
    for name in names:
        spec = BuildSpec(ModelSpec(name), calibration=Calibration(images=16))
        exported = export(workspace, spec.model, spec.fusions)
        network = read_graph(exported.path)
        feeds = list(inputs_for(exported, "test", count=SHOWN, batch=1, data=None).feeds())
        content = quantize_static(network, calibration_inputs(exported, spec).feeds())
        file = ir.from_proto(onnx.load_from_string(content))
        exact, plain = double_outputs(file, feeds), double_outputs(network, feeds)
        outputs = list(exact)
        cells = [f"{min(distance(exact[key], plain[key]).sqnr_db for key in outputs):.1f}"]
        for optimize in (False, True):
            session = open_session(file, optimize=optimize)
            found = joined([compute(session, outputs, feed) for feed in feeds])
            cells.append(f"{min(distance(found[key], exact[key]).sqnr_db for key in outputs):.1f}")
        yield name, *cells


def table(headings: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> None:
    print(f"| {' | '.join(headings)} |\n|{'---|' * len(headings)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=NETWORKS)
    names = parser.parse_args().networks.split(",")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Store.open(Path(folder)))
        table(("output", "whole, dB", "what varies, dB", "said"), lost())
        table(
            ("network", "file against float", "ONNX Runtime as written", "with its integer kernels"),
            quantized(workspace, names),
        )
        table(("network", "row", "floor", "whole, dB", "what varies, dB", "verdict"), sane(workspace, names))


if __name__ == "__main__":
    main()
