"""What every graph pass shares: its result, the nodes it skips, and safe access to constants."""

import ast
from collections.abc import Callable, Collection, Container
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from deploykit.spec.arrays import Array
from deploykit.spec.reports import SkippedNode

NAME_SCOPES = "pkg.torch.onnx.name_scopes"  # the exporter's record of the module path that made a node
FOLDED_SCOPE = "deploykit.folded_scope"  # the module whose output a convolution computes since it was folded into it


@dataclass(slots=True)
class PassResult:
    """What a pass did to the model it was given: outputs it rewrote, and nodes it skipped, with the reason."""

    name: str
    rewritten: list[str] = field(default_factory=list)
    skipped: list[SkippedNode] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Unmet:
    """A precondition of a rewrite that does not hold: its reason, in words."""

    reason: str

    def __str__(self) -> str:
        return self.reason


GraphPass = Callable[[ir.Model], PassResult]
Rewrite = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Fusion:
    """A rewrite of one pattern, tried at one node after the other, in graph order.

    `attempt(node, graph)` is asked for every node whose operator is among `anchors`. It changes nothing; it answers
    with None where the pattern is not there, with the precondition that does not hold where it is, or with the
    function that carries the rewrite out. A site is the anchor's name, so each can be left out by itself.
    """

    name: str
    summary: str
    anchors: tuple[str, ...]
    attempt: Callable[[ir.Node, ir.Graph], Rewrite | Unmet | None]

    def __call__(self, model: ir.Model, *, without: Collection[str] = ()) -> PassResult:
        """Rewrite `model` in place at every site but those in `without`; bodies of control-flow nodes stay."""
        result = PassResult(self.name)
        for node in [node for node in model.graph.all_nodes() if node.op_type in self.anchors and not node.domain]:
            if node.graph is None or node_name(node) in without:  # an earlier rewrite took it away, or it is not wanted
                continue
            if node.graph is not model.graph:
                result.skipped.append(skip(node, "it lies in the body of a control-flow node"))
                continue
            name, found = node_name(node), self.attempt(node, model.graph)
            if isinstance(found, Unmet):
                result.skipped.append(SkippedNode(name, found.reason))
            elif found is not None:
                found()
                result.rewritten.append(name)
        return result


def node_name(node: ir.Node) -> str:
    """The node's name, or where it has none that of its first output."""
    return node.name or node.outputs[0].name or node.op_type


def skip(node: ir.Node, reason: str | Unmet) -> SkippedNode:
    return SkippedNode(node_name(node), str(reason))


def constant(value: ir.Value | None) -> Array | None:
    """The array behind a value, or None when it is not constant: a graph input may be overridden by the caller."""
    if value is None or value.is_graph_input() or value.const_value is None:
        return None
    return value.const_value.numpy()


def new_initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """Register `array` under a fresh name; existing initializers are shared between nodes and never edited."""
    unique = unused(name, graph.initializers)
    tensor = ir.Tensor(np.asarray(array, order="C"), name=unique)
    value = ir.Value(name=unique, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def unused(name: str, taken: Container[str]) -> str:
    """`name`, or the first of `name_1`, `name_2`, ... that is not taken."""
    unique, count = name, 0
    while unique in taken:
        count += 1
        unique = f"{name}_{count}"
    return unique


def names_in_use(graph: ir.Graph) -> set[str]:
    """The names of all nodes and values, those in the bodies of control-flow nodes included."""
    nodes = list(graph.all_nodes())
    inside = [body for node in nodes for attribute in node.attributes.values() for body in bodies(attribute)]
    values = [value for part in (graph, *inside) for value in (*part.inputs, *part.initializers.values())]
    values += [value for node in nodes for value in node.outputs]
    return {value.name or "" for value in values} | {node.name or "" for node in nodes}


def discard_unused(graph: ir.Graph, value: ir.Value | None) -> None:
    """Drop an initializer that nothing reads any more; anything else is left alone."""
    if value is None or value.uses() or value.is_graph_output() or value.is_graph_input() or value.name is None:
        return
    if graph.initializers.get(value.name) is value:
        del graph.initializers[value.name]


def other_use(value: ir.Value, *, called: str) -> Unmet | None:
    """Why a value that one node reads may not change: someone else sees it too. None when nobody does."""
    if len(value.uses()) > 1:
        return Unmet(f"another node reads the {called} output")
    return Unmet(f"the {called} output is a graph output") if value.is_graph_output() else None


def is_public(value: ir.Value) -> bool:
    """Whether the value's name is not free to change: callers know it, or it is filed under it."""
    return value.is_graph_input() or value.is_initializer() or value.is_graph_output()


def bypass(node: ir.Node, source: ir.Value, graph: ir.Graph) -> None:
    """Let `source` take the place of the node's first output, then drop the node and what only it read.

    Only the name of a graph output outlives the node; `source` takes it on, and must not be public then.
    """
    gone = node.outputs[0]
    public_name = gone.name if gone.is_graph_output() else None
    source.shape = gone.shape if source.shape is None else source.shape
    source.type = gone.type if source.type is None else source.type
    gone.replace_all_uses_with(source, replace_graph_outputs=True)
    drop(node, graph)
    if public_name is not None:
        source.name = public_name


def drop(node: ir.Node, graph: ir.Graph) -> None:
    """Remove a node that nothing reads, and the initializers that it alone read."""
    operands = tuple(node.inputs)
    graph.remove(node, safe=True)
    for value in operands:
        discard_unused(graph, value)


def bodies(attribute: ir.Attr) -> tuple[ir.Graph, ...]:
    """The graphs in an attribute: the bodies of If, Loop and Scan."""
    if attribute.type == ir.AttributeType.GRAPH:
        return (attribute.as_graph(),)
    return tuple(attribute.as_graphs()) if attribute.type == ir.AttributeType.GRAPHS else ()


def module_scope(node: ir.Node) -> str:
    """The PyTorch module that made this node (`layer1.0.conv1`), or the node's name where none is recorded."""
    scopes = module_scopes(node)
    return scopes[-1] if scopes else node.name or node.op_type


def module_scopes(node: ir.Node) -> tuple[str, ...]:
    """The PyTorch modules around this node, outermost first (`layer1`, `layer1.0`, `layer1.0.conv1`)."""
    recorded = node.metadata_props.get(NAME_SCOPES)
    return tuple(str(scope) for scope in ast.literal_eval(recorded)[:-1] if scope) if recorded else ()
