"""Even out the channels between two layers, so that one range serves all of them.

An activation has one scale for all its channels; where one channel is a hundred times another, the other keeps one or
two bits. A positive factor per channel passes through ReLU and pooling, so a layer may make its channel i smaller by
s_i if the next layer takes it times s_i (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", arXiv 1906.04721, section 4.1):

    W2 f(W1 x + b1)  =  (W2 S) f(S^-1 W1 x + S^-1 b1)

Weights have a scale for each output channel here, so what the paper balances, the ranges of two weights, is not what is
short of bits. Instead s_i weighs the channel's largest activation a_i, seen on calibration images, against the largest
weight w_i that reads it: sqrt(a_i / w_i). Where a depthwise convolution reads it, w_i is no concern, as its channels
have a scale each: a_i alone counts. Factors are powers of two, so nothing is rounded: the graph computes the same
numbers as before, bit for bit, unless one leaves float32's normal range.

ReLU6 stops at 6 whatever the channel: Clip(x, 0, 6) becomes Min(Relu(x / s), 6 / s), a bound for each channel. That is
one more operator, so it is done only where channels differ by `WORTH` or more.

Skips a site, with the reason, when another node reads what lies between or it is a graph output, a weight is not
constant, and when an operator between, or its bounds, does not commute with a factor.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from deploykit.graph.algebra.linear import (
    Linear,
    input_extents,
    is_linear,
    read_linear,
    scale_inputs,
    scale_outputs,
    write,
)
from deploykit.graph.rewrite import Unmet, constant, new_initializer, other_use, skip
from deploykit.ort_session import compute, open_session
from deploykit.precision.int8.preconditions import require_plain
from deploykit.precision.repair.channels import add_channel_output
from deploykit.precision.reports import EqualizationReport
from deploykit.spec import Feed
from deploykit.spec.arrays import Array
from deploykit.spec.reports import SkippedNode

COMMUTING = ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool")
LARGEST_POWER = 8  # factors lie within 2**-8 ... 2**8
WORTH = 4  # between the largest and the smallest factor, for a ReLU6 to be rewritten


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    first: Linear
    second: Linear
    between: tuple[ir.Node, ...]

    @property
    def name(self) -> str:
        return f"{self.first.node.name} -> {self.second.node.name}"

    @property
    def seen(self) -> ir.Value:
        """What the second layer reads."""
        value = self.second.node.inputs[0]
        assert value is not None  # noqa: S101 - a linear node has a first operand
        return value


def equalize(model: ir.Model, feeds: Iterable[Feed]) -> EqualizationReport:
    """Even out `model`, an optimized float graph, in place, by what its activations are on `feeds`.

    Raises UnsupportedGraph for a graph that is not plainly float32, ExecutionFailed where a feed cannot be run.
    """
    require_plain(model)
    found = [_find(node) for node in model.graph if is_linear(node)]
    pairs = [pair for pair in found if isinstance(pair, _Pair)]
    skipped = [item for item in found if isinstance(item, SkippedNode)]
    done, largest = [], 1.0
    for pair, extents in zip(pairs, _extents(model, pairs, feeds), strict=True):
        factors = _factors(pair, extents)
        spread = float(factors.max() / factors.min())
        clips = [node for node in pair.between if node.op_type == "Clip"]
        if spread == 1 or (clips and spread < WORTH):
            skipped.append(skip(pair.first.node, "its channels are even enough"))
        elif reason := _rewrite(model.graph, pair, factors):
            skipped.append(skip(pair.first.node, reason))
        else:
            done.append(pair.name)
            largest = max(largest, spread)
    return EqualizationReport(tuple(done), tuple(skipped), largest)


def _find(first: ir.Node) -> _Pair | SkippedNode | None:
    """The pair that starts with `first`; None where no layer follows it directly."""
    value, between = first.outputs[0], []
    while True:
        readers = [use.node for use in value.uses()]
        if len(readers) != 1 or value.is_graph_output():
            seen = other_use(value, called="unscaled")
            return skip(first, seen) if readers and seen else None
        (reader,) = readers
        if is_linear(reader):
            break
        if reason := _obstacle(reader, value):
            return skip(first, reason)
        between.append(reader)
        value = reader.outputs[0]
    if reader.inputs[0] is not value:
        return skip(first, "the next layer reads it as its weight")
    layers = [read_linear(node) for node in (first, reader)]
    for layer in layers:
        if isinstance(layer, Unmet):
            return skip(first, layer)
    one, two = layers
    assert isinstance(one, Linear) and isinstance(two, Linear)  # noqa: S101, PT018 - strings were refused above
    if reader.attributes.get_int("transA", 0):
        return skip(first, "the next layer transposes it")
    if one.channels_out != two.channels_in:
        return skip(first, "the next layer counts channels otherwise")
    return _Pair(one, two, tuple(between))


def _obstacle(node: ir.Node, value: ir.Value) -> str:
    """Why a factor per channel does not pass through `node`; "" where it does."""
    if node.op_type in COMMUTING and not node.domain:
        return ""
    if node.op_type != "Clip" or node.inputs[0] is not value:
        return f"{node.op_type} follows, which does not commute with a factor"
    low, high = (_bound(node, index) for index in (1, 2))
    return (
        ""
        if low == 0 and high is not None and high > 0
        else "a Clip follows whose bounds are not 0 and a positive constant"
    )


def _bound(clip: ir.Node, index: int) -> float | None:
    array = constant(clip.inputs[index]) if len(clip.inputs) > index else None
    return None if array is None or array.size != 1 else float(array.reshape(()))


def _extents(model: ir.Model, pairs: list[_Pair], feeds: Iterable[Feed]) -> list[Array]:
    """The largest magnitude of each channel between each pair."""
    if not pairs:
        return []
    probe = model.clone()
    values = {value.name: value for node in probe.graph for value in node.outputs}
    names = [f"equalize_max_{number}" for number in range(len(pairs))]
    for name, pair in zip(names, pairs, strict=True):
        value = values[pair.seen.name]
        magnitude = ir.node("Abs", [value], outputs=[ir.Value(name=f"{name}_abs")])
        probe.graph.append(magnitude)
        add_channel_output(probe.graph, "ReduceMax", magnitude.outputs[0], len(value.shape or ()), name)
    session = open_session(probe)
    largest = [np.zeros(pair.first.channels_out) for pair in pairs]
    for feed in feeds:
        found = compute(session, names, feed)
        largest = [np.maximum(extent, found[name]) for extent, name in zip(largest, names, strict=True)]
    return largest


def _factors(pair: _Pair, activations: Array) -> Array:
    """s: powers of two, 1 for a channel that is always 0 or that nothing reads; the largest activation stays."""
    weights = input_extents(pair.second)
    alive = (activations > 0) & (weights > 0)
    factors = np.ones(len(activations))
    if not alive.any():
        return factors
    wanted = activations[alive] if _is_depthwise(pair.second) else np.sqrt(activations[alive] / weights[alive])
    powers = np.rint(np.log2(wanted)).astype(np.int64)
    shift = np.rint(np.log2(activations[alive].max() / (activations[alive] / 2.0**powers).max())).astype(np.int64)
    factors[alive] = 2.0 ** np.clip(powers - shift, -LARGEST_POWER, LARGEST_POWER)
    return factors


def _is_depthwise(layer: Linear) -> bool:
    return layer.node.op_type == "Conv" and layer.weight.shape[1] == 1 and layer.channels_in > 1


def _rewrite(graph: ir.Graph, pair: _Pair, factors: Array) -> Unmet | None:
    """Write the factors into both layers, or say why that cannot be."""
    made = scale_outputs(_read(pair.first.node), 1 / factors, np.zeros(()))
    taken = scale_inputs(_read(pair.second.node), factors, np.zeros(()))
    for parameters in (made, taken):
        if isinstance(parameters, Unmet):
            return parameters
    for node in pair.between:
        if node.op_type == "Clip":
            _bound_each_channel(graph, node, factors)
    for layer, parameters in ((pair.first, made), (pair.second, taken)):
        assert not isinstance(parameters, Unmet)  # noqa: S101 - refused above
        write(_read(layer.node), parameters, graph)
    return None


def _read(node: ir.Node) -> Linear:
    """The layer as it is now: a pair before may have changed it."""
    found = read_linear(node)
    assert isinstance(found, Linear)  # noqa: S101 - it was one when pairs were found
    return found


def _bound_each_channel(graph: ir.Graph, clip: ir.Node, factors: Array) -> None:
    """Clip(x, 0, c) -> Min(Relu(x), c / s)."""
    source, output, high = clip.inputs[0], clip.outputs[0], _bound(clip, 2)
    assert source is not None and high is not None and output.dtype is not None  # noqa: S101, PT018 - looked at before
    rank = len(output.shape or ())
    shape = [1, len(factors)] + [1] * (rank - 2)
    bounds = (high / factors).astype(output.dtype.numpy()).reshape(shape)
    relu = ir.node("Relu", [source], outputs=[ir.Value(name=f"{output.name}_relu")], name=f"{clip.name}_relu")
    relu.outputs[0].type, relu.outputs[0].shape = output.type, output.shape
    relu.metadata_props.update(clip.metadata_props)
    bound = new_initializer(graph, f"{output.name}_bound", bounds)
    least = ir.node("Min", [relu.outputs[0], bound], outputs=[ir.Value(name=f"{output.name}_bounded")], name=clip.name)
    least.metadata_props.update(clip.metadata_props)
    graph.insert_before(clip, [relu, least])
    least.outputs[0].type, least.outputs[0].shape = output.type, output.shape
    output.replace_all_uses_with(least.outputs[0])
    graph.remove(clip, safe=True)
    least.outputs[0].name = output.name
