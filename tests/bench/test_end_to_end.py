"""Stages of the way from an image file to class numbers, on the null session."""

from pathlib import Path

import numpy as np
import pytest

from deploykit.backends.null import NullSession
from deploykit.backends.protocol import Engine
from deploykit.bench import BenchSettings
from deploykit.bench.end_to_end import STAGES, ImageBlock, Recipe, image_blocks, run_end_to_end, top_classes
from deploykit.data.dataset import RawImage
from deploykit.spec import Precision, Preprocessing, TensorSpec, silent

INPUT = TensorSpec("images", ("batch", 3, 32, 32), "float32")
OUTPUT = TensorSpec("logits", ("batch", 10), "float32")
ENGINE = Engine("null", "null", Precision.FP32, (INPUT,), (OUTPUT,))
RECIPE = Recipe(Preprocessing(32, 32), INPUT, batch=2, output="logits", top=5)


@pytest.fixture
def images(image_folder):
    return tuple(RawImage(path.name, path) for path in sorted(image_folder.iterdir()))


def test_every_stage_of_every_batch_has_its_time(images):
    found = ImageBlock(images[:6], RECIPE).run(NullSession(ENGINE))
    assert len(found) == 3
    assert all(tuple(sorted(batch, key=STAGES.index)) == STAGES for batch in found)
    assert all(taken >= 0 for batch in found for taken in batch.values())
    assert sum(batch["decode"] for batch in found) > 0


def test_what_is_no_classifier_is_not_ranked(images):
    (batch,) = ImageBlock(images[:2], Recipe(RECIPE.how, INPUT, batch=2)).run(NullSession(ENGINE))
    assert set(batch) == set(STAGES) - {"top-k"}


@pytest.mark.parametrize(("count", "batch", "sizes"), [(8, 2, [8]), (9, 2, [8, 8]), (3, 4, [12]), (1, 1, [8])])
def test_blocks_are_whole_and_show_every_image(images, count, batch, sizes):
    blocks = image_blocks(images[:count] if count < 9 else (*images, images[0]), Recipe(RECIPE.how, INPUT, batch))
    assert [len(block.images) for block in blocks] == sizes
    assert {raw.name for block in blocks for raw in block.images} == {raw.name for raw in images[:count]}


def test_the_highest_classes_come_first_with_their_share_of_the_softmax():
    scores = np.random.default_rng(0).normal(size=(4, 20)).astype(np.float32)
    classes, shares = top_classes(scores, 5)
    np.testing.assert_array_equal(classes, np.argsort(-scores, axis=1)[:, :5])
    softmax = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, np.take_along_axis(softmax, classes, axis=1), rtol=1e-5)
    assert top_classes(scores[:, :3], 5)[0].shape == (4, 3)


def test_rows_take_turns_and_a_failed_one_leaves_the_others(images, plugins):
    broken = Engine("raise", "raise", Precision.FP32, (INPUT,), (OUTPUT,))
    settings = BenchSettings(threads=1, max_seconds=30, gap_ms=0, min_rounds=6)
    found = run_end_to_end([("null fp32", ENGINE), ("raise fp32", broken)], images, RECIPE, settings, silent)
    good, bad = found.rows
    assert (good.failure, bad.failure is not None) == (None, True)
    assert [len(block.samples_ns) for block in good.total] == [4] * 6
    assert (found.rounds, found.images, found.stopped_by) == (6, 48, "all images have had their turn")
    for number, block in enumerate(good.total):
        parts = [good.stages[stage][number].samples_ns for stage in good.stages]
        assert list(block.samples_ns) == [sum(stages) for stages in zip(*parts, strict=True)]
    assert (bad.total, bad.stages) == ((), {})


def test_a_file_that_goes_away_meanwhile_ends_the_row_with_its_name(images, tmp_path):
    gone = RawImage("gone.png", Path(tmp_path / "gone.png"))
    settings = BenchSettings(threads=1, max_seconds=30, gap_ms=0)
    (row,) = run_end_to_end([("null fp32", ENGINE)], (*images[:7], gone), RECIPE, settings, silent).rows
    assert "gone.png" in str(row.failure)
