"""The linear operators, y = W x + b, with constant parameters: read, scaled on either side, and written back.

Whatever is folded into one of them scales its output or its input channels, which each operator keeps elsewhere:

    Conv           W (M, C/group, ...)       groups side by side on axis 0
    ConvTranspose  W (C, M/group, ...)       channel g * M/group + j is column j of group g's rows
    Gemm           B (K, N), transB: (N, K)  Y = alpha A B + beta C; C may have rows of its own

All three are seen as (group, M/group, C/group, taps), so one product serves. It is computed in float64 and stored in
the weight's own type. New initializers are registered, none is edited: a weight that another node reads too is
duplicated, so the other node keeps the old one.
"""

from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from deploykit.graph.algebra.affine import read_affine
from deploykit.graph.rewrite import (
    FOLDED_SCOPE,
    Rewrite,
    Unmet,
    bypass,
    constant,
    discard_unused,
    module_scope,
    new_initializer,
    other_use,
)
from deploykit.spec.arrays import Array

LINEAR = ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True, slots=True)
class Linear:
    """A node among LINEAR and its constants: `weight` in its own type, `bias` in float64.

    The bias is what is added to the product, per output channel on the last axis: a scalar zero where the node has
    none, and with Gemm's beta in it.
    """

    node: ir.Node
    weight: Array
    bias: Array

    @property
    def rank(self) -> int:
        return self.weight.ndim

    @property
    def channels_out(self) -> int:
        kernels = _kernels(self.node, self.weight)
        return int(kernels.shape[0] * kernels.shape[1])

    @property
    def channels_in(self) -> int:
        kernels = _kernels(self.node, self.weight)
        return int(kernels.shape[0] * kernels.shape[2])


@dataclass(frozen=True, slots=True)
class Parameters:
    """New parameters for a linear node, in its weight's type; None leaves the old one."""

    weight: Array | None
    bias: Array | None


def is_linear(node: ir.Node) -> bool:
    return not node.domain and node.op_type in LINEAR


def read_linear(node: ir.Node) -> Linear | Unmet:
    """The parameters of a node among LINEAR, or what keeps them from being folded into."""
    arrays = []
    for role, value in zip(("weight", "bias"), node.inputs[1:3], strict=False):
        array = np.zeros(()) if value is None else constant(value)
        if array is None:
            return Unmet(f"the {role} {getattr(value, 'name', None)!r} is not a constant")
        arrays.append(array)
    weight, bias = (*arrays, np.zeros(()))[:2]
    if not ir.DataType.from_numpy(weight.dtype).is_floating_point():
        return Unmet(f"the weight is {weight.dtype.name}, which would round what is folded into it")
    beta = node.attributes.get_float("beta", 1.0) if node.op_type == "Gemm" else 1.0
    return Linear(node, weight, beta * bias.astype(np.float64))


@np.errstate(over="ignore", invalid="ignore")  # what overflows is found, and refused
def scale_outputs(linear: Linear, scale: Array, shift: Array) -> Parameters | Unmet:
    """The parameters of s * (W x + b) + t, with s and t scalars or one number per output channel: s W and s b + t."""
    scale, shift = (np.broadcast_to(array, linear.channels_out) for array in (scale, shift))
    weight = None if (scale == 1).all() else _times(linear, scale, axis=1)
    return checked(linear, weight, scale * linear.bias + shift)


@np.errstate(over="ignore", invalid="ignore")
def scale_inputs(linear: Linear, scale: Array, shift: Array) -> Parameters | Unmet:
    """The parameters of W (s x + t) + b, s and t scalars or one number per input channel: W s and b + W t, tap by tap.

    That bias is right where every tap of the kernel lies on the image: the caller has to exclude padding.
    """
    scale, shift = (np.broadcast_to(array, linear.channels_in) for array in (scale, shift))
    weight = None if (scale == 1).all() else _times(linear, scale, axis=2)
    if not shift.any():
        return checked(linear, weight, None)
    kernels = _kernels(linear.node, linear.weight)
    alpha = linear.node.attributes.get_float("alpha", 1.0) if linear.node.op_type == "Gemm" else 1.0
    offset = np.einsum("gmct,gc->gm", kernels, shift.reshape(len(kernels), -1), dtype=np.float64, casting="unsafe")
    return checked(linear, weight, linear.bias + alpha * offset.reshape(-1))


def input_extents(linear: Linear) -> Array:
    """The largest magnitude that each input channel is multiplied by, float64."""
    extents: Array = np.abs(_kernels(linear.node, linear.weight)).max(axis=(1, 3)).reshape(-1).astype(np.float64)
    return extents


def checked(linear: Linear, weight: Array | None, bias: Array | None) -> Parameters | Unmet:
    """The parameters in the weight's type, or which is not finite. No bias is invented to add nothing."""
    kind = linear.weight.dtype
    has_bias = any(value is not None for value in linear.node.inputs[2:])
    new = Parameters(weight, bias.astype(kind) if bias is not None and (has_bias or bias.any()) else None)
    for role, array in (("weight", new.weight), ("bias", new.bias)):
        if array is not None and not np.isfinite(array).all():
            return Unmet(f"the folded {role} is not finite in {kind.name}")
    return new


def write(linear: Linear, parameters: Parameters, graph: ir.Graph) -> None:
    """Give the node its own parameters; the weight keeps the old one's name where that is now free."""
    node = linear.node
    if parameters.weight is not None:
        _replace(node, 1, parameters.weight, getattr(node.inputs[1], "name", None) or "weight", graph)
    if parameters.bias is not None:
        node.resize_inputs(3)
        _replace(node, 2, parameters.bias, f"{node.name or module_scope(node)}.bias", graph)
        if "beta" in node.attributes:
            node.attributes["beta"] = ir.AttrFloat32("beta", 1.0)


def fold_behind(node: ir.Node, conv: ir.Node, graph: ir.Graph, *, called: str) -> Rewrite | Unmet:
    """Fold what `affine` reads into the linear node before it, whose output, so `called`, only `node` may read."""
    if reason := other_use(conv.outputs[0], called=called):
        return reason
    linear = read_linear(conv)
    if isinstance(linear, Unmet):
        return linear
    affine = read_affine(node, rank=linear.rank, channels=linear.channels_out)
    if isinstance(affine, Unmet):
        return affine
    parameters = scale_outputs(linear, affine.scale, affine.shift)
    if isinstance(parameters, Unmet):
        return parameters

    def rewrite() -> None:
        write(linear, parameters, graph)
        bypass(node, conv.outputs[0], graph)
        conv.metadata_props[FOLDED_SCOPE] = module_scope(node)

    return rewrite


def _kernels(node: ir.Node, weight: Array) -> Array:
    """The weight as (group, outputs of a group, inputs of a group, taps); a view where its memory is contiguous."""
    if node.op_type == "Gemm":
        matrix = weight if node.attributes.get_int("transB", 0) else weight.T
        return matrix[None, :, :, None]
    group = node.attributes.get_int("group", 1)
    kernels = weight.reshape(group, weight.shape[0] // group, weight.shape[1], prod(weight.shape[2:]))
    return kernels.swapaxes(1, 2) if node.op_type == "ConvTranspose" else kernels


def _times(linear: Linear, scale: Array, *, axis: int) -> Array:
    """The scaled weight, computed in float64 block by block, so that no float64 copy of it exists."""
    out = np.empty(linear.weight.shape, linear.weight.dtype)
    kernels, into = _kernels(linear.node, linear.weight), _kernels(linear.node, out)
    shape = [1, 1, 1, 1]
    shape[0], shape[axis] = kernels.shape[0], kernels.shape[axis]
    np.multiply(kernels, scale.reshape(shape), out=into, dtype=np.float64, casting="unsafe")
    return out


def _replace(node: ir.Node, index: int, array: Array, name: str, graph: ir.Graph) -> None:
    old = node.inputs[index]
    node.replace_input_with(index, None)
    discard_unused(graph, old)
    node.replace_input_with(index, new_initializer(graph, name, array))
