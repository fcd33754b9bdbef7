"""Split a BatchNorm behind a Concat of channels into one BatchNorm per branch, in front of the Concat.

    BatchNorm(Concat(a, b); gamma, beta, mean, var)
      ->   Concat(BatchNorm(a; gamma[:k], ...), BatchNorm(b; gamma[k:], ...))      k channels in a

A BatchNorm treats every channel by itself, so this is exact to the bit. It is beneficial only because
`fold_batchnorm`, which runs next, then folds every part into the convolution that makes the branch; a part that
remained would be a kernel more. Hence a site is split only when every part can be folded.

The parts bear the BatchNorm's name and a number, and its module scope; the Concat keeps its own.

Skips a site, with the reason, when

1. it lies in the body of an If, Loop or Scan,
2. another node reads the Concat, or it is a graph output,
3. the Concat does not join channels (axis 1),
4. a branch is not made by a Conv, ConvTranspose or Gemm, is read by another node (a dense block reads its branches
   again and again), or is a graph output,
5. a part could not be folded: batch statistics, parameters that are not constant or do not match in number, a result
   that is not finite.
"""

from functools import partial
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from deploykit.graph.algebra.affine import read_affine
from deploykit.graph.algebra.linear import Linear, is_linear, read_linear, scale_outputs
from deploykit.graph.rewrite import (
    Fusion,
    Rewrite,
    Unmet,
    bypass,
    constant,
    names_in_use,
    new_initializer,
    node_name,
    other_use,
    unused,
)

ROLES = ("scale", "bias", "mean", "var")


def _attempt(norm: ir.Node, graph: ir.Graph) -> Rewrite | Unmet | None:
    source = norm.inputs[0]
    concat = source.producer() if source is not None else None
    if source is None or concat is None or concat.op_type != "Concat" or concat.domain:
        return None
    if reason := other_use(source, called="unnormalized"):
        return reason
    branches = []
    for value in concat.inputs:
        branch = _branch(value)
        if isinstance(branch, Unmet):
            return branch
        branches.append(branch)
    if concat.attributes.get_int("axis") not in (1, 1 - branches[0].rank):
        return Unmet("the Concat before it does not join channels")
    bounds = np.cumsum([0, *(branch.channels_out for branch in branches)]).tolist()
    return _obstacle(norm, branches, bounds) or partial(_rewrite, norm, concat, bounds, graph)


def _branch(value: ir.Value | None) -> Linear | Unmet:
    """The convolution that makes one branch for the Concat alone."""
    producer = value.producer() if value is not None else None
    if value is None or producer is None:
        return Unmet("a branch of the Concat before it is not the output of a node")
    if not is_linear(producer):
        return Unmet(f"a branch is made by a {producer.op_type}, not by a Conv, ConvTranspose or Gemm")
    return other_use(value, called="branch's") or read_linear(producer)


def _obstacle(norm: ir.Node, branches: list[Linear], bounds: list[int]) -> Unmet | None:
    """Why a part could not be folded into its branch."""
    affine = read_affine(norm, rank=branches[0].rank, channels=bounds[-1])
    if isinstance(affine, Unmet):
        return affine
    for branch, (start, stop) in zip(branches, pairwise(bounds), strict=True):
        folded = scale_outputs(branch, affine.scale[start:stop], affine.shift[start:stop])
        if isinstance(folded, Unmet):
            return Unmet(f"of {node_name(branch.node)} {folded}")
    return None


def _rewrite(norm: ir.Node, concat: ir.Node, bounds: list[int], graph: ir.Graph) -> None:
    names = names_in_use(graph)
    for index, (start, stop) in enumerate(pairwise(bounds)):
        name = unused(f"{node_name(norm)}_{index}", names)
        names.add(name)
        part = _part(norm, concat.inputs[index], slice(start, stop), name, graph)
        graph.insert_before(concat, part)
        concat.replace_input_with(index, part.outputs[0])
    bypass(norm, concat.outputs[0], graph)


def _part(norm: ir.Node, branch: ir.Value | None, channels: slice, name: str, graph: ir.Graph) -> ir.Node:
    """The BatchNorm of some channels alone."""
    parameters = [
        new_initializer(graph, f"{name}.{role}", array[channels])
        for role, value in zip(ROLES, norm.inputs[1:5], strict=True)
        if (array := constant(value)) is not None
    ]
    shape = branch.shape if branch is not None else None
    output = ir.Value(name=name, shape=shape, type=norm.outputs[0].type)
    return ir.Node(
        "",
        "BatchNormalization",
        [branch, *parameters],
        norm.attributes,
        outputs=[output],
        name=name,
        metadata_props=dict(norm.metadata_props),
    )


split_batchnorm = Fusion(
    "split_batchnorm", "BatchNorm after a Concat into its branches", ("BatchNormalization",), _attempt
)
