"""The work between two artefacts, with no store in sight: each function runs one stage and answers with its facts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit import graph
from deploykit.backends.protocol import ModuleSource, Placement
from deploykit.errors import BuildFailed
from deploykit.export import export_module
from deploykit.images import ImageSet
from deploykit.loader import read_onnx
from deploykit.precision.calibrate.collect import collect
from deploykit.precision.calibrate.table import CalibrationTable
from deploykit.precision.float16 import to_float16
from deploykit.precision.int8 import quantise
from deploykit.precision.lint import lint

if TYPE_CHECKING:
    import onnx_ir as ir

Facts = dict[str, Any]


def read_graph(path: Path) -> ir.Model:
    """A graph file, foreign or our own, through the one door."""
    return graph.parse(read_onnx(path))


def trace(source: ModuleSource | Path) -> ir.Model:
    """The raw graph of a module, or of an `.onnx` file."""
    if isinstance(source, Path):
        return read_graph(source)
    names = tuple(spec.name for spec in source.outputs)
    return export_module(source.load(), source.inputs[0], output_names=names)


def optimise(network: ir.Model) -> tuple[bytes, Facts]:
    """Clean-up and folding, in place."""
    ledger = graph.optimise(network)
    content, facts = write(network)
    return content, {**facts, "ledger": ledger}


def calibrate(path: Path, images: ImageSet, *, method: str, graph_digest: str, preprocessing: str) -> tuple[str, Facts]:
    """The calibration table of the float graph at `path`, as JSON."""
    table = collect(
        read_graph(path),
        images.batches(1),
        method=method,
        graph_digest=graph_digest,
        data_digest=images.digest,
        preprocessing=preprocessing,
    )
    return table.to_json(), {
        "method": method,
        "images": len(images),
        "photographs": [photograph.name for photograph in images.used],
        "skipped": [str(item) for item in images.skipped],
    }


def type_float16(path: Path, *, keep_io: bool) -> tuple[bytes, Facts]:
    """Raises Float16Overflow with the layer's name."""
    network = read_graph(path)
    report = to_float16(network, keep_io=keep_io)
    content, facts = write(network)
    return content, {**facts, "report": report}


def type_int8(path: Path, table: CalibrationTable, placement: Placement) -> tuple[bytes, Facts]:
    """Raises BuildFailed when the result is not what its placement says, which is a defect of ours."""
    network = read_graph(path)
    report = quantise(network, table, placement)
    if faults := lint(network, placement, left={refusal.node for refusal in report.left}):
        raise BuildFailed(f"the INT8 graph breaks its own placement {placement.name}: {faults[0]}", hint="report this")
    content, facts = write(network)
    return content, {**facts, "report": report}


def write(network: ir.Model) -> tuple[bytes, Mapping[str, Any]]:
    """The graph as one checked file, and its inputs and outputs."""
    content = graph.serialise(network)
    graph.check(content)
    inputs, outputs = graph.tensor_specs(network)
    return content, {"inputs": inputs, "outputs": outputs}
