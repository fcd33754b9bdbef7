"""Which networks take images, what the others are fed, and how it is cut into runs."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from deploykit.data.feeds import joined_feeds, runs
from deploykit.data.inputs import ArrayInputs, ImageInputs, NoiseInputs, inputs_for
from deploykit.data.noise import white_noise
from deploykit.data.preparation import preparation_of
from deploykit.errors import UnsupportedGraph, UsageError
from deploykit.spec import (
    InputRange,
    ModelSpec,
    PreprocessRequest,
    Signature,
    SizeRange,
    Synthetic,
    TensorSpec,
    parse_input_range,
    parse_input_shape,
)

RESULT = (TensorSpec("y", ("N", 10), "float32"),)
IMAGES = TensorSpec("x", ("N", 3, 8, 8), "float32")


def exported(
    *inputs: TensorSpec,
    outputs: tuple[TensorSpec, ...] = RESULT,
    preprocess: str = "",
    ranges: tuple[InputRange, ...] = (),
    facts: dict[str, str] | None = None,
) -> Signature:
    asked = PreprocessRequest.parse(preprocess) if preprocess else None
    model = ModelSpec("net.onnx", seed=3, preprocess=asked, input_ranges=ranges)
    return Signature(model=model, inputs=inputs, outputs=outputs, **(facts or {}))


def shown(network: Signature, role: str = "test", *, count: int = 5, batch: int = 1, data=None):
    return inputs_for(network, role, count=count, batch=batch, data=data)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "uint8"])
@pytest.mark.parametrize(
    "shape", [("N", 3, 8, 8), ("N", 1, 8, 8), ("N", 3, 8, 12), ("N", 8, 12, 3), ("N", 16, 8, 1)], ids=str
)
def test_images_fill_an_image_input_in_the_inputs_own_type_and_layout(shape, dtype):
    found = shown(exported(TensorSpec("x", shape, dtype)))
    assert isinstance(found, ImageInputs)
    feeds = list(found.feeds())
    assert [(feed["x"].shape, feed["x"].dtype.name) for feed in feeds] == [((1, *shape[1:]), dtype)] * 5
    assert joined_feeds(feeds)["x"].std() > 0


def test_channels_last_are_the_same_images_as_channels_first():
    first, last = (
        joined_feeds(list(shown(exported(TensorSpec("x", shape, "float32"))).feeds()))["x"]
        for shape in (("N", 3, 8, 12), ("N", 8, 12, 3))
    )
    np.testing.assert_array_equal(first.transpose(0, 2, 3, 1), last)


def test_bytes_are_the_pixels_that_a_recipe_would_normalize():
    real, pixels = (
        joined_feeds(list(shown(exported(TensorSpec("x", ("N", 3, 8, 8), dtype), preprocess=asked)).feeds()))["x"]
        for dtype, asked in (("float32", "unit,order=bgr"), ("uint8", "order=bgr"))
    )
    np.testing.assert_allclose(real, pixels / 255, atol=1e-7)
    assert pixels.max() > 100


def test_free_sizes_within_a_range_are_shown_at_their_optimum():
    spec = TensorSpec("x", ("N", 3, "H", "W"), "float32", (("H", SizeRange(4, 8, 16)), ("W", SizeRange(4, 12, 16))))
    (feed, *_) = shown(exported(spec)).feeds()
    assert feed["x"].shape == (1, 3, 8, 12)


@pytest.mark.parametrize(("end", "sides"), [("minimum", (16, 32)), ("optimum", (32, 48)), ("maximum", (64, 96))])
def test_a_card_prepares_images_for_the_end_of_a_range_that_is_asked_about(end, sides):
    ranges = (("height", SizeRange(16, 32, 64)), ("width", SizeRange(32, 48, 96)))
    spec = TensorSpec("images", ("batch", 3, "height", "width"), "float32", ranges).fixed_at(end)
    shape = (parse_input_shape("3,[16:32:64],[32:48:96]"),)
    network = replace(exported(spec), model=ModelSpec("test_convnet", input_shape=shape))
    (feed, *_) = shown(network).feeds()
    assert feed["images"].shape == (1, 3, *sides)


def test_what_is_assumed_is_said_and_what_is_given_is_not_assumed():
    assumed = preparation_of(exported(IMAGES, facts={"normalizes": "the graph divides by 255 itself"}))
    assert assumed.origin == "assumed"
    assert "--preprocess; the graph divides by 255 itself" in str(assumed)
    assert assumed.facts.warning
    given = preparation_of(exported(IMAGES, preprocess="unit", facts={"normalizes": "the graph divides by 255 itself"}))
    assert (given.origin, given.warning, given.facts.warning) == ("given", "", None)
    assert given.recipe.values == "pixel / 255"
    assert preparation_of(exported(IMAGES, preprocess="resize=stretch")).origin == "assumed"
    noted = preparation_of(exported(replace(IMAGES, dtype="uint8"), facts={"preprocess": "bytes,order=bgr,resize=10"}))
    assert (noted.origin, noted.recipe.channel_order, noted.recipe.resize) == ("file", "BGR", 10)


@pytest.mark.parametrize(("channels", "origin"), [(3, "card"), (1, "assumed")])
def test_a_card_says_nothing_of_another_number_of_channels(channels, origin):
    network = exported(TensorSpec("images", ("batch", channels, 32, 32), "float32"))
    assert preparation_of(replace(network, model=ModelSpec("test_convnet", in_channels=channels))).origin == origin


@pytest.mark.parametrize(
    ("network", "asked", "said"),
    [
        (replace(IMAGES, shape=("N", 1, 8, 8)), "imagenet", "gives 3 numbers for mean, the network's images have 1"),
        (replace(IMAGES, dtype="uint8"), "unit", "takes bytes .*cannot make them pixel / 255; it normalizes by itself"),
        (IMAGES, "resize=4", "smaller than the input's 8 pixels"),
    ],
)
def test_preprocessing_that_does_not_fit_the_input_is_refused(network, asked, said):
    with pytest.raises(UsageError, match=said):
        shown(exported(network, preprocess=asked))


@pytest.mark.parametrize(
    "inputs",
    [
        (TensorSpec("x", ("N", 4, 8, 8), "float32"),),
        (TensorSpec("x", ("N", 7), "float16"),),
        (IMAGES, TensorSpec("z", ("N", 5), "float64")),
        (IMAGES, TensorSpec("z", (5, 2), "float32")),
    ],
    ids=["four channels", "a vector", "two inputs", "an input without a batch"],
)
def test_everything_else_is_shown_seeded_noise_and_says_so(inputs):
    found = shown(exported(*inputs))
    assert isinstance(found, NoiseInputs)
    assert found.source.startswith("seeded noise: the network takes x float")
    assert found.facts.note == "calibrated on noise: speed only"
    feeds = list(found.feeds())
    assert len(feeds) == 5
    for spec in inputs:
        assert {feed[spec.name].shape for feed in feeds} == {spec.at_batch(1)}
        assert {feed[spec.name].dtype.name for feed in feeds} == {spec.dtype}
    again, other = shown(exported(*inputs)), shown(exported(*inputs), "calibration", data=Synthetic.NOISE)
    assert again.digest == found.digest != other.digest
    for spec in inputs:
        np.testing.assert_array_equal(joined_feeds(list(again.feeds()))[spec.name], joined_feeds(feeds)[spec.name])
        assert not np.array_equal(joined_feeds(list(other.feeds()))[spec.name], joined_feeds(feeds)[spec.name])


def test_nothing_is_calibrated_on_noise_unless_that_is_asked_for():
    with pytest.raises(UnsupportedGraph, match=r"takes x float32.*: there is nothing to calibrate INT8 on") as caught:
        shown(exported(replace(IMAGES, shape=("N", 7))), "calibration")
    assert "--data FILE.npz" in caught.value.hint
    assert "--data noise" in caught.value.hint
    assert isinstance(shown(exported(IMAGES), "calibration", data=Synthetic.NOISE), NoiseInputs)


def test_whole_numbers_and_booleans_are_drawn_from_the_range_that_is_stated():
    ids, mask = TensorSpec("ids", ("N", 50), "int32"), TensorSpec("mask", ("N", 50), "bool")
    network = exported(ids, mask, ranges=(parse_input_range("ids=-2:3"), parse_input_range("mask=false:true")))
    feed = joined_feeds(list(shown(network, count=9).feeds()))
    assert (feed["ids"].dtype.name, feed["mask"].dtype.name) == ("int32", "bool")
    assert set(np.unique(feed["ids"])) == {-2, -1, 0, 1, 2}
    assert set(np.unique(feed["mask"])) == {False, True}
    white = white_noise((ids, mask), count=4, run=1, seed=0, ranges=network.model.input_ranges)
    assert (white["ids"].min(), white["ids"].max(), white["mask"].any()) == (-2, 2, True)


def test_arrays_by_name_fill_any_network(tmp_path):
    ids, images = TensorSpec("ids", ("N", 5), "int64"), TensorSpec("images", ("N", 4, 2, 2), "float32")
    random = np.random.default_rng(0)
    arrays = {"ids": random.integers(0, 9, (6, 5)), "images": random.standard_normal((6, 4, 2, 2)).astype(np.float32)}
    np.savez(tmp_path / "both.npz", **arrays)
    found = shown(exported(ids, images), "calibration", data=tmp_path / "both.npz")
    assert isinstance(found, ArrayInputs)
    feeds = joined_feeds(list(found.feeds()))
    for name, rows in feeds.items():
        np.testing.assert_array_equal(rows, arrays[name][list(found.rows)])
    test = shown(exported(ids, images), data=tmp_path / "both.npz")
    assert not set(found.identities) & set(test.identities)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"ids": np.zeros((4, 5), np.int64)}, "x is missing"),
        (
            {"ids": np.zeros((4, 5), np.int64), "x": np.zeros((3, 2), np.float32)},
            "different numbers of rows: ids 4, x 3",
        ),
        ({"ids": np.zeros((4, 5)), "x": np.zeros((4, 2), np.float32)}, r"ids are float64\[4, 5\]"),
        ({"ids": np.full((4, 5), 300), "x": np.zeros((4, 2), np.float32)}, r"ids are int64\[4, 5\]"),
        ({"a": np.zeros((4, 5))}, "has no array 'ids', it has a"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(tmp_path, arrays, said):
    np.savez(tmp_path / "some.npz", **arrays)
    network = exported(TensorSpec("ids", ("N", 5), "int8"), TensorSpec("x", ("N", 2), "float32"))
    with pytest.raises(UsageError, match=said):
        shown(network, data=tmp_path / "some.npz")


def test_bytes_of_the_inputs_own_shape_go_in_as_they_are(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
    np.savez(tmp_path / "pixels.npz", images=pixels)
    found = shown(exported(TensorSpec("x", ("N", 6, 6, 3), "uint8")), "calibration", data=tmp_path / "pixels.npz")
    assert isinstance(found, ArrayInputs)
    np.testing.assert_array_equal(joined_feeds(list(found.feeds()))["x"], pixels[list(found.rows)])
    smaller = shown(exported(TensorSpec("x", ("N", 4, 4, 3), "uint8")), "calibration", data=tmp_path / "pixels.npz")
    assert isinstance(smaller, ImageInputs)


def test_inputs_of_one_shape_are_shown_different_noise():
    first, second = (TensorSpec(name, ("N", 4, 8, 8), "float32") for name in "xz")
    (feed, *_) = shown(exported(first, second)).feeds()
    assert not np.array_equal(feed["x"], feed["z"])


def test_noise_for_images_falls_off_with_frequency_and_other_noise_does_not():
    inputs = (TensorSpec("x", ("N", 4, 32, 32), "float32"), TensorSpec("z", ("N", 1024), "float32"))
    feed = joined_feeds(list(shown(exported(*inputs), count=64).feeds()))
    smooth, rough = (np.abs(np.diff(feed[name].reshape(64, -1), axis=1)).mean() for name in "xz")
    assert smooth < 0.7 * rough
    assert feed["z"].std() == pytest.approx(1, abs=0.02)


def test_a_fixed_batch_is_filled():
    network = exported(replace(IMAGES, shape=(3, 3, 8, 8)))
    found = shown(network)
    assert (len(found), found.run) == (6, 3)
    assert [feed["x"].shape[0] for feed in found.feeds()] == [3, 3]
    assert (network.fixed_batch, network.run_length(3, 8)) == (3, 3)


def test_an_output_without_a_batch_needs_whole_batches():
    network = exported(IMAGES, outputs=(TensorSpec("sum", (3,), "float32"),))
    assert (network.fixed_batch, network.run_length(4, 1)) == (None, 4)
    assert len(shown(network, batch=4)) == 8
    assert exported(IMAGES).run_length(4, 1) == 1


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (TensorSpec("ids", ("N", 7), "int64"), "cannot generate test data for input ids int64[N, 7]"),
        (TensorSpec("mask", ("N", 7), "bool"), "cannot generate test data for input mask bool[N, 7]"),
        (TensorSpec("step", ("N", 3, 8, 8), "int8"), "cannot generate test data for input step int8[N, 3, 8, 8]"),
        (TensorSpec("scale", (), "float32"), "input scale is a scalar of unknown value"),
    ],
)
def test_what_nothing_is_known_of_is_refused(spec, said):
    with pytest.raises(UnsupportedGraph, match=re.escape(said)) as caught:
        shown(exported(IMAGES, spec))
    assert caught.value.hint


def test_free_sizes_and_no_inputs_are_refused():
    with pytest.raises(UsageError, match="input x leaves H, W open") as caught:
        shown(exported(replace(IMAGES, shape=("N", 3, "H", "W"))))
    assert "--input-shape x=batchx3x224x224" in caught.value.hint
    assert "--input-shape 'x=batchx3x[32:224:512]x[32:224:512]'" in caught.value.hint
    with pytest.raises(UnsupportedGraph, match=r"net\.onnx has no input"):
        shown(exported())


def test_images_for_a_network_that_they_cannot_fill_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"takes x float32\[N, 4, 8, 8\], which is not an image input") as caught:
        shown(exported(replace(IMAGES, shape=("N", 4, 8, 8))), data=tmp_path)
    assert "--data FILE.npz" in caught.value.hint


def test_runs_cut_batches_and_hand_out_whole_what_has_none():
    inputs = (IMAGES, TensorSpec("z", (5,), "float32"))
    feed = white_noise(inputs, count=6, run=2, seed=0)
    assert (feed["x"].shape, feed["z"].shape) == ((6, 3, 8, 8), (15,))
    found = runs(feed, tuple(replace(spec, dtype="float16") for spec in inputs), 2)
    assert [(part["x"].shape[0], part["z"].shape, part["z"].dtype.name) for part in found] == [(2, (5,), "float16")] * 3
    np.testing.assert_array_equal(found[1]["z"], feed["z"][5:10].astype(np.float16))
    np.testing.assert_array_equal(joined_feeds(runs(feed, inputs, 2))["x"], feed["x"])


def test_the_last_run_of_a_free_batch_may_be_smaller():
    feed = white_noise((IMAGES,), count=5, run=1, seed=0)
    assert [len(part["x"]) for part in runs(feed, (IMAGES,), 2)] == [2, 2, 1]


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_given_images_are_called_crops_only_where_crops_make_up_the_number(tmp_path, resize):
    for shade in range(8):
        Image.new("RGB", (20, 10), (shade * 30, 0, 0)).save(tmp_path / f"{shade}.png")
    network = exported(IMAGES, preprocess=f"unit,resize={resize}")
    enough, few = (shown(network, count=count, data=tmp_path) for count in (4, 6))
    assert enough.source == "the given images"
    assert few.source == "the given images (4), and 2 random crops of them"
    assert shown(network).source == "crops of the demo images"


@pytest.mark.parametrize(("channels", "said"), [(3, "ImageNet's mean and deviation are"), (1, "-1 and 1 are")])
def test_what_is_assumed_is_what_is_done(channels, said):
    how = preparation_of(exported(TensorSpec("x", ("N", channels, 8, 8), "float32")))
    assert f"{said} assumed" in how.warning
    assert (how.recipe.mean == (0.5,)) == (channels == 1)
