"""The graph as bytes, and what a caller needs to know of it."""

import hashlib
import sys
from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir

from deploykit.errors import DeploykitError, UntrustedArtifact, one_line
from deploykit.graph.sizes import size_ranges
from deploykit.spec import SizeRange, TensorSpec
from deploykit.spec.operators import WEIGHTED_OPS, is_quantized

MAX_BYTES = 2**31 - 1  # a protobuf message cannot be longer
BULK_BYTES = 1024  # initializers from this size on bypass protobuf

# Protobuf field numbers of onnx.proto, with wire type 2 (a length, then that many bytes).
MODEL_GRAPH, GRAPH_INITIALIZER, TENSOR_RAW_DATA = 7, 5, 9


def serialize(model: ir.Model) -> bytes:
    """One self-contained ONNX file, the same bytes for the same graph. Raises DeploykitError from 2 GB on.

    Going through ModelProto would hold every weight three times (tensor, message, bytes). Here protobuf writes all
    but the large tensors, whose data is then joined in, straight from where it lies.
    """
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    if weights > MAX_BYTES:
        raise _too_large(weights)
    bulk, skeleton = _without_bulk(model)
    graph = [skeleton.graph.SerializeToString(deterministic=True)]
    for name, tensor in bulk.items():
        header = onnx.TensorProto(name=name, dims=tensor.shape.numpy(), data_type=tensor.dtype)
        raw = _raw(tensor)
        fields = [header.SerializeToString(deterministic=True), _field(TENSOR_RAW_DATA, len(raw)), raw]
        graph += [_field(GRAPH_INITIALIZER, sum(map(len, fields))), *fields]
    skeleton.ClearField("graph")
    head = skeleton.SerializeToString(deterministic=True)
    content = b"".join([head, _field(MODEL_GRAPH, sum(map(len, graph))), *graph])
    if len(content) > MAX_BYTES:
        raise _too_large(len(content))
    return content


def deserialize(proto: onnx.ModelProto) -> ir.Model:
    """The graph of a file that `serialize` wrote, as it was: for any other file there is `foreign.parse`."""
    return ir.serde.deserialize_model(proto)


def _without_bulk(model: ir.Model) -> tuple[dict[str, ir.TensorProtocol], onnx.ModelProto]:
    """The large initializers, and the message of everything else; `model` is the same before and after."""
    initializers = model.graph.initializers
    everything = dict(initializers)
    bulk = {
        name: value.const_value
        for name, value in everything.items()
        if value.const_value is not None
        and value.const_value.nbytes >= BULK_BYTES
        and value.const_value.dtype != ir.DataType.STRING
    }
    try:
        for name in bulk:
            del initializers[name]
        return bulk, ir.serde.serialize_model(model)
    finally:
        initializers.clear()
        initializers.update(everything)


def _raw(tensor: ir.TensorProtocol) -> memoryview | bytes:
    """The tensor's data in ONNX's layout: little-endian, row by row; a view wherever it already lies like that."""
    if tensor.dtype.itemsize < 1 or sys.byteorder == "big":
        return tensor.tobytes()
    array = np.ascontiguousarray(tensor.numpy())
    return array.reshape(-1).view(np.uint8).data


def _field(number: int, length: int) -> bytes:
    """The tag and length that stand before `length` bytes of field `number`, as base-128 varints."""
    encoded = bytearray([number << 3 | 2])
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)


def _too_large(size: int) -> DeploykitError:
    return DeploykitError(
        f"the graph takes {size / 2**30:.2f} GiB, more than one ONNX file can hold (2 GiB)",
        hint="use a narrower network or fp16",
    )


def graph_digest(content: bytes) -> str:
    """SHA-256 (hex) of a serialized graph: rows with the same digest ran the same graph."""
    return hashlib.sha256(content).hexdigest()


def check(model: ir.Model) -> None:
    """ONNX's checker with full shape inference. Raises UntrustedArtifact with its first complaint.

    The checker copies what it checks, twice. So the large initializers, of which it reads no more than type and shape,
    are shown to it as inputs.
    """
    bulk, skeleton = _without_bulk(model)
    named = {value.name for value in skeleton.graph.input}
    skeleton.graph.input.extend(
        onnx.helper.make_tensor_value_info(name, tensor.dtype, tensor.shape.numpy())
        for name, tensor in bulk.items()
        if name not in named
    )
    try:
        onnx.checker.check_model(skeleton, full_check=True)
    except Exception as error:  # ValidationError, InferenceError, DecodeError, ValueError
        raise UntrustedArtifact(f"not a valid ONNX graph: {one_line(error)}") from error


def tensor_specs(model: ir.Model) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs. A free dimension without a name is called `batch` on axis 0, else `<tensor>_<axis>`."""
    known = size_ranges(model)
    inputs, outputs = (
        [_spec(value, known) for value in values] for values in (model.graph.inputs, model.graph.outputs)
    )
    return tuple(inputs), tuple(outputs)


def computing_types(model: ir.Model) -> set[str]:
    """The types in which convolutions and matrix products compute, bodies included; "int8" for anything quantized."""
    found = set()
    for node in model.graph.all_nodes():
        if is_quantized(node.op_type):
            found.add("int8")
        elif node.op_type in WEIGHTED_OPS and node.outputs[0].dtype is not None:
            found.add(node.outputs[0].dtype.numpy().name)
    return found


def weights_with_nan(model: ir.Model) -> tuple[str, ...]:
    """A sentence for each floating-point constant that holds NaN. Infinity is no fault: masks hold it."""
    found = []
    for value in model.graph.initializers.values():
        if value.const_value is None or not value.const_value.dtype.is_floating_point():
            continue
        array = value.const_value.numpy()
        if broken := int(np.isnan(array).sum()):
            found.append(
                f"{value.name} holds NaN ({broken} of {array.size} numbers): no precision cures that, train anew"
            )
    return tuple(found)


def _spec(value: ir.Value, known: Mapping[str, SizeRange]) -> TensorSpec:
    if value.shape is None or value.dtype is None or not value.name:
        raise UntrustedArtifact(
            f"the shape or type of {value.name!r} is unknown", hint="give --input-shape, or state it in the ONNX file"
        )
    anonymous = ("batch", *(f"{value.name}_{axis}" for axis in range(1, len(value.shape))))
    shape = tuple(
        size if isinstance(size, int) else size.value or anonymous[axis] for axis, size in enumerate(value.shape)
    )
    ranges = tuple((str(name), known[str(name)]) for name in dict.fromkeys(shape) if name in known)
    return TensorSpec(value.name, shape, value.dtype.numpy().name, ranges)
