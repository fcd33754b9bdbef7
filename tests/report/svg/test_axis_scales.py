"""Scales keep the order of values, and ticks are round, in sight and apart."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.report.svg.scales import Axis, linear, logarithmic, spread, tick_label

POSITIVE = st.floats(1e-9, 1e9)


@given(st.lists(POSITIVE, min_size=1, max_size=30), st.sampled_from([linear, logarithmic]))
def test_every_value_is_drawn_inside_in_its_order(values, make):
    scale = make(values, 50.0, 500.0)
    pixels = [scale.at(value) for value in sorted(values)]
    assert pixels == sorted(pixels)
    assert pixels[0] >= 50.0
    assert pixels[-1] <= 500.0


@given(st.lists(POSITIVE, min_size=1, max_size=30), st.sampled_from([linear, logarithmic]))
def test_ticks_are_in_sight_and_do_not_meet(values, make):
    scale = make(values, 50.0, 500.0)
    ticks = scale.ticks(apart=60.0)
    at = [scale.at(tick) for tick in ticks]
    assert len(ticks) >= 1
    assert all(scale.low <= tick * (1 + 1e-6) and tick <= scale.high * (1 + 1e-6) for tick in ticks)
    assert len(ticks) < 3 or min(b - a for a, b in pairwise(at)) >= 60.0


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (linear([0.0, 6.6], 100, 380, origin=True), ["0", "2", "4", "6"]),
        (logarithmic([1e-6, 0.5], 0, 800), ["1e-06", "1e-05", "0.0001", "0.001", "0.01", "0.1", "1"]),
        (logarithmic([21.0, 145.0], 0, 280), ["20", "50", "100"]),
        (logarithmic([1000.0, 1200.0], 0, 280), ["1,000", "1,100", "1,200"]),
        (linear([-0.2, 2.0], 0, 300), ["0", "0.5", "1", "1.5", "2"]),
    ],
)
def test_ticks_are_round(scale, ticks):
    found = list(map(tick_label, scale.ticks(apart=50.0)))
    assert found == ticks


def test_equal_values_have_a_scale_and_zero_and_infinity_have_no_place_on_a_logarithmic_one():
    for values in ([5.0], [5.0, 5.0], [], [0.0, float("inf"), 5.0, float("nan")]):
        scale = logarithmic(values, 0.0, 100.0)
        assert scale.low < scale.high < 10
        assert len(scale.ticks(apart=40.0)) >= 1
    assert logarithmic([1.0, 10.0], 0.0, 100.0).at(0.0) == 0.0


@pytest.mark.parametrize(("label", "unit"), [("", "ms"), ("time", "")])
def test_no_axis_is_without_a_unit(label, unit):
    with pytest.raises(ValueError, match="an axis has a label and a unit"):
        Axis(label, unit)


@given(st.lists(st.floats(0, 200), max_size=8))
def test_names_are_moved_apart(wanted):
    found = spread(wanted, 15.0, 0.0, 200.0)
    ordered = sorted(found)
    assert all(0.0 <= place <= 200.0 for place in found)
    assert all(b - a >= 15.0 - 1e-6 for a, b in pairwise(ordered))
