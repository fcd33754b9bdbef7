"""A dilation on a kernel of one tap: the same numbers, and only where TensorRT-RTX would make a matrix product."""

import numpy as np
import pytest

from deploykit.graph.passes.dilate_pointwise import dilate_pointwise

TEXT = """<ir_version: 10, opset_import: ["" : 20]>
g (double[N, 2, 5, 4] x, double[{wide}, {read}, {kernel}, {kernel}] w, double[{wide}] b) => (double[N, M, H, W] y) {{
    r = Relu (x)
    c = {source}
    y = Conv {attributes} (c, w, b)
}}"""


def text(
    *, wide: int = 256, read: int = 4, kernel: int = 1, source: str = "Concat <axis = 1> (x, r)", attributes: str = ""
) -> str:
    return TEXT.format(wide=wide, read=read, kernel=kernel, source=source, attributes=attributes)


@pytest.mark.parametrize("attributes", ["", "<strides = [1, 1], dilations = [1, 1], pads = [0, 0, 0, 0], group = 1>"])
def test_the_numbers_stay_the_same_to_the_last_bit(build, run, attributes):
    model = build(text(attributes=attributes))
    x = np.random.default_rng(1).standard_normal((3, 2, 5, 4))
    before = run(model, x=x)[0]
    result = dilate_pointwise(model)
    assert result.rewritten == ["y"]
    assert not result.skipped
    assert model.graph[-1].attributes.get_ints("dilations") == (2, 2)
    assert np.array_equal(run(model, x=x)[0], before)


def test_a_convolution_over_a_line_gets_one_dilation(build):
    model = build(
        """<ir_version: 10, opset_import: ["" : 20]>
        g (double[N, 2, 5] x, double[256, 4, 1] w) => (double[N, 256, 5] y) {
            c = Concat <axis = 1> (x, x)
            y = Conv (c, w)
        }"""
    )
    dilate_pointwise(model)
    assert model.graph[-1].attributes.get_ints("dilations") == (2,)


def test_a_second_run_finds_nothing(build):
    model = build(text())
    dilate_pointwise(model)
    again = dilate_pointwise(model)
    assert (again.rewritten, again.skipped) == ([], [])


@pytest.mark.parametrize(
    "parts",
    [
        {"kernel": 3},
        {"wide": 255},
        {"source": "Relu (x)", "read": 2},
        {"read": 2, "attributes": "<group = 2>"},
        {"attributes": "<strides = [2, 2]>"},
        {"attributes": "<pads = [0, 0, 1, 0]>"},
        {"attributes": "<dilations = [1, 3]>"},
    ],
    ids=["3x3", "255 channels", "not behind a Concat", "groups", "strides", "padding", "dilation"],
)
def test_other_convolutions_are_no_site(build, parts):
    model = build(text(**parts))
    before = dict(model.graph[-1].attributes)
    result = dilate_pointwise(model)
    assert (result.rewritten, result.skipped) == ([], [])
    assert dict(model.graph[-1].attributes) == before


def test_a_convolution_that_is_added_to_a_residual_is_no_site(build):
    model = build(
        """<ir_version: 10, opset_import: ["" : 20]>
        g (double[N, 128, 5, 5] x, double[256, 256, 1, 1] w) => (double[N, 256, 5, 5] y) {
            c = Concat <axis = 1> (x, x)
            d = Conv (c, w)
            y = Add (d, c)
        }"""
    )
    result = dilate_pointwise(model)
    assert (result.rewritten, result.skipped) == ([], [])


def test_refuses_a_weight_of_unknown_size(build):
    model = build(text())
    model.graph[-1].inputs[1].shape = None
    result = dilate_pointwise(model)
    assert not result.rewritten
    assert [item.reason for item in result.skipped] == ["the size of the weight is not known"]
