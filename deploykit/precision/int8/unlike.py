"""Values of unlike size in one tensor: boxes in pixels beside scores below 1, which no one scale of eight bits holds.

With one scale for both, the step is set by the larger: 640 / 255 = 2.5, and every score becomes 0. So a tensor whose
parts differ by more than UNLIKE times is not quantized where it only goes on to the network's answer. Its parts are

1. the branches that a Concat joins, each with its calibrated range, also through further Concats and operators that
   only move values;
2. of a graph output that a convolution makes, its channels: a channel reaches about |bias| + |weight| * threshold of
   what the convolution reads, |weight| the Euclidean norm of the channel's filter.

A weighted operator that reads such a Concat has one scale for its input, come what may; the branches then keep scales
of their own for their other readers (`sites`).
"""

from collections.abc import Collection, Iterator

import numpy as np
import onnx_ir as ir

from deploykit.graph.rewrite import constant
from deploykit.precision.calibrate.table import CalibrationTable
from deploykit.precision.int8.weighted import channel_axis

UNLIKE = 8.0  # times: three of eight bits
MOVERS = ("MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Identity")
BENT = ("Relu", "Clip")  # what a convolution absorbs


def unlike_values(model: ir.Model, weighted: Collection[ir.Node], table: CalibrationTable) -> dict[ir.Value, str]:
    """The values that stay float for what they join, with the reason; no `weighted` operator comes behind them."""
    leads_on = _leading_to(model, weighted)
    found: dict[ir.Value, str] = {}
    for node in model.graph:
        if not node.outputs or node.outputs[0] in leads_on:
            continue
        output, source = node.outputs[0], node.inputs[0] if node.inputs else None
        if node.op_type in (*MOVERS, *BENT) and source in found:
            found |= dict.fromkeys(node.outputs, found[source])
        elif node.op_type == "Concat":
            found |= _judged(output, list(_branches(output, table)))
        elif node.op_type == "Conv" and _is_only_answered(output):
            found |= _judged(output, _channels(node, table))
    return found


def are_unlike(sizes: Collection[float]) -> bool:
    """Whether magnitudes differ too much for one scale; what is always 0 is like anything."""
    present = [size for size in sizes if size > 0]
    return bool(present) and max(present) > UNLIKE * min(present)


def _leading_to(model: ir.Model, weighted: Collection[ir.Node]) -> set[ir.Value]:
    """The values behind which a weighted operator comes."""
    found: set[ir.Value] = set()
    for node in reversed(model.graph):
        if node in weighted or any(value in found for value in node.outputs):
            found.update(value for value in node.inputs if value is not None)
    return found


def _judged(value: ir.Value, sizes: Collection[float]) -> dict[ir.Value, str]:
    if not are_unlike(sizes):
        return {}
    least = min(size for size in sizes if size > 0)
    return {value: f"its parts reach {max(sizes):.3g} and {least:.3g}, too unlike for one scale of eight bits"}


def _branches(value: ir.Value, table: CalibrationTable) -> Iterator[float]:
    """How large the parts of a value become that Concats joined."""
    node = value.producer()
    if node is not None and node.op_type == "Concat":
        for source in node.inputs:
            if source is not None and constant(source) is None:
                yield from _branches(source, table)
    elif node is not None and node.op_type in MOVERS and node.inputs[0] is not None:
        yield from _branches(node.inputs[0], table)
    elif (found := table.ranges.get(str(value.name))) is not None:
        yield found.threshold


def _channels(node: ir.Node, table: CalibrationTable) -> list[float]:
    weight, reads = constant(node.inputs[1]), node.inputs[0]
    found = table.ranges.get(str(reads.name)) if reads is not None else None
    if weight is None or found is None:
        return []
    axis = channel_axis(node)
    filters = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype(np.float64)
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    sizes = np.linalg.norm(filters, axis=1) * found.threshold + (np.abs(bias) if bias is not None else 0.0)
    return [float(size) for size in sizes]


def _is_only_answered(value: ir.Value) -> bool:
    """Whether a value goes to a graph output as it is, moved or bent on its way, and nowhere else."""
    if value.is_graph_output():
        return True
    readers = [use.node for use in value.uses()]
    return bool(readers) and all(
        reader.op_type in (*MOVERS, *BENT) and all(_is_only_answered(output) for output in reader.outputs)
        for reader in readers
    )
