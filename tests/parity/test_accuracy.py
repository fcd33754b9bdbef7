"""Accuracy and its intervals, against figures worked out by hand or taken from the sources."""

import numpy as np
import pytest

from deploykit.parity.accuracy import Flips, Predictions, Share


def predictions(right):
    """One image for each entry: class 1 where it is true, 0 elsewhere; every label is 1."""
    right = np.asarray(right)
    logits = np.where(right[:, None], [[0.0, 1.0]], [[1.0, 0.0]])
    return Predictions.of(logits, np.ones(len(right), np.int64))


def test_ranks_of_a_small_table():
    logits = np.array([[3, 2, 1], [3, 2, 1], [3, 2, 1], [1, 1, 1], [1, 1, 1]], np.float32)
    found = Predictions.of(logits, np.array([0, 1, 2, 0, 2]))
    assert found.preferred.tolist() == [0, 1, 2, 0, 2]
    assert found.classes.tolist() == [0, 0, 0, 0, 0]
    assert [found.within(top) for top in (1, 2, 3)] == [2, 3, 5]


def test_nan_is_wrong_at_any_depth():
    logits = np.array([[np.nan, 2, 1], [np.inf, 0, 0]], np.float32)
    found = Predictions.of(logits, np.array([1, 0]))
    assert found.right.tolist() == [False, True]
    assert found.within(3) == 1


def test_joined_batches_are_the_whole():
    logits, labels = np.random.default_rng(0).standard_normal((10, 4)), np.arange(10) % 4
    parts = [Predictions.of(logits[part], labels[part]) for part in (slice(0, 7), slice(7, 10))]
    whole, joined = Predictions.of(logits, labels), Predictions.joined(parts)
    assert len(joined) == 10
    np.testing.assert_array_equal(joined.preferred, whole.preferred)
    np.testing.assert_array_equal(joined.classes, whole.classes)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)],
)
def test_wilson_as_newcombe_tabulates_it(hits, n, low, high):
    """Statistics in Medicine 17 (1998), table I, method 3."""
    assert Share(hits, n).interval == pytest.approx((low, high), abs=5e-5)


def test_flips_of_a_small_table():
    first, second = predictions([1, 1, 1, 1, 0, 0]), predictions([1, 1, 0, 0, 1, 0])
    found = Flips.between(first, second)
    assert (found.n, found.lost, found.gained) == (6, 2, 1)
    assert dict(found.swaps) == {(1, 0): 2, (0, 1): 1}
    assert found.drop == pytest.approx(100 / 6)
    assert found.p == 1.0


def test_the_interval_of_a_drop_by_hand():
    """b = 10, c = 2, n = 100: cells 10.5 and 2.5 of 102."""
    found = Flips(100, 10, 2, {})
    half = 1.959963984540054 * (13 - 64 / 102) ** 0.5 / 102
    assert found.interval == pytest.approx((100 * (8 / 102 - half), 100 * (8 / 102 + half)))
    assert found.p == pytest.approx(2 * (1 + 12 + 66) / 2**12)


def test_no_flip_is_no_certainty():
    low, high = Flips(1000, 0, 0, {}).interval
    assert low < 0 < high
    assert high < 0.3
    assert Flips(1000, 0, 0, {}).p == 1.0


def test_many_flips_go_on_where_the_exact_test_ends():
    exact, beyond = Flips(10_000, 460, 540, {}).p, Flips(10_000, 461, 541, {}).p
    assert exact == pytest.approx(beyond, rel=0.05)
    assert 0 <= Flips(10**6, 0, 10**5, {}).p < 1e-12


def test_other_images_are_not_compared():
    first, second = predictions([1, 0]), predictions([1, 0, 0])
    with pytest.raises(ValueError, match="same images"):
        Flips.between(first, second)
