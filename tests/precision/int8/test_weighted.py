"""Each kind of weighted operator: quantized along the right channel axis, or left in float with the reason."""

from dataclasses import replace

import numpy as np
import pytest

from deploykit.precision.int8.lint import lint
from deploykit.precision.int8.quantize import quantize
from deploykit.spec import (
    ORT_CPU,
    TENSORRT,
)

PLACEMENTS = pytest.mark.parametrize("placement", [TENSORRT, ORT_CPU], ids=lambda placement: placement.name)

CONV = (
    "g (float[N, 4, 6, 6] x) => (float[N, 8, H, W] y) <float[8, {per}, 3, 3] w{b}> {{ y = Conv <group={g}> (x, w{c}) }}"
)
TRANSPOSE = (
    "g (float[N, 4, 6, 6] x) => (float[N, 8, H, W] y) <float[4, {per}, 2, 2] w, float[8] b>"
    "{{ y = ConvTranspose <group={g}, strides=[2, 2]> (x, w, b) }}"
)
GEMM = "g (float[N, 4] x) => (float[N, 8] y) <float[{shape}] w, float{bias} b> {{ y = Gemm <{attributes}> (x, w, b) }}"
MATMUL = "g (float[N, 3, 4] x) => (float[N, 3, 8] y) <float[4, 8] w> { y = MatMul (x, w) }"


def scales_of_weight(model):
    node = next(node for node in model.graph if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"))
    dequantize = node.inputs[1].producer()
    return dequantize.attributes["axis"].as_int(), dequantize.inputs[1].const_value.numpy()


def check(model, placement, run, calibrated, x, axis):
    before = run(model, x=x)[0]
    weight = next(iter(model.graph.initializers.values())).const_value.numpy()
    others = tuple(dimension for dimension in range(weight.ndim) if dimension != axis)
    report = quantize(model, calibrated(model, x), placement)
    assert (len(report.quantized), report.excluded) == (1, ())
    assert lint(model, placement) == []
    found_axis, scales = scales_of_weight(model)
    assert found_axis == axis
    np.testing.assert_allclose(scales, np.abs(weight).max(axis=others) / 127, rtol=1e-6)
    after = run(model, x=x)[0]
    assert np.linalg.norm(after - before) < 0.02 * np.linalg.norm(before)


@PLACEMENTS
@pytest.mark.parametrize("group", [1, 2, 4], ids=["full", "grouped", "depthwise"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "plain"])
def test_conv(build, run, calibrated, images, placement, group, bias):
    text = CONV.format(per=4 // group, g=group, b=", float[8] b" if bias else "", c=", b" if bias else "")
    check(build(text), placement, run, calibrated, images(3, 4, 6, 6), axis=0)


@PLACEMENTS
def test_conv_transpose_under_a_placement_that_has_a_kernel_for_it(build, run, calibrated, images, placement):
    able = replace(placement, without_integer_kernel=())
    check(build(TRANSPOSE.format(per=8, g=1)), able, run, calibrated, images(3, 4, 6, 6), axis=1)


LSTM = (
    "g (float[5, N, 8] x) => (float[5, 1, N, 4] y) <float[1, 16, 8] w, float[1, 16, 4] r>"
    "{ y = LSTM <hidden_size=4> (x, w, r) }"
)


@PLACEMENTS
@pytest.mark.parametrize(("text", "op"), [(TRANSPOSE.format(per=8, g=1), "ConvTranspose"), (LSTM, "LSTM")])
def test_an_operator_without_an_integer_kernel_stays_float(build, table_of, placement, text, op):
    model = build(text)
    report = quantize(model, table_of(x=(-1, 1), y=(-1, 1)), placement)
    assert (report.quantized, report.pairs) == ((), 0)
    assert [item.reason for item in report.excluded] == [
        f"the {placement.name} Q/DQ scheme has no integer kernel for {op}"
    ]


@PLACEMENTS
@pytest.mark.parametrize(("shape", "attributes", "axis"), [("4, 8", "transB=0", 1), ("8, 4", "transB=1", 0)])
@pytest.mark.parametrize("bias", ["[8]", "[1, 8]", "[1]", ""])
def test_gemm(build, run, calibrated, images, placement, shape, attributes, axis, bias):
    model = build(GEMM.format(shape=shape, attributes=attributes, bias=bias))
    check(model, placement, run, calibrated, images(16, 4), axis=axis)


@PLACEMENTS
def test_matmul(build, run, calibrated, images, placement):
    check(build(MATMUL), placement, run, calibrated, images(5, 3, 4), axis=1)


@pytest.mark.parametrize(
    ("text", "placement", "reason"),
    [
        (
            TRANSPOSE.format(per=4, g=2),
            replace(TENSORRT, without_integer_kernel=()),
            "a grouped ConvTranspose has no single channel axis",
        ),
        (
            GEMM.format(shape="4, 8", attributes="alpha=2.0", bias="[8]"),
            ORT_CPU,
            "alpha or beta is not 1, so its bias does not have the accumulator's scale",
        ),
        (GEMM.format(shape="4, 8", attributes="beta=0.5", bias="[8]"), ORT_CPU, "alpha or beta is not 1"),
        (
            "g (float[3, 4] x) => (float[3, 8] y) <float[4, 8] w, float[3, 8] b> { y = Gemm (x, w, b) }",
            ORT_CPU,
            "a bias of shape (3, 8) is not one value per channel",
        ),
        (
            "g (float[4, N] x) => (float[N, 8] y) <float[4, 8] w, float[8] b> { y = Gemm <transA=1> (x, w, b) }",
            TENSORRT,
            "its activation is transposed",
        ),
        (
            "g (float[4, 5] x) => (float[3, 5] y) <float[3, 4] w> { y = MatMul (w, x) }",
            TENSORRT,
            "its weight is not a constant",
        ),
        (
            "g (float[2, 3, 4] x) => (float[2, 3, 8] y) <float[2, 4, 8] w> { y = MatMul (x, w) }",
            TENSORRT,
            "its weight has 3 dimensions, not 2",
        ),
        (
            "g (float[N, 4] x, float[8] b) => (float[N, 8] y) <float[4, 8] w> { y = Gemm (x, w, b) }",
            ORT_CPU,
            "its bias is not a constant",
        ),
    ],
)
def test_what_int8_cannot_express_stays_float_with_the_reason(build, table_of, text, placement, reason):
    model = build(text)
    before = [node.op_type for node in model.graph]
    report = quantize(model, table_of(x=(-1, 1), y=(-1, 1)), placement)
    assert report.quantized == ()
    assert len(report.excluded) == 1
    assert report.excluded[0].reason.startswith(reason)
    assert [node.op_type for node in model.graph] == before


@pytest.mark.parametrize("bias", ["alpha=2.0", "beta=0.5"])
def test_a_float_bias_may_be_scaled(build, run, calibrated, images, bias):
    model = build(GEMM.format(shape="4, 8", attributes=bias, bias="[8]"))
    check(model, TENSORRT, run, calibrated, images(16, 4), axis=1)


def test_a_weight_with_nan_stays_float(build, table_of):
    weight = np.full((4, 8), np.nan, np.float32)
    report = quantize(
        build(GEMM.format(shape="4, 8", attributes="transB=0", bias="[8]"), w=weight), table_of(x=(-1, 1)), TENSORRT
    )
    assert report.excluded[0].reason == "its weight holds NaN or infinity"


def test_a_dead_channel_keeps_the_precision_of_its_bias(build, run, calibrated, images):
    weight = np.random.default_rng(0).standard_normal((8, 4, 3, 3)).astype(np.float32)
    weight[3] = 0
    model = build(CONV.format(per=4, g=1, b=", float[8] b", c=", b"), w=weight, b=np.full(8, 0.333, np.float32))
    x = images(2, 4, 6, 6)
    assert quantize(model, calibrated(model, x), ORT_CPU).excluded == ()
    (found,) = run(model, x=x)
    assert "y_scale" not in model.graph.initializers  # the answer stays float: channel 3 is unlike the others
    np.testing.assert_allclose(found[:, 3], 0.333, atol=1e-3)
