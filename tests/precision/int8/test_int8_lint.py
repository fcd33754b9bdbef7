"""The lint finds each fault that it promises to find, planted one at a time."""

import numpy as np
import pytest

from deploykit.graph.rewrite import new_initializer
from deploykit.precision.int8.lint import lint
from deploykit.precision.int8.quantize import quantize
from deploykit.spec import (
    ORT_CPU,
    TENSORRT,
)

CONV = """
g (float[N, 4, 6, 6] x) => (float[N, 8, 6, 6] y) <float[8, 4, 1, 1] w, float[8] b> {
    y = Conv (x, w, b)
}
"""


@pytest.fixture
def quantized(build, calibrated, images):
    def make(placement):
        model = build(CONV)
        quantize(model, calibrated(model, images(2, 4, 6, 6)), placement)
        return model

    return make


def conv(model):
    return next(node for node in model.graph if node.op_type == "Conv")


def replace(model, node, index, array):
    node.replace_input_with(index, new_initializer(model.graph, "planted", np.asarray(array)))


def test_a_float_operator_is_listed_unless_it_is_known(build):
    model = build(CONV)
    assert lint(model, TENSORRT) == [
        "conv0: its activation is not quantized",
        "conv0: its weight is not behind DequantizeLinear",
    ]
    assert lint(model, TENSORRT, excluded=["conv0"]) == []


def test_an_operator_of_another_domain_is_none_of_its_business(build):
    model = build(CONV)
    conv(model).domain = "com.example"
    assert lint(model, TENSORRT) == []


def test_each_placement_complains_about_the_others_graph(quantized):
    ort, tensorrt = quantized(ORT_CPU), quantized(TENSORRT)
    assert "conv0: its bias is quantized, which the tensorrt placement forbids" in lint(ort, TENSORRT)
    assert any("zero-point is uint8[], not one int8" in line for line in lint(ort, TENSORRT))
    assert "conv0: its bias is float, the ort-cpu placement wants int32" in lint(tensorrt, ORT_CPU)


@pytest.mark.parametrize(
    ("operand", "index", "array", "said"),
    [
        (1, 1, np.ones(4, np.float32), "its weight has 4 scales on axis 0, not 8 on axis 0"),
        (1, 1, np.zeros(8, np.float32), "a scale is not finite and positive"),
        (1, 1, np.full(8, np.inf, np.float32), "a scale is not finite and positive"),
        (1, 0, np.ones((8, 4, 1, 1), np.uint8), "its weight is uint8, not int8"),
        (1, 2, np.ones(8, np.int8), "its weight's zero-point is not 0"),
        (2, 1, np.ones(8, np.float32), "its bias does not have the accumulator's scale s_x * s_w"),
        (2, 0, np.ones(8, np.int8), "its bias is not an int32 constant"),
    ],
)
def test_faults_of_constants(quantized, operand, index, array, said):
    model = quantized(ORT_CPU)
    assert lint(model, ORT_CPU) == []
    replace(model, conv(model).inputs[operand].producer(), index, array)
    assert f"conv0: {said}" in lint(model, ORT_CPU)


def test_a_pair_with_two_scales(quantized):
    model = quantized(TENSORRT)
    replace(model, conv(model).inputs[0].producer(), 1, np.float32(1))
    assert any("another scale or zero-point" in line for line in lint(model, TENSORRT))


def test_a_symmetric_zero_point_that_is_not_zero(quantized):
    model = quantized(TENSORRT)
    quantize = next(node for node in model.graph if node.op_type == "QuantizeLinear")
    for node in (quantize, conv(model).inputs[0].producer()):
        replace(model, node, 2, np.int8(3))
    assert any("its zero-point is 3, a symmetric placement has 0" in line for line in lint(model, TENSORRT))
