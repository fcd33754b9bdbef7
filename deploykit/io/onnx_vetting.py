"""What must hold before a foreign ONNX model is believed: nothing in it is larger, deeper or elsewhere than it may be.

A model of a hundred bytes can ask for ten gigabytes, so every size is computed from the declared dimensions, in
Python's unbounded integers, before anything is allocated. Functions that call each other may not do so in a circle,
and are counted as often as they would be inlined. External data really lies in a plain file with one name, inside
the model's own folder or beside the file that the model's name leads to: a hub's cache keeps both behind links.

Sizes of intermediate values are those that ONNX's shape inference can tell without running the model; free dimensions
count as one. What a graph computes only at run time (a Loop, a shape read from the input) is not bounded here.
"""

import math
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

import onnx
import onnx.inliner
from onnx import FunctionProto, GraphProto, ModelProto, TensorProto

from deploykit.errors import UntrustedArtifact, one_line
from deploykit.io.door import FLAGS
from deploykit.io.onnx_repair import repaired, with_stubs, without_initializers

EXTERNAL_KEYS = {"location", "offset", "length", "checksum"}
SUB_BYTE_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
CARRY_VALUES = ("Add", "Cast", "Concat", "Gather", "Identity", "Mul", "Slice", "Squeeze", "Sub", "Unsqueeze")
LONGEST_SHAPE = 64
MAX_CARRIED_VALUES = 1 << 22
OLDEST_IR = 4  # before it, an initializer had to be listed as an input too

Graphlike = GraphProto | FunctionProto


@dataclass(frozen=True, slots=True)
class OnnxLimits:
    """`file_bytes` and `tensor_bytes` are protobuf's own; `initializer_bytes` bounds the sum over all tensors."""

    file_bytes: int = 2**31 - 1
    tensor_bytes: int = 2**31 - 1
    initializer_bytes: int = 2**32
    nodes: int = 100_000
    function_depth: int = 64


@dataclass(frozen=True, slots=True)
class _External:
    path: Path  # no part of it is a link
    offset: int
    length: int
    identity: tuple[int, int]  # device and inode, so that what is read is what was vetted


def vet_model(model: ModelProto, path: Path, limits: OnnxLimits) -> None:
    """Raise UntrustedArtifact with the first thing wrong with a model that was parsed without its external data."""
    graphs = [graph for root in _roots(model) for graph in _nested(root)]
    if not model.graph.node:
        raise UntrustedArtifact(f"{path} is not an ONNX model, or one without nodes")
    _vet_functions(model, path, limits)
    for matrix in chain.from_iterable(_sparse_tensors(graph) for graph in graphs):  # a reader unfolds it
        _vet_size(matrix.values.name, matrix.dims, matrix.values.data_type, path, limits)
    total = 0
    for tensor in chain.from_iterable(_tensors(graph) for graph in graphs):
        total += _vet_tensor(tensor, path, limits)
        if total > limits.initializer_bytes:
            raise UntrustedArtifact(f"the tensors of {path} take more than {limits.initializer_bytes} bytes")


def vet_values(model: ModelProto, path: Path, limits: OnnxLimits) -> None:
    """Refuse a model in which a value of known shape would be too large; the constants' data need not be there."""
    lean = _without_large_data(model)
    try:
        if lean.functions:
            lean = onnx.inliner.inline_local_functions(lean)
        _vet_propagation(lean.graph, path)
        lean = onnx.shape_inference.infer_shapes(lean, data_prop=True)
    except UntrustedArtifact:
        raise
    except Exception as error:  # the C++ side raises what it likes, and the model made it
        raise UntrustedArtifact(f"shapes of {path} cannot be inferred: {one_line(error)}") from error
    for graph in _nested(lean.graph):
        for value in chain(graph.input, graph.value_info, graph.output):
            kind = value.type.tensor_type
            count = math.prod(max(1, size.dim_value) for size in kind.shape.dim)  # free ones are 0
            if (size := _bytes(count, kind.elem_type or TensorProto.FLOAT)) > limits.tensor_bytes:
                raise UntrustedArtifact(
                    f"value {value.name!r} of {path} would take {size} bytes, more than {limits.tensor_bytes}"
                )


def _vet_propagation(graph: GraphProto, path: Path) -> None:
    """Refuse a graph whose constants shape inference would join beyond measure.

    To know shapes that a graph computes, it carries the values of vectors along, forty Concats of a thing with itself
    as well as one.
    """
    lengths = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer if len(tensor.dims) < 2}
    total = 0
    for node in graph.node:
        known = [lengths.get(name, 0) for name in node.input if name]
        if node.op_type == "Constant":
            length = sum(math.prod(held.t.dims) + len(held.ints) + len(held.floats) + 1 for held in node.attribute)
        elif node.op_type in CARRY_VALUES and all(known):
            length = sum(known) if node.op_type == "Concat" else max(known, default=LONGEST_SHAPE)
        else:
            length = LONGEST_SHAPE if node.op_type in ("Shape", "Size") else 0
        total += length
        if total > MAX_CARRIED_VALUES:
            raise UntrustedArtifact(
                f"the constant vectors that {path} joins have more than {MAX_CARRIED_VALUES} values"
            )
        lengths |= dict.fromkeys(node.output, length)


def vet_validity(model: ModelProto, path: Path) -> None:
    """Refuse what ONNX's checker does, `onnx_repair` having put right what runtimes let pass.

    The checker copies what it checks and would read external data, so large initializers are shown to it as inputs.
    """
    lean = _without_large_data(model)
    checked = without_initializers(lean)
    checked.ir_version = max(model.ir_version, OLDEST_IR)
    checked.graph.ClearField("value_info")  # claims, which nothing here believes
    inputs = {value.name for value in checked.graph.input}
    for tensor in lean.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            checked.graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            shown = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            checked.graph.input.append(shown)
    for value in chain(checked.graph.input, checked.graph.output):
        if value.type.WhichOneof("value") in (None, "tensor_type"):  # an unknown shape is the next stage's to refuse
            value.type.tensor_type.elem_type = value.type.tensor_type.elem_type or TensorProto.FLOAT
            value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(checked)
    except Exception as error:  # the C++ checker raises what it likes, and the file made it
        raise UntrustedArtifact(f"{path} is not valid ONNX: {one_line(error)}") from error


def _without_large_data(model: ModelProto) -> ModelProto:
    """A copy in running order whose large initializers have a type and a shape alone."""
    return repaired(with_stubs(model))[0]


def load_external_data(model: ModelProto, path: Path) -> None:
    """Move the external data of a vetted model into the model itself."""
    for tensor in _external_tensors(model):
        tensor.raw_data = _read_external(_locate(tensor, path), path)
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")


def locate_external_files(model: ModelProto, path: Path) -> tuple[Path, ...]:
    """The files that hold the external data of a vetted model, sorted, each once."""
    return tuple(sorted({_locate(tensor, path).path for tensor in _external_tensors(model)}))


# Walking


def _roots(model: ModelProto) -> Iterator[Graphlike]:
    yield model.graph
    yield from model.functions
    for training in model.training_info:
        yield training.initialization
        yield training.algorithm


def _nested(graph: Graphlike) -> Iterator[Graphlike]:
    """The graph and every graph in its nodes' attributes (protobuf's parser bounds the depth)."""
    yield graph
    for attribute in _attributes(graph):
        for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
            yield from _nested(inner)


def _attributes(graph: Graphlike) -> Iterator[onnx.AttributeProto]:
    for node in graph.node:
        yield from node.attribute
    if isinstance(graph, FunctionProto):
        yield from graph.attribute_proto


def _tensors(graph: Graphlike) -> Iterator[TensorProto]:
    if isinstance(graph, GraphProto):
        yield from graph.initializer
    for attribute in _attributes(graph):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
    for matrix in _sparse_tensors(graph):
        yield matrix.values
        yield matrix.indices


def _external_tensors(model: ModelProto) -> Iterator[TensorProto]:
    for tensor in chain.from_iterable(_tensors(graph) for root in _roots(model) for graph in _nested(root)):
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor


def _sparse_tensors(graph: Graphlike) -> Iterator[onnx.SparseTensorProto]:
    if isinstance(graph, GraphProto):
        yield from graph.sparse_initializer
    for attribute in _attributes(graph):
        if attribute.HasField("sparse_tensor"):
            yield attribute.sparse_tensor
        yield from attribute.sparse_tensors


# Sizes


def _vet_tensor(tensor: TensorProto, path: Path, limits: OnnxLimits) -> int:
    """The tensor's bytes, after its dimensions, its data and the limit were found to agree."""
    size = _vet_size(tensor.name, tensor.dims, tensor.data_type, path, limits)
    if tensor.data_location == TensorProto.EXTERNAL:
        held = _locate(tensor, path).length
    elif tensor.HasField("raw_data"):
        held = len(tensor.raw_data)
    else:
        return size + _vet_typed_data(tensor, path)
    if held != size:
        raise UntrustedArtifact(f"tensor {tensor.name!r} of {path} has {held} bytes of data, its shape needs {size}")
    return size


def _vet_size(name: str, dims: Iterable[int], data_type: int, path: Path, limits: OnnxLimits) -> int:
    shape = list(dims)
    if (
        data_type not in TensorProto.DataType.values()
        or data_type == TensorProto.UNDEFINED
        or min(shape, default=0) < 0
    ):
        raise UntrustedArtifact(f"tensor {name!r} of {path} has data type {data_type} and shape {shape}")
    size = _bytes(math.prod(shape), data_type)
    if size > limits.tensor_bytes:
        raise UntrustedArtifact(f"tensor {name!r} of {path} would take {size} bytes, more than {limits.tensor_bytes}")
    return size


def _vet_typed_data(tensor: TensorProto, path: Path) -> int:
    """The bytes of a tensor's strings, zero for numbers; their count must be what the shape asks for."""
    held = getattr(tensor, onnx.helper.tensor_dtype_to_field(tensor.data_type))
    count = math.prod(tensor.dims)
    name = TensorProto.DataType.Name(tensor.data_type)
    if name in SUB_BYTE_BITS:
        count = -(-count * SUB_BYTE_BITS[name] // 8)
    if name.startswith("COMPLEX"):
        count *= 2
    if len(held) != count:
        raise UntrustedArtifact(f"tensor {tensor.name!r} of {path} has {len(held)} values, its shape needs {count}")
    return sum(len(text) for text in tensor.string_data)


def _bytes(count: int, data_type: int) -> int:
    name = TensorProto.DataType.Name(data_type)
    if name in SUB_BYTE_BITS:
        return -(-count * SUB_BYTE_BITS[name] // 8)
    return count * int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)


# Functions


def _vet_functions(model: ModelProto, path: Path, limits: OnnxLimits) -> None:
    """Bound the nodes of the model as it is once every function is inlined."""
    functions = {_called(function): function for function in model.functions}
    if len(functions) != len(model.functions):
        raise UntrustedArtifact(f"{path} defines a function twice")
    inlined: dict[tuple[str, str, str], int] = {}

    def count(root: Graphlike, callers: tuple[tuple[str, str, str], ...]) -> int:
        total = 0
        for node in chain.from_iterable(graph.node for graph in _nested(root)):
            called = (node.domain, node.op_type, node.overload)
            if called in functions and called not in inlined:
                if called in callers:
                    raise UntrustedArtifact(f"function {called[1]!r} of {path} calls itself")
                if len(callers) == limits.function_depth:
                    raise UntrustedArtifact(f"functions of {path} call each other more than {len(callers)} deep")
                inlined[called] = count(functions[called], (*callers, called))
            total += 1 + inlined.get(called, 0)
            if total > limits.nodes:
                raise UntrustedArtifact(f"{path} has more than {limits.nodes} nodes")
        return total

    for root in _roots(model):
        key = _called(root) if isinstance(root, FunctionProto) else None
        count(root, (key,) if key else ())


def _called(function: FunctionProto) -> tuple[str, str, str]:
    return function.domain, function.name, function.overload


# External data


def _locate(tensor: TensorProto, path: Path) -> _External:
    """The place of the tensor's bytes: a plain file that belongs to the model, and a range that the file has.

    What counts is where files really lie, links followed: inside the folder in which the model is named, or in the very
    folder in which the model itself lies (`snapshots/x/model.onnx` and its data both lead to `blobs/`).
    """
    told = {entry.key: entry.value for entry in tensor.external_data}
    what = f"external data of tensor {tensor.name!r} of {path}"
    if len(told) != len(tensor.external_data) or not told.keys() <= EXTERNAL_KEYS:
        raise UntrustedArtifact(f"{what} has a key twice, or one of {sorted(told.keys() - EXTERNAL_KEYS)}")
    location = told.get("location", "")
    pure = PurePosixPath(location)
    if not location or pure.is_absolute() or ".." in pure.parts or re.search(r"[\\:\0]", location):
        raise UntrustedArtifact(f"{what} lies at {location!r}, not inside the model's folder")
    folder = Path(os.path.realpath(path.parent))
    target = Path(os.path.realpath(folder.joinpath(*pure.parts)))
    if not target.is_relative_to(folder) and target.parent != Path(os.path.realpath(path)).parent:
        raise UntrustedArtifact(
            f"{what} is reached through a link, {location!r}, that leads to {target}",
            hint="copy the model and its data into one folder: cp -L MODEL DATA FOLDER",
        )
    try:
        found = target.lstat()
        size = _plain_size(found, what)
    except (OSError, ValueError) as error:
        raise UntrustedArtifact(f"{what} is not there: {location!r}") from error
    offset = _whole_number(told.get("offset", "0"), what)
    length = _whole_number(told["length"], what) if "length" in told else size - offset
    if length < 0 or offset + length > size:
        raise UntrustedArtifact(f"{what} ends at byte {offset + length} of {location!r}, which has {size}")
    return _External(target, offset, length, (found.st_dev, found.st_ino))


def _read_external(place: _External, path: Path) -> bytes:
    flags = FLAGS | getattr(os, "O_NOFOLLOW", 0)
    try:
        with os.fdopen(os.open(place.path, flags), "rb") as file:
            opened = os.fstat(file.fileno())
            _plain_size(opened, f"external data of {path}")
            if (opened.st_dev, opened.st_ino) != place.identity:
                raise UntrustedArtifact(f"{place.path} became another file while it was read")
            file.seek(place.offset)
            content = file.read(place.length)
    except OSError as error:
        raise UntrustedArtifact(f"cannot read {place.path}: {error.strerror}") from error
    if len(content) != place.length:
        raise UntrustedArtifact(f"{place.path} became shorter while it was read")
    return content


def _plain_size(found: os.stat_result, what: str) -> int:
    """The size of a regular file that has one name; a second name could be anybody's file elsewhere."""
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise UntrustedArtifact(f"{what} is a link or not a regular file")
    return found.st_size


def _whole_number(text: str, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise UntrustedArtifact(f"{what} has an offset or length of {text[:20]!r}")
    return int(text)
