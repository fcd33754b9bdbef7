import numpy as np
import pytest

from deploykit.parity.metrics import distance, distribution_axis, sqnr_of_images, top1, variation


def test_figures_of_a_hand_computed_case():
    found = distance(np.array([[3.0, 4.5]]), np.array([[3.0, 4.0]]))
    assert found.relative_l2 == pytest.approx(0.1, rel=1e-12)
    assert found.sqnr_db == pytest.approx(20.0, rel=1e-12)
    assert found.max_abs == 0.5
    assert found.cosine == pytest.approx((9 + 18) / (np.hypot(3, 4.5) * 5), rel=1e-12)


def test_equal_arrays_are_infinitely_close():
    found = distance(np.ones((2, 3)), np.ones((2, 3)))
    assert (found.relative_l2, found.sqnr_db, found.max_abs) == (0.0, np.inf, 0.0)


def test_a_zero_reference_is_matched_only_by_zero():
    assert distance(np.zeros(3), np.zeros(3)).relative_l2 == 0.0
    assert distance(np.ones(3), np.zeros(3)).relative_l2 == np.inf


def test_nan_reaches_the_figures():
    assert np.isnan(distance(np.array([1.0, np.nan]), np.ones(2)).relative_l2)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        distance(np.ones(2), np.ones(3))


def test_a_flip_between_near_ties_has_a_small_margin():
    reference = np.array([[0.0, 1.0, 1.001], [0.0, 0.0, 5.0], [9.0, 0.0, 0.0]])
    candidate = np.array([[0.0, 1.001, 1.0], [0.0, 5.0, 0.0], [9.0, 0.0, 0.0]])
    found = top1(candidate, reference)
    assert found is not None
    assert found.agreement == pytest.approx(1 / 3)
    near_tie, clear = found.flip_margins
    assert near_tie == pytest.approx(0.001 / np.std(reference[0]), rel=1e-9)
    assert clear > 1.0


def test_top1_needs_classes():
    assert top1(np.ones((2, 1)), np.ones((2, 1))) is None
    assert top1(np.ones((2, 3, 4)), np.ones((2, 3, 4))) is None


def test_variation_tells_a_constant_output():
    row = np.random.default_rng(0).normal(size=5)
    assert variation(np.stack([row, row, row])) == pytest.approx(0.0, abs=1e-15)
    assert variation(np.stack([row, -row])) == pytest.approx(1.0)


@pytest.mark.parametrize(("shape", "axis"), [((2, 5), 1), ((2, 6, 5), 2), ((2, 5, 6), 1), ((2, 5, 3, 4), 1)])
@pytest.mark.parametrize("logarithms", [False, True])
def test_a_distribution_over_classes_is_known_by_its_sums(shape, axis, logarithms):
    logits = np.random.default_rng(0).normal(size=shape)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=axis, keepdims=True)
    reference = np.log(probabilities) if logarithms else probabilities
    assert distribution_axis(reference) == axis
    found = top1(reference, reference)
    assert found is not None
    assert (found.agreement, found.of) == (1.0, reference.size // 5)
    assert distribution_axis(logits) is None
    assert distribution_axis(probabilities / 2) is None


def test_each_image_has_its_own_ratio():
    reference = np.ones((3, 4))
    candidate = reference * np.array([[1.0], [1.1], [2.0]])
    np.testing.assert_allclose(sqnr_of_images(candidate, reference), [np.inf, 20.0, 0.0], atol=1e-9)
