"""The arithmetic of uniform quantization: ranges to scales, weights and biases to integers.

    real value = scale * (integer - zero_point)

Activations have one scale per tensor. Symmetric: int8, zero-point 0, scale = threshold / 127. Asymmetric: uint8,
the range widened to hold 0, scale = (hi - lo) / 255, and zero_point = round(-lo / scale), so that 0.0 (padding, ReLU)
is exact. Weights have one symmetric int8 scale per output channel, -127 ... 127 (arXiv 2004.09602, sections 3 and 4).
Biases are int32 with the accumulator's scale, s_x * s_w.
"""

from dataclasses import dataclass

import numpy as np

from deploykit.precision.calibrate.ranges import Range
from deploykit.spec.arrays import Array

NEGLIGIBLE = 1e-16  # a channel or a range below this counts as dead: s_x * s_w must not leave float32's normal numbers
CLIP_SHARES = (1.0, *(share / 32 for share in range(31, 15, -1)))  # of a channel's largest weight
CLIP_ELEMENTS = 1 << 20  # of a weight at a time, so that the temporaries of a large one stay small
INT32_ROOM = 2.0**30  # a bias leaves the accumulator as much room again for the products


@dataclass(frozen=True, slots=True)
class ActivationScale:
    """The affine mapping of one activation to integers: x = scale * (q - zero_point)."""

    scale: np.float32
    zero_point: int
    dtype: type[np.int8] | type[np.uint8]


def activation_scale(found: Range, *, symmetric: bool) -> ActivationScale:
    """Scale and zero-point of an activation. A dead one (always 0 in calibration) gets scale 1.

    The uint8 scale is rounded down, so that the largest integer never stands for more than `hi`: ONNX Runtime drops a
    Clip in front of QuantizeLinear only if the integers cannot exceed its bound.
    """
    if symmetric:
        scale = np.float32(found.threshold / 127) if found.threshold > NEGLIGIBLE else np.float32(1)
        return ActivationScale(scale, 0, np.int8)
    lo, hi = min(found.lo, 0.0), max(found.hi, 0.0)
    extent = hi - lo
    if extent <= NEGLIGIBLE:
        return ActivationScale(np.float32(1), 0, np.uint8)
    scale = np.float32(extent / 255)
    if float(scale) * 255 > extent:
        scale = np.nextafter(scale, np.float32(0))
    return ActivationScale(scale, min(255, round(-lo / float(scale))), np.uint8)


def weight_scales(weight: Array, axis: int, *, limit: int = 127) -> Array:
    """One positive float32 scale per channel along `axis`; a dead channel takes the largest scale of the tensor.

    The largest weight of a channel becomes `limit`.
    """
    others = tuple(dimension for dimension in range(weight.ndim) if dimension != axis)
    largest = np.abs(weight).max(axis=others).astype(np.float64)
    dead = largest <= NEGLIGIBLE
    largest[dead] = largest.max() if not dead.all() else limit
    scales: Array = (largest / limit).astype(np.float32)
    return scales


def clipped_weight_scales(weight: Array, axis: int, *, limit: int = 127) -> Array:
    """The scales of `weight_scales`, clipped where the squared error is least: rounding inside, clipping outside.

    Of each channel, the best of `CLIP_SHARES` of its largest weight; the whole is among them, so no channel gets worse.
    """
    whole = weight_scales(weight, axis, limit=limit)
    channels = np.moveaxis(weight, axis, 0).reshape(len(whole), -1)
    best = whole.copy()
    rows = max(1, CLIP_ELEMENTS // max(1, channels.shape[1]))
    for start in range(0, len(whole), rows):
        part = slice(start, start + rows)
        values, least = channels[part].astype(np.float32), np.full(len(whole[part]), np.inf)
        for share in CLIP_SHARES:
            scales = (whole[part] * np.float32(share))[:, None]
            error = np.square(np.clip(np.rint(values / scales), -limit, limit) * scales - values).sum(axis=1)
            better = error < least
            least[better], best[part][better] = error[better], scales[better, 0]
    return best


def scales_with_room_for_bias(scales: Array, bias: Array, input_scale: np.float32) -> Array:
    """Widen the scale of a channel whose bias would not fit int32 at s_x * s_w; the others stay as they are.

    Such channels have vanishing weights (a BatchNorm gamma near 0) and an ordinary bias.
    """
    needed = np.abs(bias.astype(np.float64)) / (float(input_scale) * INT32_ROOM)
    widened: Array = np.maximum(scales.astype(np.float64), needed).astype(np.float32)
    return widened


def quantize_weight(weight: Array, scales: Array, axis: int, *, limit: int = 127) -> Array:
    """int8, round half to even, within +/- `limit`; the error is at most half a scale step."""
    shape = [-1 if dimension == axis else 1 for dimension in range(weight.ndim)]
    steps = np.rint(weight / scales.astype(np.float64).reshape(shape))
    return np.clip(steps, -limit, limit).astype(np.int8)


def quantize_bias(bias: Array, scales: Array) -> Array:
    """int32 at the accumulator's `scales` (s_x * s_w per channel)."""
    return np.rint(bias / scales.astype(np.float64)).astype(np.int32)
