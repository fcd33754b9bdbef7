"""Where each method cuts a distribution off, against searches and formulas written out plainly."""

import numpy as np
import pytest

from deploykit.precision.calibrate.histogram import Histogram
from deploykit.precision.calibrate.methods import METHODS, range_of
from deploykit.precision.calibrate.ranges import Range
from deploykit.spec import CALIBRATION_METHODS

RANDOM = np.random.default_rng(11)
NORMAL = RANDOM.standard_normal(200_000).astype(np.float32)
RELU = np.maximum(NORMAL, 0)
OUTLIER = np.append(NORMAL, np.float32(60.0))


def histogram(values):
    found = Histogram()
    found.observe(values, float(values.min()), float(values.max()))
    return found


def squared_error(values, lo, hi, step):
    return float(np.square(np.clip(np.rint(values / step) * step, lo, hi) - values).mean())


def test_the_options_are_the_methods():
    assert tuple(METHODS) == CALIBRATION_METHODS


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [NORMAL, RELU, -RELU, OUTLIER, NORMAL * np.float32(1e-20)], ids=range(5))
def test_no_method_leaves_the_extremes(method, values):
    found = range_of(histogram(values), method)
    assert values.min() <= found.lo <= found.hi <= values.max()
    assert 0 < found.threshold <= np.abs(values).max()


@pytest.mark.parametrize("method", METHODS)
def test_what_is_always_zero_stays_so(method):
    assert range_of(histogram(np.zeros(9, np.float32)), method) == Range(0.0, 0.0)


def test_minmax_is_exact():
    assert range_of(histogram(NORMAL), "minmax") == Range(NORMAL.min(), NORMAL.max())


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_a_percentile_leaves_its_share(percentile):
    both, one = (range_of(histogram(values), "percentile", percentile=percentile) for values in (NORMAL, RELU))
    inside = [
        (np.abs(NORMAL) <= both.threshold).mean(),
        ((both.lo <= NORMAL) & (both.hi >= NORMAL)).mean(),
        (one.hi >= RELU).mean(),
    ]
    for share in inside:
        assert 0 <= 100 * share - percentile < 0.2
    assert one.lo == 0
    assert both.hi == pytest.approx(-both.lo, rel=0.1)


def test_one_outlier_costs_minmax_its_resolution():
    plain, spoilt = histogram(NORMAL), histogram(OUTLIER)
    assert range_of(spoilt, "minmax").threshold == 60
    assert range_of(spoilt, "mse").threshold < 40
    for method in ("percentile", "entropy"):
        assert range_of(spoilt, method).threshold < 1.6 * range_of(plain, method).threshold


@pytest.mark.parametrize("values", [NORMAL, RELU, OUTLIER], ids=["normal", "relu", "outlier"])
def test_mse_finds_the_least_error_of_the_data_itself(values):
    found = range_of(histogram(values), "mse")
    largest = np.abs(values).max()
    best = min(squared_error(values, -end, end, end / 127) for end in np.linspace(0.05, 1, 400) * largest)
    assert squared_error(values, -found.threshold, found.threshold, found.threshold / 127) <= 1.03 * best
    lo, hi = min(found.lo, 0), found.hi
    plain = squared_error(values, min(values.min(), 0), values.max(), (values.max() - min(values.min(), 0)) / 255)
    assert squared_error(values, lo, hi, (hi - lo) / 255) <= plain


def plain_entropy(counts, levels):
    """The same search as a loop over bins, as Migacz' slides tell it."""
    counts = counts.astype(float)
    counts[0] = counts[1]
    used = np.flatnonzero(counts)[-1] + 1
    best = (np.inf, used)
    for kept in [*range(levels, used, 16), used]:
        p = counts[:kept].copy()
        p[-1] += counts[kept:].sum()
        q = np.zeros(kept)
        for level in range(levels):
            start, stop = level * kept // levels, (level + 1) * kept // levels
            filled = [index for index in range(start, stop) if counts[index] > 0]
            for index in filled:
                q[index] = sum(counts[filled]) / len(filled)
        if any(p[index] > 0 and q[index] == 0 for index in range(kept)):
            continue
        p, q = p / p.sum(), q / q.sum()
        divergence = sum(p[index] * np.log(p[index] / q[index]) for index in range(kept) if p[index] > 0)
        best = min(best, (divergence, kept))
    return best[1]


@pytest.mark.parametrize("values", [NORMAL, RELU, OUTLIER], ids=["normal", "relu", "outlier"])
def test_entropy_agrees_with_the_plain_loop(values):
    found = histogram(values)
    magnitudes, width = found.magnitudes(), found.width
    while np.flatnonzero(magnitudes)[-1] >= 2048:
        magnitudes, width = magnitudes.reshape(-1, 2).sum(axis=1), 2 * width
    expected = min(plain_entropy(magnitudes, 128) * width, np.abs(values).max())
    assert range_of(found, "entropy").threshold == pytest.approx(expected, rel=1e-12)
