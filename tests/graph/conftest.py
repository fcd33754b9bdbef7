"""Text graphs with seeded weights, and their value in double precision."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest

from deploykit.graph.passes.cleanup import infer_missing_shapes
from deploykit.parity.operators import OPERATORS

Build = Callable[..., ir.Model]
Run = Callable[..., list[np.ndarray]]


@pytest.fixture
def build() -> Build:
    """A text graph's inputs, all but `free`, become initializers: seeded normal, `v...` (a variance) positive."""

    def make(text: str, *, free: tuple[str, ...] = ("x",), values: Mapping[str, np.ndarray] | None = None) -> ir.Model:
        proto = onnx.parser.parse_model(text)
        onnx.checker.check_model(proto)
        rng = np.random.default_rng(0)
        constants = [value for value in proto.graph.input if value.name not in free]
        for value in constants:
            kind = value.type.tensor_type
            array = rng.standard_normal([size.dim_value for size in kind.shape.dim])
            array = np.abs(array) + 0.1 if value.name.startswith("v") else array
            array = (values or {}).get(value.name, array)
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array).astype(dtype), value.name))
            proto.graph.input.remove(value)
        return ir.serde.deserialize_model(proto)

    return make


@pytest.fixture
def run() -> Run:
    """Every output of a model by ONNX's reference evaluator, in the graph's own types; its windows by PyTorch."""

    def evaluate(model: ir.Model, **feed: np.ndarray) -> list[np.ndarray]:
        return onnx.reference.ReferenceEvaluator(ir.serde.serialize_model(model), new_ops=OPERATORS).run(None, feed)

    return evaluate


@pytest.fixture
def infer() -> Callable[[ir.Model], ir.Model]:
    """A model whose values have the shapes and types that ONNX infers, in place, as clean-up leaves it."""

    def fill(model: ir.Model) -> ir.Model:
        infer_missing_shapes(model)
        return model

    return fill


@pytest.fixture
def relative_l2() -> Callable[[np.ndarray, np.ndarray], float]:
    def measure(got: np.ndarray, wanted: np.ndarray) -> float:
        return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))

    return measure
