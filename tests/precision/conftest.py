"""Text graphs with seeded weights, run by ONNX Runtime exactly as written."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from deploykit.ort_session import open_session
from deploykit.precision.calibrate.collect import collect
from deploykit.precision.calibrate.ranges import Range
from deploykit.precision.calibrate.table import CalibrationTable

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'


def _build(text: str, **constants: np.ndarray) -> ir.Model:
    """Parse `text`; a value that nothing makes is a weight: from `constants`, or seeded normal numbers."""
    proto = onnx.parser.parse_model(HEADER + text)
    graph = proto.graph
    made = {name for node in graph.node for name in node.output}
    random = np.random.default_rng(7)
    for info in list(graph.value_info):
        if info.name in made:
            continue
        shape = tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim)
        array = constants.get(info.name)
        if array is None:
            array = random.standard_normal(shape).astype(np.float32)
        assert array.shape == shape, info.name
        graph.initializer.append(onnx.numpy_helper.from_array(array, info.name))
        graph.value_info.remove(info)
    for index, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type.lower()}{index}"
    proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    return ir.from_proto(proto)


@pytest.fixture
def build() -> Callable[..., ir.Model]:
    return _build


@pytest.fixture
def run() -> Callable[..., list[np.ndarray]]:
    def run_literally(model: ir.Model, *, optimize: bool = False, **feed: np.ndarray) -> list[np.ndarray]:
        onnx.checker.check_model(ir.to_proto(model), full_check=True)
        return list(open_session(model, optimize=optimize, threads=1).run(None, feed))

    return run_literally


@pytest.fixture
def calibrated() -> Callable[..., CalibrationTable]:
    """The min-max table of a graph over seeded noise, and the noise itself through `images`."""

    def table(model: ir.Model, images: np.ndarray) -> CalibrationTable:
        return collect(
            model, [{str(model.graph.inputs[0].name): images}], graph_digest="a" * 64, data_digest="b" * 64, threads=1
        )

    return table


@pytest.fixture
def images() -> Callable[..., np.ndarray]:
    def noise(*shape: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)

    return noise


@pytest.fixture
def table_of() -> Callable[..., CalibrationTable]:
    """A table with the given ranges: table_of(x=(-1, 1))."""

    def make(**ranges: tuple[float, float]) -> CalibrationTable:
        found = {name: Range(*ends) for name, ends in ranges.items()}
        return CalibrationTable("a" * 64, "b" * 64, "minmax", 1, found)

    return make
