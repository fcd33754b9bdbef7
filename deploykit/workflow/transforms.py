"""What one stage does to a graph, with no store in sight: trace, optimize, type, and the facts of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deploykit import graph
from deploykit.backends.protocol import ModuleSource
from deploykit.errors import BuildFailed, UnsupportedGraph
from deploykit.export import export_module
from deploykit.graph.passes.stem import PREPROCESS, prepend_uint8_stem
from deploykit.io.loader import read_onnx, read_stored_onnx
from deploykit.precision.calibrate.table import CalibrationTable
from deploykit.precision.float16 import to_float16
from deploykit.precision.int8.lint import lint
from deploykit.precision.int8.quantize import own_quantization, quantize
from deploykit.precision.repair.correct_bias import correct_biases
from deploykit.precision.repair.equalize import equalize
from deploykit.precision.reports import EqualizationReport, Int8Report
from deploykit.spec import (
    Feed,
    Placement,
    Precision,
)
from deploykit.workflow.facts import GraphFacts, OptimizedFacts, TypedFacts

if TYPE_CHECKING:
    import onnx_ir as ir

    from deploykit.plan.model import EnginePlan
    from deploykit.spec import Fusions, InputShape, Preprocessing, QuantizationPolicy


def read_graph(path: Path) -> ir.Model:
    """A graph of our own from the store, whose digest is verified: it is as it was written, and taken at its word."""
    return graph.deserialize(read_stored_onnx(path))


def read_foreign(path: Path) -> ir.Model:
    """A graph file from elsewhere: vetted, brought to the opset and the form of our own, its shapes inferred anew."""
    return graph.parse(read_onnx(path))


def trace(source: ModuleSource | Path, shapes: Sequence[InputShape] = ()) -> ir.Model:
    """The raw graph of a module, or of an `.onnx` file whose free sizes become what `shapes` says."""
    if isinstance(source, Path):
        network = read_foreign(source)
        graph.set_input_sizes(network, shapes)
        return network
    names = tuple(spec.name for spec in source.outputs)
    return export_module(source.load(), source.inputs, output_names=names)


def optimize(network: ir.Model, fusions: Fusions) -> tuple[bytes, OptimizedFacts]:
    """Clean-up and the fusions asked for, in place."""
    nan, normalizes = graph.weights_with_nan(network), graph.own_normalization(network)
    notes, preprocess = graph.notes_of(network), network.metadata_props.get(PREPROCESS)
    ledger = graph.optimize(network, passes=graph.cnn_passes(fusions))
    content, facts = write(network)
    return content, OptimizedFacts(
        inputs=facts.inputs,
        outputs=facts.outputs,
        ledger=ledger,
        nan=nan,
        notes=notes,
        normalizes=normalizes,
        preprocess=preprocess or None,
        computes_in=tuple(sorted(graph.computing_types(network) - {"float32"})),
    )


def prepend_stem(path: Path, recipe: Preprocessing, fusions: Fusions) -> tuple[bytes, OptimizedFacts]:
    """The optimized graph at `path` for bytes, channels last; what of the normalization can be folded is."""
    network = read_graph(path)
    prepend_uint8_stem(network, recipe)
    return optimize(network, fusions)


def type_float16(path: Path, *, keep_io: bool, keep: tuple[str, ...]) -> tuple[bytes, TypedFacts]:
    """Raises Float16Overflow with the layer's name, UnknownName for one of `keep` that the graph has not."""
    network = read_graph(path)
    was_float16 = any(value.dtype is not None and value.dtype.name == "FLOAT16" for value in _all_values(network))
    report = to_float16(network, keep_io=keep_io, keep=keep)
    content, facts = write(network)
    note = "float16 by its author" if was_float16 and not report.elements else ""
    return content, TypedFacts(inputs=facts.inputs, outputs=facts.outputs, report=report, note=note)


def _all_values(network: ir.Model) -> Iterator[ir.Value]:
    yield from network.graph.initializers.values()
    yield from (value for node in network.graph.all_nodes() for value in node.outputs)


def quantized_layers(path: Path) -> Int8Report:
    """Which layers of a file that came with its own Q/DQ pairs, or with operators of integers, compute in INT8."""
    return own_quantization(read_graph(path))


def equalize_channels(path: Path, feeds: Iterable[Feed]) -> tuple[bytes, EqualizationReport]:
    """The optimized graph at `path` with its channels equalized by what its activations are on `feeds`."""
    network = read_graph(path)
    report = equalize(network, feeds)
    return write(network)[0], report


def type_int8(
    network: ir.Model,
    table: CalibrationTable,
    placement: Placement,
    policy: QuantizationPolicy,
    *,
    clip: bool = False,
    keep_fp32: tuple[str, ...] = (),
    feeds: Callable[[], Iterable[Feed]] | None = None,
) -> tuple[bytes, TypedFacts]:
    """Quantize `network` in place and write it.

    With `clip`, weights are cut off where that helps; with `feeds`, calibration batches, biases are corrected.

    Raises UnsupportedGraph where no layer would read int8: a float row must not bear that name. Raises BuildFailed when
    the result is not what its placement says, which is a defect of ours.
    """

    def in_float32(graph: ir.Model) -> Int8Report:
        """Quantized, and all else in float32: the bias corrects INT8's error."""
        return quantize(graph, table, placement, replace(policy, rest=Precision.FP32), clip=clip)

    correction = correct_biases(network, in_float32, feeds) if feeds else None
    report = quantize(network, table, placement, policy, clip=clip, keep_fp32=keep_fp32)
    if not report.quantized:
        first = next((f"{item.node}: {item.reason}" for item in report.excluded), "")
        raise UnsupportedGraph(
            f"no layer can be quantized to INT8: {first or 'there is no convolution or matrix product'}",
            hint="use fp32 or fp16",
        )
    if faults := lint(network, placement, excluded={item.node for item in report.excluded}):
        raise BuildFailed(f"the INT8 graph breaks its Q/DQ scheme {placement.name}: {faults[0]}", hint="report this")
    content, facts = write(network)
    return content, TypedFacts(inputs=facts.inputs, outputs=facts.outputs, report=report, correction=correction)


def plan_with_costs(plan: EnginePlan, network: ir.Model) -> EnginePlan:
    """The plan with the MACs and modules that the typed graph it was compiled from, `network`, knows."""
    macs = {name: cost.macs for name, cost in graph.weighted_costs(network, batch=plan.batch).items()}
    return plan.with_costs({name: (macs.get(name, 0), module) for name, module in graph.node_modules(network).items()})


def write(network: ir.Model) -> tuple[bytes, GraphFacts]:
    """The graph as one checked file, and its inputs and outputs."""
    graph.separate_names(network)
    graph.check(network)
    content = graph.serialize(network)
    inputs, outputs = graph.tensor_specs(network)
    return content, GraphFacts(inputs=inputs, outputs=outputs)
