"""Shards, checkpoints and their files: the parts give the table of the whole, and nothing else is believed."""

import json

import numpy as np
import pytest

from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.precision.calibrate.collect import observe
from deploykit.precision.calibrate.observations import CalibrationRun, Observations, merge, shard_batches

NETWORK = """
g (float[N, 3, 6, 6] x) => (float[N, 4, 6, 6] y) <float[4, 3, 1, 1] w, float[4, 1, 1] b> {
    a = Conv (x, w)
    r = Relu (a)
    y = Mul (r, b)
}
"""
RUN = CalibrationRun(graph_digest="a" * 64, data_digest="b" * 64, preprocessing="noise", batches=7)


@pytest.fixture
def model(build):
    return build(NETWORK)


@pytest.fixture
def batches(images):
    return [{"x": part * np.float32(3**index)} for index, part in enumerate(np.split(images(14, 3, 6, 6), 7))]


def shard(model, batches, index, shards, run=RUN):
    part = shard_batches(run.batches, index, shards)
    return observe(model, batches[part.start : part.stop], Observations(run, index, shards))


@pytest.mark.parametrize("shards", [2, 3, 7])
@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
def test_merged_shards_give_the_table_of_one_pass_byte_for_byte(model, batches, shards, method):
    whole = observe(model, batches, Observations(RUN))
    parts = [
        Observations.from_json(shard(model, batches, index, shards).to_json()) for index in reversed(range(shards))
    ]
    assert merge(parts).table(method).to_json() == whole.table(method).to_json()
    assert merge(parts).images == 14


def test_an_interrupted_collection_goes_on_where_it_stopped(model, batches):
    def interrupted(feeds):
        yield from feeds[:3]
        raise KeyboardInterrupt

    begun = Observations(RUN)
    with pytest.raises(KeyboardInterrupt):
        observe(model, interrupted(batches), begun)
    assert (begun.done, begun.images, begun.finished) == (3, 6, False)
    resumed = Observations.from_json(begun.to_json())
    seen = []
    observe(model, batches, resumed, progress=seen.append)
    assert seen == [4, 5, 6, 7]
    assert resumed.to_json() == observe(model, batches, Observations(RUN)).to_json()


def test_shards_are_contiguous_balanced_and_cover_every_batch():
    for batches in (1, 7, 64):
        for shards in range(1, batches + 1):
            parts = [shard_batches(batches, index, shards) for index in range(shards)]
            assert [batch for part in parts for batch in part] == list(range(batches))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_what_does_not_belong_together_is_not_merged(model, batches):
    first, second, third = (shard(model, batches, index, 3) for index in range(3))
    other = CalibrationRun(graph_digest="a" * 64, data_digest="c" * 64, preprocessing="noise", batches=7)
    unfinished = Observations(RUN, 1, 3, done=1, images=2, histograms=second.histograms)
    for parts, said in (
        ([], "no shards"),
        ([first, third], "shards are missing: 2/3"),
        ([first, second, third, second], "shard 2/3 is given twice"),
        ([first, unfinished, third], r"shard 2/3 \(1 of 2 batches\) is not finished"),
        ([first, second, shard(model, batches, 2, 3, other)], "data digest bbbbbbbbbbbb and cccccccccccc"),
        ([first, second, shard(model, batches, 1, 2)], "cut differently"),
    ):
        with pytest.raises(UsageError, match=said):
            merge(parts)
    with pytest.raises(UsageError, match=r"shard 1/3 .* is not a whole calibration"):
        first.table("minmax")


def test_images_of_one_color_are_refused(model):
    black = np.zeros((2, 3, 6, 6), np.float32)
    with pytest.raises(UsageError, match="all calibration images are of one color"):
        observe(model, [{"x": black}], Observations(RUN))


def change(found, path, value):
    *parents, last = path
    for key in parents:
        found = found[key]
    found[last] = value


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("schema_version",), 2, "schema_version is 2"),
        (("graph_digest",), "A" * 64, "not a SHA-256"),
        (("shard",), [3, 3], "whole number from 0 to 2"),
        (("shard",), [0], "not a list of 2"),
        (("batches",), 0, "whole number"),
        (("done",), 4, "whole number from 0 to 2"),
        (("images",), -1, "whole number"),
        (("images",), True, "images is True, not a whole number"),
        (("histograms",), [], "not an object"),
        (("histograms", "x", "lo"), float("1e39"), "not finite float32"),
        (("histograms", "x", "lo"), "0", "histograms.x.lo is '0', not a number"),
        (("histograms", "x", "exponent"), 0, "do not fit its extremes"),
        (("histograms", "x", "counts"), [], "has no counts"),
        (("histograms", "x", "counts"), [1.5], "whole number"),
        (("histograms", "x", "first"), 4095, "beyond its last bin"),
        (("histograms", "x", "hi"), 0.875, "counts where its extremes are not"),
        (("histograms", "x", "more"), 1, "histograms.x: keys missing or unknown: more"),
    ],
)
def test_a_file_that_was_touched_is_refused(model, batches, path, value, said):
    content = json.loads(shard(model, batches, 0, 3).to_json())
    change(content, path, value)
    with pytest.raises(UntrustedArtifact, match=said):
        Observations.from_json(json.dumps(content))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"a": 1, "a": 2}', '{"images": NaN}', "\x80\x04pickle"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(UntrustedArtifact, match="calibration shard"):
        Observations.from_json(text)
