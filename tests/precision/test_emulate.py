"""The rounding emulation: bit for bit what numpy's float16 says where each step is one rounding."""

import numpy as np
import onnx_ir as ir
import pytest

from deploykit.errors import InvalidFeed
from deploykit.graph.rewrite import NAME_SCOPES
from deploykit.precision.emulate import emulate_rounding, find_overflow, literal_graph
from deploykit.precision.float16 import to_float16
from deploykit.precision.int8.quantize import quantize
from deploykit.spec import ORT_CPU, Precision

ELEMENTWISE = """
g (float[N, 64] x) => (float[N, 64] y) <float[64] w, float[64] b> {
    p = Mul (x, w)
    s = Add (p, b)
    y = Relu (s)
}
"""
CHAIN = """
g (float[N, 2, 4, 4] x) => (float[N, 2, 4, 4] y) <float[2, 2, 1, 1] w1, float[2, 2, 1, 1] w2> {
    a = Conv (x, w1)
    r = Relu (a)
    b = Conv (r, w2)
    y = Relu (b)
}
"""


def half(model, **options):
    to_float16(model, **options)
    return model


@pytest.mark.parametrize("keep_io", [True, False])
def test_equals_numpy_float16_bit_for_bit(build, run, images, keep_io):
    model = build(ELEMENTWISE)
    w, b = (model.graph.initializers[name].const_value.numpy().astype(np.float16) for name in "wb")
    x = images(5, 64)
    expected = np.maximum(x.astype(np.float16) * w + b, np.float16(0))  # numpy rounds after each operation
    emulated = emulate_rounding(half(model, keep_io=keep_io))
    (found,) = run(emulated, x=x if keep_io else x.astype(np.float16))
    assert found.dtype == (np.float32 if keep_io else np.float16)
    np.testing.assert_array_equal(found.astype(np.float16).view(np.uint16), expected.view(np.uint16))


def test_shows_a_loss_that_the_cpu_provider_hides(build, run, images):
    model = build(ELEMENTWISE)
    x = images(5, 64)
    exact = run(model, x=x)[0]
    typed = half(model)
    assert np.abs(run(emulate_rounding(typed), x=x)[0] - exact).max() > np.abs(run(typed, x=x)[0] - exact).max()


def test_leaves_the_typed_graph_alone_and_keeps_its_interface(build):
    typed = half(build(ELEMENTWISE), keep_io=False)
    before = ir.to_proto(typed).SerializeToString()
    emulated = emulate_rounding(typed)
    assert ir.to_proto(typed).SerializeToString() == before
    for ours, theirs in ((emulated.graph.inputs, typed.graph.inputs), (emulated.graph.outputs, typed.graph.outputs)):
        assert [(value.name, value.dtype, value.shape) for value in ours] == [
            (value.name, value.dtype, value.shape) for value in theirs
        ]


def test_a_value_that_is_returned_and_read_on_is_rounded_for_both(build, run):
    model = build("g (float[N, 4] x) => (float[N, 4] p, float[N, 4] y) { p = Mul (x, x)  y = Add (p, p) }")
    x = np.array([[1.001, 3.003, 0.1, 7.7]], np.float32)
    square = x.astype(np.float16) ** 2
    emulated = emulate_rounding(half(model, keep_io=False))
    p, y = run(emulated, x=x.astype(np.float16))
    np.testing.assert_array_equal(p, square)
    np.testing.assert_array_equal(y, square + square)


def test_an_overflow_is_infinite_and_named(build, run):
    model = build(CHAIN, w1=np.full((2, 2, 1, 1), 200, np.float32), w2=np.full((2, 2, 1, 1), -200, np.float32))
    model.graph[2].metadata_props[NAME_SCOPES] = "['', 'features', 'features.2', 'conv2d']"
    typed = half(model)
    emulated = emulate_rounding(typed)
    x = np.ones((1, 2, 4, 4), np.float32)
    assert np.isfinite(run(typed, x=x)[0]).all()  # what the CPU provider makes of the same graph
    site = find_overflow(emulated, {"x": x})
    assert (site.layer, site.op_type, site.output, site.magnitude) == ("features.2", "Conv", "b", 160000.0)
    assert str(site) == "features.2: Conv value 'b' reaches 160000, float16 ends at 65504"


def test_the_input_itself_may_overflow(build):
    emulated = emulate_rounding(half(build(ELEMENTWISE)))
    site = find_overflow(emulated, {"x": np.full((1, 64), 1e6, np.float32)})
    assert (site.layer, site.output, site.magnitude) == ("the input", "x", 1e6)


@pytest.mark.parametrize("keep_io", [True, False])
def test_finds_nothing_where_nothing_overflows(build, images, keep_io):
    emulated = emulate_rounding(half(build(CHAIN), keep_io=keep_io))
    x = images(2, 2, 4, 4)
    assert find_overflow(emulated, {"x": x if keep_io else x.astype(np.float16)}) is None


def test_an_overflow_at_a_half_output_is_found(build):
    model = build("g (float[N, 4] x) => (float[N, 4] y) { y = Mul (x, x) }")
    site = find_overflow(emulate_rounding(half(model, keep_io=False)), {"x": np.full((1, 4), 300, np.float16)})
    assert (site.op_type, site.magnitude) == ("Mul", 90000.0)


def test_a_wrong_feed_is_refused(build, images):
    emulated = emulate_rounding(half(build(CHAIN)))
    with pytest.raises(InvalidFeed, match="could not run the rounding emulation"):
        find_overflow(emulated, {"x": images(2, 3, 4, 4)})


def test_fp32_and_int8_graphs_are_their_own_literal_graphs(build, calibrated, images):
    model = build(CHAIN)
    assert literal_graph(model, Precision.FP32) is model
    table = calibrated(model, images(2, 2, 4, 4))
    quantize(model, table, ORT_CPU)
    assert literal_graph(model, Precision.INT8) is model
    typed = half(build(CHAIN))
    assert literal_graph(typed, Precision.FP16) is not typed


def test_a_weight_that_the_graph_makes_is_emulated_too(build, run):
    """ConstantOfShape fills a float16 tensor; the emulation fills the float32 tensor of the same values."""
    text = """g (float[N, 4] x) => (float[N, 4] y) {
        s = Constant <value = int64[1] {4}> () w = ConstantOfShape <value = float[1] {0.1}> (s) y = Mul (x, w) }"""
    x = np.array([[1.0, 3.0, 1000.0, -7.0]], np.float32)
    (found,) = run(emulate_rounding(half(build(text))), x=x)
    np.testing.assert_array_equal(found, (x.astype(np.float16) * np.float16(0.1)).astype(np.float32))
