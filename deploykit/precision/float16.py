"""Type a float32 graph as float16: what TensorRT compiles when a network is strongly typed.

Every float32 tensor becomes float16, rounded to nearest even: 11 bits of significand, largest value 65504, smallest
normal 2**-14, smallest subnormal 2**-24. Folding BatchNorm multiplies weights by gamma / sigma, so a network that
trained well can still hold a weight beyond 65504: that is an error here, never a silent infinity. Values that vanish
are counted and left at zero; lifting them to a smallest value, as some converters do, changes the network.

What stays float32: the graph's inputs and outputs (`keep_io`), and operands that the operator defines as float32
(the scales of Resize). Integer tensors are untouched.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from deploykit.errors import Float16Overflow, UnsupportedGraph
from deploykit.graph.rewrite import NAME_SCOPES, constant, module_scope, new_initializer
from deploykit.precision.preconditions import formal_types, require_plain

Use = tuple[ir.Node, int]  # who reads a value, at which input
FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
LARGEST = float(np.finfo(np.float16).max)
SMALLEST_NORMAL = float(np.finfo(np.float16).smallest_normal)
OUTPUT_TYPE = ("to", "dtype", "output_datatype")  # attributes by which an operator names its output's type
MAY_BE_INFINITE = {"Clip": "no bound", "Pad": "the neutral element of a max pooling"}


@dataclass(frozen=True, slots=True)
class Float16Report:
    """Constants rounded: `flushed` elements became zero, `subnormal` ones lie below 2**-14 and lose bits.

    `kept` names the constants that stay float32 because their operator defines them so.
    """

    tensors: int
    elements: int
    flushed: int
    subnormal: int
    kept: tuple[str, ...]


def to_float16(model: ir.Model, *, keep_io: bool = True, quantised: bool = False) -> Float16Report:
    """Retype `model` in place; `keep_io` leaves float32 inputs and outputs with one Cast each.

    `quantised`: its layers may be in INT8 already. The rest becomes float16, scales too, which is what a
    DequantizeLinear takes the type of its output from.

    Raises Float16Overflow, naming layer and value, for a constant beyond 65504 or NaN, and UnsupportedGraph for an
    operator that has no float16 form; neither has changed a type yet.
    """
    require_plain(model, quantised=quantised)
    pinned = _pinned_operands(model)
    rounded = {value: _round(value) for value in _float_constants(model) if not _only_pinned(value, pinned)}
    for value, half in rounded.items():
        _replace_constant(model.graph, value, half, pinned)
    for node in model.graph:
        _retype(node)
    for value in model.graph.inputs:
        if value.dtype == FLOAT:
            _half_input(model.graph, value, pinned, keep_io=keep_io)
    if keep_io:
        for index, value in enumerate(model.graph.outputs):
            if value.dtype == HALF and value.producer() is not None:
                _float_output(model.graph, index, value)
    return _report(rounded, pinned)


def _pinned_operands(model: ir.Model) -> set[Use]:
    """Uses of float32 values that must stay so, by the operator's schema. Raises UnsupportedGraph if that cannot be."""
    pinned = set()
    version = model.opset_imports.get("", 0)
    for node in model.graph:
        inputs, outputs, allowed = formal_types(node, model.opset_imports.get(node.domain, version))
        for index, (value, formal) in enumerate(zip(node.inputs, inputs, strict=False)):
            if value is None or value.dtype != FLOAT or "tensor(float16)" in allowed.get(formal, ()):
                continue
            if constant(value) is None:
                raise UnsupportedGraph(
                    f"{module_scope(node)}: input {index} of {node.op_type} must stay float32 and is computed",
                    hint="export with a fixed size, or build in fp32",
                )
            pinned.add((node, index))
        for index, (value, formal) in enumerate(zip(node.outputs, outputs, strict=False)):
            if value.dtype == FLOAT and not _can_be_half(node, formal, inputs, allowed):
                raise UnsupportedGraph(
                    f"{module_scope(node)}: output {index} of {node.op_type} has no float16 form",
                    hint="build this network in fp32",
                )
    return pinned


def _can_be_half(node: ir.Node, formal: str, inputs: list[str], allowed: dict[str, set[str]]) -> bool:
    """Whether an output may be float16 and something we retype (an operand or an attribute) makes it so."""
    if "tensor(float16)" not in allowed.get(formal, ()):
        return False
    follows = any(formal == other for value, other in zip(node.inputs, inputs, strict=False) if value is not None)
    return follows or node.op_type == "ConstantOfShape" or any(name in node.attributes for name in OUTPUT_TYPE)


def _float_constants(model: ir.Model) -> Iterator[ir.Value]:
    for value in model.graph.initializers.values():
        if value.dtype == FLOAT and not value.is_graph_input() and not value.is_graph_output():
            yield value


def _only_pinned(value: ir.Value, pinned: set[Use]) -> bool:
    return all(use in pinned for use in value.uses())


def _round(value: ir.Value) -> np.ndarray[Any, Any]:
    """The constant in float16. Raises Float16Overflow where a value becomes infinite or is NaN."""
    exact = constant(value)
    assert exact is not None  # noqa: S101 - an initialiser that is no graph input
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        half = exact.astype(np.float16)
    readers = [use.node for use in value.uses()]
    wrong = ~np.isfinite(half)
    if all(node.op_type in MAY_BE_INFINITE for node in readers):
        wrong = np.isnan(half)
    if wrong.any():
        worst = float(exact[wrong].flat[0])
        what = "is NaN" if np.isnan(worst) else f"is beyond float16's largest value, {LARGEST:.0f}"
        raise Float16Overflow(
            f"{module_scope(readers[0])}: {worst:g} in {value.name!r} {what}",
            hint="retrain or rescale this layer, or build in fp32",
        )
    return half


def _replace_constant(graph: ir.Graph, value: ir.Value, half: np.ndarray[Any, Any], pinned: set[Use]) -> None:
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


def _retype(node: ir.Node) -> None:
    if node.op_type == "ConstantOfShape":
        fill = node.attributes.get("value")
        tensor = fill.as_tensor().numpy() if fill is not None else np.zeros(1, np.float32)
        if tensor.dtype == np.float32:
            node.attributes["value"] = ir.AttrTensor("value", ir.Tensor(tensor.astype(np.float16)))
    for name in OUTPUT_TYPE:
        if name in node.attributes and node.attributes[name].as_int() == FLOAT:
            node.attributes[name] = ir.AttrInt64(name, HALF)
    for value in node.outputs:
        if value.dtype == FLOAT:
            value.type = ir.TensorType(HALF)


def _half_input(graph: ir.Graph, value: ir.Value, pinned: set[Use], *, keep_io: bool) -> None:
    if not keep_io:
        value.type = ir.TensorType(HALF)
        return
    uses = [use for use in value.uses() if use not in pinned]
    if uses:
        cast = _cast(value, HALF, f"{value.name}_float16", "")
        graph.insert_before(graph[0], cast)
        for node, index in uses:
            node.replace_input_with(index, cast.outputs[0])


def _float_output(graph: ir.Graph, index: int, value: ir.Value) -> None:
    """A float32 graph output under the old name, cast from the float16 value."""
    producer, name = value.producer(), value.name
    assert producer is not None  # noqa: S101 - asked by the caller
    value.name = f"{name}_float16"
    cast = _cast(value, FLOAT, f"{name}", producer.metadata_props.get(NAME_SCOPES, ""))
    graph.append(cast)
    graph.outputs[index] = cast.outputs[0]


def _cast(value: ir.Value, dtype: ir.DataType, name: str, scopes: str) -> ir.Node:
    output = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype))
    metadata = {NAME_SCOPES: scopes} if scopes else {}
    return ir.node("Cast", [value], {"to": dtype}, outputs=[output], name=f"{name}/cast", metadata_props=metadata)


def _report(rounded: dict[ir.Value, np.ndarray[Any, Any]], pinned: set[Use]) -> Float16Report:
    flushed = subnormal = 0
    for value, half in rounded.items():
        exact = constant(value)
        zero = half == 0
        flushed += int(np.count_nonzero(zero & (exact != 0)))
        subnormal += int(np.count_nonzero((np.abs(half) < SMALLEST_NORMAL) & ~zero))
    kept = sorted({str(read.name) for node, index in pinned if (read := node.inputs[index]) is not None})
    return Float16Report(len(rounded), sum(half.size for half in rounded.values()), flushed, subnormal, tuple(kept))
