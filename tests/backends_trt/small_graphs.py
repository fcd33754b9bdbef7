"""Small typed networks as ONNX text, with seeded weights, written where a test wants them."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from deploykit.backends.protocol import TypedGraph
from deploykit.spec import BatchRange, EngineSettings, Precision, Target, TensorSpec

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'

FLOAT = """
g (float[batch, 8, 16, 16] x) => (float[batch, 10] y)
  <float[16, 8, 3, 3] w1, float[16] b1, float[16, 16, 1, 1] w2, float[10, 16] w3, float[10] b3> {
    [conv1] a = Conv <kernel_shape=[3, 3], pads=[1, 1, 1, 1]> (x, w1, b1)
    [relu1] r = Relu(a)
    [conv2] c = Conv <kernel_shape=[1, 1]> (r, w2)
    [sum] s = Add(c, r)
    [pool] p = GlobalAveragePool(s)
    [flat] f = Flatten(p)
    [fc] y = Gemm <transB=1> (f, w3, b3)
}
"""

HALF = """
g (float[batch, 8, 16, 16] x) => (float[batch, 16, 16, 16] y) <float16[16, 8, 3, 3] w1, float[16, 16, 3, 3] w2> {
    [to_half] h = Cast <to=10> (x)
    [conv1] a = Conv <kernel_shape=[3, 3], pads=[1, 1, 1, 1]> (h, w1)
    [relu1] r = Relu(a)
    [to_float] f = Cast <to=1> (r)
    [conv2] y = Conv <kernel_shape=[3, 3], pads=[1, 1, 1, 1]> (f, w2)
}
"""

INT8 = """
g (float[batch, 32, 16, 16] x) => (float[batch, 32, 16, 16] y)
  <float[32, 32, 3, 3] w1, int8[32, 32, 3, 3] w2, float w2_scale, float x_scale, int8 zero, float[32] b2> {
    [conv1] a = Conv <kernel_shape=[3, 3], pads=[1, 1, 1, 1]> (x, w1)
    [relu1] r = Relu(a)
    [q] q = QuantizeLinear(r, x_scale, zero)
    [dq] d = DequantizeLinear(q, x_scale, zero)
    [wdq] w = DequantizeLinear(w2, w2_scale, zero)
    [conv2] y = Conv <kernel_shape=[3, 3], pads=[1, 1, 1, 1]> (d, w, b2)
}
"""

INT8_WITH_INT32_BIAS = INT8.replace("float[32] b2>", "int32[32] b2q>").replace(
    "    [conv2] y =", "    [bdq] b2 = DequantizeLinear(b2q, x_scale)\n    [conv2] y ="
)

UNKNOWN_OP = """
g (float[batch, 4] x) => (float[batch, 4] y) {
    [odd_one] y = deploykit.test.Unheard(x)
}
"""


def write(folder: Path, text: str, precision: Precision = Precision.FP32, name: str = "typed.onnx") -> TypedGraph:
    model = onnx.parser.parse_model(HEADER.replace("20]", '20, "deploykit.test" : 1]') + text)
    rng = np.random.default_rng(0)
    for value in model.graph.value_info:
        model.graph.initializer.append(numpy_helper.from_array(_weights(rng, value), value.name))
    del model.graph.value_info[:]
    path = folder / name
    onnx.save(model, path)
    return TypedGraph(path, "0" * 64, precision, None, _specs(model.graph.input), _specs(model.graph.output))


def spec(
    *,
    batch: str = "8",
    targets: tuple[str, ...] = ("sm_89",),
    tf32: bool = False,
) -> EngineSettings:
    parsed = tuple(Target.parse(target) for target in targets)
    return EngineSettings(batch=BatchRange.parse(batch), targets=parsed, tf32=tf32)


def feed(typed: TypedGraph, batch: int, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {item.name: rng.standard_normal(item.at_batch(batch)).astype(item.dtype) for item in typed.inputs}


def _weights(rng: np.random.Generator, value: onnx.ValueInfoProto) -> np.ndarray:
    kind = value.type.tensor_type
    shape = [size.dim_value for size in kind.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if value.name.endswith("_scale"):
        return np.full(shape, 0.02, dtype)
    if value.name == "zero":
        return np.zeros(shape, dtype)
    if dtype.kind == "i":
        return rng.integers(-100, 100, shape).astype(dtype)
    return (rng.standard_normal(shape) * 0.1).astype(dtype)


def _specs(values: list[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            value.name,
            tuple(size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim),
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name,
        )
        for value in values
    )
