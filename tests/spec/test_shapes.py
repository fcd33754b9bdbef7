"""Shapes and ranges of inputs, as they are written on the command line."""

import pytest

from deploykit.errors import UsageError
from deploykit.spec import (
    ImageAxes,
    InputShape,
    ModelSpec,
    SizeRange,
    TensorSpec,
    parse_input_range,
    parse_input_shape,
    tensor_spec,
)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("3,224,320", InputShape("", None, (3, 224, 320))),
        ("x=1x3x8x8", InputShape("x", 1, (3, 8, 8))),
        ("a:0=-1,3,8,8", InputShape("a:0", "batch", (3, 8, 8))),
        ("ids=batchx16:int64", InputShape("ids", "batch", (16,), "int64")),
        ("lengths=4", InputShape("lengths", 4, ())),
        ("x=Nx[2:4:8]x3", InputShape("x", "batch", (SizeRange(2, 4, 8), 3))),
        ("3x[2:4:8]x8", InputShape("", None, (3, SizeRange(2, 4, 8), 8))),
    ],
)
def test_a_shape_is_read_and_written_alike(text, shape):
    assert parse_input_shape(text) == shape
    assert parse_input_shape(str(shape)) == shape


@pytest.mark.parametrize("text", ["x=[1:2:4]x3", "x=1x[8:4:2]", "x=1x[0:4:8]", "x=1x3:float12", "x=1x-1x3"])
def test_a_range_of_batches_and_ranges_upside_down_are_refused(text):
    with pytest.raises(UsageError):
        parse_input_shape(text)


def test_free_sizes_are_named_and_have_an_optimum():
    spec = tensor_spec(parse_input_shape("3,[32:64:128],96"), name="images", dtype="float32")
    assert spec.shape == ("batch", 3, "height", 96)
    assert (spec.at_batch(2), spec.at_batch(2, "maximum"), spec.open) == ((2, 3, 64, 96), (2, 3, 128, 96), ())
    assert spec.fixed_at("maximum") == TensorSpec("images", ("batch", 3, 128, 96), "float32")
    assert str(spec) == "images float32[batch, 3, height[32:64:128], 96]"
    assert tensor_spec(parse_input_shape("x=4x[1:2:3]"), name="x", dtype="int8").shape == (4, "x_1")
    assert TensorSpec("x", ("N", 3, "H"), "float32").open == ("H",)


@pytest.mark.parametrize(
    ("shape", "layout", "axes"),
    [
        (("N", 3, 8, 12), None, ImageAxes("NCHW", 3, 8, 12)),
        (("N", 8, 12, 1), None, ImageAxes("NHWC", 1, 8, 12)),
        ((1, 3, 8, 3), None, ImageAxes("NCHW", 3, 8, 3)),
        ((1, 3, 8, 3), "NHWC", ImageAxes("NHWC", 3, 3, 8)),
        (("N", 3, 8, 12), "NHWC", None),
        (("N", 4, 8, 12), None, None),
        (("N", 3, 8), None, None),
        (("N", 3, "H", 8), None, None),
    ],
)
def test_where_an_image_s_axes_stand(shape, layout, axes):
    assert ImageAxes.of(TensorSpec("x", shape, "float32"), layout) == axes


@pytest.mark.parametrize(
    ("text", "low", "high", "dtype"),
    [
        ("ids=0:30000", 0, 30000, "int64"),
        ("x=-1.0:1.0", -1, 1, "float32"),
        ("mask=false:true", 0, 2, "bool"),
        ("a:b=0:2", 0, 2, "int64"),
    ],
)
def test_ranges_of_numbers(text, low, high, dtype):
    found = parse_input_range(text)
    assert (found.low, found.high, found.dtype) == (low, high, dtype)


@pytest.mark.parametrize("text", ["ids", "ids=5", "=0:3", "ids=3:3", "ids=5:2", "ids=a:b", "ids=0:inf", "ids=nan:3"])
def test_ranges_that_are_none_are_refused(text):
    with pytest.raises(UsageError, match="input range"):
        parse_input_range(text)


def test_an_input_is_named_once():
    twice = (parse_input_shape("x=1x3"), parse_input_shape("x=1x4"))
    with pytest.raises(UsageError, match="two input shapes are given for one input"):
        ModelSpec("net.onnx", input_shape=twice)
