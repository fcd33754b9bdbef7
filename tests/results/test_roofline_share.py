"""The share of the roofline: which bound counts, and what is said above it."""

import pytest

from deploykit.codec import encode
from deploykit.results.roofline import RooflineShare


def share(compute, memory, measured):
    return RooflineShare(roof="a roof", compute_ms=compute, memory_ms=memory, measured_ms=measured)


@pytest.mark.parametrize(
    ("compute", "memory", "bound", "binds"),
    [(4.0, 1.0, 4.0, "compute"), (1.0, 4.0, 4.0, "memory"), (2.0, 2.0, 2.0, "compute")],
)
def test_the_larger_bound_counts(compute, memory, bound, binds):
    found = share(compute, memory, 8.0)
    assert (found.bound_ms, found.binds, found.share) == (bound, binds, bound / 8)
    assert encode(found) == {
        "roof": "a roof", "compute_ms": compute, "memory_ms": memory, "measured_ms": 8.0, "bound_ms": bound,
        "binds": binds, "share": bound / 8, "wrong": False,
    }  # fmt: skip


def test_more_than_all_is_a_wrong_measurement():
    found = share(5.5, 1.0, 5.0)
    assert found.wrong
    assert found.fault == "measurement wrong: 110 % of the roofline, 5 ms where compute takes 5.5 ms at least (a roof)"


def test_exactly_all_is_not():
    assert not share(5.0, 1.0, 5.0).wrong
    assert share(5.0, 1.0, 5.0).fault == ""
