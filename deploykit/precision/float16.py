"""Type a float32 graph as float16: what TensorRT compiles when a network is strongly typed.

Every float32 tensor becomes float16, rounded to nearest even: 11 bits of significand, largest value 65504, smallest
normal 2**-14, smallest subnormal 2**-24. Folding BatchNorm multiplies weights by gamma / sigma, so a network that
trained well can still hold a weight beyond 65504: that is an error here, never a silent infinity (`halves` has the
cases where a constant beyond it can be clamped). Values that vanish are counted and left at zero; lifting them to a
smallest value, as some converters do, changes the network.

What stays float32: the graph's inputs and outputs (`keep_io`), the nodes that `keep` names, those that have no float16
form, and operands that the operator defines as float32 (the scales of a Resize). Where float16 meets float32 stands one
Cast per value. Integer tensors are untouched, and so is what the graph computes in float16 or INT8 already.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from deploykit.graph.rewrite import NAME_SCOPES, constant, names_in_use, new_initializer, skip, unused
from deploykit.graph.upgrade import TARGET, upgrade
from deploykit.precision.halves import Use, rounded, to_half
from deploykit.precision.int8.preconditions import require_plain
from deploykit.precision.keep import OUTPUT_TYPE, float32_nodes, float32_operands
from deploykit.precision.reports import Clamped, Float16Report
from deploykit.spec.arrays import Array

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
HALF_SCALES = 19  # the opset from which on a DequantizeLinear may answer in float16
SMALLEST_NORMAL = float(np.finfo(np.float16).smallest_normal)


def to_float16(model: ir.Model, *, keep_io: bool = True, keep: Collection[str] = ()) -> Float16Report:
    """Retype `model` in place; `keep_io` leaves float32 inputs and outputs with one Cast each.

    `keep` names what stays float32, see `float32_nodes`. Layers that are in INT8 or float16 already stay that; the
    scales of Q/DQ pairs become float16, which is what a DequantizeLinear takes the type of its output from.

    Raises Float16Overflow, naming layer and value, for a constant beyond 65504 or NaN, UnknownName for a pattern in
    `keep` that fits nothing, UnsupportedGraph as `require_plain`; none has changed a type yet.
    """
    require_plain(model, typed=True)
    _half_scales_allowed(model)
    kept = float32_nodes(model, keep)
    pinned = float32_operands(model, kept)
    halves, clamped = _half_constants(model, pinned)
    fills = _half_fills(model, kept, clamped)
    promised = [index for index, value in enumerate(model.graph.outputs) if value.dtype == FLOAT]
    report = _report(model, halves, kept, pinned, clamped)
    for value, half in halves.items():
        _replace_constant(model.graph, value, half, pinned)
    for node in model.graph:
        if node not in kept:
            _retype(node, fills.get(node))
    if not keep_io:
        for value in model.graph.inputs:
            if value.dtype == FLOAT:
                value.type = ir.TensorType(HALF)
    taken = names_in_use(model.graph)
    _reconcile(model.graph, pinned, taken)
    _type_outputs(model.graph, promised, FLOAT if keep_io else HALF, taken)
    return report


def _half_scales_allowed(model: ir.Model) -> None:
    """Bring a graph with Q/DQ pairs to an opset whose pairs may have float16 scales. Raises ExportFailed."""
    opset = model.opset_imports.get("", HALF_SCALES)
    if opset < HALF_SCALES and any(node.op_type == "DequantizeLinear" for node in model.graph):
        upgrade(model.graph, opset)
        model.opset_imports[""] = TARGET


def _half_constants(model: ir.Model, pinned: set[Use]) -> tuple[dict[ir.Value, Array], list[Clamped]]:
    """Every float32 constant that something reads in float16, rounded. Raises Float16Overflow."""
    halves, clamped = {}, []
    for value in model.graph.initializers.values():
        if value.dtype != FLOAT or value.is_graph_input() or value.is_graph_output():
            continue
        uses = [(use.node, use.idx) for use in value.uses()]
        readers = [use for use in uses if use not in pinned]
        exact = constant(value)
        if exact is None or (uses and not readers):
            continue
        halves[value], note = to_half(str(value.name), exact, readers) if readers else (rounded(exact), None)
        clamped += [note] if note else []
    return halves, clamped


def _half_fills(model: ir.Model, kept: Collection[ir.Node], clamped: list[Clamped]) -> dict[ir.Node, Array]:
    """What each ConstantOfShape fills its tensor with, in float16. Raises Float16Overflow."""
    fills = {}
    for node in model.graph:
        if node.op_type != "ConstantOfShape" or node in kept or node.outputs[0].dtype != FLOAT:
            continue
        value = node.attributes.get("value")
        exact = value.as_tensor().numpy() if value is not None else np.zeros(1, np.float32)
        readers = [(use.node, use.idx) for use in node.outputs[0].uses()]
        fills[node], note = to_half(str(node.outputs[0].name), exact, readers or [(node, 0)])
        clamped += [note] if note else []
    return fills


def _replace_constant(graph: ir.Graph, value: ir.Value, half: Array, pinned: set[Use]) -> None:
    """Hand every reader that is not pinned the float16 tensor; the float32 one goes when nothing reads it."""
    name = value.name or "constant"
    uses = [use for use in value.uses() if use not in pinned]
    if len(uses) == len(value.uses()):
        del graph.initializers[name]
    else:
        name += "_float16"
    replacement = new_initializer(graph, name, half)
    for node, index in uses:
        node.replace_input_with(index, replacement)


def _retype(node: ir.Node, fill: Array | None) -> None:
    if fill is not None:
        node.attributes["value"] = ir.AttrTensor("value", ir.Tensor(fill))
    for name in OUTPUT_TYPE:
        if name in node.attributes and node.attributes[name].as_int() == FLOAT:
            node.attributes[name] = ir.AttrInt64(name, HALF)
    for value in node.outputs:
        if value.dtype == FLOAT:
            value.type = ir.TensorType(HALF)


def _reconcile(graph: ir.Graph, pinned: set[Use], taken: set[str]) -> None:
    """One Cast behind every value that is read in the other type."""
    for value in [*graph.inputs, *(value for node in graph for value in node.outputs)]:
        other = {FLOAT: HALF, HALF: FLOAT}.get(value.dtype or ir.DataType.UNDEFINED)
        if other is None:
            continue
        uses = [(use.node, use.idx) for use in value.uses()]
        uses = [(node, index) for node, index in uses if _wanted(node, index, value, pinned) == other]
        if not uses:
            continue
        cast = _cast(value, other, f"{value.name}_{other.numpy().name}", taken)
        if (producer := value.producer()) is None:
            graph.insert_before(graph[0], cast)
        else:
            graph.insert_after(producer, cast)
        for node, index in uses:
            node.replace_input_with(index, cast.outputs[0])


def _wanted(node: ir.Node, index: int, value: ir.Value, pinned: set[Use]) -> ir.DataType | None:
    """The type in which a node reads a value."""
    if (node, index) in pinned:
        return FLOAT
    return value.dtype if node.op_type == "Cast" else HALF


def _type_outputs(graph: ir.Graph, promised: Sequence[int], wanted: ir.DataType, taken: set[str]) -> None:
    """The graph's float32 outputs in the type `wanted`, under their old names, cast where they are computed in another.

    `promised` are their positions.
    """
    for index in promised:
        value = graph.outputs[index]
        if value.dtype == wanted or value.dtype not in (FLOAT, HALF) or value.producer() is None:
            continue
        name = str(value.name)
        value.name = unused(f"{name}_{value.dtype.numpy().name}", taken)
        taken -= {name}
        taken.add(value.name)
        cast = _cast(value, wanted, name, taken)
        graph.append(cast)
        graph.outputs[index] = cast.outputs[0]


def _cast(value: ir.Value, dtype: ir.DataType, name: str, taken: set[str]) -> ir.Node:
    """A Cast in the module of whatever made `value`; its names are not among those `taken`, and join them."""
    producer = value.producer()
    scopes = producer.metadata_props.get(NAME_SCOPES, "") if producer is not None else ""
    name = unused(name, taken)
    called = unused(f"{name}/cast", taken)
    taken |= {name, called}
    output = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype))
    metadata = {NAME_SCOPES: scopes} if scopes else {}
    return ir.node("Cast", [value], {"to": dtype}, outputs=[output], name=called, metadata_props=metadata)


def _report(
    model: ir.Model,
    halves: Mapping[ir.Value, Array],
    kept: Mapping[ir.Node, str],
    pinned: Collection[Use],
    clamped: Sequence[Clamped],
) -> Float16Report:
    flushed = subnormal = 0
    for value, half in halves.items():
        zero = half == 0
        flushed += int(np.count_nonzero(zero & (constant(value) != 0)))
        subnormal += int(np.count_nonzero((np.abs(half) < SMALLEST_NORMAL) & ~zero))
    operands = {node.inputs[index] for node, index in pinned if node not in kept}
    floating = [node for node in model.graph if any(value.dtype in (FLOAT, HALF) for value in node.outputs)]
    return Float16Report(
        tensors=len(halves),
        elements=sum(half.size for half in halves.values()),
        flushed=flushed,
        subnormal=subnormal,
        kept=tuple(sorted(str(value.name) for value in operands if value is not None and constant(value) is not None)),
        half_nodes=sum(node not in kept for node in floating),
        float32=tuple(skip(node, reason) for node, reason in kept.items()),
        clamped=tuple(clamped),
    )
