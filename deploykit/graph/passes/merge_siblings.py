"""Merge convolutions of the same form that read the same image into one, and split its result.

    y1 = W1 x + b1,  y2 = W2 x + b2   ->   y = [W1; W2] x + [b1; b2],  y1, y2 = Split(y) along the channels

They are of the same form when kernel, strides, padding and dilation are equal and none has groups. Every output
channel is the same sum as before, so this is exact but for the order in which a runtime adds up. Where each of them is
read by one Relu alone, a single Relu stands in front of the Split.

The three 1x1 convolutions that begin the branches of an Inception block (Szegedy et al., arXiv 1409.4842, figure 2b)
are such siblings. One pass over the image replaces three, but a compiler that cannot let the branches read parts of one
tensor copies them out: hence it is cost-based, and never done unasked.

A site is the first of them, whose name the merged one keeps; the results keep their names.

Skips a site, with the reason, when

1. they lie in the body of an If, Loop or Scan; one that does is no sibling of one that does not,
2. a weight or bias of one of them is not a constant, or a weight is not a floating-point number,
3. a weight or bias is not finite.
"""

from functools import partial

import numpy as np
import onnx_ir as ir

from deploykit.graph.algebra.composition import groups, taps
from deploykit.graph.algebra.linear import Linear, Parameters, checked, read_linear, write
from deploykit.graph.algebra.window import Window, read_window
from deploykit.graph.rewrite import (
    NAME_SCOPES,
    Fusion,
    Rewrite,
    Unmet,
    drop,
    names_in_use,
    new_initializer,
    node_name,
    other_use,
    unused,
)


def _attempt(conv: ir.Node, graph: ir.Graph) -> Rewrite | Unmet | None:
    siblings = _siblings(conv, graph)
    if len(siblings) < 2 or siblings[0] is not conv:
        return None
    found = []
    for sibling in siblings:
        linear = read_linear(sibling)
        if isinstance(linear, Unmet):
            return Unmet(f"of {node_name(sibling)} {linear}")
        found.append(linear)
    weight = np.concatenate([linear.weight for linear in found])
    bias = np.concatenate([np.broadcast_to(linear.bias, linear.channels_out) for linear in found])
    parameters = checked(found[0], weight, bias)
    return parameters if isinstance(parameters, Unmet) else partial(_rewrite, found, parameters, graph)


def _siblings(conv: ir.Node, graph: ir.Graph) -> list[ir.Node]:
    """The convolutions of this one's form on its image, itself among them, in graph order."""
    image, form = conv.inputs[0], _form(conv)
    readers = {use.node for use in image.uses() if use.idx == 0 and use.node.graph is graph} if image else set()
    alike = {reader for reader in readers if form is not None and _form(reader) == form}
    return [node for node in graph if node in alike] if len(alike) > 1 else []


def _form(node: ir.Node) -> Window | None:
    """The window of a convolution without groups; None for anything else."""
    if node.op_type != "Conv" or node.domain or groups(node) != 1:
        return None
    kernel = taps(node)
    return None if kernel is None else read_window(node, kernel)


def _rewrite(found: list[Linear], parameters: Parameters, graph: ir.Graph) -> None:
    first, *others = (linear.node for linear in found)
    sizes = [linear.channels_out for linear in found]
    relus = _relus([first, *others])
    write(found[0], parameters, graph)
    ends = relus or [first, *others]
    if relus:
        graph.remove(relus[0])
        graph.insert_after(first, relus[0])
    _split(ends, sizes, graph)
    for gone in (*relus[1:], *others):
        drop(gone, graph)
    for node in {first, ends[0]}:
        _widen(node.outputs[0], sum(sizes))


def _relus(convolutions: list[ir.Node]) -> list[ir.Node]:
    """The Relu behind each, where a Relu alone reads each of them; else none."""
    relus = []
    for conv in convolutions:
        readers = [reader for reader, _ in conv.outputs[0].uses()]
        if other_use(conv.outputs[0], called="unsplit") or not readers or readers[0].op_type != "Relu":
            return []
        relus += readers
    return relus if all(relu.graph is convolutions[0].graph and not relu.domain for relu in relus) else []


def _split(ends: list[ir.Node], sizes: list[int], graph: ir.Graph) -> None:
    """Let parts of the first result take the place, and the name, of all results."""
    whole, names = ends[0].outputs[0], names_in_use(graph)
    parts = []
    for old in (end.outputs[0] for end in ends):
        part = ir.Value(name=old.name, shape=old.shape, type=old.type)
        old.replace_all_uses_with(part, replace_graph_outputs=True)
        old.name = unused(f"{old.name}_unsplit", names)
        names.add(old.name)
        parts.append(part)
    scopes = ends[0].metadata_props.get(NAME_SCOPES)
    name = unused(f"{node_name(ends[0])}/Split", names)
    split = ir.node(
        "Split",
        [whole, new_initializer(graph, f"{name}.sizes", np.array(sizes, np.int64))],
        {"axis": 1},
        outputs=parts,
        name=name,
        metadata_props={NAME_SCOPES: scopes} if scopes else {},
    )
    graph.insert_after(ends[0], split)


def _widen(value: ir.Value, channels: int) -> None:
    if value.shape is not None:
        value.shape = ir.Shape([value.shape[0], channels, *value.shape[2:]])


merge_siblings = Fusion("merge_siblings", "parallel 1x1 convolutions of one input into one", ("Conv",), _attempt)
