"""The graph as bytes, and what a caller needs to know of it."""

import hashlib

import onnx
import onnx_ir as ir

from deploykit.errors import DeploykitError, UntrustedArtefact
from deploykit.spec import TensorSpec

MAX_BYTES = 2**31 - 1  # a protobuf message cannot be longer


def serialise(model: ir.Model) -> bytes:
    """One self-contained ONNX file, the same bytes for the same graph. Raises DeploykitError from 2 GB on."""
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value)
    if weights > MAX_BYTES:
        raise _too_large(weights)
    content: bytes = ir.serde.serialize_model(model).SerializeToString(deterministic=True)
    if len(content) > MAX_BYTES:
        raise _too_large(len(content))
    return content


def _too_large(size: int) -> DeploykitError:
    return DeploykitError(
        f"the graph takes {size / 2**30:.2f} GiB, more than one ONNX file can hold (2 GiB)",
        hint="use a narrower network or fp16",
    )


def graph_digest(content: bytes) -> str:
    """SHA-256 (hex) of a serialised graph: rows with the same digest ran the same graph."""
    return hashlib.sha256(content).hexdigest()


def check(content: bytes) -> None:
    """ONNX's checker with full shape inference. Raises UntrustedArtefact with its first complaint."""
    try:
        onnx.checker.check_model(content, full_check=True)
    except Exception as error:  # ValidationError, InferenceError, DecodeError, ValueError
        raise UntrustedArtefact(f"not a valid ONNX graph: {' '.join(str(error).split())[:240]}") from error


def tensor_specs(model: ir.Model) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs. A free dimension without a name is called `batch` on axis 0, else `<tensor>_<axis>`."""
    return tuple(map(_spec, model.graph.inputs)), tuple(map(_spec, model.graph.outputs))


def _spec(value: ir.Value) -> TensorSpec:
    if value.shape is None or value.dtype is None or not value.name:
        raise UntrustedArtefact(f"the shape or type of {value.name!r} is unknown", hint="state it in the ONNX file")
    anonymous = ("batch", *(f"{value.name}_{axis}" for axis in range(1, len(value.shape))))
    shape = tuple(
        size if isinstance(size, int) else size.value or anonymous[axis] for axis, size in enumerate(value.shape)
    )
    return TensorSpec(value.name, shape, value.dtype.numpy().name)
