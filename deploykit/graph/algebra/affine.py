"""What an inference-time BatchNorm, or arithmetic with a constant, does to its input: y = s x + t per channel.

    BatchNorm  y = gamma * (x - mean) / sqrt(var + eps) + beta    s = gamma / sqrt(var + eps), t = beta - s * mean
    Mul, Div   y = x * c, x / c                                   s = c, 1 / c
    Add, Sub   y = x + c, x - c                                   t = c, -c
    Sub        y = c - x                                          s = -1, t = c

(BatchNorm: Ioffe & Szegedy, arXiv 1502.03167, section 3.1.) A constant broadcasts from the right, so one of shape [W]
lies along the width, and only [C, 1, 1] or [1, C, 1, 1] along the channels of an image; of a matrix, [C] or [1, C].
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from deploykit.graph.rewrite import Unmet, constant
from deploykit.spec.arrays import Array

ARITHMETIC = ("Mul", "Div", "Add", "Sub")


@dataclass(frozen=True, slots=True)
class Affine:
    """y = scale * x + shift; each a scalar or one number per channel, float64."""

    scale: Array
    shift: Array


def data_operand(node: ir.Node) -> ir.Value | None:
    """What a BatchNorm, or arithmetic between a constant and something that is none, is applied to; else None."""
    if node.op_type == "BatchNormalization":
        return node.inputs[0]
    found = [value for value in node.inputs if constant(value) is None]
    return found[0] if len(found) == 1 else None


def read_affine(node: ir.Node, *, rank: int, channels: int) -> Affine | Unmet:
    """The factors of a node with a data operand of this rank and so many channels on axis 1, or why it has none."""
    if node.op_type == "BatchNormalization":
        return _batchnorm(node, channels)
    return _arithmetic(node, rank, channels)


def _batchnorm(norm: ir.Node, channels: int) -> Affine | Unmet:
    if norm.attributes.get_int("training_mode", 0) != 0 or any(value.uses() for value in norm.outputs[1:]):
        return Unmet("it normalizes with the statistics of the batch (training mode)")
    arrays = []
    for role, value in zip(("gamma", "beta", "mean", "variance"), norm.inputs[1:5], strict=True):
        array = constant(value)
        if array is None:
            return Unmet(f"the {role} {getattr(value, 'name', None)!r} is not a constant")
        arrays.append(array.astype(np.float64))
    gamma, beta, mean, variance = arrays
    padded = variance + norm.attributes.get_float("epsilon", 1e-5)
    if not (padded > 0).all():  # NaN fails this too
        return Unmet("the variance plus epsilon is not positive in every channel")
    scale = gamma / np.sqrt(padded)
    if scale.shape != (channels,):
        return Unmet(f"it has {scale.size} channels, its neighbor {channels}")
    with np.errstate(invalid="ignore"):  # what is not finite is found when it is folded
        return Affine(scale, beta - scale * mean)


def _arithmetic(node: ir.Node, rank: int, channels: int) -> Affine | Unmet:
    left, right = (constant(value) for value in node.inputs)
    found = right if left is None else left
    number = None if found is None else _per_channel(found.astype(np.float64), rank, channels)
    if number is None:
        shape = [] if found is None else list(found.shape)
        return Unmet(f"a constant of shape {shape} is neither a scalar nor one number per channel")
    one, zero = np.ones(()), np.zeros(())
    match node.op_type:
        case "Mul":
            return Affine(number, zero)
        case "Add":
            return Affine(one, number)
        case "Sub":
            return Affine(-one, number) if left is not None else Affine(one, -number)
        case _ if left is not None:
            return Unmet("it divides a constant by the value, which is not linear")
        case _:
            return Affine(1 / number, zero) if number.all() else Unmet("it divides by zero")


def _per_channel(array: Array, rank: int, channels: int) -> Array | None:
    """A scalar, or one number per channel; None where broadcasting reaches another axis or changes the shape."""
    if array.ndim > rank:
        return None
    shape = (*[1] * (rank - array.ndim), *array.shape)
    others = (*shape[:1], *shape[2:])
    return array.reshape(-1) if all(size == 1 for size in others) and shape[1] in (1, channels) else None
