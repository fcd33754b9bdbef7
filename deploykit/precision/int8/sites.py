"""Which activations a placement quantizes, for whom, and with whose range.

`quantize_outputs` off (TensorRT): a site is an input of a weighted operator, and one operand of a residual addition.

*Residual rule.* In `Add(main, shortcut)` only the shortcut is quantized: `main` then comes straight from a
convolution's accumulator, and convolution, addition and ReLU fuse into one kernel. The shortcut is

1. the operand that no weighted operator produced directly, when the other one was;
2. with two convolutions (a projection shortcut), the one on the shorter path: fewer weighted operators on the longest
   path from the graph's inputs;
3. the second operand of two equally long paths.

An Add of which neither operand comes directly from a weighted operator has nothing to fuse with, and stays float.

*Pass-through rule.* Where a site's value comes from a Concat, MaxPool or AveragePool, what that reads is a site too,
and so on upstream: else a value that is only moved or pooled on its way to an INT8 layer would travel there in float.
Behind a MaxPool the range stays that of its input, so that the second rounding changes nothing.

*Concat rule.* A quantized Concat output and its inputs share one range (their union): then Q moves through the Concat
and the branches write integers into one buffer. What a MaxPool made keeps that pooling's range: else all blocks of a
network would share one, through the poolings between them. Branches of unlike size (`unlike`) keep ranges of their own.

`quantize_outputs` on (ONNX Runtime's CPU kernels): a site is everything that an integer kernel reads or writes, except
between an operator and the ReLU or Clip that is its only reader, which the kernel absorbs. Operators that only move
values (MaxPool, Reshape, ...) take their input's range, so that they run on the integers themselves. Left in float is
what joins values of unlike size on the way to the answer, and an average pooling that ONNX Runtime's integer kernel
gets wrong: with `ceil_mode` and `count_include_pad` it divides by another count, and of dilations it knows nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass

import onnx_ir as ir

from deploykit.graph.rewrite import constant
from deploykit.precision.calibrate.ranges import Range
from deploykit.precision.calibrate.table import CalibrationTable
from deploykit.precision.int8.unlike import MOVERS, are_unlike
from deploykit.precision.int8.weighted import WeightedOp
from deploykit.spec import Placement
from deploykit.spec.operators import WEIGHTED_OPS

ABSORBED = ("Relu", "Clip")
PASSED_THROUGH = ("Concat", "MaxPool", "AveragePool")
INTEGER_KERNELS = ("Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu")


@dataclass(slots=True, eq=False)
class Site:
    """One Q/DQ pair: behind `value`, read by `uses` (node, input index) and, if `is_output`, by the caller.

    `ranges` names the values whose calibrated ranges together make this one's.
    """

    value: ir.Value
    uses: list[tuple[ir.Node, int]]
    ranges: tuple[str, ...]
    is_output: bool = False

    def range(self, table: CalibrationTable) -> Range:
        """Raises UsageError where the table lacks a value."""
        first, *others = (table.range_of(name) for name in self.ranges)
        for other in others:
            first |= other
        return first


def calibrated_values(model: ir.Model) -> list[ir.Value]:
    """The float activations that some placement may quantize, graph inputs first, then in execution order."""
    produced = [value for node in model.graph for value in node.outputs]
    return [
        value
        for value in (*model.graph.inputs, *produced)
        if value.dtype == ir.DataType.FLOAT and not _is_absorbed(value) and (value.uses() or value.is_graph_output())
    ]


def activation_sites(
    model: ir.Model, ops: list[WeightedOp], placement: Placement, table: CalibrationTable, unlike: Collection[ir.Value]
) -> list[Site]:
    """The values that get Q/DQ pairs when `ops` are to run in INT8, in execution order; the model is not changed.

    `unlike` are values that stay float (`unlike_values`).
    """
    weighted = {op.node for op in ops}
    if placement.quantize_outputs:
        return _sites_of_integer_kernels(model, weighted, unlike)
    return _sites_of_operands(model, weighted, table, residual=placement.residual_branch_only)


def _sites_of_operands(
    model: ir.Model, weighted: set[ir.Node], table: CalibrationTable, *, residual: bool
) -> list[Site]:
    depth = _weighted_depth(model)
    readers: dict[ir.Value, list[tuple[ir.Node, int]]] = {}
    for node in model.graph:
        index = 0 if node in weighted else _shortcut(node, weighted, depth) if residual else None
        value = None if index is None else node.inputs[index]
        if index is not None and value is not None:
            readers.setdefault(value, []).append((node, index))
    _pass_through(model, readers)
    source_of = _range_sources(model, ("MaxPool",), set(readers))
    sites = [
        Site(value, readers[value], (_name(source_of.get(value, value)),))
        for value in _activations(model)
        if value in readers
    ]
    _share_concat_ranges(sites, table)
    return sites


def _pass_through(model: ir.Model, readers: dict[ir.Value, list[tuple[ir.Node, int]]]) -> None:
    """Add to `readers` what Concat and poolings read upstream of them."""
    for node in reversed(model.graph):
        if node.op_type in PASSED_THROUGH and node.outputs[0] in readers:
            for index, value in enumerate(node.inputs):
                if value is not None and constant(value) is None:
                    readers.setdefault(value, []).append((node, index))


def _range_sources(model: ir.Model, movers: tuple[str, ...], quantized: set[ir.Value]) -> dict[ir.Value, ir.Value]:
    """What `movers` make of a quantized value, one after the other -> the value whose range it takes."""
    source_of: dict[ir.Value, ir.Value] = {}
    for node in model.graph:
        source = node.inputs[0] if node.op_type in movers and node.inputs else None
        if source is not None and (source in quantized or source in source_of):
            for value in node.outputs:
                source_of[value] = source_of.get(source, source)
    return source_of


def _shortcut(node: ir.Node, weighted: set[ir.Node], depth: dict[ir.Value, int]) -> int | None:
    """Which operand of a residual Add is the shortcut; None for every other node."""
    if node.op_type != "Add":
        return None
    first, second = node.inputs
    if first is None or second is None or constant(first) is not None or constant(second) is not None:
        return None
    direct = [value.producer() in weighted for value in (first, second)]
    if not any(direct) or first is second:
        return None
    if not all(direct):
        return direct.index(False)
    return 0 if depth[first] < depth[second] else 1


def _weighted_depth(model: ir.Model) -> dict[ir.Value, int]:
    """Weighted operators on the longest path from the graph's inputs to each value."""
    depth: dict[ir.Value, int] = {}
    for node in model.graph:
        deepest = max((depth.get(value, 0) for value in node.inputs if value is not None), default=0)
        for value in node.outputs:
            depth[value] = deepest + (node.op_type in WEIGHTED_OPS)
    return depth


def _share_concat_ranges(sites: list[Site], table: CalibrationTable) -> None:
    """Unite the ranges of each quantized Concat and its inputs, pooled ones apart; nested Concats form one group.

    A Concat of branches of unlike size shares nothing.
    """
    by_value = {site.value: site for site in sites}
    for site in sites:
        producer = site.value.producer()
        if producer is None or producer.op_type != "Concat":
            continue
        members = [by_value[value] for value in (*producer.inputs, site.value) if value in by_value]
        if are_unlike([member.range(table).threshold for member in members if member is not site]):
            continue
        united = {name for member in members if not _is_pooled(member.value) for name in member.ranges}
        for other in sites:
            if not united.isdisjoint(other.ranges):
                other.ranges = tuple(sorted(united | set(other.ranges)))


def _is_pooled(value: ir.Value) -> bool:
    producer = value.producer()
    return producer is not None and producer.op_type == "MaxPool"


def _sites_of_integer_kernels(model: ir.Model, weighted: set[ir.Node], unlike: Collection[ir.Value]) -> list[Site]:
    kernels = {node for node in model.graph if node in weighted or _is_integer_kernel(node)}
    kernels -= {node for value in unlike if (node := value.producer()) is not None and node.op_type == "Concat"}
    chosen = {value for value in _activations(model) if _touches(value, kernels) and value not in unlike}
    for node in reversed(model.graph):
        if node.op_type in MOVERS and any(value in chosen for value in node.outputs):
            source = node.inputs[0]
            if source is not None and len(source.uses()) == 1 and constant(source) is None:
                chosen.add(source)
    source_of = _range_sources(model, MOVERS, chosen)
    chosen |= source_of.keys()
    return [
        Site(value, _uses(value), (_name(source_of.get(value, value)),), value.is_graph_output())
        for value in _activations(model)
        if value in chosen and not _is_absorbed(value)
    ]


def _is_integer_kernel(node: ir.Node) -> bool:
    activations = [value for value in node.inputs if value is not None]
    if node.op_type == "AveragePool" and _pools_otherwise(node):
        return False
    return node.op_type in INTEGER_KERNELS and all(
        value.dtype == ir.DataType.FLOAT and constant(value) is None for value in activations
    )


def _pools_otherwise(node: ir.Node) -> bool:
    """Whether QLinearAveragePool computes something else, or rejects the node (onnxruntime 1.31)."""
    overhangs = node.attributes.get_int("ceil_mode", 0) and node.attributes.get_int("count_include_pad", 0)
    return bool(overhangs) or set(node.attributes.get_ints("dilations", [1])) != {1}


def _touches(value: ir.Value, kernels: set[ir.Node]) -> bool:
    """Whether an integer kernel reads `value` or writes it, directly or through the ReLU that it absorbs."""
    producer = value.producer()
    while producer is not None and producer.op_type in ABSORBED:
        before = producer.inputs[0]
        if before is None or not _is_absorbed(before):
            break
        producer = before.producer()
    return producer in kernels or any(use.node in kernels for use in value.uses())


def _is_absorbed(value: ir.Value) -> bool:
    """Whether a ReLU or a Clip with constant bounds is all that reads what an operator made."""
    readers = [use.node for use in value.uses()]
    producer = value.producer()
    if len(readers) != 1 or value.is_graph_output() or producer is None or producer.op_type in MOVERS:
        return False
    (reader,) = readers
    return reader.op_type in ABSORBED and all(constant(bound) is not None for bound in reader.inputs[1:] if bound)


def _activations(model: ir.Model) -> list[ir.Value]:
    values = (*model.graph.inputs, *(value for node in model.graph for value in node.outputs))
    return [value for value in values if value.dtype == ir.DataType.FLOAT]


def _uses(value: ir.Value) -> list[tuple[ir.Node, int]]:
    return [(use.node, use.idx) for use in value.uses()]


def _name(value: ir.Value) -> str:
    return str(value.name)
