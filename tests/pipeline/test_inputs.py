"""Which networks photographs fill, what the others are shown, and how it is cut into runs."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploykit.errors import UnsupportedGraph, UsageError
from deploykit.pipeline.inputs import Noise, Photographs, inputs_for, joined_feeds, runs, white_noise
from deploykit.pipeline.values import Exported
from deploykit.spec import ModelSpec, TensorSpec

RESULT = (TensorSpec("y", ("N", 10), "float32"),)
IMAGES = TensorSpec("x", ("N", 3, 8, 8), "float32")


def exported(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = RESULT) -> Exported:
    return Exported(ModelSpec("net.onnx", seed=3), Path("net.onnx"), "0" * 64, inputs, outputs, None, {}, hit=False)


def shown(network: Exported, role: str = "test", *, count: int = 5, batch: int = 1, data: Path | None = None):
    return inputs_for(network, role, count=count, batch=batch, data=data)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("channels", [1, 3])
def test_photographs_fill_square_images_in_the_inputs_own_type(channels, dtype):
    found = shown(exported(TensorSpec("x", ("N", channels, 8, 8), dtype)))
    assert isinstance(found, Photographs)
    feeds = list(found.feeds())
    assert [(feed["x"].shape, feed["x"].dtype.name) for feed in feeds] == [((1, channels, 8, 8), dtype)] * 5


@pytest.mark.parametrize(
    "inputs",
    [
        (TensorSpec("x", ("N", 3, 8, 12), "float32"),),
        (TensorSpec("x", ("N", 4, 8, 8), "float32"),),
        (TensorSpec("x", ("N", 7), "float16"),),
        (IMAGES, TensorSpec("z", ("N", 5), "float64")),
        (IMAGES, TensorSpec("z", (5, 2), "float32")),
    ],
    ids=["oblong", "four channels", "a vector", "two inputs", "an input without a batch"],
)
def test_everything_else_is_shown_seeded_noise_and_says_so(inputs):
    found = shown(exported(*inputs))
    assert isinstance(found, Noise)
    assert found.source.startswith("seeded noise: the network takes x float")
    assert found.facts["note"] == "calibrated on noise: speed only"
    feeds = list(found.feeds())
    assert len(feeds) == 5
    for spec in inputs:
        assert {feed[spec.name].shape for feed in feeds} == {spec.at_batch(1)}
        assert {feed[spec.name].dtype.name for feed in feeds} == {spec.dtype}
    again, other = shown(exported(*inputs)), shown(exported(*inputs), "calibration")
    assert again.digest == found.digest != other.digest
    for spec in inputs:
        np.testing.assert_array_equal(joined_feeds(list(again.feeds()))[spec.name], joined_feeds(feeds)[spec.name])
        assert not np.array_equal(joined_feeds(list(other.feeds()))[spec.name], joined_feeds(feeds)[spec.name])


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
        (TensorSpec("ids", ("N", 7), "int64"), "input ids int64[N, 7] cannot be made up"),
        (TensorSpec("mask", ("N", 7), "bool"), "input mask bool[N, 7] cannot be made up"),
        (TensorSpec("pixels", ("N", 3, 8, 8), "uint8"), "input pixels uint8[N, 3, 8, 8] cannot be made up"),
        (TensorSpec("scale", (), "float32"), "input scale is a single number"),
    ],
)
def test_what_nothing_is_known_of_is_refused(spec, said):
    with pytest.raises(UnsupportedGraph, match=re.escape(said)) as caught:
        shown(exported(IMAGES, spec))
    assert caught.value.hint


def test_free_sizes_and_no_inputs_are_refused():
    with pytest.raises(UsageError, match="input x leaves H, W open"):
        shown(exported(replace(IMAGES, shape=("N", 3, "H", "W"))))
    with pytest.raises(UnsupportedGraph, match=r"net\.onnx has no input"):
        shown(exported())


def test_photographs_for_a_network_that_they_cannot_fill_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"takes x float32\[N, 4, 8, 8\]: photographs cannot fill that") as caught:
        shown(exported(replace(IMAGES, shape=("N", 4, 8, 8))), data=tmp_path)
    assert "leave out --data" in caught.value.hint


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
