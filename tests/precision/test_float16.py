"""Retyping a float32 graph as float16: what changes, what must not, and what is refused by name."""

import warnings

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from deploykit.errors import Float16Overflow
from deploykit.graph.rewrite import NAME_SCOPES
from deploykit.precision.emulate import emulate_rounding
from deploykit.precision.float16 import to_float16

CONV = """
g (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y) <float[4, 3, 3, 3] w, float[4] b> {
    c = Conv <pads=[1, 1, 1, 1]> (x, w, b)
    y = Relu (c)
}
"""
FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16


def types(model):
    return {value.name: value.dtype for node in model.graph for value in node.outputs}


def inferred(model):
    """What ONNX's own inference says of every value once the recorded types are gone."""
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    typed = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True).graph
    return {info.name: ir.DataType(info.type.tensor_type.elem_type) for info in (*typed.value_info, *typed.output)}


def test_keeps_float32_at_the_border_with_one_cast_each(build):
    model = build(CONV)
    to_float16(model)
    assert [node.op_type for node in model.graph] == ["Cast", "Conv", "Relu", "Cast"]
    assert (model.graph.inputs[0].dtype, model.graph.outputs[0].dtype) == (FLOAT, FLOAT)
    assert (model.graph.inputs[0].name, model.graph.outputs[0].name) == ("x", "y")
    assert types(model) == {"x_float16": HALF, "c": HALF, "y_float16": HALF, "y": FLOAT}
    assert types(model) == inferred(model)


def test_without_keep_io_there_is_no_cast(build):
    model = build(CONV)
    to_float16(model, keep_io=False)
    assert [node.op_type for node in model.graph] == ["Conv", "Relu"]
    assert {model.graph.inputs[0].dtype, *types(model).values()} == {HALF}
    assert types(model) == inferred(model)


def test_weights_are_rounded_to_nearest_even(build):
    weight = np.full((4, 3, 3, 3), 1 + 2.0**-11, np.float32)  # halfway between 1 and the next float16
    model = build(CONV, w=weight)
    to_float16(model)
    stored = model.graph.initializers["w"].const_value.numpy()
    assert stored.dtype == np.float16
    assert (stored == 1).all()


def test_counts_what_vanishes_and_what_is_subnormal_without_a_warning(build):
    weight = np.ones((4, 3, 3, 3), np.float32)
    weight[0, 0, 0] = [1e-9, -1e-9, 0.0]
    weight[1, 0, 0] = [1e-6, 2.0**-14, -3e-5]
    model = build(CONV, w=weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = to_float16(model)
    assert (report.tensors, report.elements) == (2, 4 * 27 + 4)
    assert (report.flushed, report.subnormal) == (2, 2)
    assert not np.any(model.graph.initializers["w"].const_value.numpy()[0, 0, 0])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (70000.0, "70000 in 'w' is beyond"),
        (-np.inf, "-inf in 'w' is beyond"),
        (np.nan, "'w' holds NaN"),
    ],
)
def test_names_the_layer_and_the_value_that_overflows(build, value, said):
    weight = np.ones((4, 3, 3, 3), np.float32)
    weight[2, 1, 0, 0] = value
    model = build(CONV, w=weight)
    model.graph[0].metadata_props[NAME_SCOPES] = "['', 'layer1', 'layer1.0.conv1', 'conv2d']"
    with pytest.raises(Float16Overflow) as caught:
        to_float16(model)
    assert caught.value.message.startswith(f"layer1.0.conv1: {said}")
    assert set(types(model).values()) == {FLOAT}


def test_65519_still_fits_and_65520_does_not(build):
    to_float16(build(CONV, b=np.full(4, 65519, np.float32)))
    with pytest.raises(Float16Overflow, match="65520 in 'b' is beyond float16's largest value, 65504"):
        to_float16(build(CONV, b=np.full(4, 65520, np.float32)))


def test_an_infinite_clip_bound_is_no_overflow(build, run):
    model = build(
        "g (float[N, 4] x) => (float[N, 4] y) <float lo, float hi> { y = Clip (x, lo, hi) }",
        lo=np.array(0, np.float32),
        hi=np.array(np.finfo(np.float32).max, np.float32),
    )
    to_float16(model)
    assert model.graph.initializers["hi"].shape == ()
    x = np.array([[-1, 0.5, 100, 60000]], np.float32)
    np.testing.assert_array_equal(run(model, x=x)[0], [[0, 0.5, 100, 60000]])


RESIZE = """
g (float[N, 3, 4, 4] x) => (float[N, 3, 8, 8] y) <float[4] scales> { y = Resize (x, , scales) }
"""


def test_resize_scales_stay_float32(build, run, images):
    model = build(RESIZE, scales=np.array([1, 1, 2, 2], np.float32))
    report = to_float16(model)
    assert report.kept == ("scales",)
    assert model.graph.initializers["scales"].dtype == FLOAT
    x = images(2, 3, 4, 4)
    found = run(emulate_rounding(model), x=x)[0]  # the CPU provider would drop the casts of `model` itself
    np.testing.assert_array_equal(found, x.astype(np.float16).repeat(2, 2).repeat(2, 3))


def test_a_constant_read_both_ways_is_kept_twice(build):
    model = build(
        """g (float[N, 3, 4, 4] x) => (float[N, 3, 8, 4] y) <float[4] s> {
            m = Mul (x, s)
            y = Resize (m, , s)
        }""",
        s=np.array([1, 1, 2, 1], np.float32),
    )
    to_float16(model)
    mul, resize = (node for node in model.graph if node.op_type in ("Mul", "Resize"))
    assert (mul.inputs[1].dtype, resize.inputs[2].dtype) == (HALF, FLOAT)
    assert types(model) == inferred(model)


def test_computed_resize_scales_are_cast_back_to_float32(build, run):
    model = build("g (float[N, 3, 4, 4] x, float[4] s) => (float[N, 3, H, W] y) { t = Neg (s)  y = Resize (x, , t) }")
    to_float16(model)
    assert types(model)["t"] == HALF
    (resize,) = (node for node in model.graph if node.op_type == "Resize")
    assert [value.dtype for value in resize.inputs if value is not None] == [HALF, FLOAT]
    x = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4)
    (found,) = run(model, x=x, s=np.array([-1, -1, -2, -2], np.float32))
    np.testing.assert_array_equal(found, x.repeat(2, 2).repeat(2, 3))


def test_constant_nodes_and_casts_to_float_become_half(build, run):
    model = build("""g (float[N, 4] x, int64[N, 4] k) => (float[N, 4] y) {
        two = Constant <value_float = 2.0> ()
        f = Cast <to = 1> (k)
        p = Mul (x, two)
        y = Add (p, f)
    }""")
    to_float16(model)
    assert {str(node.attributes["to"].as_int()) for node in model.graph if node.op_type == "Cast"} == {"10", "1"}
    assert types(model) == inferred(model)
    x, k = np.full((1, 4), 1.5, np.float32), np.arange(4)[None]
    np.testing.assert_array_equal(run(model, x=x, k=k)[0], [[3, 4, 5, 6]])


def test_constant_of_shape_fills_with_half(build):
    model = build("""g (float[N, 4] x) => (float[N, 4] y) {
        s = Shape (x)
        z = ConstantOfShape (s)
        y = Add (x, z)
    }""")
    to_float16(model)
    assert types(model) == inferred(model)


def test_integer_tensors_are_untouched(build):
    model = build("g (float[N, 4] x) => (float[N, 2, 2] y) <int64[3] s> { y = Reshape (x, s) }", s=np.array([-1, 2, 2]))
    report = to_float16(model)
    assert report.tensors == 0
    assert model.graph.initializers["s"].dtype == ir.DataType.INT64


def test_an_input_that_is_returned_as_it_is_keeps_its_type(build):
    model = build("g (float[N, 4] x) => (float[N, 4] x, float[N, 4] y) { y = Relu (x) }")
    to_float16(model)
    assert [value.dtype for value in model.graph.outputs] == [FLOAT, FLOAT]
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_an_operator_that_onnx_does_not_define_stays_float32():
    text = "g (float[N, 4] x) => (float[N, 4] y) { t = Relu (x) y = Mystery (t) }"
    model = ir.from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {text}'))
    for node in model.graph:
        node.outputs[0].dtype = FLOAT
    report = to_float16(model)
    assert [item.reason for item in report.float32] == [
        "ai.onnx.Mystery is not a standard operator, so its types are unknown"
    ]
    assert [node.op_type for node in model.graph] == ["Cast", "Relu", "Cast", "Mystery"]


def test_what_is_float16_already_stays_as_it_is(build):
    model = build("g (float16[N, 4] x) => (float16[N, 4] y) { y = Relu (x) }")
    before = ir.to_proto(model).SerializeToString()
    assert to_float16(model).elements == 0
    assert ir.to_proto(model).SerializeToString() == before
