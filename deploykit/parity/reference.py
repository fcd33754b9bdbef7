"""What is right: the network in float64, and how far plain float32 is from that (the noise floor).

A zoo network is its PyTorch module on the CPU in double precision. An `.onnx` file has no module: its graph, with every
real tensor and type raised to double, is interpreted by ONNX's own reference evaluator, and float32 is ONNX Runtime
running the graph as written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deploykit.calling import call
from deploykit.errors import ExecutionFailed, one_line
from deploykit.outputs import flatten_outputs

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

Array = np.ndarray[Any, Any]
Outputs = dict[str, Array]
BatchAxes = Mapping[str, int | None]  # of an output: the axis along which the images of a batch lie
FIRST: BatchAxes = {}  # axis 0 of every output

RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
EVALUATED_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
# ONNX's numbers of element types: float, float16 and bfloat16, and the double that they become.
REAL, DOUBLE = (1, 10, 16), 11
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


def module_reference(
    module: nn.Module, feeds: Sequence[Mapping[str, Array]], names: tuple[str, ...], axes: BatchAxes = FIRST
) -> Reference:
    """`module` (eval mode, float32) on each of `feeds`, by input name, joined; it comes back as it was."""
    import torch

    single = _run_module(module, feeds, names, axes, torch.float32)
    try:
        exact = _run_module(module.double(), feeds, names, axes, torch.float64)
    finally:
        module.float()  # float32 to float64 and back is exact
    return Reference(exact, single, "PyTorch module in float64")


def graph_reference(model: ir.Model, feeds: Sequence[Mapping[str, Array]], axes: BatchAxes = FIRST) -> Reference:
    """The graph of an `.onnx` file on feeds by input name; what each gives is joined.

    Raises ExecutionFailed where an operator draws random numbers or is none of ONNX's, where the evaluator fails, and
    for an output that cannot be joined; BuildFailed where ONNX Runtime rejects the graph.
    """
    from deploykit.ort_session import compute, open_session

    _require_known(model)
    names = [str(value.name) for value in model.graph.outputs]
    session = open_session(model, optimise=False)
    float32 = joined([compute(session, names, feed) for feed in feeds], axes)
    del session  # before the weights exist in double
    return Reference(double_outputs(model, feeds, axes), float32, "graph in float64")


def double_outputs(model: ir.Model, feeds: Sequence[Mapping[str, Array]], axes: BatchAxes = FIRST) -> Outputs:
    """What the graph answers when all of it is computed in float64. Raises ExecutionFailed as `graph_reference`."""
    _require_known(model)
    names = [str(value.name) for value in model.graph.outputs]
    double = _evaluator(model)
    return joined([double(names, feed) for feed in feeds], axes)


def joined(parts: Sequence[Mapping[str, Array]], axes: BatchAxes = FIRST) -> Outputs:
    """The outputs of several runs, one after the other, images first.

    `axes` says along which axis of an output the images of a batch lie (0 where it says nothing): that axis comes
    first. With None there is none, as in a scalar, and each run is one row.

    Raises ExecutionFailed for an output whose other dimensions differ from run to run.
    """
    found: Outputs = {}
    for name in parts[0]:
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


def _require_known(model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        if node.domain not in EVALUATED_DOMAINS:
            raise ExecutionFailed(
                f"node {node.name!r} is a {operator}, none of ONNX's operators: its value in float64 is unknown"
            )
        if node.op_type in RANDOM or (node.op_type == "Dropout" and _trains(node)):
            raise ExecutionFailed(f"node {node.name!r} is a {operator} that draws random numbers: no two runs agree")


def _trains(dropout: ir.Node) -> bool:
    """Whether it may be in training mode: its third operand is there, and not the constant False."""
    mode = dropout.inputs[2] if len(dropout.inputs) > 2 else None
    return mode is not None and (mode.const_value is None or bool(mode.const_value.numpy()))


def _evaluator(model: ir.Model) -> Callable[[list[str], Mapping[str, Array]], Outputs]:
    """The graph in double precision. Weights are fed like inputs: inside the evaluator they would exist three times."""
    from onnx.reference import ReferenceEvaluator

    from deploykit.parity.operators import OPERATORS, MaxPool

    skeleton = model.clone()
    weights: Outputs = {}
    for name, value in list(skeleton.graph.initializers.items()):
        if value.const_value is not None and value.dtype in REAL:
            weights[name] = value.const_value.numpy().astype(np.float64)
            del skeleton.graph.initializers[name]
    with_indices = any(node.op_type == "MaxPool" and len(node.outputs) > 1 for node in model.graph.all_nodes())
    operators = [operator for operator in OPERATORS if not (with_indices and operator is MaxPool)]
    try:
        evaluator = ReferenceEvaluator(_raised_to_double(skeleton), new_ops=operators)
    except Exception as error:
        raise _not_evaluated(error) from error

    def evaluate(names: list[str], feed: Mapping[str, Array]) -> Outputs:
        widened = {name: _widen(array) for name, array in feed.items()}
        try:
            return dict(zip(names, evaluator.run(names, {**weights, **widened}), strict=True))
        except Exception as error:  # operators are Python code, each raising its own kind
            raise _not_evaluated(error) from error

    return evaluate


def _not_evaluated(error: Exception) -> ExecutionFailed:
    return ExecutionFailed(f"onnx's reference evaluator cannot compute the graph in float64: {one_line(error)}")


def _run_module(
    module: nn.Module, feeds: Sequence[Mapping[str, Array]], names: tuple[str, ...], axes: BatchAxes, dtype: Any
) -> Outputs:
    import torch

    with torch.inference_mode():
        results = [flatten_outputs(call(module, _tensors(feed, dtype))) for feed in feeds]
    parts = [{name: tensor.numpy() for name, tensor in zip(names, found, strict=True)} for found in results]
    return joined(parts, axes)


def _tensors(feed: Mapping[str, Array], dtype: Any) -> dict[str, Any]:
    """A copy of a feed as torch takes it, its real numbers in `dtype`; a forward may write into its input."""
    import torch

    found = {name: torch.from_numpy(np.array(array)) for name, array in feed.items()}
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in found.items()}


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
