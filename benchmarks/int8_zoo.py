"""INT8 of the whole zoo: both Q/DQ schemes checked, a compiled engine, the error beside ONNX Runtime's own quantizer.

    python benchmarks/int8_zoo.py [--networks 'resnet*'] [--output docs/results/int8-zoo.md]

Weights are random (seeded), so the SQNR says nothing of accuracy: it compares two quantizers on the same graph and the
same images. Both graphs are run as they are written, in float between Q and DQ, so that no CPU's kernels matter.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from zoo_table import Plan, run

from deploykit import graph
from deploykit.backends import get_backend
from deploykit.backends.protocol import (
    TypedGraph,
)
from deploykit.data.inputs import calibration_inputs, inputs_for
from deploykit.errors import BuildFailed
from deploykit.host import library_versions
from deploykit.ort_session import compute, open_session
from deploykit.parity import distance
from deploykit.precision.int8.baseline import quantize_static
from deploykit.spec import ORT_CPU, BatchRange, BuildSpec, Calibration, ModelSpec, Precision
from deploykit.store import Store
from deploykit.workflow.engine import build
from deploykit.workflow.export import Exported
from deploykit.workflow.transforms import read_graph
from deploykit.workflow.typed import type_graph
from deploykit.workflow.workspace import Workspace

CALIBRATED, SHOWN = 8, 4
BATCH = BatchRange(1, 8, 8)
COLUMNS = (
    "network", "layers with weights", "`tensorrt`", "`ort-cpu`", "engine reads", "INT8 plan", "symmetric INT8 plan",
    "FP16 plan",
    "`tensorrt` dB", "`ort-cpu` dB", "quantize_static dB",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """`quantized` counts weighted layers by placement; `excluded` says of each other one why. `symmetric` is None
    where the compiler refuses that graph."""

    name: str
    weighted: int
    quantized: dict[str, int]
    excluded: tuple[str, ...]
    reads: str
    plan: Plan
    symmetric: Plan | None
    fp16: Plan
    sqnr_db: dict[str, float]

    @property
    def is_worse(self) -> bool:
        """Whether the plan has more kernels or moves more bytes than the symmetric graph's."""
        return self.symmetric is not None and self.plan.against(self.symmetric) == "worse"

    def cells(self) -> tuple[str, ...]:
        counts = [f"{self.quantized[placement]} of {self.weighted}, clean" for placement in ("tensorrt", "ort-cpu")]
        figures = [f"{self.sqnr_db[key]:.1f}" for key in ("tensorrt", "ort-cpu", "quantize_static")]
        plans = (str(self.plan), str(self.symmetric or "rejected"), str(self.fp16))
        return (self.name, str(self.weighted), *counts, self.reads, *plans, *figures)

    def __str__(self) -> str:
        return f"| {' | '.join(self.cells())} |"


def line_of(name: str) -> Line:
    with tempfile.TemporaryDirectory() as folder:
        return measured(name, Workspace(Store.open(Path(folder))))


def measured(name: str, workspace: Workspace) -> Line:
    spec = BuildSpec(ModelSpec(name), Precision.INT8, batch=BATCH, calibration=Calibration(images=CALIBRATED))
    compiler = get_backend("trt-rtx")
    built = build(workspace, spec, compiler)
    assert built.typed is not None
    plan, report = built.engine.plan, built.typed.report
    exported = built.exported
    integer = type_graph(workspace, exported, spec, ORT_CPU)
    network = read_graph(exported.path)
    calibration = calibration_inputs(exported, spec)
    feeds = list(inputs_for(exported, "test", count=SHOWN, batch=1, data=None).feeds())
    exact = answers(network, feeds)
    static = ir.from_proto(onnx.load_model_from_string(quantize_static(network.clone(), calibration.feeds())))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "symmetric.onnx"
        path.write_bytes(quantize_static(network.clone(), calibration.feeds(), symmetric=True, float_bias=True))
        symmetric = compiled(path, spec, exported)
    typed = {"tensorrt": built.typed, "ort-cpu": integer}
    found = {placement: answers(read_graph(each.graph.path), feeds) for placement, each in typed.items()}
    found["quantize_static"] = answers(static, feeds)
    unread = [f"{node} reads {kind}" for node, kind in plan.other_precision.items()]
    left = [f"{item.node}: {item.reason}" for each in typed.values() for item in each.report.excluded]
    return Line(
        name=name,
        weighted=len(report.quantized) + len(report.excluded),
        quantized={placement: len(each.report.quantized) for placement, each in typed.items()},
        excluded=tuple(dict.fromkeys([*unread, *left])),
        reads=", ".join(f"{count} {kind}" for kind, count in plan.weighted_reads.items()),
        plan=figures(plan),
        symmetric=symmetric,
        fp16=figures(build(workspace, spec.with_precision(Precision.FP16), compiler).engine.plan),
        sqnr_db={key: distance(each, exact).sqnr_db for key, each in found.items()},
    )


def answers(network: ir.Model, feeds: list) -> np.ndarray:
    """The first output, run as it is written."""
    _, (first, *_) = graph.tensor_specs(network)
    session = open_session(network, optimize=False)
    return np.concatenate([compute(session, [first.name], feed)[first.name] for feed in feeds])


def compiled(path: Path, spec: BuildSpec, exported: Exported) -> Plan | None:
    """The plan of another quantizer's graph of the same network."""
    typed = TypedGraph(path, "", Precision.INT8, None, exported.inputs, exported.outputs)
    try:
        return figures(get_backend("trt-rtx").build(typed, spec.engine_settings).plan)
    except BuildFailed:
        return None


def figures(plan: dict) -> Plan:
    return Plan(plan.kernels, plan.bytes_moved)


def page(lines: list[Line], command: str) -> str:
    versions = ", ".join(
        f"{library} {version}" for library, version in library_versions(["onnxruntime-gpu", "tensorrt-rtx"]).items()
    )
    worse = [line.name for line in lines if line.is_worse]
    parts = [
        "# INT8 of the whole zoo",
        "",
        f"Printed by `{command}`: {versions}, min-max over {CALIBRATED} images, batch {BATCH.optimum}, sm_89. Plans "
        "are kernels / megabytes of memory traffic for one batch, of TensorRT-RTX's ahead-of-time plan; *symmetric* is "
        "quantize_static's symmetric Q/DQ (per channel, float bias), FP16 is deploykit's; *rejected*: "
        "TensorRT-RTX does not build it. *Clean*: a check of the graph found the activation and the weight of every "
        "such layer quantized as the scheme asks, all scales valid, and no value quantized twice.",
        "",
        f"SQNR of the logits against the float graph on {SHOWN} other images; weights are random, so it compares "
        "quantizers and says nothing of accuracy. Each graph is run as it is written. *quantize_static*: u8s8, per "
        "channel, min-max, the same images.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
        *map(str, lines),
        "",
        f"More kernels or bytes than the symmetric graph: {', '.join(worse) or 'none'}.",
        "",
        "Layers with weights that are not in INT8, or that the compiled plan reads otherwise:",
        "",
        *([f"- {line.name}: {reason}" for line in lines for reason in line.excluded] or ["- none"]),
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    run("int8_zoo.py", __doc__, line_of, page)
