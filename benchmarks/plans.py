"""What TensorRT-RTX compiles the zoo into: deploykit's typed graphs beside the two calls that most people would make.

    python benchmarks/plans.py [--networks 'resnet*'] [--output docs/results/plans.md]

The naive path is a bare `torch.onnx.export(module, args, dynamo=True)`, whose own optimizer is on, and onnxconverter-
common's `convert_float_to_float16`. Both paths get the same module, compiler, options and reader of plans.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from onnxconverter_common.float16 import convert_float_to_float16
from torch import nn
from zoo_table import Plan, run

from deploykit import graph
from deploykit.backends import get_backend
from deploykit.backends.protocol import (
    TypedGraph,
)
from deploykit.export import TRACED_BATCH, export_module
from deploykit.host import library_versions
from deploykit.precision.float16 import to_float16
from deploykit.spec import BatchRange, EngineSettings, ModelSpec, Precision, Target
from deploykit.zoo.registry import build_module, input_spec

BATCH, TARGET = BatchRange(1, 8, 8), Target(8, 9)
LIBRARIES = ("torch", "onnxconverter-common", "tensorrt-rtx")
EXTRA = "dilate_pointwise"
TEXT = f"""# Compiled plans of the whole zoo

Printed by `{{command}}`: {{versions}}, target {TARGET}, batch {BATCH.optimum} (profile {BATCH}).

Each figure is kernels / megabytes that these read and write for one batch, in the compiler's ahead-of-time plan. It is
no time: machine code is chosen on the GPU. Weights and BatchNorm means are random; a plan depends on their shapes, and
on whether a convolution has a bias. "Worse" is any more kernels or bytes, down to the last byte.

The naive path is `torch.onnx.export(module, args, dynamo=True)` with a dynamic batch, then onnxconverter-common's
`convert_float_to_float16`. deploykit's has its default fusions (`--fuse safe`); `{EXTRA}` is a fusion that is
[not on by default](../decisions/fp16-gemm.md)."""
IO = {True: "Inputs and outputs in float32", False: "Inputs and outputs in float16"}


@dataclass(frozen=True, slots=True)
class Plans:
    """The plans of one network; those in FP16 by whether inputs and outputs are float32."""

    name: str
    naive: dict[bool, Plan]
    fp16: dict[bool, Plan]
    extra: dict[bool, Plan]
    fp32: Plan


def plans_of(name: str) -> Plans:
    model = ModelSpec(name)
    module = build_module(model)
    shift(module)
    network = export_module(module, input_spec(model))
    graph.optimize(network)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        fp32 = own_plan(network, model, path, Precision.FP32)
        fp16 = {keep_io: own_plan(network, model, path, Precision.FP16, keep_io=keep_io) for keep_io in IO}
        graph.optimize(network, passes=(graph.FUSIONS[EXTRA],))
        extra = {keep_io: own_plan(network, model, path, Precision.FP16, keep_io=keep_io) for keep_io in IO}
        return Plans(name, naive_plans(module, model, path), fp16, extra, fp32)


def shift(module: nn.Module) -> None:
    """Give BatchNorm means other than 0, as any training does: else folding leaves no bias, and the plan another."""
    random = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            part.running_mean.normal_(std=0.1, generator=random)


def naive_plans(module: nn.Module, model: ModelSpec, path: Path) -> dict[bool, Plan]:
    args = (torch.zeros(input_spec(model).at_batch(TRACED_BATCH)),)
    dynamic = ({0: torch.export.Dim("batch")},)
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(module, args, dynamo=True, dynamic_shapes=dynamic, verbose=False)
    plans = {}
    for keep_io in IO:
        with warnings.catch_warnings(action="ignore"):  # one for every tensor that holds a tiny value
            onnx.save(convert_float_to_float16(program.model_proto, keep_io_types=keep_io), path)
        plans[keep_io] = compiled(path, model, Precision.FP16)
    return plans


def own_plan(network: ir.Model, model: ModelSpec, path: Path, precision: Precision, *, keep_io: bool = True) -> Plan:
    typed = network.clone()
    if precision is Precision.FP16:
        to_float16(typed, keep_io=keep_io)
    path.write_bytes(graph.serialize(typed))
    return compiled(path, model, precision)


def compiled(path: Path, model: ModelSpec, precision: Precision) -> Plan:
    typed = TypedGraph(path, digest="", precision=precision, placement=None, inputs=(input_spec(model),), outputs=())
    settings = EngineSettings(batch=BATCH, targets=(TARGET,))
    plan = get_backend("trt-rtx").build(typed, settings).plan
    return Plan(plan.kernels, plan.bytes_moved)


def page(found: list[Plans], command: str) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in library_versions(LIBRARIES).items())
    parts = [TEXT.format(command=command, versions=versions)]
    for keep_io, title in IO.items():
        parts += [f"## {title}", summary(found, keep_io), table(found, keep_io)]
    return "\n\n".join(parts) + "\n"


def summary(found: list[Plans], keep_io: bool) -> str:
    verdicts = [plans.fp16[keep_io].against(plans.naive[keep_io]) for plans in found]
    counted = ", ".join(f"{verdicts.count(word)} {word}" for word in ("better", "equal", "worse"))
    lines = [f"deploykit against the naive path, of {len(found)} networks: {counted}."]
    ours = {
        "the default fusions": [(plans.fp16[keep_io], plans) for plans in found],
        f"`{EXTRA}`": [(plans.extra[keep_io], plans) for plans in found],
    }
    for title, pairs in ours.items():
        more = [plans.name for plan, plans in pairs if plan.kernels > plans.fp32.kernels]
        lines.append(f"More kernels in FP16 than in FP32 with {title}: {', '.join(more) or 'none'}.")
    return "\n".join(lines)


def table(found: Iterable[Plans], keep_io: bool) -> str:
    columns = ("network", "naive FP16", "deploykit FP16", "change", f"with {EXTRA}", "deploykit FP32")
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    for plans in found:
        naive, own, extra = plans.naive[keep_io], plans.fp16[keep_io], plans.extra[keep_io]
        cells = (plans.name, naive, own, own.change(naive), extra if extra != own else "same", plans.fp32)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run("plans.py", __doc__, plans_of, page)
