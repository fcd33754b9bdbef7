"""Activations that float16 cannot hold, found by running the graph, and what has to stay float32 so that none is left.

Two causes, each with its cure:

1. A value is beyond 65504 in float32 too (a square, a sum over channels). What makes it stays float32, and so does what
   reads it, for a value that large cannot be handed on in float16.
2. A value is finite in float32 and not in float16, because something before it was rounded to 0 or lost its digits (a
   division by a small epsilon). Then the node stays float32 and what makes its operands, step by step upwards.

The set is tried before it is named: the graph is typed with it and run again.
"""

import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from deploykit.graph.rewrite import node_name
from deploykit.precision.emulate import BEYOND, OverflowSite, emulate_rounding, find_overflow, peaks
from deploykit.precision.float16 import to_float16
from deploykit.spec import Feed

ROUNDS = 8  # sets that are tried
LISTED = 8  # nodes that a person types out; of more, those whose names differ in numbers only share one pattern


@dataclass(frozen=True, slots=True)
class Overflow:
    """`first` is where it begins. `keep` are values of --keep-fp32 that cure it; () if none was found."""

    first: OverflowSite
    keep: tuple[str, ...]

    def __str__(self) -> str:
        return f"float16 overflow in {self.first}; {cure(self.keep)}"


def cure(keep: Sequence[str]) -> str:
    """What to do about an overflow, to be pasted."""
    if not keep:
        return "build in fp32, or rescale the network"
    return f"cured by {' '.join(f'--keep-fp32 {shlex.quote(name)}' for name in keep)}"


def overflow(network: ir.Model, feeds: Sequence[Feed], *, keep: Collection[str] = ()) -> Overflow | None:
    """What overflows of an optimized float graph in float16 on `feeds`, `keep` staying float32; None if nothing does.

    `network` is left alone. Raises as `to_float16`, and InvalidFeed where ONNX Runtime cannot run the graph.
    """
    first = _first_site(network, feeds, keep, infinite=())
    if first is None:
        return None
    large, infinite = _beyond(network, feeds)
    first = _first_site(network, feeds, keep, infinite=infinite)
    if first is None:
        return None
    return Overflow(first, _cure(network, feeds, keep, large, infinite))


def _first_site(
    network: ir.Model, feeds: Sequence[Feed], keep: Collection[str], *, infinite: Collection[str]
) -> OverflowSite | None:
    typed = network.clone()
    to_float16(typed, keep=keep)
    emulated = emulate_rounding(typed)
    sites = (find_overflow(emulated, feed, infinite=infinite) for feed in feeds)
    return next((found for found in sites if found is not None), None)


def _beyond(network: ir.Model, feeds: Sequence[Feed]) -> tuple[list[ir.Value], set[str]]:
    """Values that are finite in float32 and too large for float16, and the nodes whose results are not even finite."""
    floats = [index for index, value in enumerate(_values(network)) if value.dtype == ir.DataType.FLOAT]
    largest = np.zeros(len(floats))
    for feed in feeds:
        copy = network.clone()
        values = _values(copy)
        found = peaks(copy, [values[index] for index in floats], feed)
        largest = np.fmax(largest, [np.inf if np.isnan(peak) else peak for peak in found])
    values = _values(network)
    large = [values[index] for index, peak in zip(floats, largest, strict=True) if BEYOND <= peak < np.inf]
    infinite = [values[index].producer() for index, peak in zip(floats, largest, strict=True) if np.isinf(peak)]
    return large, {node_name(node) for node in infinite if node is not None}


def _values(model: ir.Model) -> list[ir.Value]:
    return [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]


def _cure(
    network: ir.Model,
    feeds: Sequence[Feed],
    keep: Collection[str],
    large: Sequence[ir.Value],
    infinite: Collection[str],
) -> tuple[str, ...]:
    by_name = {node_name(node): node for node in network.graph}
    chosen = {node_name(node) for value in large for node in (value.producer(), *_readers(value)) if node is not None}
    for _ in range(ROUNDS):
        patterns = _patterns([name for name in by_name if name in chosen])
        found = _first_site(network, feeds, (*keep, *patterns), infinite=infinite)
        if found is None:
            return patterns
        node = by_name.get(found.node)
        more = {node_name(other) for other in (node, *_makers(node))} if node is not None else set()
        if more <= chosen:
            more = {node_name(other) for name in chosen for other in _makers(by_name[name])}
        if more <= chosen:
            break
        chosen |= more
    return ()


def _readers(value: ir.Value) -> list[ir.Node]:
    return [use.node for use in value.uses()]


def _makers(node: ir.Node) -> list[ir.Node]:
    """The nodes that make the floating operands of `node`."""
    makers = [value.producer() for value in node.inputs if value is not None and value.dtype == ir.DataType.FLOAT]
    return [maker for maker in makers if maker is not None]


def _patterns(names: Sequence[str]) -> tuple[str, ...]:
    if len(names) <= LISTED:
        return tuple(names)
    return tuple(dict.fromkeys(re.sub(r"\d+", "*", name) for name in names))
