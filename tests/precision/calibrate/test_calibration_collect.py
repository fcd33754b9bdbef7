"""Collection over a real graph: the right values, over all images, or a clear refusal."""

import numpy as np
import onnx_ir as ir
import pytest

from deploykit.errors import UnknownName, UsageError
from deploykit.precision.calibrate.collect import collect, observe
from deploykit.precision.calibrate.observations import CalibrationRun, Observations
from deploykit.precision.calibrate.ranges import Range

NETWORK = """
g (float[N, 3, 6, 6] x) => (float[N, 4, 6, 6] y) <float[4, 3, 1, 1] w, float[4, 1, 1] b> {
    a = Conv (x, w)
    r = Relu (a)
    y = Mul (r, b)
}
"""
DIGESTS = {"graph_digest": "a" * 64, "data_digest": "b" * 64}


def test_ranges_are_the_extremes_over_every_batch(build, run, images):
    model = build(NETWORK)
    x = images(6, 3, 6, 6)
    table = collect(model, ({"x": x[start : start + 2]} for start in (0, 2, 4)), **DIGESTS)
    (y,) = run(model, x=x)
    assert set(table.ranges) == {"x", "r", "y"}  # not `a`: the ReLU is all that reads it
    assert table.ranges["x"] == Range(x.min(), x.max())
    assert table.ranges["y"].lo == pytest.approx(y.min(), rel=1e-6)
    assert table.ranges["y"].hi == pytest.approx(y.max(), rel=1e-6)
    assert (table.images, table.method, table.graph_digest, table.data_digest) == (6, "minmax", "a" * 64, "b" * 64)


def test_the_batching_does_not_matter(build, images):
    model, x = build(NETWORK), images(6, 3, 6, 6)
    one, many = (collect(model, [{"x": part} for part in np.split(x, parts)], **DIGESTS) for parts in (1, 6))
    assert one.ranges.keys() == many.ranges.keys()
    for name, found in one.ranges.items():
        np.testing.assert_allclose((found.lo, found.hi), (many.ranges[name].lo, many.ranges[name].hi), rtol=1e-6)


def test_leaves_the_graph_alone_and_reports_progress(build, images):
    model, seen = build(NETWORK), []
    before = ir.to_proto(model).SerializeToString()
    feeds = [{"x": part} for part in np.split(images(6, 3, 6, 6), 3)]
    observe(
        model, feeds, Observations(CalibrationRun(**DIGESTS, preprocessing="noise", batches=3)), progress=seen.append
    )
    assert seen == [1, 2, 3]
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_names_the_input_that_is_not_finite(build, images, bad):
    x = images(2, 3, 6, 6)
    x[1, 0, 0, 0] = bad
    with pytest.raises(UsageError, match="'x' is NaN or infinite"):
        collect(build(NETWORK), [{"x": x}], **DIGESTS)


def test_names_the_activation_that_overflows(build, images):
    model = build(NETWORK, b=np.full((4, 1, 1), 3e38, np.float32))
    with pytest.raises(UsageError, match="'y' is NaN or infinite"):
        collect(model, [{"x": images(2, 3, 6, 6) * 100}], **DIGESTS)


@pytest.mark.parametrize("batches", [[], [{"x": np.zeros((0, 3, 6, 6), np.float32)}]])
def test_refuses_no_images(build, batches):
    with pytest.raises(UsageError, match="there are no calibration images"):
        collect(build(NETWORK), batches, **DIGESTS)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (np.ones((2, 3, 5, 6), np.float32), r"float32\[2, 3, 5, 6\], the network takes float32\['N', 3, 6, 6\]"),
        (np.ones((3, 6, 6), np.float32), r"float32\[3, 6, 6\]"),
        (np.ones((2, 3, 6, 6)), r"float64\[2, 3, 6, 6\]"),
    ],
)
def test_refuses_a_batch_that_does_not_fit(build, batch, said):
    with pytest.raises(UsageError, match=said):
        collect(build(NETWORK), [{"x": batch}], **DIGESTS)


def test_refuses_an_unknown_method(build):
    with pytest.raises(UnknownName, match="unknown calibration method 'minmx'; did you mean minmax"):
        collect(build(NETWORK), [], method="minmx", **DIGESTS)


TWO = "g (float[3] z, float16[N, 3] x) => (float[N, 3] y) { f = Cast <to = 1> (x) y = Add (f, z) }"


def test_every_input_is_fed_and_float32_ones_are_observed(build):
    x, z = np.array([[1, 2, 3], [4, 5, 6]], np.float16), np.array([7, 8, 9], np.float32)
    table = collect(build(TWO), [{"x": x, "z": z}], **DIGESTS)
    assert table.images == 2  # rows of the input whose first dimension is free
    assert dict(table.ranges) == {"z": Range(7, 9), "f": Range(1, 6), "y": Range(8, 15)}


def test_refuses_a_batch_that_lacks_an_input(build):
    with pytest.raises(UsageError, match="no array for z, which is float32"):
        collect(build(TWO), [{"x": np.ones((2, 3), np.float16)}], **DIGESTS)


def test_channels_last_are_no_reason_to_call_images_plain():
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 64, 16, 3] x) => (float[N, 64, 16, 3] y)
        { y = Relu (x) }"""
    grey = np.tile(np.linspace(0, 1, 16, dtype=np.float32)[None, None, :, None], (1, 64, 1, 3))  # 16 values, 64 rows
    table = collect(ir.from_onnx_text(text), [{"x": grey}], graph_digest="", data_digest="")
    assert table.images == 1
    with pytest.raises(UsageError, match="all calibration images are of one color"):
        collect(ir.from_onnx_text(text), [{"x": np.zeros_like(grey)}], graph_digest="", data_digest="")
