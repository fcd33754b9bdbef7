"""What is right: the network in float64, and how far plain float32 is from that (the noise floor).

A network of PyTorch is its module on the CPU in double precision (`module.py`). An `.onnx` file has no module: its
graph, with every real tensor and type raised to double, is interpreted by ONNX's own reference evaluator, and float32
is ONNX Runtime running the graph as written. Either runs feed by feed, as the row runs that it is compared with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deploykit.errors import ExecutionFailed, one_line
from deploykit.spec.arrays import Array

if TYPE_CHECKING:
    import onnx_ir as ir

Outputs = dict[str, Array]
BatchAxes = Mapping[str, int | None]  # of an output: the axis along which the images of a batch lie
FIRST: BatchAxes = {}  # axis 0 of every output

MODULE_SOURCE, GRAPH_SOURCE = "PyTorch module in float64", "graph in float64"
PLAIN_REFERENCES = (MODULE_SOURCE, GRAPH_SOURCE)  # what a reference is where nothing came in between
RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
EVALUATED_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
# ONNX's numbers of element types: float, float16 and bfloat16, and the double that they become.
REAL, DOUBLE = (1, 10, 16), 11
REPEATABLE = 1e-5  # relative L2 of two runs of one network: sums in another order stay below
CHUNK = 4  # images a pass: float64 activations of a deep network take twice the memory


@dataclass(frozen=True)
class Reference:
    """Outputs of one feed in float64, and of the same network in eager float32. `source` names what computed them.

    `least_floor` (relative L2) is stated where `exact` is less than exact, and is then the least that noise amounts to.
    """

    exact: Outputs
    float32: Outputs
    source: str
    least_floor: float = 0.0


def graph_reference(
    model: ir.Model,
    feeds: Sequence[Mapping[str, Array]],
    axes: BatchAxes = FIRST,
    keep_apart: Collection[str] = (),
) -> Reference:
    """The graph of an `.onnx` file on feeds by input name, run by run, joined as `joined` does.

    Raises ExecutionFailed where an operator draws random numbers or is none of ONNX's, where the evaluator fails, and
    where the same feed gets another answer the second time; BuildFailed where ONNX Runtime rejects the graph.
    """
    from deploykit.ort_session import compute, open_session

    _require_known(model)
    names = [str(value.name) for value in model.graph.outputs]
    session = open_session(model, optimize=False)
    float32 = [compute(session, names, feed) for feed in feeds]
    require_repeatable(float32[0], compute(session, names, feeds[0]), "the graph in ONNX Runtime")
    del session  # before the weights exist in double
    exact = double_runs(model, feeds)
    loose = {*keep_apart, *unlike(axes, float32, exact)}
    return Reference(joined(exact, axes, loose), joined(float32, axes, loose), GRAPH_SOURCE)


def require_repeatable(first: Mapping[str, Array], again: Mapping[str, Array], ran: str, because: str = "") -> None:
    """Raises ExecutionFailed where what `ran` gave other answers to the same feed the second time."""
    for name, before in first.items():
        after = again[name]
        if before.shape != after.shape:
            raise ExecutionFailed(f"{name}: the same inputs give shape {before.shape}, then {after.shape}")
        if np.array_equal(before, after, equal_nan=before.dtype.kind == "f"):
            continue
        size = float(np.linalg.norm(before.astype(np.float64))) or 1.0
        gap = float(np.linalg.norm(after.astype(np.float64) - before)) / size
        if gap >= REPEATABLE:
            raise ExecutionFailed(
                f"{name}: two runs of {ran} on the same inputs differ by {gap:.2g} relative L2: "
                f"{because or 'it draws random numbers or keeps a state'}, so no comparison is meaningful"
            )


def double_outputs(model: ir.Model, feeds: Sequence[Mapping[str, Array]], axes: BatchAxes = FIRST) -> Outputs:
    """What the graph answers when all of it is computed in float64. Raises ExecutionFailed as `graph_reference`."""
    return joined(double_runs(model, feeds), axes)


def double_runs(model: ir.Model, feeds: Sequence[Mapping[str, Array]]) -> list[Outputs]:
    """The same, run by run."""
    _require_known(model)
    names = [str(value.name) for value in model.graph.outputs]
    double = _evaluator(model)
    return [double(names, feed) for feed in feeds]


def joined(parts: Sequence[Mapping[str, Array]], axes: BatchAxes = FIRST, keep_apart: Collection[str] = ()) -> Outputs:
    """The outputs of several runs, one after the other, images first.

    `axes` says along which axis of an output the images of a batch lie (0 where it says nothing): that axis comes
    first. With None there is none, as in a scalar, and each run is one row. Outputs in `keep_apart` become an array of
    arrays, one of each run: their sizes are the data's.

    Raises ExecutionFailed for another output whose dimensions differ from run to run.
    """
    found: Outputs = {}
    for name in parts[0]:
        if name in keep_apart:
            found[name] = np.empty(len(parts), object)
            found[name][:] = [np.atleast_1d(part[name]) for part in parts]
            continue
        arrays = [_images_first(part[name], axes.get(name, 0)) for part in parts]
        try:
            found[name] = np.concatenate(arrays)
        except ValueError:
            shapes = " and ".join(dict.fromkeys(str(list(array.shape)) for array in arrays))
            raise ExecutionFailed(
                f"output {name} has another shape for other inputs, {shapes}: rows cannot be compared"
            ) from None
    return found


def _images_first(array: Array, axis: int | None) -> Array:
    return array[None] if axis is None or not array.ndim else np.moveaxis(array, axis, 0)


def unlike(axes: BatchAxes, *several: Sequence[Mapping[str, Array]]) -> set[str]:
    """The outputs whose dimensions, the images' apart, differ from run to run in any of several series of runs."""
    return {
        name
        for parts in several
        for name in parts[0]
        if len({_images_first(part[name], axes.get(name, 0)).shape[1:] for part in parts}) > 1
    }


def apart(output: Array) -> bool:
    """Whether an output holds its runs apart (see `joined`)."""
    return bool(output.dtype == object)


def _require_known(model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        if node.domain not in EVALUATED_DOMAINS:
            raise ExecutionFailed(
                f"node {node.name!r} is a {operator}, none of ONNX's operators: its value in float64 is unknown"
            )
        if node.op_type in RANDOM or (node.op_type == "Dropout" and _trains(node)):
            raise ExecutionFailed(
                f"node {node.name!r} is a {operator} that draws random numbers: its results differ from run to run"
            )


def _trains(dropout: ir.Node) -> bool:
    """Whether it may be in training mode: its third operand is there, and not the constant False."""
    mode = dropout.inputs[2] if len(dropout.inputs) > 2 else None
    return mode is not None and (mode.const_value is None or bool(mode.const_value.numpy()))


def double_values(model: ir.Model, feed: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Name and value of all that the graph computes in float64, in the order of execution.

    A value is let go once nothing reads it any more, so that a deep network takes no more memory than its widest place.
    Raises ExecutionFailed as `graph_reference`.
    """
    _require_known(model)
    evaluator, weights = _double_graph(model)
    values: dict[str, Any] = {"": None, **evaluator.rt_inits_, **weights}
    values |= {name: _widen(array) for name, array in feed.items()}
    inside = any(node.need_context() for node in evaluator.rt_nodes_)  # a body may read anything around it
    left = Counter(name for node in evaluator.rt_nodes_ for name in node.input)
    for node in evaluator.rt_nodes_:
        operands = [values[name] for name in node.input]
        try:
            made = node.run(*operands, context=values) if node.need_context() else node.run(*operands)
        except Exception as error:  # operators are Python code, each raising its own kind
            raise _not_evaluated(error) from error
        found = dict(zip(node.output, made, strict=False))
        yield from found.items()
        values |= {name: array for name, array in found.items() if left[name] or inside}
        for name in node.input:
            left[name] -= 1
            if name and not left[name] and not inside:
                values.pop(name, None)


def _evaluator(model: ir.Model) -> Callable[[list[str], Mapping[str, Array]], Outputs]:
    """The graph in double precision."""
    evaluator, weights = _double_graph(model)

    def evaluate(names: list[str], feed: Mapping[str, Array]) -> Outputs:
        widened = {name: _widen(array) for name, array in feed.items()}
        try:
            return dict(zip(names, evaluator.run(names, {**weights, **widened}), strict=True))
        except Exception as error:  # operators are Python code, each raising its own kind
            raise _not_evaluated(error) from error

    return evaluate


def _double_graph(model: ir.Model) -> tuple[Any, Outputs]:
    """The evaluator of the graph in double, and its weights, which are fed: inside it they would exist three times."""
    from onnx.reference import ReferenceEvaluator

    from deploykit.parity.operators import operators_for

    skeleton = model.clone()
    weights: Outputs = {}
    for name, value in list(skeleton.graph.initializers.items()):
        if value.const_value is not None and value.dtype in REAL:
            weights[name] = value.const_value.numpy().astype(np.float64)
            del skeleton.graph.initializers[name]
    try:
        return ReferenceEvaluator(_raised_to_double(skeleton), new_ops=operators_for(model)), weights
    except Exception as error:
        raise _not_evaluated(error) from error


def _not_evaluated(error: Exception) -> ExecutionFailed:
    return ExecutionFailed(f"onnx's reference evaluator cannot compute the graph in float64: {one_line(error)}")


def _widen(array: Array) -> Array:
    return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array


def _raised_to_double(model: ir.Model) -> Any:
    """The ONNX graph of `model` with every real tensor, value type and Cast target in double, bodies included."""
    import onnx_ir as ir

    raised = ir.to_proto(model)
    _raise_graph(raised.graph)
    return raised


def _raise_graph(graph: Any) -> None:
    for tensor in graph.initializer:
        _raise_tensor(tensor)
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type in REAL:
            value.type.tensor_type.elem_type = DOUBLE
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _raise_tensor(attribute.t)
            if attribute.name in ("to", "dtype") and attribute.i in REAL:
                attribute.i = DOUBLE
            for body in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                _raise_graph(body)


def _raise_tensor(tensor: Any) -> None:
    from onnx import numpy_helper

    if tensor.data_type in REAL:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
