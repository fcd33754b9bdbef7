"""Every observer keeps the protocol; min-max keeps the extremes."""

import numpy as np
import pytest

from deploykit.precision.calibrate.observers import OBSERVERS, MinMaxObserver, Range


@pytest.fixture(params=sorted(OBSERVERS))
def observer(request):
    return OBSERVERS[request.param]


def halves():
    values = np.random.default_rng(0).standard_normal((2, 4, 9, 9)).astype(np.float32)
    return values[:1], values[1:]


def test_merging_two_observers_equals_observing_both_parts(observer):
    first, second = halves()
    whole, left, right = observer(), observer(), observer()
    for part in (first, second):
        whole.observe(part)
    left.observe(first)
    right.observe(second)
    left.merge(right)
    assert left.range() == whole.range()


def test_a_range_holds_at_most_what_was_seen(observer):
    watching = observer()
    for part in halves():
        watching.observe(part)
    found = watching.range()
    assert min(part.min() for part in halves()) <= found.lo < found.hi <= max(part.max() for part in halves())


def test_minmax_keeps_the_extremes_of_all_batches():
    watching = MinMaxObserver()
    for values in ([1, 2], [-5, 0], [3, 3]):
        watching.observe(np.array(values, np.float32))
    assert watching.range() == Range(-5, 3)


def test_ranges_unite():
    assert Range(-1, 2) | Range(0, 3) == Range(-1, 3)
