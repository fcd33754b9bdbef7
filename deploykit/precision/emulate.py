"""Execute a typed graph on a CPU without runtime optimizations: what its types alone lose, apart from any compiler.

A float16 graph cannot simply be run here: ONNX Runtime has no float16 kernels for a CPU, so it inserts casts, hands
float32 from one node to the next and, optimized or not, never narrows a result in between. Activations then keep bits
that they would lose on a GPU, and one that overflows there stays finite. The emulation is a float32 graph with the
rounding written out:

    y = f(x, w)   ->   y = float32(float16(f(x, float32(w16))))

with w16 the float16 weights as they are stored. Each node accumulates in float32 and rounds once, as TensorRT's
float16 kernels do; a magnitude of 65520 or more rounds to infinity and stays visible. Runtimes keep these cast pairs
because removing them would change the result; run the graph with graph optimizations disabled.

Inputs and outputs keep the typed graph's names and types, so both take the same feed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from deploykit.errors import InvalidFeed, one_line
from deploykit.graph.rewrite import module_scope, new_initializer, node_name
from deploykit.ort_session import open_session
from deploykit.spec import Feed, Precision
from deploykit.spec.arrays import Array

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
ROUNDED = "_rounded"  # suffix of a value after its trip through float16
PEAK = "deploykit_peak_"  # prefix of what a probe adds to the graph
BEYOND = 65520.0  # the smallest magnitude that float16 rounds to infinity


@dataclass(frozen=True, slots=True)
class OverflowSite:
    """The first node whose result float16 cannot hold: its module, name, operator and output.

    `magnitude` is the largest absolute value it computed (infinite or NaN where the arithmetic itself broke down).
    """

    layer: str
    node: str
    op_type: str
    output: str
    magnitude: float

    def __str__(self) -> str:
        return f"{self.layer}: {self.op_type} value {self.output!r} reaches {self.magnitude:g}, float16 ends at 65504"


def literal_graph(model: ir.Model, precision: Precision) -> ir.Model:
    """The graph that shows what `model`'s types mean when ONNX Runtime runs it on a CPU without optimizations.

    FP32 and INT8 (float arithmetic between Q/DQ) are their own; float16 needs the emulation, be it the whole graph's
    type, what stands beside INT8, or that of a file which came so.
    """
    values = (*model.graph.inputs, *(value for node in model.graph for value in node.outputs))
    half = precision is Precision.FP16 or any(value.dtype == HALF for value in values)
    return emulate_rounding(model) if half else model


def emulate_rounding(model: ir.Model) -> ir.Model:
    """A new float32 graph that rounds where the float16 graph `model` would; `model` is left alone.

    A clone shares its type objects with the original, so types are replaced here and never edited.
    """
    emulated = model.clone()
    graph = emulated.graph
    for value in list(graph.initializers.values()):
        if value.dtype == HALF:
            _widen_constant(graph, value)
    for value in graph.inputs:
        if value.dtype == HALF:
            _widen_input(graph, value)
    for node in list(graph):
        _widen_attributes(node)
        if node.op_type == "Cast" and node.attributes["to"].as_int() == HALF:
            _round_cast(graph, node)
            continue
        for value in node.outputs:
            if value.dtype == HALF:
                _round_output(graph, node, value)
    return emulated


def find_overflow(emulated: ir.Model, feed: Feed, *, infinite: Collection[str] = ()) -> OverflowSite | None:
    """The first node, in execution order, whose output on `feed` leaves float16's range or is not finite.

    None when nothing does. Nodes named in `infinite` are passed over: their results are infinite in float32 as well.
    Raises InvalidFeed when ONNX Runtime refuses the feed.
    """
    probe = emulated.clone()
    found = _rounded_values(probe)
    inputs = set(probe.graph.inputs)
    for (value, node), peak in zip(found.items(), peaks(probe, list(found), feed), strict=True):
        if peak < BEYOND or node_name(node) in infinite:
            continue
        layer = "the input" if value in inputs else module_scope(node)
        return OverflowSite(layer, node_name(node), node.op_type, str(value.name), peak)
    return None


def peaks(probe: ir.Model, values: Sequence[ir.Value], feed: Feed) -> list[float]:
    """The largest magnitude of each of `values`, floats of `probe`, on `feed`; NaN where there is one.

    `probe` is changed: it reduces every value to two numbers, so that none has to be kept. Raises InvalidFeed.
    """
    if not values:
        return []
    graph, names = probe.graph, []
    for number, value in enumerate(values):
        last = value
        for op_type, attributes in (("Cast", {"to": FLOAT}), ("Abs", {}), ("ReduceMax", {"keepdims": 0})):
            made = ir.Value(name=f"{PEAK}{op_type}_{number}", type=ir.TensorType(FLOAT))
            graph.append(ir.node(op_type, [last], attributes, outputs=[made]))
            if op_type == "Abs":  # a maximum may pass over NaN, a sum does not
                total = ir.Value(name=f"{PEAK}sum_{number}", type=ir.TensorType(FLOAT), shape=ir.Shape(()))
                graph.append(ir.node("ReduceSum", [made], {"keepdims": 0}, outputs=[total]))
            last = made
        last.shape = ir.Shape(())
        graph.outputs.extend((last, total))
        names += [str(last.name), str(total.name)]
    numbers = [float(number) for number in _run(probe, names, feed)]
    return [sum_ if np.isnan(sum_) else largest for largest, sum_ in zip(numbers[::2], numbers[1::2], strict=True)]


def _rounded_values(probe: ir.Model) -> dict[ir.Value, ir.Node]:
    """Every value that is rounded, before it is, in execution order, and the node that made it.

    A graph input has no such node; it stands with the cast that rounds it.
    """
    found: dict[ir.Value, ir.Node] = {}
    for node in probe.graph:
        if node.op_type == "Cast" and node.attributes["to"].as_int() == HALF:
            exact = node.inputs[0]
            assert exact is not None  # noqa: S101 - Cast has one operand
            found.setdefault(exact, exact.producer() or node)
    return found


def _run(model: ir.Model, outputs: list[str], feed: Feed) -> list[Array]:
    try:
        results = open_session(model, optimize=False).run(outputs, dict(feed))
    except Exception as error:
        raise InvalidFeed(f"ONNX Runtime could not run the rounding emulation: {one_line(error)}") from error
    return list(results)


def _widen_constant(graph: ir.Graph, value: ir.Value) -> None:
    """float16 -> float32, exactly."""
    assert value.const_value is not None  # noqa: S101 - initializers of a typed graph hold their data
    wide = new_initializer(graph, f"{value.name}_float32", value.const_value.numpy().astype(np.float32))
    value.replace_all_uses_with(wide)
    if not value.is_graph_output():
        del graph.initializers[str(value.name)]


def _widen_attributes(node: ir.Node) -> None:
    """A node that makes float16 out of nothing makes float32, of the same values; casts stay, they round."""
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype == HALF:
            wide = ir.Tensor(attribute.as_tensor().numpy().astype(np.float32))
            node.attributes[name] = ir.AttrTensor(name, wide)
        elif name in ("dtype", "output_datatype") and attribute.as_int() == HALF:
            node.attributes[name] = ir.AttrInt64(name, FLOAT)


def _widen_input(graph: ir.Graph, value: ir.Value) -> None:
    uses = list(value.uses())
    cast = _cast(value, FLOAT, f"{value.name}{ROUNDED}")
    graph.insert_before(graph[0], cast)
    for node, index in uses:
        node.replace_input_with(index, cast.outputs[0])


def _round_cast(graph: ir.Graph, node: ir.Node) -> None:
    """A cast to float16 rounds as it stands; its readers continue in float32."""
    rounded = node.outputs[0]
    uses = list(rounded.uses())
    cast = _cast(rounded, FLOAT, f"{rounded.name}{ROUNDED}")
    graph.insert_after(node, cast)
    for reader, index in uses:
        reader.replace_input_with(index, cast.outputs[0])


def _round_output(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Round what `node` computes; a float16 graph output becomes the rounding cast, under its own name."""
    uses = list(value.uses())
    value.type = ir.TensorType(FLOAT)
    name = str(value.name)
    half_name = f"{name}_half"
    if value.is_graph_output():
        value.name, half_name = f"{name}_exact", name
    half = _cast(value, HALF, half_name)
    wide = _cast(half.outputs[0], FLOAT, f"{name}{ROUNDED}")
    graph.insert_after(node, [half, wide])
    for reader, index in uses:
        reader.replace_input_with(index, wide.outputs[0])
    for position, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[position] = half.outputs[0]


def _cast(value: ir.Value, dtype: ir.DataType, name: str) -> ir.Node:
    output = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype))
    return ir.node("Cast", [value], {"to": dtype}, outputs=[output], name=f"{name}/cast")
