"""Remove nodes that hand on what they are given.

    Dropout                  at inference, y = x
    Reshape                  to the shape that x has: every entry 0, the size itself, or one -1 in place of a size
    Flatten                  of a matrix at axis 1
    Squeeze                  of no axes, or of all of size 1 where there is none
    Unsqueeze                of no axes
    Transpose                to the same order
    Expand                   to sizes that are 1 or those of x
    Cast                     to the type that x has
    Pad                      by nothing
    Concat                   of one tensor
    Mul, Div                 by 1 (Div: only on the right); x * 1 = x / 1 = x
    Add, Sub                 of 0 (Sub: only on the right); x + 0 = x - 0 = x, but for the sign of a zero
    MaxPool, AveragePool     1x1, stride 1, unpadded

A compiler drops most of them, yet each keeps a convolution from what stands behind it, so that nothing folds. Whether a
node changes nothing is proved from its constants and the shape of its input; what its output is said to be counts for
nothing, since a file may claim what it likes. A constant of ones or zeros only counts where broadcasting leaves the
shape alone. Identity, duplicate and dead nodes are gone already: clean-up has its own rules for them.

Skips a site, with the reason, when

1. it lies in the body of an If, Loop or Scan,
2. a Dropout is in training mode, or the caller may put it there,
3. the mask of a Dropout or the indices of a MaxPool are read,
4. it hands a graph input, an initializer or a graph output on to a graph output: both names are public.
"""

from functools import partial

import onnx_ir as ir

from deploykit.graph.algebra.affine import data_operand
from deploykit.graph.rewrite import Fusion, Rewrite, Unmet, bypass, constant, is_public
from deploykit.spec.arrays import Array

NEUTRAL = {"Mul": 1, "Div": 1, "Add": 0, "Sub": 0}
SHAPING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Pad", "Concat")
ANCHORS = ("Dropout", "Cast", *SHAPING, *NEUTRAL, "MaxPool", "AveragePool")


def _attempt(node: ir.Node, graph: ir.Graph) -> Rewrite | Unmet | None:
    source = data_operand(node) if node.op_type in NEUTRAL else node.inputs[0]
    if source is None or not _changes_nothing(node, source):
        return None
    if node.op_type == "Dropout" and len(node.inputs) > 2 and node.inputs[2] is not None:
        training = constant(node.inputs[2])
        if training is None or training.any():
            return Unmet("it may be in training mode")
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return Unmet(f"its {'mask is' if node.op_type == 'Dropout' else 'indices are'} read")
    if node.outputs[0].is_graph_output() and is_public(source):
        return Unmet("it hands a graph input, an initializer or a graph output on to a graph output")
    return partial(bypass, node, source, graph)


def _changes_nothing(node: ir.Node, source: ir.Value) -> bool:
    """Whether the node's value is that of `source`, at inference and whatever `source` holds."""
    second = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    match node.op_type:
        case "Dropout":
            return True
        case "Cast":
            return source.dtype is not None and source.dtype == node.attributes.get_int("to")
        case "Reshape":
            return second is not None and _reshapes_into(
                second, source, copies=not node.attributes.get_int("allowzero", 0)
            )
        case "Flatten":
            return _rank(source) == 2 and node.attributes.get_int("axis", 1) in (1, -1)
        case "Squeeze" if len(node.inputs) < 2 or node.inputs[1] is None:
            return source.shape is not None and all(isinstance(size, int) and size != 1 for size in source.shape)
        case "Squeeze" | "Unsqueeze":
            return second is not None and not second.size
        case "Transpose":
            order = node.attributes.get_ints("perm")
            return _rank(source) in (0, 1) if order is None else list(order) == sorted(order)
        case "Expand":
            return second is not None and _broadcasts_into(tuple(second.tolist()), source)
        case "Pad":
            return second is not None and not second.any()
        case "Concat":
            return len(node.inputs) == 1
        case "MaxPool" | "AveragePool":
            kernel, strides, pads = (
                node.attributes.get_ints(name) or () for name in ("kernel_shape", "strides", "pads")
            )
            return {*kernel, *strides} == {1} and not any(pads)
        case _:
            return _is_neutral(node, source)


def _rank(source: ir.Value) -> int | None:
    return None if source.shape is None else len(source.shape)


def _reshapes_into(wanted: Array, source: ir.Value, *, copies: bool) -> bool:
    """Whether a Reshape to `wanted`, where `copies` tells what 0 means, makes the shape that `source` has."""
    if source.shape is None or wanted.shape != (len(source.shape),):
        return False
    pairs = zip(wanted.tolist(), source.shape, strict=True)
    others = [entry for entry, size in pairs if entry != size and not (copies and entry == 0)]
    return others in ([], [-1])


def _is_neutral(node: ir.Node, source: ir.Value) -> bool:
    left = node.inputs[0] is not source
    array = constant(node.inputs[0 if left else 1])
    if array is None or (left and node.op_type in ("Div", "Sub")):
        return False
    return bool((array == NEUTRAL[node.op_type]).all()) and _broadcasts_into(array.shape, source)


def _broadcasts_into(shape: tuple[int, ...], source: ir.Value) -> bool:
    """Whether a tensor of this shape leaves the shape of `source` alone; a scalar leaves every shape alone."""
    if not shape:
        return True
    if source.shape is None or len(shape) > len(source.shape):
        return False
    sizes = list(source.shape)[len(source.shape) - len(shape) :]
    return all(given in (1, size) for given, size in zip(shape, sizes, strict=True))


remove_no_ops = Fusion("remove_no_ops", "nodes that hand on what they are given", ANCHORS, _attempt)
