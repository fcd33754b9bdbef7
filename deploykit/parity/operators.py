"""Convolution, pooling and quantization for ONNX's reference evaluator, by PyTorch, in the operands' own type.

The evaluator's own loop over windows in Python (Inception v1: 17 s an image, with these 1.2), and its ConvTranspose
fails with several groups. Padding is written out here, so that only the plain forms of PyTorch's operators are used:
ONNX pads the two ends of an axis apart, and counts windows that hang over the end (`ceil_mode`) in its own way.
"""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from onnx.helper import tensor_dtype_to_np_dtype
from onnx.reference.op_run import OpRun
from torch import Tensor
from torch.nn import functional

from deploykit.spec.arrays import Array

if TYPE_CHECKING:
    import onnx_ir as ir

Pads = list[tuple[int, int]]  # (before, after) per axis

CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
CONV_TRANSPOSE = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


class Conv(OpRun):
    """Convolution by PyTorch, grouped and depthwise too."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        w: Array,
        b: Array | None = None,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,  # noqa: ARG002 - the weight has it
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        rank = x.ndim - 2
        step, spread, around = _windows(x, w.shape[2:], auto_pad, pads, strides, dilations)
        if is_depthwise(x, w, group or 1):
            return (depthwise(x, w, b, around, step, spread),)
        found = CONV[rank](
            _padded(x, around, 0.0),
            _tensor(w),
            None if b is None else torch.tensor(b),
            stride=step,
            dilation=spread,
            groups=group or 1,
        )
        return (found.numpy(),)


class ConvTranspose(OpRun):
    """Transposed convolution by PyTorch; what ONNX pads or states as the output's shape is cut off."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        w: Array,
        b: Array | None = None,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,  # noqa: ARG002 - the weight has it
        output_padding: Sequence[int] | None = None,
        output_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        rank = x.ndim - 2
        step, spread = _each(strides, rank), _each(dilations, rank)
        found = CONV_TRANSPOSE[rank](
            _tensor(x),
            _tensor(w),
            None if b is None else torch.tensor(b),
            stride=step,
            dilation=spread,
            groups=group or 1,
            output_padding=tuple(output_padding or [0] * rank),
        )
        wanted = output_shape
        if not wanted and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            wanted = [size * by for size, by in zip(x.shape[2:], step, strict=True)]
        if wanted:
            excess = [full - size for full, size in zip(found.shape[2:], wanted[-rank:], strict=True)]
            cut = [_halves(total, upper=auto_pad == "SAME_UPPER") for total in excess]
        else:
            cut = _pairs(pads, rank)
        for axis, (before, after) in enumerate(cut, start=2):
            found = found.narrow(axis, before, found.shape[axis] - before - after)
        return (found.numpy(),)


class MaxPool(OpRun):
    """The largest value of each window, without the optional output of indices."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        storage_order: int | None = None,  # noqa: ARG002 - the order of the indices
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        rank, kernel = x.ndim - 2, tuple(kernel_shape or ())
        step, spread, around = _windows(x, kernel, auto_pad, pads, strides, dilations)
        hanging = _hanging(around, x.shape[2:], kernel, step, spread) if ceil_mode else around
        filled = _padded(x.astype(np.float64), hanging, -math.inf)  # integers are exact in it
        found = MAX_POOL[rank](filled, kernel, stride=step, dilation=spread)
        return (found.numpy().astype(x.dtype),)


class AveragePool(OpRun):
    """Sums over windows by how many of their elements count: padding does if asked to, what hangs over never."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        count_include_pad: int | None = None,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[Array]:
        rank, kernel = x.ndim - 2, tuple(kernel_shape or ())
        step, spread, around = _windows(x, kernel, auto_pad, pads, strides, dilations)
        hanging = _hanging(around, x.shape[2:], kernel, step, spread) if ceil_mode else around
        ones = torch.ones((1, 1, *kernel), dtype=torch.tensor(x).dtype)

        def sums(values: Tensor) -> Tensor:
            return CONV[rank](values, ones, stride=step, dilation=spread)

        counted = np.ones((1, 1, *x.shape[2:]), x.dtype)
        if count_include_pad:
            counted = np.pad(counted, [(0, 0), (0, 0), *around], constant_values=1)
            beyond = [(0, more - own) for (_, own), (_, more) in zip(around, hanging, strict=True)]
        else:
            beyond = hanging
        planes = _padded(x.reshape(-1, 1, *x.shape[2:]), hanging, 0.0)
        found = (sums(planes) / sums(_padded(counted, beyond, 0.0))).numpy()
        return (found.reshape(*x.shape[:2], *found.shape[2:]),)


class QuantizeLinear(OpRun):
    """round(x / scale) + zero point, ties to even, saturated; the evaluator knows it from opset 19 on only."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        scale: Array,
        zero_point: Array | None = None,
        axis: int | None = None,
        block_size: int | None = None,  # noqa: ARG002 - such graphs keep the evaluator's own, see `operators_for`
        output_dtype: int | None = None,
        precision: int | None = None,  # noqa: ARG002 - double is as precise as any
        saturate: int | None = None,  # noqa: ARG002 - of float8 alone
    ) -> tuple[Array]:
        kind = zero_point.dtype if zero_point is not None else tensor_dtype_to_np_dtype(output_dtype or UINT8)
        bounds, along = np.iinfo(kind), 1 if axis is None else axis
        found = np.rint(x / _broadcast(scale, x.ndim, along))
        if zero_point is not None:
            found = found + _broadcast(zero_point, x.ndim, along)
        return (np.clip(found, bounds.min, bounds.max).astype(kind),)


class DequantizeLinear(OpRun):
    """(x - zero point) * scale, in the scale's own type."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        scale: Array,
        zero_point: Array | None = None,
        axis: int | None = None,
        block_size: int | None = None,  # noqa: ARG002 - as above
        output_dtype: int | None = None,  # noqa: ARG002 - a real type, and that is double here
    ) -> tuple[Array]:
        along = 1 if axis is None else axis
        found = x.astype(scale.dtype)
        if zero_point is not None:
            found = found - _broadcast(zero_point, x.ndim, along).astype(scale.dtype)
        return (found * _broadcast(scale, x.ndim, along),)


OPERATORS: tuple[type[OpRun], ...] = (Conv, ConvTranspose, MaxPool, AveragePool)
QUANTISATION: tuple[type[OpRun], ...] = (QuantizeLinear, DequantizeLinear)
MOST_TAPS = 128  # of a filter with one channel that is summed tap by tap
BLOCK = 1 << 15  # values: 256 KiB in double
UINT8 = 2  # ONNX's number of the type
WHOLE = (2, 3, 4, 5, 6)  # uint8, int8, uint16, int16, int32: what these two operators take


def operators_for(model: "ir.Model") -> list[type[OpRun]]:
    """Those that can stand in for the evaluator's own in a graph: not MaxPool where its indices are asked for, not Q
    and DQ in blocks or of other types than whole numbers of 8 bits or more."""
    nodes = list(model.graph.all_nodes())
    with_indices = any(node.op_type == "MaxPool" and len(node.outputs) > 1 for node in nodes)
    names = {operator.__name__ for operator in QUANTISATION}
    plain = all(_is_plain(node) for node in nodes if node.op_type in names)
    found = [operator for operator in OPERATORS if not (with_indices and operator is MaxPool)]
    return [*found, *(QUANTISATION if plain else ())]


def _is_plain(node: "ir.Node") -> bool:
    blocks = "block_size" in node.attributes and node.attributes["block_size"].as_int() != 0
    whole = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    return not blocks and whole is not None and (whole.dtype is None or int(whole.dtype) in WHOLE)


def _broadcast(values: Array, rank: int, axis: int) -> Array:
    """A scalar as it is, one value for each place along `axis` in that axis' shape."""
    if values.size == 1:
        return values.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)


def _each(given: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    return tuple(given) if given else (1,) * rank


def _pairs(pads: Sequence[int] | None, rank: int) -> Pads:
    """ONNX lists all beginnings before all ends."""
    listed = list(pads or [0] * 2 * rank)
    return list(zip(listed[:rank], listed[rank:], strict=True))


def _halves(total: int, *, upper: bool) -> tuple[int, int]:
    """Padding shared between both ends; `upper` gives the odd element to the end."""
    small, large = total // 2, total - total // 2
    return (small, large) if upper else (large, small)


def _windows(
    x: Array,
    kernel: Sequence[int],
    auto_pad: str | None,
    pads: Sequence[int] | None,
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
) -> tuple[tuple[int, ...], tuple[int, ...], Pads]:
    """Stride and dilation of each axis, and the padding around it."""
    step, spread = _each(strides, x.ndim - 2), _each(dilations, x.ndim - 2)
    return step, spread, _around(auto_pad, pads, x.shape[2:], kernel, step, spread)


def _around(
    auto_pad: str | None,
    pads: Sequence[int] | None,
    sizes: Sequence[int],
    kernel: Sequence[int],
    step: Sequence[int],
    spread: Sequence[int],
) -> Pads:
    """The padding of each axis; SAME gives ceil(size / stride) windows."""
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        return _pairs(None if auto_pad == "VALID" else pads, len(sizes))
    found = []
    for size, width, by, apart in zip(sizes, kernel, step, spread, strict=True):
        reach = apart * (width - 1) + 1
        total = max(0, (math.ceil(size / by) - 1) * by + reach - size)
        found.append(_halves(total, upper=auto_pad == "SAME_UPPER"))
    return found


def _hanging(
    around: Pads, sizes: Sequence[int], kernel: Sequence[int], step: Sequence[int], spread: Sequence[int]
) -> Pads:
    """The padding with what a last window needs that hangs over the end; it must begin before the end's padding."""
    found = []
    for (before, after), size, width, by, apart in zip(around, sizes, kernel, step, spread, strict=True):
        reach = apart * (width - 1) + 1
        windows = math.ceil((size + before + after - reach) / by) + 1
        if (windows - 1) * by >= size + before:
            windows -= 1
        found.append((before, max(after, (windows - 1) * by + reach - size - before)))
    return found


def is_depthwise(x: Array | Tensor, w: Array | Tensor, groups: int) -> bool:
    """Whether a convolution is one that `depthwise` computes."""
    return bool(x.shape[1] == w.shape[0] == groups > 1 and math.prod(w.shape[2:]) <= MOST_TAPS)


def depthwise(x: Array, w: Array, b: Array | None, around: Pads, step: Sequence[int], spread: Sequence[int]) -> Array:
    """One filter for each channel, as a sum of shifted planes: PyTorch has no such kernel in float64 and goes through
    the channels one by one. A block of planes at a time stays in the cache.
    """
    kernel, padded = w.shape[2:], np.pad(x, [(0, 0), (0, 0), *around])
    sizes = [
        (size - apart * (width - 1) - 1) // by + 1
        for size, width, by, apart in zip(padded.shape[2:], kernel, step, spread, strict=True)
    ]
    ones = (1,) * len(kernel)
    found = np.zeros((*padded.shape[:2], *sizes), padded.dtype)
    if b is not None:
        found += b.reshape(-1, *ones)
    block = max(1, BLOCK // max(1, math.prod(sizes)))
    for image, start in itertools.product(range(len(padded)), range(0, len(w), block)):
        planes, sums, filters = (part[start : start + block] for part in (padded[image], found[image], w[:, 0]))
        product = np.empty_like(sums)
        for place in np.ndindex(*kernel):
            window = [
                slice(at * apart, at * apart + (size - 1) * by + 1, by)
                for at, apart, size, by in zip(place, spread, sizes, step, strict=True)
            ]
            sums += np.multiply(planes[:, *window], filters[:, *place].reshape(-1, *ones), out=product)
    return found


def _padded(x: Array, around: Pads, fill: float) -> Tensor:
    if not any(map(any, around)):
        return _tensor(x)
    return torch.from_numpy(np.pad(x, [(0, 0), (0, 0), *around], constant_values=fill))


def _tensor(x: Array) -> Tensor:
    """The array as a tensor, without a copy where possible: nothing here writes into an operand."""
    whole = np.ascontiguousarray(x)
    return torch.from_numpy(whole if whole.flags.writeable else whole.copy())
