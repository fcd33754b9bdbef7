"""Which nodes of a graph stay float32 when the rest becomes float16, and why (`--keep-fp32`).

A node stays because somebody names it (`--keep-fp32`), because ONNX gives its result no float16 form (Range, or
DequantizeLinear before opset 19), because ONNX does not define it, because all that it reads must be float32
(NonMaxSuppression), because it takes over sums of integers, which easily pass 65504, or because it draws random
numbers, which are to be the same in every precision.
"""

from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

import numpy as np
import onnx_ir as ir

from deploykit.errors import UnknownName, UsageError
from deploykit.graph.rewrite import constant, module_scopes, node_name
from deploykit.precision.int8.preconditions import FormalTypes, formal_types
from deploykit.spec.operators import INTEGER_OPS

FLOAT = ir.DataType.FLOAT
HALF_FORM = "tensor(float16)"
RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
BY_OPERATOR = "op="
OUTPUT_TYPE = ("to", "dtype", "output_datatype")  # attributes by which an operator names its output's type
LOST_SCALE = 0.01  # relative change of a quantization scale by rounding it, from which on it stays float32


def float32_nodes(model: ir.Model, asked: Collection[str] = ()) -> dict[ir.Node, str]:
    """The nodes that stay float32, in graph order, with the reason of each.

    `asked` are names of nodes or modules, globs of either, or `op=TYPE`. Raises UnknownName for one that fits no node,
    UsageError for one that fits none which computes in float32.
    """
    named = named_nodes(model, asked)
    version = model.opset_imports.get("", 0)
    kept: dict[ir.Node, str] = {}
    for node in model.graph:
        if not _is_floating(node):
            continue
        types = formal_types(node, model.opset_imports.get(node.domain, version))
        reason = f"--keep-fp32 {named[node]}" if node in named else _why_float32(node, types)
        if reason:
            kept[node] = reason
    for node in model.graph:
        readers = [use.node for use in node.outputs[0].uses()] if node.op_type == "DequantizeLinear" else []
        if readers and all(reader in kept for reader in readers):
            kept.setdefault(node, f"{node_name(readers[0])} reads it, which stays float32")
    return kept


def float32_operands(model: ir.Model, kept: Collection[ir.Node]) -> set[tuple[ir.Node, int]]:
    """Operands (node, input index) that are read in float32: those of `kept` nodes, and the scales of a Resize."""
    version = model.opset_imports.get("", 0)
    pinned = set()
    for node in model.graph:
        types = formal_types(node, model.opset_imports.get(node.domain, version))
        if node in kept:
            read = (value is not None and value.dtype == FLOAT for value in node.inputs)
            pinned |= {(node, index) for index, is_float in enumerate(read) if is_float}
        elif types is not None:
            pinned |= {(node, index) for index in _float32_inputs(node, types)}
    return pinned


def named_nodes(model: ir.Model, asked: Collection[str]) -> dict[ir.Node, str]:
    """Every node that one of the patterns means, with the first that does."""
    found: dict[ir.Node, str] = {}
    for pattern in asked:
        matching = [node for node in model.graph if _matches(node, pattern)]
        if not matching:
            raise _unknown(model, pattern)
        floating = [node for node in matching if _is_floating(node)]
        if not floating:
            raise UsageError(
                f"--keep-fp32 {pattern}: {node_name(matching[0])} does not compute in float32",
                hint="name nodes that compute in float32",
            )
        for node in floating:
            found.setdefault(node, pattern)
    return found


def _matches(node: ir.Node, pattern: str) -> bool:
    if pattern.startswith(BY_OPERATOR):
        return fnmatchcase(node.op_type.lower(), pattern.removeprefix(BY_OPERATOR).lower())
    return any(name == pattern or fnmatchcase(name, pattern) for name in (node_name(node), *module_scopes(node)))


def _unknown(model: ir.Model, pattern: str) -> UnknownName:
    if pattern.startswith(BY_OPERATOR):
        wanted = pattern.removeprefix(BY_OPERATOR)
        return UnknownName("operator of this network", wanted, {node.op_type for node in model.graph})
    modules = {scope for node in model.graph for scope in module_scopes(node)}
    return UnknownName("node or module of this network", pattern, {node_name(node) for node in model.graph} | modules)


def _is_floating(node: ir.Node) -> bool:
    return any(value is not None and value.dtype == FLOAT for value in (*node.inputs, *node.outputs))


def _why_float32(node: ir.Node, types: FormalTypes | None) -> str:
    """ "" for a node that can compute in float16."""
    if types is None:
        return f"{node.domain or 'ai.onnx'}.{node.op_type} is not a standard operator, so its types are unknown"
    if any(_is_sum_of_integers(value) for value in (*node.inputs, *node.outputs)):
        return "sums of integers reach beyond float16"
    if node.op_type in RANDOM:
        return f"{node.op_type} would draw other random numbers in float16"
    for value, formal in zip(node.outputs, types.outputs, strict=False):
        if value.dtype == FLOAT and not _can_be_half(node, formal, types):
            return f"ONNX gives {node.op_type} no float16 result"
    read = [index for index, value in enumerate(node.inputs) if value is not None and value.dtype == FLOAT]
    if read and set(read) == set(_float32_inputs(node, types)):
        return f"ONNX lets {node.op_type} read float32 alone"
    return _lost_scale(node)


def _is_sum_of_integers(value: ir.Value | None) -> bool:
    """Whether a float is the cast result of an integer product: still to be scaled."""
    cast = value.producer() if value is not None else None
    source = cast.inputs[0] if cast is not None and cast.op_type == "Cast" else None
    product = source.producer() if source is not None else None
    return product is not None and product.op_type in INTEGER_OPS


def _float32_inputs(node: ir.Node, types: FormalTypes) -> Iterator[int]:
    for index, (value, formal) in enumerate(zip(node.inputs, types.inputs, strict=False)):
        if value is not None and value.dtype == FLOAT and HALF_FORM not in types.allowed.get(formal, ()):
            yield index


def _can_be_half(node: ir.Node, formal: str, types: FormalTypes) -> bool:
    """Whether an output may be float16 and something we retype (an operand or an attribute) makes it so."""
    if HALF_FORM not in types.allowed.get(formal, ()):
        return False
    follows = any(formal == other for value, other in zip(node.inputs, types.inputs, strict=False) if value is not None)
    return follows or node.op_type == "ConstantOfShape" or any(name in node.attributes for name in OUTPUT_TYPE)


def _lost_scale(node: ir.Node) -> str:
    """A stored weight times a scale that float16 cannot hold is another weight."""
    if node.op_type != "DequantizeLinear" or constant(node.inputs[0]) is None:
        return ""
    scale = constant(node.inputs[1])
    if scale is None or scale.dtype != np.float32:
        return ""
    with np.errstate(over="ignore", under="ignore"):
        half = scale.astype(np.float16).astype(np.float32)
    lost = np.abs(half - scale) > LOST_SCALE * np.abs(scale)
    return f"float16 has not enough bits for its scale {float(scale[lost].flat[0]):g}" if lost.any() else ""
