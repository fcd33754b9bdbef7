"""What TensorRT-RTX makes of graphs out of the ordinary: each compiles, and its build log is read to the end."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from deploykit.backends.protocol import (
    TypedGraph,
)
from deploykit.backends.tensorrt_rtx import TensorRTRTXBackend
from deploykit.graph import serialize, tensor_specs
from deploykit.plan.audit import audit
from deploykit.plan.summary import summarize
from deploykit.precision.float16 import to_float16
from deploykit.precision.int8.quantize import quantize
from deploykit.spec import TENSORRT, BatchRange, EngineSettings, Precision

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (Linux x86-64 and Windows only)")

IMAGE = "float[N, 3, 8, 8] x"
CONV = "Conv <pads = [1, 1, 1, 1]>"
LSTM = "g (float[5, N, 8] x) => (float[5, 1, N, 16] y) <float[1, 64, 8] w, float[1, 64, 16] r> {{ {op} }}"
NORM = f"""g ({IMAGE}) => (float[N, 4, 8, 8] y)
    <float[4, 3, 3, 3] w, float[4, 4, 3, 3] v, float two, int64[1] c, float e> {{
    a = {CONV} (x, w)
    p = Pow (a, two)
    m = ReduceMean (p, c)
    s = Add (m, e)
    r = Sqrt (s)
    d = Div (a, r)
    y = {CONV} (d, v)
}}"""
CONSTANTS = {"two": np.array(2, np.float32), "c": np.array([1]), "e": np.array(1e-6, np.float32), "k": np.array([5])}
ODD = {
    "an input that nothing reads": f"g ({IMAGE}, float[N, 2] idle) => (float[N, 4, 8, 8] y) <float[4, 3, 3, 3] w> "
    f"{{ y = {CONV} (x, w) }}",
    "an input that only lends its shape": f"g ({IMAGE}, float[N, 2] lent) => (float[N, 2, 1] y) "
    "<float[1] z, int64[1] one> { s = Shape (lent) o = Expand (z, s) y = Unsqueeze (o, one) }",
    "an input handed back": f"g ({IMAGE}) => (float[N, 4, 8, 8] y, float[N, 3, 8, 8] z) <float[4, 3, 3, 3] w> "
    f"{{ y = {CONV} (x, w) z = Identity (x) }}",
    "one value twice": f"g ({IMAGE}) => (float[N, 4, 8, 8] y, float[N, 4, 8, 8] z) <float[4, 3, 3, 3] w> "
    f"{{ y = {CONV} (x, w) z = Identity (y) }}",
    "a constant output": f"g ({IMAGE}) => (float[N, 4, 8, 8] y, float[2] z) <float[4, 3, 3, 3] w, float[2] k2> "
    f"{{ y = {CONV} (x, w) z = Identity (k2) }}",
    "no weights": "g (float[N, 3, 4, 4] x) => (float[N, 48] y) { y = Flatten (x) }",
    "TopK": "g (float[N, 100] x) => (float[N, 5] v, int64[N, 5] i) <int64[1] k> { v, i = TopK (x, k) }",
    "Resize": f'g ({IMAGE}) => (float[N, 3, 16, 16] y) <float[4] s> {{ y = Resize <mode = "linear"> (x, , s) }}',
    "booleans": "g (float[N, 4] x) => (bool[N, 4] y) <float e> { y = Greater (x, e) }",
    "names full of brackets": "g (float[N, 64] x) => (float[N, 32] y) <float[64, 32] w> { y = MatMul (x, w) }",
    "LSTM": LSTM.format(op="y = LSTM <hidden_size = 16> (x, w, r)"),
}


def model_of(text):
    proto = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 20]>\n' + text)
    made = {name for node in proto.graph.node for name in node.output}
    random = np.random.default_rng(0)
    for info in [info for info in proto.graph.value_info if info.name not in made]:
        shape = [dimension.dim_value for dimension in info.type.tensor_type.shape.dim]
        array = CONSTANTS.get(info.name, random.standard_normal(shape).astype(np.float32))
        if info.name == "s":
            array = np.array([1, 1, 2, 2], np.float32)
        if info.name == "one":
            array = np.array([2])
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), info.name))
        proto.graph.value_info.remove(info)
    for index, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type.lower()}{index}"
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def compiled(model, folder, precision=Precision.FP32):
    path = folder / "typed.onnx"
    path.write_bytes(serialize(model))
    inputs, outputs = tensor_specs(model)
    typed = TypedGraph(path, "a" * 64, precision, None, inputs, outputs)
    return TensorRTRTXBackend().build(typed, EngineSettings(batch=BatchRange(1, 2, 2))).layers


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_an_odd_graph_is_no_fault_of_the_log(text, tmp_path):
    model = model_of(text)
    if "names" in next(name for name, odd in ODD.items() if odd is text):
        next(iter(model.graph)).name = "a [Conv], (b), LayerType: {x} | [ONNX Layer: c]"
    plan = compiled(model, tmp_path)
    assert plan.kernels
    assert not audit(plan).unclaimed


def test_part_of_a_graph_stays_float32_and_the_audit_says_which(tmp_path):
    model = model_of(NORM)
    to_float16(model, keep=["op=Pow", "op=ReduceMean", "conv6"])
    found = audit(compiled(model, tmp_path, Precision.FP16), {"conv6": "--keep-fp32 conv6"})
    assert [(node.name, node.dtype) for node in found.nodes] == [("conv0", "Half"), ("conv6", "Float")]
    assert [(node.name, node.reason) for node in found.other_type] == [("conv6", "--keep-fp32 conv6")]


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("RNN", 1)])
def test_a_recurrent_operator_is_accounted_for_in_its_type(tmp_path, precision, op, gates):
    shapes = f"<float[1, {16 * gates}, 8] w, float[1, {16 * gates}, 16] r>"
    model = model_of(
        f"g (float[5, N, 8] x) => (float[5, 1, N, 16] y) {shapes} {{ y = {op} <hidden_size=16> (x, w, r) }}"
    )
    if precision is Precision.FP16:
        to_float16(model)
    (node,) = audit(compiled(model, tmp_path, precision)).nodes
    assert (node.op, node.dtype, node.as_wanted) == (op, "Half" if precision is Precision.FP16 else "Float", True)


def test_a_recurrent_operator_that_no_layer_names_is_said_to_be_taken_apart(tmp_path):
    shapes = "<float[1, 48, 8] w, float[1, 48, 16] r>"
    model = model_of(
        f"g (float[5, N, 8] x) => (float[5, 1, N, 16] y) {shapes} {{ y = GRU <hidden_size=16> (x, w, r) }}"
    )
    plan = compiled(model, tmp_path)
    (node,) = audit(plan).unclaimed
    assert (node.op, node.reason) == ("GRU", "taken apart into products and generated code that do not name it")
    assert summarize(plan).weighted_reads["Float"] > 0


def test_a_deconvolution_between_int8_convolutions_stays_float_and_is_said_to_be(tmp_path, table_of):
    model = model_of(f"""g ({IMAGE}) => (float[N, 4, 17, 17] y)
        <float[8, 3, 3, 3] w, float[8, 8, 3, 3] t, float[4, 8, 3, 3] v> {{
        a = {CONV} (x, w)
        b = ConvTranspose <strides = [2, 2]> (a, t)
        y = {CONV} (b, v)
    }}""")
    report = quantize(model, table_of(x=(-3, 3), a=(-9, 9), b=(-9, 9)), TENSORRT)
    assert report.quantized == ("conv0", "conv2")
    reasons = {item.node: item.reason for item in report.excluded}
    found = audit(compiled(model, tmp_path, Precision.INT8), reasons)
    assert [(node.name, node.dtype) for node in found.nodes] == [
        ("conv0", "Int8"),
        ("convtranspose1", "Float"),
        ("conv2", "Int8"),
    ]
    assert found.other_type[0].reason == "the tensorrt Q/DQ scheme has no integer kernel for ConvTranspose"
