"""What an output is made of, read off the graph: real numbers, whole numbers, or items in an order of their own.

Whole numbers (a class, a label map, an index) are right or wrong, never near. What a ranking picked (TopK, and boxes
gathered by its indices) may come in another order after the smallest change of a score, and what a selection picked
(NonMaxSuppression, NonZero) in another number: both are compared as sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from deploykit.spec.arrays import Array

if TYPE_CHECKING:
    import onnx_ir as ir

KindName = Literal["real", "whole", "ranked", "selected", "fixed"]
SELECTS = {"NonMaxSuppression": 0, "NonZero": 1, "Unique": 0, "Compress": 0}  # operator -> axis of the items
# Operators whose result holds the same items in the same order, perhaps computed on one by one.
KEEP = frozenset(
    (
        *("Abs", "Add", "Clip", "Div", "Exp", "Floor", "Mod", "Mul", "Sigmoid", "Sub", "Where"),
        *("Cast", "DequantizeLinear", "Identity", "QuantizeLinear"),
        *("Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Reshape", "Slice", "Split"),
        *("Squeeze", "Tile", "Transpose", "Unsqueeze"),
    )
)


@dataclass(frozen=True, slots=True)
class Kind:
    """`items` is the axis along which the items of a ranked or selected output lie: before it lie rankings apart, after
    it the figures of one item. A selected output has as many items as the data has; a fixed one does not read the
    network's inputs at all."""

    name: KindName
    items: int = 0


REAL, WHOLE = Kind("real"), Kind("whole")
REAL_KINDS = ("real", "fixed")  # of floating-point outputs, those that are measured by distances


def kind_of(output: Array, known: Kind | None) -> Kind:
    """What the graph says, or the type of the numbers where it says nothing."""
    return known or (REAL if output.dtype.kind == "f" else WHOLE)


def output_kinds(model: ir.Model) -> Mapping[str, Kind]:
    """The outputs whose numbers cannot be compared place by place, or say nothing, by name.

    What happens inside of If and Loop is not seen.
    """
    kinds: dict[ir.Value, Kind] = {}
    read = set(model.graph.inputs)
    for node in model.graph:
        if any(value in read for value in node.inputs) or any(True for _ in _bodies(node)):
            read.update(node.outputs)
        kinds.update(_made_by(node, kinds))
    fixed = Kind("fixed")
    found = {str(value.name): kinds.get(value) if value in read else fixed for value in model.graph.outputs}
    return {name: kind for name, kind in found.items() if kind is not None}


def _bodies(node: ir.Node) -> Iterator[object]:
    """Graphs that a node holds: they may read any value around them."""
    for attribute in node.attributes.values():
        if attribute.type.name in ("GRAPH", "GRAPHS"):
            yield attribute.value


def _made_by(node: ir.Node, kinds: Mapping[ir.Value, Kind]) -> Iterator[tuple[ir.Value, Kind]]:
    if node.domain not in ("", "ai.onnx"):
        return
    if node.op_type == "TopK":
        values, indices = node.outputs[:2]
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
        ranked = Kind("ranked", axis % (len(indices.shape) if indices.shape is not None else 2))
        yield indices, ranked
        if "sorted" in node.attributes and not node.attributes["sorted"].as_int():
            yield values, ranked  # sorted ones lie in the order of their size, whatever was picked
        return
    if node.op_type in SELECTS:
        for value in node.outputs:
            yield value, Kind("selected", SELECTS[node.op_type])
        return
    read = [kinds[value] for value in node.inputs if value is not None and value in kinds]
    if node.op_type in KEEP and read:
        found = next((kind for kind in read if kind.name == "selected"), read[0])
        for value in node.outputs:
            yield value, _moved(node, value, found, kinds)


def _moved(node: ir.Node, made: ir.Value, kind: Kind, kinds: Mapping[ir.Value, Kind]) -> Kind:
    """The same items where an operator may have moved them: rankings lie behind the batch, selections in front."""
    if node.op_type == "Transpose" and "perm" in node.attributes:
        return Kind(kind.name, list(node.attributes["perm"].as_ints()).index(kind.items))
    ranks = [
        len(value.shape) for value in node.inputs if value in kinds and value is not None and value.shape is not None
    ]
    if node.op_type in ("Cast", "Identity") or (made.shape is not None and ranks == [len(made.shape)]):
        return kind
    return Kind(kind.name, 0 if kind.name == "selected" else min(kind.items, 1))
