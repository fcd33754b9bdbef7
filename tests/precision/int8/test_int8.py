"""Quantizing a graph in place: the edits, the report, the numbers."""

import numpy as np
import onnx_ir as ir
import pytest

from deploykit.errors import UsageError
from deploykit.graph.rewrite import NAME_SCOPES
from deploykit.precision.int8.lint import lint
from deploykit.precision.int8.quantize import quantize
from deploykit.spec import (
    ORT_CPU,
    TENSORRT,
)

PLACEMENTS = pytest.mark.parametrize("placement", [TENSORRT, ORT_CPU], ids=lambda placement: placement.name)
BLOCK = """
g (float[N, 4, 6, 6] x) => (float[N, 4, 6, 6] y)
  <float[8, 4, 3, 3] w1, float[8] b1, float[4, 8, 1, 1] w2, float[4] b2> {
    a = Conv <pads=[1, 1, 1, 1]> (x, w1, b1)
    r = Relu (a)
    b = Conv (r, w2, b2)
    s = Add (b, x)
    y = Relu (s)
}
"""


def operators(model):
    return [node.op_type for node in model.graph]


def producer(value):
    return value.producer().op_type if value.producer() is not None else None


def quantized_block(build, calibrated, images, placement):
    model = build(BLOCK)
    x = images(4, 4, 6, 6)
    return model, quantize(model, calibrated(model, x), placement), x


@PLACEMENTS
def test_keeps_the_interface_and_most_of_the_signal(build, run, calibrated, images, placement):
    x = images(4, 4, 6, 6)
    (before,) = run(build(BLOCK), x=x)
    model, report, _ = quantized_block(build, calibrated, images, placement)
    assert (model.graph.inputs[0].name, model.graph.outputs[0].name) == ("x", "y")
    assert model.graph.outputs[0].dtype == ir.DataType.FLOAT
    (after,) = run(model, x=x)
    assert 20 * np.log10(np.linalg.norm(before) / np.linalg.norm(after - before)) > 35
    assert (report.placement, report.excluded) == (placement.name, ())
    assert lint(model, placement) == []


def test_tensorrt_shares_the_pair_between_convolution_and_shortcut(build, calibrated, images):
    model, report, _ = quantized_block(build, calibrated, images, TENSORRT)
    assert report.pairs == 2
    assert operators(model).count("QuantizeLinear") == 2
    assert operators(model).count("DequantizeLinear") == 4
    first, second = (node for node in model.graph if node.op_type == "Conv")
    add = next(node for node in model.graph if node.op_type == "Add")
    assert add.inputs[1] is first.inputs[0]
    assert producer(add.inputs[0]) == "Conv"
    assert [value.name for value in (first.inputs[2], second.inputs[2])] == ["b1", "b2"]
    assert {value.dtype for value in model.graph.initializers.values()} == {ir.DataType.FLOAT, ir.DataType.INT8}


def test_onnx_runtime_quantizes_outputs_and_biases(build, calibrated, images):
    model, report, _ = quantized_block(build, calibrated, images, ORT_CPU)
    assert report.pairs == 4  # x, r, b, y; nothing between Conv or Add and its Relu
    assert producer(model.graph.outputs[0]) == "DequantizeLinear"
    conv = next(node for node in model.graph if node.op_type == "Conv")
    bias = conv.inputs[2].producer()
    scales = [conv.inputs[index].producer().inputs[1].const_value.numpy() for index in range(3)]
    assert bias.inputs[0].const_value.numpy().dtype == np.int32
    np.testing.assert_allclose(scales[2], scales[0] * scales[1], rtol=1e-6)
    relus = [node for node in model.graph if node.op_type == "Relu"]
    assert [producer(relu.inputs[0]) for relu in relus] == ["Conv", "Add"]


@PLACEMENTS
def test_weights_are_stored_as_int8_and_the_float_ones_are_gone(build, calibrated, images, placement):
    model, _, _ = quantized_block(build, calibrated, images, placement)
    stored = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    assert stored["w1_quantized"].dtype == np.int8
    assert not {"w1", "w2"} & set(stored)
    conv = next(node for node in model.graph if node.op_type == "Conv")
    original = build(BLOCK).graph.initializers["w1"].const_value.numpy()
    scale = conv.inputs[1].producer().inputs[1].const_value.numpy().reshape(-1, 1, 1, 1)
    assert (np.abs(stored["w1_quantized"] * scale - original) <= scale * (0.5 + 1e-5)).all()


def test_a_weight_of_two_convolutions_is_kept_while_one_needs_it_in_float(build, run, calibrated, images):
    model = build("""g (float[N, 4] x) => (float[N, 4] y) <float[4, 4] w, float[4] b> {
        a = MatMul (x, w)
        y = Gemm <alpha=0.5> (a, w, b)
    }""")
    x = images(6, 4)
    report = quantize(model, calibrated(model, x), ORT_CPU)
    assert [item.node for item in report.excluded] == ["gemm1"]
    assert "w" in model.graph.initializers
    assert lint(model, ORT_CPU, excluded=["gemm1"]) == []
    run(model, x=x)


def test_new_nodes_report_the_module_they_belong_to(build, calibrated, images):
    model = build(BLOCK)
    for node in model.graph:
        node.metadata_props[NAME_SCOPES] = f"['', 'features.{node.name}', 'op']"
    quantize(model, calibrated(model, images(2, 4, 6, 6)), ORT_CPU)
    assert all(NAME_SCOPES in node.metadata_props for node in model.graph if "x_" not in node.name)


def test_a_mover_keeps_the_scale_of_its_input(build, calibrated, images):
    model = build("""g (float[N, 4, 6, 6] x) => (float[N, 4, 4, 4] y) <float[4, 4, 1, 1] w, float[4, 4, 3, 3] v> {
        a = Conv (x, w)
        m = MaxPool <kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]> (a)
        y = Conv (m, v)
    }""")
    quantize(model, calibrated(model, images(4, 4, 6, 6)), ORT_CPU)
    scale = {name: model.graph.initializers[f"{name}_scale"].const_value.numpy() for name in "am"}
    assert scale["a"] == scale["m"]
    assert scale["a"].shape == ()


def test_a_value_the_table_lacks_is_named_before_anything_changes(build, table_of):
    model = build(BLOCK)
    before = operators(model)
    with pytest.raises(UsageError, match="no range for 'r'"):
        quantize(model, table_of(x=(-1, 1)), TENSORRT)
    assert operators(model) == before


def test_a_quantized_graph_is_refused(build, calibrated, images):
    model, _, x = quantized_block(build, calibrated, images, TENSORRT)
    with pytest.raises(UsageError, match="quantized already"):
        quantize(model, calibrated(build(BLOCK), x), TENSORRT)


def test_a_graph_with_nothing_to_quantize_is_left_alone(build, calibrated, images):
    model = build("g (float[N, 4] x) => (float[N, 4] y) { y = Tanh (x) }")
    report = quantize(model, calibrated(model, images(2, 4)), ORT_CPU)
    assert (report.quantized, report.pairs, operators(model)) == ((), 0, ["Tanh"])
