"""What the precision transforms ask of a graph before they touch it."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from deploykit.errors import UnsupportedGraph
from deploykit.graph.rewrite import module_scope
from deploykit.spec.operators import WEIGHTED_OPS, is_quantized


def require_plain(model: ir.Model, *, typed: bool = False) -> None:
    """Bring `model`, in place, to the form that the transforms read: constants as initializers, every value typed.

    `typed`: parts of it may be quantized or float16 already. Raises UnsupportedGraph for those otherwise, and for
    control flow, functions that were not inlined, bfloat16 or double precision, a value of unknown type, and
    one that is not a tensor.
    """
    _require_flat(model, typed=typed)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    if any(value.dtype is None for node in model.graph for value in node.outputs if value.uses()):
        common.ShapeInferencePass()(model)
        if _type_integer_kernels(model):
            common.ShapeInferencePass()(model)
    for node in model.graph:
        for value in node.outputs:
            _require_plain_type(value, node, typed=typed)
    for node in model.graph:
        if node.op_type in WEIGHTED_OPS and node.outputs[0].dtype == ir.DataType.DOUBLE:
            raise UnsupportedGraph(
                f"{node.op_type} {module_scope(node)} computes in float64", hint="export the network in float32"
            )


def _require_flat(model: ir.Model, *, typed: bool) -> None:
    """Raises UnsupportedGraph for functions, control flow and, unless `typed`, for quantized operators."""
    if model.functions:
        raise UnsupportedGraph("the graph calls functions", hint="inline them first (deploykit export does)")
    for node in model.graph:
        if any(attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in _attributes(node)):
            raise UnsupportedGraph(f"{node.op_type} node {node.name!r} holds a subgraph", hint="build in fp32")
        if is_quantized(node.op_type) and not typed:
            raise UnsupportedGraph(
                f"{node.op_type} node {node.name!r}: the graph is quantized already",
                hint="use --precision fp32, which runs it as it is",
            )


def _require_plain_type(value: ir.Value, node: ir.Node, *, typed: bool) -> None:
    """Raises UnsupportedGraph for what `node` makes where its type is unknown, not a tensor, or narrower already."""
    if value.dtype is None and (value.uses() or value.is_graph_output()):
        operator = f"{node.domain or 'ai.onnx'}.{node.op_type}"
        raise UnsupportedGraph(
            f"the type of {value.name!r}, which {operator} makes, is unknown",
            hint="state it in the file's value_info, or build in fp32",
        )
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        raise UnsupportedGraph(
            f"{value.name!r}, made by {module_scope(node)}, is a sequence or an optional, not a tensor",
            hint="build in fp32",
        )
    if value.dtype == ir.DataType.BFLOAT16 or (value.dtype == ir.DataType.FLOAT16 and not typed):
        raise UnsupportedGraph(
            f"{value.name!r} is {value.dtype.name.lower()}: the graph is not float32 throughout",
            hint=f"use --precision fp32{' or fp16' * (value.dtype == ir.DataType.FLOAT16)}, which keeps its types",
        )


def _type_integer_kernels(model: ir.Model) -> bool:
    """ONNX Runtime's own `QLinear...` operators answer in the integers that they read; ONNX does not know them.

    Whether there were any.
    """
    typed = False
    for node in model.graph:
        if node.domain == "com.microsoft" and node.op_type.startswith("QLinear") and node.outputs[0].dtype is None:
            read = (value.dtype for value in node.inputs if value is not None)
            found = next((dtype for dtype in read if dtype in (ir.DataType.INT8, ir.DataType.UINT8)), None)
            if found is not None:
                node.outputs[0].type = ir.TensorType(found)
                typed = True
    return typed


@dataclass(frozen=True, slots=True)
class FormalTypes:
    """An operator's schema: type of each input, of each output, and what every type variable may stand for."""

    inputs: list[str]
    outputs: list[str]
    allowed: Mapping[str, set[str]]


def formal_types(node: ir.Node, version: int) -> FormalTypes | None:
    """What ONNX says of the node's types, a variadic last parameter repeated; None where it does not know it."""
    try:
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return None
    allowed = {constraint.type_param_str: set(constraint.allowed_type_strs) for constraint in schema.type_constraints}
    inputs = _repeat_last([formal.type_str for formal in schema.inputs], len(node.inputs))
    outputs = _repeat_last([formal.type_str for formal in schema.outputs], len(node.outputs))
    return FormalTypes(inputs, outputs, allowed)


def _repeat_last(types: list[str], count: int) -> list[str]:
    return types + types[-1:] * (count - len(types))


def _attributes(node: ir.Node) -> list[ir.Attr]:
    return list(node.attributes.values())
