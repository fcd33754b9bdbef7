"""Fold a Pad with a constant into the padding of the convolutions and poolings that read it.

    op(Pad(x; p, q); P, Q)   ->   op(x; P + p, Q + q)      p, P before and q, Q behind, along each spatial axis

A convolution pads with 0, so a Pad with 0 adds up. An AveragePool pads with 0 and counts what it pads when
count_include_pad is 1; a Pad in front of it is counted in any case, so the two agree where count_include_pad is 1
already, or where the pooling has no padding of its own and it can be set to 1. A MaxPool pads with nothing at all, so
that a window's maximum is one of its real elements: a Pad with -inf or with the lowest number of a type never beats a
finite one, and a Pad with 0 never beats one that is known to be 0 or more (what a Relu, a Sigmoid, a Clip from 0 or an
unsigned type makes), provided that every window holds a real element. It does where the padding on each side is smaller
than the kernel and the taps lie side by side.

A Pad is a copy of the whole tensor in TensorRT's plan, unless the compiler folds it itself. Pads with several readers
are folded into all of them or not at all.

Skips a site, with the reason, when

1. it lies in the body of an If, Loop or Scan, or one of its readers does,
2. the mode is not constant (reflect, edge, wrap),
3. the amounts, the value or the axes are not constants of the graph,
4. an amount is negative, which crops,
5. it pads the batch or the channels,
6. its output is a graph output, or is read by anything but the image operand of a Conv, AveragePool or MaxPool,
7. a reader places its padding by auto_pad, whose amounts depend on the size that the Pad would change,
8. a reader rounds its windows up (ceil_mode): which windows count depends on where the image ends,
9. a pooling would pad by a whole kernel or more, which runtimes reject and where windows hold no real element,
10. the value is not the one above; an AveragePool leaves its own padding out of the count; a MaxPool is dilated, or its
    indices, which number the padded image, are read.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir

from deploykit.graph.rewrite import Fusion, Rewrite, Unmet, bypass, constant
from deploykit.spec.arrays import Array

READERS = ("Conv", "AveragePool", "MaxPool")
NEVER_NEGATIVE = ("Relu", "Sigmoid")


@dataclass(frozen=True, slots=True)
class _Padding:
    """What a Pad adds: amounts before and behind each spatial axis, and the value, in the tensor's type."""

    source: ir.Value
    before: tuple[int, ...]
    behind: tuple[int, ...]
    value: Array


def _attempt(pad: ir.Node, graph: ir.Graph) -> Rewrite | Unmet:
    padded = pad.outputs[0]
    if padded.is_graph_output():
        return Unmet("the padded tensor is a graph output")
    padding = _padding(pad)
    if isinstance(padding, Unmet):
        return padding
    readers = [reader for reader, _ in padded.uses()]
    for reader, index in padded.uses():
        if reason := _obstacle(reader, index, padding, graph):
            return reason
    return partial(_rewrite, pad, readers, padding, graph)


def _rewrite(pad: ir.Node, readers: list[ir.Node], padding: _Padding, graph: ir.Graph) -> None:
    for reader in readers:
        reader.attributes["pads"] = ir.AttrInt64s("pads", _total(reader, padding))
        if reader.op_type == "AveragePool":
            reader.attributes["count_include_pad"] = ir.AttrInt64("count_include_pad", 1)
    bypass(pad, padding.source, graph)


def _padding(pad: ir.Node) -> _Padding | Unmet:
    """What is padded, or the first precondition on the Pad itself that does not hold."""
    mode = pad.attributes.get_string("mode", "constant")
    if mode != "constant":
        return Unmet(f"it pads in mode {mode}")
    source, amounts, value, axes = (*pad.inputs, None, None)[:4]
    if source is None or source.shape is None or source.dtype is None:
        return Unmet("the shape of what it pads is not known")
    rank, found = len(source.shape), {}
    for role, operand in (("amounts", amounts), ("value", value), ("axes", axes)):
        if operand is not None:
            array = constant(operand)
            if array is None:
                return Unmet(f"{operand.name!r}, its {role}, is not a constant")
            found[role] = array
    sides = np.zeros((2, rank), np.int64)
    sides[:, found.get("axes", np.arange(rank))] = found["amounts"].reshape(2, -1)
    if (sides < 0).any():
        return Unmet("it crops: an amount is negative")
    if sides[:, :2].any():
        return Unmet("it pads the batch or the channels")
    zero = np.zeros((), source.dtype.numpy())
    before, behind = (tuple(side[2:].tolist()) for side in sides)
    return _Padding(source, before, behind, found.get("value", zero).reshape(()))


def _obstacle(reader: ir.Node, index: int, padding: _Padding, graph: ir.Graph) -> Unmet | None:
    """The first precondition on one reader that does not hold."""
    if reader.graph is not graph:
        return Unmet("a reader lies in the body of a control-flow node")
    if reader.domain or reader.op_type not in READERS or index != 0:
        return Unmet(f"it is read by a {reader.op_type}, not as the image of a Conv, AveragePool or MaxPool")
    if reader.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return Unmet(f"the {reader.op_type} after it places its padding by auto_pad")
    if reader.op_type != "Conv":
        if reader.attributes.get_int("ceil_mode", 0):
            return Unmet(f"the {reader.op_type} after it rounds its windows up (ceil_mode)")
        kernel = reader.attributes.get_ints("kernel_shape") or ()
        if any(amount >= size for amount, size in zip(_total(reader, padding), (*kernel, *kernel), strict=True)):
            return Unmet(f"the {reader.op_type} after it would pad by a whole kernel or more")
    if reader.op_type == "MaxPool":
        return _beside_maximum(reader, padding)
    if padding.value != 0:
        return Unmet(f"it pads with {padding.value:g}, the {reader.op_type} after it with 0")
    counts = reader.attributes.get_int("count_include_pad", 0) or not any(reader.attributes.get_ints("pads") or ())
    if reader.op_type == "AveragePool" and not counts:
        return Unmet("the AveragePool after it leaves its own padding out of the count")
    return None


def _total(reader: ir.Node, padding: _Padding) -> list[int]:
    added = (*padding.before, *padding.behind)
    own = reader.attributes.get_ints("pads") or (0,) * len(added)
    return [given + more for given, more in zip(own, added, strict=True)]


def _beside_maximum(pool: ir.Node, padding: _Padding) -> Unmet | None:
    """Why the value could show in the maximum of a window, or what else depends on the padded image."""
    if any(value.uses() or value.is_graph_output() for value in pool.outputs[1:]):
        return Unmet("the indices of the MaxPool after it are read")
    if any(step != 1 for step in pool.attributes.get_ints("dilations") or ()):
        return Unmet("the MaxPool after it is dilated")
    lowest = ir.DataType.from_numpy(padding.value.dtype).min
    if padding.value <= lowest or (padding.value <= 0 and _never_negative(padding.source)):
        return None
    return Unmet(f"it pads with {padding.value:g}, which may be more than the maximum of a window")


def _never_negative(value: ir.Value) -> bool:
    node = value.producer()
    if node is None or node.domain:
        return False
    if node.op_type == "Clip":
        least = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        return least is not None and bool((least >= 0).all())
    return node.op_type in NEVER_NEGATIVE


fold_pad = Fusion("fold_pad", "Pad into the convolution or pooling after it", ("Pad",), _attempt)
