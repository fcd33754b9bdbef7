"""Histograms count every value once, wherever the data was cut, in whatever order it came."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploykit.precision.calibrate.histogram import BINS, FINEST, Histogram, exponent_for


def seen(*batches):
    found = Histogram()
    for batch in batches:
        found.observe(batch, float(batch.min()), float(batch.max()))
    return found


def state(found):
    return found.exponent, found.lo, found.hi, found.counts.tolist()


FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
ARRAYS = st.lists(FLOATS, min_size=1, max_size=40).map(lambda values: np.array(values, np.float32))


@given(st.lists(ARRAYS, min_size=1, max_size=6), st.data())
@settings(max_examples=150, deadline=None)
def test_any_split_and_order_gives_the_counts_of_one_pass(batches, data):
    whole = seen(np.concatenate(batches))
    shuffled = data.draw(st.permutations(batches))
    cut = data.draw(st.integers(0, len(batches)))
    assert state(seen(*shuffled)) == state(whole)
    merged = Histogram()
    for part in (shuffled[:cut], shuffled[cut:]):
        if part:
            merged.merge(seen(*part))
    assert state(merged) == state(whole)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 7.3, 1e30])
@pytest.mark.parametrize("shape", ["normal", "relu", "negative", "constant", "zeros", "denormal"])
def test_counts_are_those_of_exact_arithmetic(scale, shape):
    normal = np.random.default_rng(3).standard_normal(5000).astype(np.float32) * np.float32(scale)
    values = {
        "normal": normal,
        "relu": np.maximum(normal, 0),
        "negative": -np.abs(normal) - np.float32(scale),
        "constant": np.full(10, np.float32(scale)),
        "zeros": np.zeros(10, np.float32),
        "denormal": np.full(10, np.float32(1e-45)),
    }[shape]
    found = seen(*np.array_split(values, 3))
    width = math.ldexp(1.0, found.exponent)
    bins = np.trunc(values.astype(np.float64) / width).astype(int)
    assert found.counts.tolist() == np.bincount(bins + BINS, minlength=2 * BINS).tolist()
    assert (found.lo, found.hi, found.total) == (values.min(), values.max(), values.size)
    if found.exponent > FINEST:
        assert BINS / 2 <= np.abs(bins).max() < BINS  # as fine as the bins allow


def test_the_width_follows_from_the_largest_magnitude_alone():
    for exponent in (-20, 0, 3):
        edge = math.ldexp(BINS, exponent)
        assert exponent_for(edge) == exponent + 1
        assert exponent_for(math.nextafter(edge, 0.0)) == exponent
    assert exponent_for(0.0) == FINEST


def test_large_activations_are_counted_in_pieces():
    values = np.random.default_rng(1).standard_normal((3, 300, 331)).astype(np.float32)
    found = seen(values)
    assert found.total == values.size
    assert found.magnitudes().sum() == values.size
    np.testing.assert_allclose(found.centers() @ found.counts / found.total, values.mean(), atol=found.width)
