"""Graphs that came quantized or in float16: the rest becomes float16, and what is typed stays."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from deploykit.precision.emulate import emulate_rounding, literal_graph
from deploykit.precision.float16 import to_float16
from deploykit.precision.int8.quantize import own_quantization, quantize
from deploykit.spec import (
    ORT_CPU,
    TENSORRT,
    Precision,
)

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
NETWORK = """g (float[N, 3, 6, 6] x) => (float[N, 4, 6, 6] y) <float[8, 3, 3, 3] w, float[4, 8, 1, 1] v> {
    a = Conv <pads = [1, 1, 1, 1]> (x, w)
    r = Relu (a)
    t = Tanh (r)
    y = Conv (t, v)
}"""


def quantized(build, calibrated, x, placement, opset=20):
    model = build(NETWORK)
    quantize(model, calibrated(model, x), placement)
    model.opset_imports[""] = opset
    return model


@pytest.mark.parametrize("placement", [TENSORRT, ORT_CPU], ids=lambda placement: placement.name)
@pytest.mark.parametrize("opset", [13, 17, 18, 19, 20, 21])
def test_the_rest_of_a_quantized_graph_becomes_float16(build, run, calibrated, images, placement, opset):
    x = images(2, 3, 6, 6)
    model = quantized(build, calibrated, x, placement, opset)
    (before,) = run(model, x=x)
    report = to_float16(model)
    assert report.float32 == ()
    scales = [node.inputs[1].dtype for node in model.graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert HALF in scales
    assert model.opset_imports[""] >= 19
    assert {value.dtype for node in model.graph for value in node.outputs if node.op_type in ("Tanh", "Conv")} == {HALF}
    (after,) = run(emulate_rounding(model), x=x)
    assert np.linalg.norm(after - before) < 0.03 * np.linalg.norm(before)


def test_which_layers_its_author_quantized(build, calibrated, images):
    x = images(2, 3, 6, 6)
    model = quantized(build, calibrated, x, TENSORRT)
    found = own_quantization(model)
    assert (found.placement, found.quantized, found.excluded, found.pairs) == (
        "its author's",
        ("conv0", "conv3"),
        (),
        2,
    )
    floats = own_quantization(build(NETWORK))
    assert floats.quantized == ()
    assert [item.reason for item in floats.excluded] == ["not quantized by its author"] * 2


QLINEAR = """g (float[N, 3, 6, 6] x) => (float[N, 4, 6, 6] y)
    <float s, uint8 z, int8[4, 3, 1, 1] w, float ws, int8 wz> {
    q = QuantizeLinear (x, s, z)
    c = QLinearConv (q, s, z, w, ws, wz, s, z)
    d = DequantizeLinear (c, s, z)
    y = Tanh (d)
}"""


def test_operators_of_integers_keep_their_float32_scales(build, run, images):
    half = np.array(0.0503, np.float32)
    model = build(
        QLINEAR,
        s=half,
        z=np.array(128, np.uint8),
        w=np.arange(-6, 6, dtype=np.int8).reshape(4, 3, 1, 1) * 10,
        ws=np.array(0.02, np.float32),
        wz=np.array(0, np.int8),
    )
    assert own_quantization(model).quantized == ("qlinearconv1",)
    x = images(2, 3, 6, 6)
    (before,) = run(model, x=x)
    report = to_float16(model)
    assert [(item.node, item.reason) for item in report.float32] == [
        ("qlinearconv1", "ONNX lets QLinearConv read float32 alone")
    ]
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    (after,) = run(emulate_rounding(model), x=x)
    np.testing.assert_allclose(after, before, atol=5e-2)


def test_a_weight_whose_scale_float16_cannot_hold_stays_float32(build, calibrated, images, run):
    x = images(2, 3, 6, 6)
    model = build(NETWORK, w=1e-5 * images(8, 3, 3, 3))  # scales around 2e-7, three steps of float16
    quantize(model, calibrated(model, x), TENSORRT)
    (before,) = run(model, x=x)
    report = to_float16(model)
    assert len(report.float32) == 1
    assert "float16 has not enough bits for its scale" in report.float32[0].reason
    (after,) = run(emulate_rounding(model), x=x)
    assert np.linalg.norm(after - before) < 0.05 * np.linalg.norm(before)


MIXED = """g (float16[N, 4] x) => (float16[N, 4] y) <float16[4] w, float[4] v> {
    a = Mul (x, w)
    f = Cast <to = 1> (a)
    b = Mul (f, v)
    y = Cast <to = 10> (b)
}"""


def test_the_float32_part_of_a_float16_file_becomes_float16_and_its_border_stays(build, run):
    model = build(MIXED, w=np.ones(4, np.float16))
    before = [value.dtype for value in (*model.graph.inputs, *model.graph.outputs)]
    report = to_float16(model)
    assert (report.elements, report.float32) == (4, ())
    assert {value.dtype for node in model.graph for value in node.outputs} == {HALF}
    assert [value.dtype for value in (*model.graph.inputs, *model.graph.outputs)] == before
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    kept = build(MIXED, w=np.ones(4, np.float16))
    to_float16(kept, keep=["mul2"])
    assert [node.op_type for node in kept.graph if node.name == "mul2"] == ["Mul"]
    assert {value.dtype for node in kept.graph if node.name == "mul2" for value in node.inputs} == {FLOAT}
    onnx.checker.check_model(ir.to_proto(kept), full_check=True)


def test_a_float16_part_is_rounded_under_whatever_name_the_graph_runs(build):
    model = build(MIXED, w=np.ones(4, np.float16))
    for precision in Precision:
        assert literal_graph(model, precision) is not model


DYNAMIC = """g (float[N, 3, 6, 6] x) => (float[N, 4, 6, 6] y) <int8[4, 3, 3, 3] w, float ws> {
    q, s, z = DynamicQuantizeLinear (x)
    c = ConvInteger <pads = [1, 1, 1, 1]> (q, w, z)
    f = Cast <to = 1> (c)
    t = Mul (s, ws)
    m = Mul (f, t)
    y = Tanh (m)
}"""


def test_sums_of_integers_are_scaled_in_float32(build, run, images):
    """They reach 400,000 here, and only their product with the scale fits float16."""
    model = build(DYNAMIC, w=np.full((4, 3, 3, 3), 127, np.int8), ws=np.array(1e-3, np.float32))
    x = np.abs(images(2, 3, 6, 6)) + 1
    (before,) = run(model, x=x)
    report = to_float16(model)
    assert {item.node for item in report.float32} >= {"cast2", "mul4"}
    assert "tanh5" not in {item.node for item in report.float32}
    (after,) = run(emulate_rounding(model), x=x)
    np.testing.assert_allclose(after, before, rtol=2e-3)


def test_operators_of_onnx_runtime_answer_in_the_integers_that_they_read():
    text = """<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>
    g (float[N, 4] x) => (float[N, 4] y) <float s = {0.1}, uint8 z = {128}> {
        q = QuantizeLinear (x, s, z)
        a = com.microsoft.QLinearAdd (q, s, z, q, s, z, s, z)
        f = Flatten (a)
        g = com.microsoft.QLinearSigmoid (f, s, z, s, z)
        d = DequantizeLinear (g, s, z)
        y = Tanh (d)
    }"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    report = to_float16(model)
    found = {value.name: value.dtype for node in model.graph for value in node.outputs}
    assert {found[name] for name in "qafg"} == {ir.DataType.UINT8}
    assert found["d"] == HALF
    assert all("com.microsoft.QLinear" in item.reason for item in report.float32)
