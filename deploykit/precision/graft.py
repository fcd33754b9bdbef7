"""Put layers of the float network in place of a typed graph's own: in float32, with the network's weights.

It is what `--keep-fp32` and `--int8-exclude` mean for a graph that somebody else typed. It is also the proof of where
a loss arises: with the layer at fault replaced, and no other, the loss is gone.

    typed:     x (float16) -> Conv with w16             -> y (float16)
    grafted:   x -> Cast -> Conv with the network's w, b -> Cast -> y

Operands are the typed graph's values by the network's names, before any Q/DQ pair; what has none there, as where a
normalization is missing, is computed as in the network. Whoever read y reads the new one.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import onnx_ir as ir
import onnx_ir.passes.common as common

from deploykit.errors import UsageError
from deploykit.graph.rewrite import NAME_SCOPES, constant, names_in_use, new_initializer, node_name, unused
from deploykit.precision.keep import named_nodes

FLOAT = ir.DataType.FLOAT
REAL = (FLOAT, ir.DataType.FLOAT16)
GRAFTED = "_grafted"


def graft(typed: ir.Model, network: ir.Model, *, keep: Collection[str] = (), nodes: Collection[str] = ()) -> list[str]:
    """Replace in `typed`, in place, what `keep` means in `network` (as `--keep-fp32` does), and its `nodes` by name.

    Answers with the names of the nodes that were put in. Raises UnknownName and UsageError as `named_nodes`, and
    UsageError where the typed graph has no value by the name of the result.
    """
    chosen = set(named_nodes(network, keep)) if keep else set()
    chosen |= {node for node in network.graph if node_name(node) in nodes}
    put = []
    for node in [node for node in network.graph if node in chosen]:
        _replace(typed, node)
        put.append(node_name(node))
    common.RemoveUnusedNodesPass()(typed)
    return put


@dataclass
class _Typed:
    """The typed graph while layers are put in: its values by name, the names in use, and nodes to be inserted."""

    graph: ir.Graph
    values: dict[str, ir.Value]
    taken: set[str]
    new: list[ir.Node] = field(default_factory=list)

    @classmethod
    def of(cls, graph: ir.Graph) -> "_Typed":
        values = {str(value.name): value for value in graph.inputs}
        values |= {str(value.name): value for each in graph for value in each.outputs}
        return cls(graph, values, names_in_use(graph))

    def fresh(self, name: str) -> str:
        """A name that is not in use, and then is."""
        found = unused(name, self.taken)
        self.taken.add(found)
        return found

    def copy(self, node: ir.Node, dtype: ir.DataType | None) -> ir.Value:
        """A copy of one of the network's nodes, its first output of type `dtype`."""
        operands = [self.operand(value) for value in node.inputs]
        names = [self.fresh(f"{value.name}{GRAFTED}") for value in node.outputs]
        made = ir.Value(name=names[0], shape=node.outputs[0].shape, type=ir.TensorType(dtype) if dtype else None)
        metadata = {NAME_SCOPES: node.metadata_props[NAME_SCOPES]} if NAME_SCOPES in node.metadata_props else {}
        copy = ir.node(
            node.op_type,
            operands,
            dict(node.attributes),
            domain=node.domain,
            outputs=[made, *(ir.Value(name=name) for name in names[1:])],
            name=self.fresh(node_name(node) + GRAFTED),
            metadata_props=metadata,
        )
        self.new.append(copy)
        return made

    def operand(self, value: ir.Value | None) -> ir.Value | None:
        """What takes the place of an operand of the network's: a constant of its own, or the typed value in float32.

        What the typed graph has no value for is computed as in the network.
        """
        if value is None:
            return None
        if (array := constant(value)) is not None:
            return new_initializer(self.graph, self.fresh(f"{value.name}{GRAFTED}"), array)
        found = self.values.get(str(value.name))
        if found is None:
            maker = value.producer()
            if maker is None or value is not maker.outputs[0]:
                raise UsageError(f"the graph has no value {value.name}")
            return self.copy(maker, value.dtype)
        return self.cast(found, FLOAT) if found.dtype in REAL and found.dtype != FLOAT else found

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """The value in another type."""
        name = self.fresh(f"{value.name}_{dtype.numpy().name}")
        made = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype))
        self.new.append(ir.node("Cast", [value], {"to": dtype}, outputs=[made], name=self.fresh(f"{name}/cast")))
        return made


def _replace(typed: ir.Model, node: ir.Node) -> None:
    """Raises UsageError."""
    work, result = _Typed.of(typed.graph), node.outputs[0]
    old = work.values.get(str(result.name))
    maker = old.producer() if old is not None else None
    if old is None or maker is None or any(value.uses() for value in node.outputs[1:]):
        raise UsageError(f"{node_name(node)}: the graph has no value {result.name} to be replaced")
    seen = work.copy(node, FLOAT if old.dtype in REAL else old.dtype)
    seen.shape = old.shape
    if old.dtype in REAL and old.dtype != FLOAT:
        seen = work.cast(seen, old.dtype)
    typed.graph.insert_after(maker, work.new)
    if old.is_graph_output():
        public, old.name = str(old.name), work.fresh(f"{result.name}_before")
        seen.name = public
    old.replace_all_uses_with(seen, replace_graph_outputs=True)
