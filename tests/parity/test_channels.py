"""Outputs of several kinds: which channels belong together, and what is said when one kind is lost."""

import numpy as np
import pytest

from deploykit.parity.channels import _collapsed, find_groups, measure_part

RNG = np.random.default_rng(3)
BOXES = 640 * RNG.random((8, 4, 90))
SCORES = 1 / (1 + np.exp(-RNG.normal(size=(8, 6, 90))))
DETECTOR = np.concatenate([BOXES, SCORES], axis=1)


def rounded(values, step):
    return np.round(values / step) * step


def kinds_of(exact):
    return [(group.axis, str(group)) for group in find_groups(exact)]


def parts_of(candidate, exact):
    return [measure_part(group, candidate, exact) for group in find_groups(exact)]


def test_boxes_and_scores_are_two_kinds_wherever_the_channels_lie():
    assert kinds_of(DETECTOR) == [(1, "channel 0:4"), (1, "channel 4:10")]
    assert kinds_of(DETECTOR.transpose(0, 2, 1)) == [(2, "channel 0:4"), (2, "channel 4:10")]
    maps = DETECTOR.reshape(8, 10, 9, 10)
    assert kinds_of(maps) == [(1, "channel 0:4"), (1, "channel 4:10")]
    assert kinds_of(maps.transpose(0, 2, 3, 1)) == [(3, "channel 0:4"), (3, "channel 4:10")]
    five = DETECTOR.reshape(8, 2, 5, 9, 10)  # (images, anchors, 5 + classes, height, width)
    assert len(kinds_of(np.concatenate([five[:, :, :2] * 640, five[:, :, 2:] / 640], axis=2))) > 1


def test_scores_that_all_collapsed_are_broken_and_the_boxes_are_not():
    boxes, scores = parts_of(rounded(DETECTOR, 5.0), DETECTOR)
    assert boxes.sqnr_db > 40
    assert not boxes.broken
    assert scores.channels == "channel 4:10"
    assert scores.broken == "1 distinct value is left of 4318"


def test_a_regression_head_of_plain_vectors_has_kinds_too():
    vectors = np.concatenate([640 * RNG.random((8, 4)), RNG.random((8, 1))], axis=1)
    assert kinds_of(vectors) == [(1, "channel 0:4"), (1, "channel 4")]
    assert parts_of(rounded(vectors, 5.0), vectors)[1].broken


def test_depth_around_an_offset_is_measured_by_what_varies():
    depth = 1000 + 0.4 * RNG.random((4, 1, 24, 24))
    (part,) = parts_of(depth.astype(np.float16).astype(float), depth)
    assert part.sqnr_db < 10
    assert part.broken == "2 distinct values are left of 1250"
    (part,) = parts_of(depth + 0.001 * RNG.normal(size=depth.shape), depth)
    assert part.sqnr_db > 35
    assert not part.broken


@pytest.mark.parametrize("step", [2 / 127, 0.1])
def test_logits_are_one_kind_though_a_class_hardly_varies(step):
    logits = RNG.normal(size=(8, 1000)) * np.exp(RNG.normal(size=1000) / 2)
    logits[:, 7] *= 1e-3
    (part,) = parts_of(rounded(logits, step), logits)
    assert part.channels == ""
    assert part.sqnr_db > 25
    assert not part.broken


def test_probabilities_are_one_kind_however_rare_a_class_is():
    logits = 4 * RNG.normal(size=(8, 21, 12, 12))
    logits[:, 5] -= 15
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    (part,) = parts_of(rounded(shares, 1 / 255), shares)
    assert part.channels == ""
    assert not part.broken


def test_channels_that_are_off_or_nearly_always_off_are_not_broken():
    features = np.maximum(RNG.normal(size=(8, 32, 7, 7)) - 1, 0)
    features[:, 3] = 0
    features[:, 4] *= 1e-3
    parts = parts_of(rounded(features, 4 / 127), features)
    assert [(part.channels, part.broken) for part in parts] == [("channel 0:3, 4:32", "")]


def test_one_channel_that_became_constant_is_named():
    maps = RNG.normal(size=(4, 5, 16, 16))
    candidate = maps + 1e-3 * RNG.normal(size=maps.shape)
    candidate[:, 2] = maps[:, 2].mean()
    (part,) = parts_of(candidate, maps)
    assert part.broken == "channel 2 is constant, where it varied"
    assert (part.worst, round(part.worst_db)) == (2, 0)


def test_an_answer_that_is_the_same_for_every_image_is_broken():
    grid = np.arange(400.0).reshape(1, 1, 20, 20)
    exact = grid + 20 * RNG.normal(size=(6, 1, 1, 1))
    (part,) = parts_of(np.broadcast_to(exact.mean(axis=0), exact.shape), exact)
    assert "no longer varies over the images" in part.broken


def test_float32_noise_is_no_variation():
    assert find_groups(1000 + 1e-9 * RNG.normal(size=(4, 3, 8, 8))) == ()
    assert find_groups(np.zeros((4, 3))) == ()
    assert [str(group) for group in find_groups(RNG.normal(size=5))] == [""]


def test_values_that_float32_does_not_tell_apart_were_never_many():
    """A map that hardly varies has many values in float64 and one or two in float32, and nothing is lost."""
    exact = 5.0 + 1e-7 * RNG.random((3, 192))
    assert len(np.unique(exact)) > 500
    assert _collapsed(exact, exact.astype(np.float32).astype(np.float64)) == ""
