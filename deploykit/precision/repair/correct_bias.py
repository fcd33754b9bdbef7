"""Take the mean error that INT8 gives a layer out of the layer's bias.

Rounding weights and cutting activations off shifts a layer's output on the average, and shifts add up over layers
(Nagel et al., arXiv 1906.04721, section 4.2; Finkelstein et al., arXiv 1906.03193). The shift is measured, per output
channel, on calibration images: the layer on its float inputs against the same layer on those inputs behind
their Q/DQ, with the weights behind theirs.

    b  <-  b - E[ (Q(W) Q(x) + b) - (W x + b) ]

Every layer is shown what the float graph gives it, so its shift is its own, not its predecessors': one pass measures
all layers, and all of them are corrected at once. The correction goes into the float bias, before biases are
quantized, so it serves placements of either kind.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx_ir as ir

from deploykit.graph.algebra.linear import Linear, Parameters, checked, is_linear, read_linear, write
from deploykit.graph.rewrite import Unmet, constant, new_initializer, skip
from deploykit.ort_session import compute, open_session
from deploykit.precision.repair.channels import add_channel_output
from deploykit.precision.reports import CorrectionReport
from deploykit.spec import Feed
from deploykit.spec.arrays import Array
from deploykit.spec.operators import WEIGHTED_OPS
from deploykit.spec.reports import SkippedNode

Feeds = Callable[[], Iterable[Feed]]

SHIFT = "_shift"  # suffix of a layer's output in the probe


def correct_biases(model: ir.Model, quantize: Callable[[ir.Model], object], feeds: Feeds) -> CorrectionReport:
    """Correct the biases of `model`, an optimized float graph, in place.

    `quantize` writes Q/DQ into a graph it is given and keeps the names of weighted nodes; `feeds` gives the calibration
    batches anew at each call: they are seen three times, and memory is that of one batch. Raises as `quantize` and
    ONNX Runtime do.
    """
    quantized = _quantized(model, quantize)
    twins = {str(node.name): node for node in quantized.graph if node.op_type in WEIGHTED_OPS and _is_quantized(node)}
    probe, layers, skipped = _probe(model, twins)
    shifts = _means(probe, layers, feeds)
    corrected = model.clone()
    _correct(corrected, shifts)
    before, after = _errors(model, [quantized, _quantized(corrected, quantize)], feeds)
    kept = bool(after <= before)
    if kept:
        _correct(model, shifts)
    largest = max((float(np.abs(shift).max()) for shift in shifts.values()), default=0.0)
    return CorrectionReport(tuple(shifts) if kept else (), tuple(skipped), largest, kept, before, after)


def _correct(model: ir.Model, shifts: dict[str, Array]) -> None:
    """Take the shift of each layer out of its bias."""
    for node in [node for node in model.graph if node.name in shifts]:
        linear = read_linear(node)
        assert isinstance(linear, Linear)  # noqa: S101 - _probe refused what is none
        parameters = checked(linear, None, np.broadcast_to(linear.bias, linear.channels_out) - shifts[str(node.name)])
        assert isinstance(parameters, Parameters)  # noqa: S101 - finite inputs give finite means
        write(linear, parameters, model.graph)


def _quantized(model: ir.Model, quantize: Callable[[ir.Model], object]) -> ir.Model:
    copy = model.clone()
    quantize(copy)
    return copy


def _is_quantized(node: ir.Node) -> bool:
    return all(_producer(value) == "DequantizeLinear" for value in node.inputs[:2])


def _producer(value: ir.Value | None) -> str:
    node = value.producer() if value is not None else None
    return node.op_type if node is not None else ""


def _probe(model: ir.Model, twins: dict[str, ir.Node]) -> tuple[ir.Model, list[str], list[SkippedNode]]:
    """The float graph with each layer's quantized twin beside it, and the mean of their difference as an output.

    Also the layers that have one, in the order of these outputs.
    """
    probe = model.clone()
    graph = probe.graph
    graph.outputs.clear()
    layers: list[str] = []
    skipped: list[SkippedNode] = []
    for node in [node for node in graph if node.name in twins]:
        if not is_linear(node):
            skipped.append(skip(node, f"a {node.op_type} has no bias"))
            continue
        linear = read_linear(node)
        if isinstance(linear, Unmet):
            skipped.append(skip(node, linear))
            continue
        if node.op_type == "Gemm" and linear.bias.ndim > 1 and linear.bias.shape[0] > 1:
            skipped.append(skip(node, "its bias differs from row to row"))
            continue
        _add_mean_difference(graph, node, twins[str(node.name)])
        layers.append(str(node.name))
    return probe, layers, skipped


def _add_mean_difference(graph: ir.Graph, node: ir.Node, twin: ir.Node) -> None:
    """Add the twin behind `node`, on the same float input, and the mean of what they differ by for each channel."""
    name = str(node.name)
    activation, weight = (value.producer() for value in twin.inputs[:2] if value is not None)
    assert activation is not None and weight is not None  # noqa: S101, PT018 - _is_quantized
    made = _copied_pair(graph, node.inputs[0], activation, name)
    integers = _copied_pair(graph, None, weight, f"{name}_weight")
    copy = ir.node(
        node.op_type,
        [made[-1].outputs[0], integers[-1].outputs[0], *node.inputs[2:]],
        node.attributes,
        outputs=[ir.Value(name=f"{name}_twin")],
    )
    difference = ir.node("Sub", [copy.outputs[0], node.outputs[0]], outputs=[ir.Value(name=f"{name}_difference")])
    graph.insert_after(node, [*made, *integers, copy, difference])
    add_channel_output(graph, "ReduceMean", difference.outputs[0], len(node.outputs[0].shape or ()), f"{name}{SHIFT}")


def _copied_pair(graph: ir.Graph, source: ir.Value | None, dequantize: ir.Node, name: str) -> list[ir.Node]:
    """QuantizeLinear and DequantizeLinear as in the quantized graph, on `source`; of a constant the latter alone."""
    scale, zero = (
        new_initializer(graph, f"{name}_{role}", np.asarray(constant(value)))
        for role, value in zip(("scale", "zero"), dequantize.inputs[1:], strict=True)
    )
    nodes = []
    if source is None:
        stored = new_initializer(graph, f"{name}_stored", np.asarray(constant(dequantize.inputs[0])))
    else:
        nodes.append(ir.node("QuantizeLinear", [source, scale, zero], outputs=[ir.Value(name=f"{name}_stored")]))
        stored = nodes[0].outputs[0]
    nodes.append(
        ir.node(
            "DequantizeLinear", [stored, scale, zero], dequantize.attributes, outputs=[ir.Value(name=f"{name}_seen")]
        )
    )
    return nodes


def _means(probe: ir.Model, layers: Sequence[str], feeds: Feeds) -> dict[str, Array]:
    """The mean difference of each layer over all feeds, each feed weighing by its images."""
    if not layers:
        return {}
    sums = {name: np.zeros(()) for name in layers}
    session, weight = open_session(probe), 0
    for feed in feeds():
        images = len(next(iter(feed.values())))
        found = compute(session, [f"{name}{SHIFT}" for name in layers], feed)
        sums = {name: total + images * found[f"{name}{SHIFT}"].astype(np.float64) for name, total in sums.items()}
        weight += images
    return {name: total / max(1, weight) for name, total in sums.items()}


def _errors(exact: ir.Model, candidates: Sequence[ir.Model], feeds: Feeds) -> tuple[float, ...]:
    """The mean squared error of each candidate's outputs, run as written."""
    names = [str(value.name) for value in exact.graph.outputs]
    reference = open_session(exact.clone(), optimize=False)
    sessions = [open_session(candidate.clone(), optimize=False) for candidate in candidates]
    sums, count = [0.0] * len(sessions), 0
    for feed in feeds():
        truth = compute(reference, names, feed)
        count += sum(array.size for array in truth.values())
        for index, session in enumerate(sessions):
            found = compute(session, names, feed)
            sums[index] += sum(float(np.square(found[name].astype(np.float64) - truth[name]).sum()) for name in names)
    return tuple(total / max(1, count) for total in sums)
