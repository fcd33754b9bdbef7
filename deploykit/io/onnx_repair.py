"""An ONNX file to the letter of the standard, where it strays from it in ways that runtimes let pass.

ONNX Runtime and TensorRT open files whose nodes stand in no order, whose outputs have no shape, whose batch is written
as -1. ONNX's own checker refuses them, and so would every tool that asks it. What is put right here changes nothing
that the graph computes, and each correction is said.
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from deploykit.errors import UntrustedArtifact

SMALL_TENSOR_BYTES = 4096  # shapes and other operands that shape inference may need to see
DEFAULT_IMPORTS = {"com.microsoft": 1, "ai.onnx.ml": 3}  # what ONNX Runtime assumes where a file imports nothing


def repaired(model: ModelProto) -> tuple[ModelProto, tuple[str, ...]]:
    """The model and what was put right, in words; the very same object where nothing was. `model` is left alone.

    Put right are: nodes out of order, nodes that share a name, initializers that are there twice (the last counts, as
    in ONNX Runtime) or sparse, a missing name of the graph, missing imports of well-known domains, sizes of -1 and a
    batch of 0 (free).

    Raises UntrustedArtifact where nodes need each other in a circle.
    """
    fixed = without_initializers(model)
    notes = [
        *_import_used_domains(fixed),
        *_name_graph(fixed.graph),
        *_free_sizes(fixed.graph),
        *_sort(fixed.graph),
        *_name_nodes_apart(fixed.graph),
    ]
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    if len(weights) < len(model.graph.initializer):
        twice = Counter(tensor.name for tensor in model.graph.initializer).most_common(1)[0][0]
        notes.append(f"initializer {twice!r} is given twice; the last one counts")
    if model.graph.sparse_initializer:
        notes.append("its sparse initializers are written out")
    if not notes:
        return model, ()
    fixed.graph.initializer.extend(weights.values())
    fixed.graph.initializer.extend(_dense(matrix) for matrix in model.graph.sparse_initializer)
    return fixed, tuple(notes)


def without_initializers(model: ModelProto) -> ModelProto:
    """A copy of everything but the weights of the main graph."""
    copy = ModelProto()
    for field, value in model.ListFields():
        if field.name == "graph":
            for inner, held in value.ListFields():
                if inner.name not in ("initializer", "sparse_initializer"):
                    _copy_field(copy.graph, inner.name, held)
        else:
            _copy_field(copy, field.name, value)
    return copy


def with_stubs(model: ModelProto) -> ModelProto:
    """A copy whose large weights have a type and a shape alone; what is sparse counts as written out."""
    copy = without_initializers(model)
    copy.graph.initializer.extend(_stub(tensor) for tensor in model.graph.initializer)
    copy.graph.initializer.extend(
        _claim(matrix.values.name, matrix.dims, matrix.values.data_type) for matrix in model.graph.sparse_initializer
    )
    return copy


def _copy_field(target: ModelProto | GraphProto, name: str, value: object) -> None:
    held = getattr(target, name)
    if hasattr(held, "extend"):
        held.extend(value)
    elif hasattr(held, "CopyFrom"):
        held.CopyFrom(value)
    else:
        setattr(target, name, value)


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs in a node's attributes: the bodies of If, Loop and Scan."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for body in bodies(node):
            yield from _all_nodes(body)


def _import_used_domains(model: ModelProto) -> Iterator[str]:
    imported = {entry.domain for entry in model.opset_import}
    for domain in sorted({node.domain for node in _all_nodes(model.graph)} - imported):
        if domain in DEFAULT_IMPORTS:
            model.opset_import.add(domain=domain, version=DEFAULT_IMPORTS[domain])
            yield f"it uses operators of {domain} without importing any version of them"


def _name_graph(graph: GraphProto) -> Iterator[str]:
    if not graph.name:
        graph.name = "graph"
        yield "its graph has no name"


def _free_sizes(graph: GraphProto) -> Iterator[str]:
    """Name sizes of -1, and a batch of 0: files write so what they leave open."""
    for value in graph.input:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if size.dim_value < 0 or (axis == 0 and size.HasField("dim_value") and size.dim_value == 0):
                yield f"size {size.dim_value} of input {value.name!r} counts as free"
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if size.dim_value < 0 or (axis == 0 and size.HasField("dim_value") and size.dim_value == 0):
                size.dim_param = "batch" if axis == 0 else f"{value.name}_{axis}"


def _sort(graph: GraphProto) -> Iterator[str]:
    """Put nodes behind those that they read from, and otherwise leave them where they are; bodies too."""
    for node in graph.node:
        for body in bodies(node):
            yield from _sort(body)
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    needs = [{makers[name] for name in _reads(node) if name in makers} for node in graph.node]
    if all(max(before, default=-1) < index for index, before in enumerate(needs)):
        return
    readers: list[list[int]] = [[] for _ in needs]
    for index, before in enumerate(needs):
        for maker in before:
            readers[maker].append(index)
    open_needs, order = [len(before) for before in needs], []
    ready = [index for index, count in enumerate(open_needs) if not count]
    while ready:
        order.append(heapq.heappop(ready))
        for reader in readers[order[-1]]:
            open_needs[reader] -= 1
            if not open_needs[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(needs):
        stuck = next(node for node, count in zip(graph.node, open_needs, strict=True) if count)
        raise UntrustedArtifact(f"the ONNX graph runs in a circle through node {stuck.name or stuck.op_type!r}")
    nodes = [graph.node[index] for index in order]
    sorted_graph = GraphProto(node=nodes)
    graph.ClearField("node")
    graph.node.extend(sorted_graph.node)
    yield "its nodes were not in the order in which they run"


def _reads(node: NodeProto) -> Iterator[str]:
    """What a node reads, through its bodies as well; a name of the body's own is read from the body."""
    yield from (name for name in node.input if name)
    for body in bodies(node):
        own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
        own |= {name for inner in body.node for name in inner.output}
        yield from (name for inner in body.node for name in _reads(inner) if name not in own)
        yield from (value.name for value in body.output if value.name not in own)


def _name_nodes_apart(graph: GraphProto) -> Iterator[str]:
    """ONNX Runtime refuses names that repeat; TensorRT does not."""
    nodes = list(_all_nodes(graph))
    taken = {node.name for node in nodes}
    seen, last = Counter[str](), Counter[str]()
    for node in nodes:
        seen[node.name] += 1
        if node.name and seen[node.name] > 1:
            first = node.name
            last[first] += 1
            while f"{first}_{last[first]}" in taken:
                last[first] += 1
            node.name = f"{first}_{last[first]}"
            taken.add(node.name)
    for name, count in seen.items():
        if name and count > 1:
            yield f"{count} nodes are called {name!r}; all but the first were renamed"


def _stub(tensor: TensorProto) -> TensorProto:
    """A small tensor itself; of a large one its name, type and shape."""
    if tensor.data_location != TensorProto.EXTERNAL and tensor.ByteSize() <= SMALL_TENSOR_BYTES:
        return tensor
    return _claim(tensor.name, tensor.dims, tensor.data_type)


def _claim(name: str, dims: Iterable[int], data_type: int) -> TensorProto:
    return TensorProto(name=name, dims=dims, data_type=data_type, data_location=TensorProto.EXTERNAL)


def _dense(matrix: SparseTensorProto) -> TensorProto:
    """Positions are given as one number, or as one for each axis."""
    values = onnx.numpy_helper.to_array(matrix.values)
    at = onnx.numpy_helper.to_array(matrix.indices)
    shape = tuple(matrix.dims)
    if at.ndim != 1 and (at.ndim != 2 or at.shape[1] != len(shape) or (at < 0).any() or (at >= shape).any()):
        raise UntrustedArtifact(f"sparse initializer {matrix.values.name!r} has positions outside its shape")
    places = at if at.ndim == 1 else np.ravel_multi_index(tuple(at.T), shape)
    full = np.zeros(math.prod(shape), values.dtype)
    if places.size and not (places.min() >= 0 and places.max() < full.size):
        raise UntrustedArtifact(f"sparse initializer {matrix.values.name!r} has positions outside its shape")
    full[places] = values
    return onnx.numpy_helper.from_array(full.reshape(shape), matrix.values.name)
