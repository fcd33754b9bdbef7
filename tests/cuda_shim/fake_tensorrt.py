"""TensorRT's runtime on host memory: the one part of a session that the host-memory driver cannot stand in for.

A "serialized engine" is a batch range and an ONNX graph, and `execute_async_v3` runs that graph with ONNX Runtime on
the addresses that the session has set. An address that is not device memory of the driver's is refused, as are shapes
outside of the profile. Names and arguments are TensorRT's (tests/trt_contract holds that).

The inspector describes the graph node by node, in the form that TensorRT 10 is documented to use: one layer per node,
and no type where no context holds the shapes.
"""

import ctypes
import json
from math import prod
from typing import Any

import numpy as np
import onnx
import onnxruntime

FORMATS = {1: "Row major linear FP32", 10: "Row major linear FP16 format"}  # by ONNX's element type
LAYER_TYPES = {"Conv": "CaskConvolution", "Gemm": "CaskGemmMatrixMultiply", "Cast": "Reformat", "Flatten": "NoOp"}
TENSORRT_TYPES = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int64)": "INT64"}


def serialize(graph: bytes, minimum: int, optimum: int, maximum: int) -> bytes:
    return f"{minimum}:{optimum}:{maximum}\n".encode() + graph


class FakeTensorRT:
    """The imported module with its runtime replaced; enums, types and the logger stay real."""

    def __init__(self, real: Any) -> None:
        self._real = real
        FakeEngine._trt = real

    def __getattr__(self, name: str) -> Any:
        return FakeRuntime if name == "Runtime" else getattr(self._real, name)


class FakeRuntime:
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "FakeEngine | None":
        head, _, graph = serialized_engine.partition(b"\n")
        if head.count(b":") != 2:
            self._logger.log(self._logger.ERROR, "the engine is not an engine")
            return None
        return FakeEngine(graph, [int(part) for part in head.split(b":")], self._logger)


class FakeEngine:
    _trt: Any  # the real module, for its enums

    def __init__(self, graph: bytes, batches: list[int], logger: Any) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._graph = graph
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._inputs = {value.name: value for value in self._session.get_inputs()}
        self._tensors = self._inputs | {value.name: value for value in self._session.get_outputs()}
        self._batches = batches
        self._logger = logger

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return self._trt.TensorIOMode.INPUT if name in self._inputs else self._trt.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return getattr(self._trt.DataType, TENSORRT_TYPES[self._tensors[name].type])

    def get_tensor_shape(self, name: str) -> list[int]:
        return self._shape(name, -1)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[list[int]]:
        assert profile_index == 0
        return [self._shape(name, batch) for batch in self._batches]

    def create_execution_context(self) -> "FakeExecutionContext":
        return FakeExecutionContext(self)

    def create_engine_inspector(self) -> "FakeEngineInspector":
        return FakeEngineInspector(self)

    def _shape(self, name: str, batch: int) -> list[int]:
        return [batch if isinstance(size, str) else size for size in self._tensors[name].shape]


class FakeExecutionContext:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        if name not in self._engine._inputs or not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            return False
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> list[int]:
        batch = next(iter(self._shapes.values()))[0]
        return self._engine._shape(name, batch)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return name in self._engine._tensors

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle
        views = {name: self._view(name) for name in self._engine._tensors}
        if any(view is None for view in views.values()):
            self._engine._logger.log(self._engine._logger.ERROR, "a tensor has no device memory")
            return False
        results = self._engine._session.run(None, {name: views[name] for name in self._engine._inputs})
        for value, result in zip(self._engine._session.get_outputs(), results, strict=True):
            views[value.name][...] = result
        return True

    def _view(self, name: str) -> np.ndarray | None:
        """The tensor where the session has put it; None where that is not device memory of its size."""
        shape = self.get_tensor_shape(name)
        dtype = np.dtype(self._engine._trt.nptype(self._engine.get_tensor_dtype(name)))
        size, address = prod(shape) * dtype.itemsize, self._addresses.get(name, 0)
        driver = ctypes.CDLL("libcuda.so.1")
        if not driver.shim_is_device_memory(ctypes.c_void_p(address), ctypes.c_size_t(size)):
            return None
        return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(shape)


class FakeEngineInspector:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._context: FakeExecutionContext | None = None

    @property
    def execution_context(self) -> FakeExecutionContext | None:
        return self._context

    @execution_context.setter
    def execution_context(self, context: FakeExecutionContext) -> None:
        self._context = context

    def get_engine_information(self, format: Any) -> str:  # noqa: A002 - TensorRT's name
        assert format == self._engine._trt.LayerInformationFormat.JSON
        model = onnx.load_from_string(self._engine._graph)
        weights = {value.name: value for value in model.graph.initializer}
        for value in model.graph.input if self._context else ():
            shape = self._context.get_tensor_shape(value.name)
            value.type.tensor_type.shape.dim[0].ClearField("dim_param")
            value.type.tensor_type.shape.dim[0].dim_value = shape[0]
        for value in model.graph.output if self._context else ():
            value.type.tensor_type.ClearField("shape")
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        values = {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info, *graph.output)}
        layers = [self._layer(node, values, weights) for node in graph.node]
        return json.dumps({"Layers": layers, "Bindings": list(self._engine._tensors)})

    def _layer(self, node: onnx.NodeProto, values: dict[str, Any], weights: dict[str, Any]) -> dict[str, Any]:
        told = {"Name": node.name, "LayerType": LAYER_TYPES.get(node.op_type, "PointWiseV2")}
        told |= {"Inputs": [self._tensor(name, values[name]) for name in node.input if name not in weights]}
        told |= {"Outputs": [self._tensor(name, values[name]) for name in node.output]}
        for role, name in zip(("Weights", "Bias"), (name for name in node.input if name in weights), strict=False):
            half = weights[name].data_type == 10
            told[role] = {"Type": "Half" if half else "Float", "Count": prod(weights[name].dims)}
        return told | {"StreamId": 0, "Metadata": f"[ONNX Layer: {node.name}]"}

    def _tensor(self, name: str, kind: Any) -> dict[str, Any]:
        return {
            "Name": name,
            "Location": "Device",
            "Dimensions": [size.dim_value or -1 for size in kind.shape.dim],
            "Format/Datatype": FORMATS[kind.elem_type] if self._context else "N/A due to dynamic shapes",
        }
