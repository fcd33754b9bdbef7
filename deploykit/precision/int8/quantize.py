"""Write INT8 into a float graph: QuantizeLinear/DequantizeLinear pairs where a backend's placement wants them.

Precision lives in the graph. TensorRT compiles exactly the pairs it finds, and ONNX Runtime turns DQ -> Conv -> Q into
its integer kernels, but the two want the pairs in different places; `Placement` says where (see
docs/decisions/int8-placement.md), `sites` finds the values, and this module makes the edits. One calibration table,
collected on the float graph, serves every placement.
"""

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from deploykit.errors import UnsupportedGraph
from deploykit.graph.rewrite import NAME_SCOPES, discard_unused, new_initializer, node_name, skip
from deploykit.precision.calibrate.table import CalibrationTable
from deploykit.precision.float16 import to_float16
from deploykit.precision.int8.policy import choose
from deploykit.precision.int8.preconditions import require_plain
from deploykit.precision.int8.scales import (
    ActivationScale,
    activation_scale,
    clipped_weight_scales,
    quantize_bias,
    quantize_weight,
    scales_with_room_for_bias,
    weight_scales,
)
from deploykit.precision.int8.sites import Site, activation_sites
from deploykit.precision.int8.unlike import unlike_values
from deploykit.precision.int8.weighted import WeightedOp, weighted_ops
from deploykit.precision.reports import Int8Report
from deploykit.spec import Placement, Precision, QuantizationPolicy
from deploykit.spec.operators import INTEGER_OPS, WEIGHTED_OPS
from deploykit.spec.reports import SkippedNode


def quantize(
    model: ir.Model,
    table: CalibrationTable,
    placement: Placement,
    policy: QuantizationPolicy = QuantizationPolicy(),  # noqa: B008 - a frozen value
    *,
    clip: bool = False,
    keep_fp32: Collection[str] = (),
) -> Int8Report:
    """Quantize the layers of `model` that `policy` names, in place, with the ranges of `table`.

    With `clip`, weights are cut off where their squared error is least, else nowhere. `keep_fp32` names what a rest in
    float16 leaves in float32, see `to_float16`.

    Raises UsageError when the table lacks a value that the placement quantizes, or the policy names a node that is not
    there; UnsupportedGraph for a rest in float16 under a placement of integer kernels, whose runtime computes it in
    float32. The graph is then still float.
    """
    require_plain(model)
    if policy.rest is Precision.FP16 and placement.quantize_outputs:
        raise UnsupportedGraph(
            f"the {placement.name} Q/DQ scheme has no float16 beside int8", hint="leave rest=fp16 out of the policy"
        )
    possible, impossible = weighted_ops(model, placement)
    ops, unwanted = choose(possible, policy)
    excluded = [*impossible, *unwanted]
    unlike = unlike_values(model, [op.node for op in ops], table) if placement.quantize_outputs else {}
    sites = activation_sites(model, ops, placement, table, unlike)
    scales = {site: activation_scale(site.range(table), symmetric=placement.symmetric) for site in sites}
    input_scale = {node: scale.scale for site, scale in scales.items() for node, index in site.uses if index == 0}
    for op in ops:
        steps = (clipped_weight_scales if clip else weight_scales)(op.weight, op.axis, limit=placement.weight_limit)
        _quantize_constants(model.graph, op, input_scale[op.node], steps, placement.weight_limit)
    for site, scale in scales.items():
        _insert_pair(model.graph, site, scale)
    quantized = tuple(node_name(op.node) for op in ops)
    rest = to_float16(model, keep=keep_fp32) if policy.rest is Precision.FP16 and quantized else None
    floats = tuple(SkippedNode(str(value.name), reason) for value, reason in unlike.items())
    return Int8Report(placement.name, quantized, tuple(excluded), len(sites), floats, rest)


def own_quantization(model: ir.Model) -> Int8Report:
    """What a graph that came quantized computes in INT8: weighted nodes that read integers, or what was integers."""
    weighted = [node for node in model.graph if node.op_type in (*WEIGHTED_OPS, *INTEGER_OPS)]
    integer = [node for node in weighted if node.op_type in INTEGER_OPS or _reads_quantized(node)]
    excluded = [skip(node, "not quantized by its author") for node in weighted if node not in integer]
    pairs = sum(node.op_type == "QuantizeLinear" for node in model.graph)
    return Int8Report("its author's", tuple(map(node_name, integer)), tuple(excluded), pairs)


def _reads_quantized(node: ir.Node) -> bool:
    """Whether the activation that it multiplies, and the weight, come out of a DequantizeLinear."""
    makers = [value.producer() if value is not None else None for value in node.inputs[:2]]
    return all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers)


def _quantize_constants(
    graph: ir.Graph, op: WeightedOp, input_scale: np.float32, scales: np.ndarray, limit: int
) -> None:
    """int8 weight, and where the placement wants it an int32 bias at s_x * s_w, each behind a DequantizeLinear.

    Weights lie within +/- `limit`.
    """
    if op.bias is not None:
        scales = scales_with_room_for_bias(scales, op.bias, input_scale)
    weight, *rest = op.node.inputs[1:]
    integers = quantize_weight(op.weight, scales, op.axis, limit=limit)
    op.node.replace_input_with(1, _dequantized(graph, op.node, str(_value_name(weight)), integers, scales, op.axis))
    if op.bias is not None:
        bias_scales = (input_scale * scales).astype(np.float32)
        integers = quantize_bias(op.bias, bias_scales)
        name = str(_value_name(rest[0]))
        op.node.replace_input_with(2, _dequantized(graph, op.node, name, integers, bias_scales, 0))
    for value in (weight, *(rest if op.bias is not None else ())):
        discard_unused(graph, value)


def _dequantized(
    graph: ir.Graph, reader: ir.Node, name: str, integers: np.ndarray, scales: np.ndarray, axis: int
) -> ir.Value:
    """Store `integers` and return the float value that `reader` sees, one scale per channel along `axis`."""
    stored = new_initializer(graph, f"{name}_quantized", integers)
    scale = new_initializer(graph, f"{name}_scale", scales)
    zero = new_initializer(graph, f"{name}_zero_point", np.zeros(scales.shape, integers.dtype))
    output = _value(f"{stored.name}_dequantized", ir.DataType.FLOAT, ir.Shape(integers.shape))
    node = _node("DequantizeLinear", [stored, scale, zero], output, reader, {"axis": axis})
    graph.insert_before(reader, node)
    return output


def _insert_pair(graph: ir.Graph, site: Site, scale: ActivationScale) -> None:
    """value -> QuantizeLinear -> DequantizeLinear -> the site's readers; other readers keep the float value."""
    value, name = site.value, str(site.value.name)
    if site.is_output:
        value.name = f"{name}_float"
    scale_value = new_initializer(graph, f"{name}_scale", np.array(scale.scale, np.float32))
    zero = new_initializer(graph, f"{name}_zero_point", np.array(scale.zero_point, scale.dtype))
    stored = _value(f"{name}_quantized", ir.DataType.from_numpy(np.dtype(scale.dtype)), value.shape)
    seen = _value(name if site.is_output else f"{name}_dequantized", ir.DataType.FLOAT, value.shape)
    origin = value.producer()
    pair = [
        _node("QuantizeLinear", [value, scale_value, zero], stored, origin),
        _node("DequantizeLinear", [stored, scale_value, zero], seen, origin),
    ]
    if origin is None:
        graph.insert_before(graph[0], pair)
    else:
        graph.insert_after(origin, pair)
    for node, index in site.uses:
        node.replace_input_with(index, seen)
    for index, output in enumerate(graph.outputs):
        if site.is_output and output is value:
            graph.outputs[index] = seen


def _node(
    op_type: str,
    inputs: list[ir.Value],
    output: ir.Value,
    origin: ir.Node | None,
    attributes: dict[str, int] | None = None,
) -> ir.Node:
    """A node that reports the module of `origin`."""
    scopes = origin.metadata_props.get(NAME_SCOPES) if origin is not None else None
    metadata = {NAME_SCOPES: scopes} if scopes else {}
    name = f"{output.name}/{op_type}"
    return ir.node(op_type, inputs, attributes or {}, outputs=[output], name=name, metadata_props=metadata)


def _value(name: str, dtype: ir.DataType, shape: ir.Shape | None) -> ir.Value:
    return ir.Value(name=name, shape=shape, type=ir.TensorType(dtype))


def _value_name(value: ir.Value | None) -> str:
    return "constant" if value is None else str(value.name)
