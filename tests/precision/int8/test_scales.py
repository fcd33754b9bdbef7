"""The arithmetic of uniform quantization, held to half a step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.precision.calibrate.ranges import Range
from deploykit.precision.int8.scales import (
    activation_scale,
    clipped_weight_scales,
    quantize_bias,
    quantize_weight,
    scales_with_room_for_bias,
    weight_scales,
)

numbers = st.floats(-1e6, 1e6, width=32)


@given(numbers, numbers, st.booleans())
def test_every_value_in_range_comes_back_within_half_a_step(one, other, symmetric):
    found = Range(min(one, other), max(one, other))
    chosen = activation_scale(found, symmetric=symmetric)
    limits = np.iinfo(chosen.dtype)
    assert limits.min <= chosen.zero_point <= limits.max
    assert chosen.scale > 0
    if max(abs(found.lo), abs(found.hi)) < 1e-10:
        return
    values = np.linspace(found.lo, found.hi, 101)
    steps = np.clip(np.rint(values / float(chosen.scale)) + chosen.zero_point, limits.min, limits.max)
    error = np.abs((steps - chosen.zero_point) * float(chosen.scale) - values)
    slack = 1 + 1e-5 if symmetric else 2 + 1e-5  # an asymmetric zero-point is itself rounded, which moves both ends
    assert error.max() <= slack * float(chosen.scale) / 2


def test_symmetric_maps_the_larger_end_to_127():
    chosen = activation_scale(Range(-2.54, 1.0), symmetric=True)
    assert (chosen.scale, chosen.zero_point, chosen.dtype) == (np.float32(0.02), 0, np.int8)


@pytest.mark.parametrize(("lo", "hi", "zero"), [(1.0, 5.1, 0), (-5.1, -1.0, 255), (-1.0, 4.1, 50), (0.0, 5.1, 0)])
def test_asymmetric_widens_the_range_to_hold_zero(lo, hi, zero):
    chosen = activation_scale(Range(lo, hi), symmetric=False)
    assert (chosen.zero_point, chosen.dtype) == (zero, np.uint8)
    assert chosen.scale == pytest.approx(5.1 / 255, rel=1e-6)


@given(st.floats(2.0**-10, 1024, width=32))
def test_uint8_never_stands_for_more_than_the_upper_end(hi):
    chosen = activation_scale(Range(0.0, hi), symmetric=False)
    assert chosen.scale * np.float32(255) <= np.float32(hi)


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_dead_activation_has_scale_one(symmetric):
    assert activation_scale(Range(0.0, 0.0), symmetric=symmetric).scale == 1


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_come_back_within_half_a_step_of_their_channel(axis):
    weight = np.random.default_rng(0).standard_normal((6, 5, 3, 3)).astype(np.float32)
    weight *= np.float32(10.0) ** np.arange(-3, 3).reshape(6, 1, 1, 1)
    scales = weight_scales(weight, axis)
    assert scales.shape == (weight.shape[axis],)
    integers = quantize_weight(weight, scales, axis)
    shape = [-1 if dimension == axis else 1 for dimension in range(4)]
    error = np.abs(integers * scales.reshape(shape).astype(np.float64) - weight) / scales.reshape(shape)
    assert error.max() <= 0.5 + 1e-5
    assert integers.min() >= -127
    assert (np.abs(integers).max(axis=tuple({0, 1, 2, 3} - {axis})) == 127).all()


def test_a_dead_channel_takes_the_largest_scale():
    weight = np.array([[0, 0], [1.27, 0], [0.127, 0]], np.float32)
    np.testing.assert_allclose(weight_scales(weight, 0), [0.01, 0.01, 0.001], rtol=1e-6)
    assert (weight_scales(np.zeros((3, 2), np.float32), 0) == 1).all()


def test_a_bias_that_would_overflow_int32_widens_only_its_channel():
    scales = np.array([1e-12, 1e-3], np.float32)
    bias, step = np.array([5.0, 5.0], np.float32), np.float32(0.01)
    widened = scales_with_room_for_bias(scales, bias, step)
    assert widened[0] > scales[0]
    assert widened[1] == scales[1]
    integers = quantize_bias(bias, step * widened)
    assert np.abs(integers).max() <= 2**30 + 1
    np.testing.assert_allclose(integers * (step * widened).astype(np.float64), bias, atol=float(step * widened[1]) / 2)


def test_weights_of_seven_bits_fit_two_products_into_int16():
    weight = np.random.default_rng(4).standard_normal((5, 3, 3, 3)).astype(np.float32)
    scales = weight_scales(weight, 0, limit=64)
    integers = quantize_weight(weight, scales, 0, limit=64)
    assert np.abs(integers).max(axis=(1, 2, 3)).tolist() == [64] * 5
    assert np.iinfo(np.int16).max >= 2 * 255 * 64
    assert np.abs(weight - integers * scales[:, None, None, None]).max() <= 0.501 * scales.max()


def squared_error(weight, scales, limit=127):
    steps = quantize_weight(weight, scales, 0, limit=limit)
    return np.square(steps * scales.astype(np.float64)[:, None] - weight).sum(axis=1)


@pytest.mark.parametrize(("limit", "gain"), [(127, 0.99), (64, 0.93)])
def test_clipped_weights_are_never_worse_and_better_with_long_tails(limit, gain):
    random = np.random.default_rng(7)
    weight = random.laplace(size=(40, 5000)).astype(np.float32)
    weight[0] = np.where(random.random(5000) < 0.5, 1, -1)  # nothing to gain: clipping would touch every weight
    plain = squared_error(weight, weight_scales(weight, 0, limit=limit), limit)
    clipped = squared_error(weight, clipped_weight_scales(weight, 0, limit=limit), limit)
    assert (clipped <= plain * (1 + 1e-6)).all()
    assert clipped.sum() < gain * plain.sum()


def test_clipping_looks_at_each_channel_of_a_large_weight(monkeypatch):
    """In parts of any size the scales are the same, and a dead channel keeps what it has."""
    weight = np.random.default_rng(8).standard_normal((3, 9, 2, 2)).astype(np.float32)
    weight[:, 4] = 0
    whole = clipped_weight_scales(weight, 1)
    monkeypatch.setattr("deploykit.precision.int8.scales.CLIP_ELEMENTS", 13)
    np.testing.assert_array_equal(clipped_weight_scales(weight, 1), whole)
    assert (whole[4], whole.shape) == (weight_scales(weight, 1)[4], (9,))
