"""The judge of the random networks itself: it finds what it is there to find, and nothing else."""

import generator
import independent
import numpy as np
import pytest

NOISE = np.random.default_rng(0)
MAPS = NOISE.standard_normal((8, 12, 6, 6))
BOXES = np.concatenate([640.0 * NOISE.random((8, 4, 36)), NOISE.random((8, 5, 36))], 1)
LABELS = NOISE.permuted(np.tile(np.arange(20), (8, 1)), axis=1)
RELATIVE = {"fp32": 1e-6, "fp16": 1e-3, "int8": 0.05}
GROUPS = [slice(0, 4), slice(4, None)]


@pytest.mark.parametrize("precision", RELATIVE)
@pytest.mark.parametrize(("exact", "groups"), [(MAPS, []), (MAPS + 3.0, []), (BOXES, GROUPS)])
def test_the_rounding_of_a_precision_is_none_of_its_business(precision, exact, groups):
    rounded = exact * (1.0 + RELATIVE[precision] * np.random.default_rng(1).standard_normal(exact.shape))
    assert independent.disagreement(rounded, exact, precision, groups=groups, ranked=False) == ""


def constant_channel(maps):
    return np.where(np.arange(12)[:, None, None] == 3, maps.mean(), maps)


def small_noise(maps):
    return maps + 0.7 * np.random.default_rng(1).standard_normal(maps.shape)


def other_image(maps):
    return np.roll(maps, 1, axis=0)


def not_finite(maps):
    return np.where(maps > 2.5, np.inf, maps)


@pytest.mark.parametrize("precision", RELATIVE)
@pytest.mark.parametrize("broken", [constant_channel, small_noise, other_image, not_finite])
def test_what_is_broken_is_found_at_every_precision(precision, broken):
    assert independent.disagreement(broken(MAPS), MAPS, precision, ranked=False)


@pytest.mark.parametrize("precision", RELATIVE)
def test_scores_that_are_gone_beside_boxes_in_pixels_are_found(precision):
    found = BOXES.copy()
    found[:, 4:] = found[:, 4:].mean()
    assert "slice(4, None" in independent.disagreement(found, BOXES, precision, groups=GROUPS, ranked=False)


@pytest.mark.parametrize("precision", RELATIVE)
def test_whole_numbers_agree_or_not_and_ranked_ones_in_any_order(precision):
    def judged(found, *, ranked):
        return independent.disagreement(found, LABELS, precision, ranked=ranked)

    assert judged(LABELS, ranked=False) == ""
    assert judged((LABELS + 1) % 20, ranked=False)
    assert judged(LABELS[:, ::-1], ranked=True) == ""
    assert judged(LABELS + 100, ranked=True)


def test_a_network_is_the_same_in_every_call_and_float64_agrees_with_float32():
    taken = generator.inputs(3)
    arrays = independent.made_up(0, taken)
    one, two = (independent.exact_outputs(generator.network(3), arrays) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        assert first.dtype == np.float64
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("precision", "clipped", "found_out"), [("int8", 2, False), ("int8", 3, True), ("fp16", 1, True)]
)
def test_int8_may_clip_few_images_beyond_those_it_was_calibrated_on(precision, clipped, found_out):
    exact = np.random.default_rng(2).standard_normal((independent.IMAGES, 12))
    exact[:clipped] *= 10.0
    assert bool(independent.disagreement(exact.clip(-4.0, 4.0), exact, precision, ranked=False)) is found_out
