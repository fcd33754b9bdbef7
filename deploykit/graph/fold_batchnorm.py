"""Fold an inference-time BatchNorm into the convolution or matrix product that feeds it.

    y = gamma * (c - mean) / sqrt(var + eps) + beta      with c = W x + b
      = s * c + t                                        s = gamma / sqrt(var + eps), t = beta - s * mean
      = (s W) x + (s b + t)

(Ioffe & Szegedy, arXiv 1502.03167, section 3.1). `s` scales output channels, and each operator keeps those elsewhere:

    Conv           W (M, C/group, ...)       axis 0, groups side by side
    ConvTranspose  W (C, M/group, ...)       channel g * M/group + j is column j of group g's rows
    Gemm           B (K, N), transB: (N, K)  Y = alpha A B + beta C  ->  alpha A (s B) + 1 * (s beta C + t)

Everything is computed in float64 and stored in the weight's own type. New initialisers are registered, none is
edited: a weight that another node reads too is duplicated, so the other node keeps the old one. The convolution
keeps its name and module scope; `rewrite.FOLDED_SCOPE` records the BatchNorm whose output it now computes.

Refuses, with the reason, when

1. the BatchNorm normalises with the batch's own statistics (training_mode) or its running statistics are read,
2. it lies in the body of an If, Loop or Scan,
3. its input is not made by a Conv, ConvTranspose or Gemm (a MatMul has no bias to take the shift),
4. another node reads the unnormalised output, or it is a graph output,
5. the weight, the bias or a statistic is not a constant, or their channels do not match,
6. the result is not finite: var + eps <= 0, or a value leaves the range of the weight's type.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from deploykit.graph.rewrite import (
    FOLDED_SCOPE,
    Fusion,
    Rewrite,
    constant,
    discard_unused,
    module_scope,
    new_initializer,
)

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class _Site:
    """A BatchNorm, what feeds it, and their constants; `weight` in its own type, the rest in float64."""

    norm: ir.Node
    conv: ir.Node
    weight: Array
    bias: Array  # a scalar zero where the convolution has none
    gamma: Array
    beta: Array
    mean: Array
    variance: Array


@dataclass(frozen=True, slots=True)
class _Folded:
    weight: Array
    bias: Array


def _attempt(norm: ir.Node, graph: ir.Graph) -> Rewrite | str:
    found = _site(norm)
    folded = found if isinstance(found, str) else _folded(found)
    if isinstance(found, str) or isinstance(folded, str):
        return str(folded)
    return partial(_rewrite, found, folded, graph)


def _rewrite(found: _Site, folded: _Folded, graph: ir.Graph) -> None:
    _write(found.conv, graph, folded)
    _bypass(found.norm, found.conv, graph)


def _site(norm: ir.Node) -> _Site | str:
    """What is to be folded, or the first precondition that does not hold."""
    if norm.attributes.get_int("training_mode", 0) != 0 or any(value.uses() for value in norm.outputs[1:]):
        return "it normalises with the statistics of the batch (training mode)"
    source = norm.inputs[0]
    conv = source.producer() if source is not None else None
    if source is None or conv is None:
        return "its input is not the output of a node"
    if conv.domain or conv.op_type not in SCALE:
        return f"its input is made by a {conv.op_type}, not by a Conv, ConvTranspose or Gemm"
    if len(source.uses()) > 1:
        return "another node reads the unnormalised output"
    if source.is_graph_output():
        return "the unnormalised output is a graph output"
    roles = dict(zip(("gamma", "beta", "mean", "variance"), norm.inputs[1:5], strict=True))
    roles |= dict(zip(("weight", "bias"), conv.inputs[1:3], strict=False))
    arrays = {role: constant(value) for role, value in roles.items() if value is not None}
    for role, array in arrays.items():
        if array is None:
            return f"the {role} {getattr(roles[role], 'name', None)!r} is not a constant"
    numbers = {role: array for role, array in arrays.items() if array is not None}
    weight = numbers.pop("weight")
    bias = numbers.pop("bias", np.zeros(()))
    return _Site(
        norm,
        conv,
        weight,
        bias.astype(np.float64),
        **{role: array.astype(np.float64) for role, array in numbers.items()},
    )


@np.errstate(over="ignore", invalid="ignore")  # what overflows is found below, and refused
def _folded(site: _Site) -> _Folded | str:
    """The new weight and bias in the weight's type, or what is wrong with the numbers."""
    padded = site.variance + site.norm.attributes.get_float("epsilon", 1e-5)
    if not (padded > 0).all():  # NaN fails this too
        return "the variance plus epsilon is not positive in every channel"
    scale = site.gamma / np.sqrt(padded)
    shift = site.beta - scale * site.mean
    channels = _output_channels(site)
    if scale.shape != (channels,):
        return f"it has {scale.size} channels, the {site.conv.op_type} before it {channels}"
    bias = scale * _addend(site) + shift
    folded = _Folded(SCALE[site.conv.op_type](site, scale), bias.astype(site.weight.dtype))
    for role, array in (("weight", folded.weight), ("bias", folded.bias)):
        if not np.isfinite(array).all():
            return f"the folded {role} is not finite in {site.weight.dtype.name}"
    return folded


def _output_channels(site: _Site) -> int:
    shape: tuple[int, ...] = site.weight.shape
    if site.conv.op_type == "ConvTranspose":
        return shape[1] * site.conv.attributes.get_int("group", 1)
    if site.conv.op_type == "Gemm" and not site.conv.attributes.get_int("transB", 0):
        return shape[1]
    return shape[0]


def _addend(site: _Site) -> Array:
    """What is added to the product, per channel on the last axis; Gemm's C keeps its rows."""
    return site.bias * site.conv.attributes.get_float("beta", 1.0) if site.conv.op_type == "Gemm" else site.bias


def _times(weight: Array, scale: Array) -> Array:
    """The product, computed in float64 block by block and stored in the weight's type: no float64 copy of it exists."""
    out = np.empty(weight.shape, weight.dtype)
    return np.multiply(weight, scale, out=out, dtype=np.float64, casting="unsafe")


def _scale_conv(site: _Site, scale: Array) -> Array:
    return _times(site.weight, scale.reshape(-1, *[1] * (site.weight.ndim - 1)))


def _scale_conv_transpose(site: _Site, scale: Array) -> Array:
    shape, group = site.weight.shape, site.conv.attributes.get_int("group", 1)
    grouped = site.weight.reshape(group, shape[0] // group, *shape[1:])
    return _times(grouped, scale.reshape(group, 1, -1, *[1] * (len(shape) - 2))).reshape(shape)


def _scale_gemm(site: _Site, scale: Array) -> Array:
    return _times(site.weight, scale.reshape(-1, 1) if site.conv.attributes.get_int("transB", 0) else scale)


SCALE: dict[str, Callable[[_Site, Array], Array]] = {
    "Conv": _scale_conv,
    "ConvTranspose": _scale_conv_transpose,
    "Gemm": _scale_gemm,
}


def _write(conv: ir.Node, graph: ir.Graph, folded: _Folded) -> None:
    """Give `conv` its own weight, under the old one's name where that is now free, and its own bias."""
    conv.resize_inputs(3)
    weight_name = getattr(conv.inputs[1], "name", None) or f"{module_scope(conv)}.weight"
    bias_name = f"{conv.name or module_scope(conv)}.bias"
    for index, name, array in ((1, weight_name, folded.weight), (2, bias_name, folded.bias)):
        old = conv.inputs[index]
        conv.replace_input_with(index, None)
        discard_unused(graph, old)
        conv.replace_input_with(index, new_initializer(graph, name, array))
    if "beta" in conv.attributes:
        conv.attributes["beta"] = ir.AttrFloat32("beta", 1.0)


def _bypass(norm: ir.Node, conv: ir.Node, graph: ir.Graph) -> None:
    """The convolution's output takes the BatchNorm's place; only a graph output's name outlives it."""
    before, after = conv.outputs[0], norm.outputs[0]
    public_name = after.name if after.is_graph_output() else None
    before.shape = before.shape or after.shape
    before.type = before.type or after.type
    after.replace_all_uses_with(before, replace_graph_outputs=True)
    parameters = norm.inputs[1:]
    graph.remove(norm, safe=True)
    for value in parameters:
        discard_unused(graph, value)
    if public_name is not None:
        before.name = public_name
    conv.metadata_props[FOLDED_SCOPE] = module_scope(norm)


fold_batchnorm = Fusion("fold_batchnorm", "BatchNorm into the convolution before it", ("BatchNormalization",), _attempt)
