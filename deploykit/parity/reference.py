"""What is right: the network in float64, and how far plain float32 is from that (the noise floor).

A zoo network is its PyTorch module on the CPU in double precision. An `.onnx` file has no module: its graph, with every
float tensor and type raised to double, is interpreted by ONNX's own reference evaluator, and float32 is ONNX Runtime
running the graph as written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir
    from torch import nn

Outputs = dict[str, np.ndarray[Any, Any]]

CHUNK = 4  # images a pass: float64 activations of a deep network take twice the memory


@dataclass(frozen=True)
class Reference:
    """Outputs of one feed in float64, and of the same network in eager float32. `source` names what computed them."""

    exact: Outputs
    float32: Outputs
    source: str


def module_reference(module: nn.Module, feed: np.ndarray[Any, Any], names: tuple[str, ...]) -> Reference:
    """`module` (eval mode, float32) on `feed` (N, C, H, W); it comes back as it was."""
    import torch

    single = _run_module(module, feed, names, torch.float32)
    try:
        exact = _run_module(module.double(), feed, names, torch.float64)
    finally:
        module.float()  # float32 to float64 and back is exact
    return Reference(exact, single, "PyTorch module in float64")


def graph_reference(model: ir.Model, feed: Outputs) -> Reference:
    """The float32 graph of an `.onnx` file on a feed by input name, at the graph's own batch where that is fixed."""
    import onnx_ir as ir
    from onnx.reference import ReferenceEvaluator

    from deploykit.ort_session import open_session

    names = [str(value.name) for value in model.graph.outputs]
    single = open_session(model, optimise=False)
    double = ReferenceEvaluator(_raised_to_double(ir.to_proto(model)))
    exact: list[Any] = []
    float32: list[Any] = []
    for part in _chunks(feed, _fixed_batch(model) or CHUNK):
        float32.append(single.run(names, part))
        exact.append(double.run(names, {name: _widen(array) for name, array in part.items()}))
    return Reference(_joined(names, exact), _joined(names, float32), "graph in float64")


def _fixed_batch(model: ir.Model) -> int | None:
    shape = model.graph.inputs[0].shape
    return shape[0] if shape is not None and len(shape) > 0 and isinstance(shape[0], int) else None


def _chunks(feed: Outputs, size: int) -> list[Outputs]:
    count = len(next(iter(feed.values())))
    return [{name: array[start : start + size] for name, array in feed.items()} for start in range(0, count, size)]


def _joined(names: list[str], parts: list[Any]) -> Outputs:
    return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*parts, strict=True), strict=True)}


def _run_module(module: nn.Module, feed: np.ndarray[Any, Any], names: tuple[str, ...], dtype: Any) -> Outputs:
    import torch

    pieces: list[tuple[np.ndarray[Any, Any], ...]] = []
    with torch.inference_mode():
        for start in range(0, len(feed), CHUNK):
            result = module(torch.from_numpy(feed[start : start + CHUNK]).to(dtype))
            results = result if isinstance(result, tuple) else (result,)
            pieces.append(tuple(tensor.numpy() for tensor in results))
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*pieces, strict=True), strict=True)}


def _widen(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _raised_to_double(proto: Any) -> Any:
    """The same ONNX graph with float tensors, value types, Cast targets and float attributes' tensors in double."""
    from onnx import ModelProto, TensorProto, numpy_helper

    raised = ModelProto()
    raised.CopyFrom(proto)

    def raise_tensor(tensor: Any) -> None:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))

    graph = raised.graph
    for tensor in graph.initializer:
        raise_tensor(tensor)
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                raise_tensor(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
    return raised
