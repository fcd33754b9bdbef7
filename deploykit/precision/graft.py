"""Put layers of the float network in place of a typed graph's own: in float32, with the network's weights.

It is what `--keep-fp32` and `--int8-exclude` mean for a graph that somebody else typed. It is also the proof of where
a loss arises: with the layer at fault replaced, and no other, the loss is gone.

    typed:     x (float16) -> Conv with w16             -> y (float16)
    grafted:   x -> Cast -> Conv with the network's w, b -> Cast -> y

Operands are the typed graph's values by the network's names, before any Q/DQ pair; whoever read y reads the new one.
"""

from collections.abc import Collection

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
    UsageError where the typed graph has no value by the name of an operand or of the result.
    """
    chosen = set(named_nodes(network, keep)) if keep else set()
    chosen |= {node for node in network.graph if node_name(node) in nodes}
    put = []
    for node in [node for node in network.graph if node in chosen]:
        _replace(typed, node)
        put.append(node_name(node))
    common.RemoveUnusedNodesPass()(typed)
    return put


def _replace(typed: ir.Model, node: ir.Node) -> None:
    graph, taken = typed.graph, names_in_use(typed.graph)
    values = {str(value.name): value for value in graph.inputs}
    values |= {str(value.name): value for each in graph for value in each.outputs}
    (result, *others) = node.outputs
    old = values.get(str(result.name))
    if old is None or any(value.uses() for value in others):
        raise UsageError(f"{node_name(node)}: the graph has no value {result.name} to be replaced")
    maker = old.producer()
    assert maker is not None  # noqa: S101 - a result is no input
    before: list[ir.Node] = []
    operands = [_operand(graph, values, value, node, before, taken) for value in node.inputs]
    name = unused(f"{result.name}{GRAFTED}", taken)
    made = ir.Value(name=name, shape=old.shape, type=ir.TensorType(FLOAT if old.dtype in REAL else old.dtype))
    outputs = [made, *(ir.Value(name=unused(f"{name}_{index}", taken)) for index, _ in enumerate(others))]
    metadata = {NAME_SCOPES: node.metadata_props[NAME_SCOPES]} if NAME_SCOPES in node.metadata_props else {}
    copy = ir.node(
        node.op_type,
        operands,
        dict(node.attributes),
        domain=node.domain,
        outputs=outputs,
        name=unused(node_name(node) + GRAFTED, taken),
        metadata_props=metadata,
    )
    new = [*before, copy]
    if old.dtype in REAL and old.dtype != FLOAT:
        new.append(_cast(made, old.dtype, unused(f"{name}_narrow", taken)))
    graph.insert_after(maker, new)
    seen = new[-1].outputs[0]
    if old.is_graph_output():
        public, old.name = str(old.name), unused(f"{result.name}_before", taken)
        seen.name = public
    old.replace_all_uses_with(seen, replace_graph_outputs=True)


def _operand(
    graph: ir.Graph,
    values: dict[str, ir.Value],
    value: ir.Value | None,
    node: ir.Node,
    before: list[ir.Node],
    taken: set[str],
) -> ir.Value | None:
    """What takes the place of an operand of the network's: a constant of its own, or the typed value in float32."""
    if value is None:
        return None
    if (array := constant(value)) is not None:
        return new_initializer(graph, unused(f"{value.name}{GRAFTED}", taken), array)
    found = values.get(str(value.name))
    if found is None:
        raise UsageError(f"{node_name(node)}: the graph has no value {value.name} for it to read")
    if found.dtype in REAL and found.dtype != FLOAT:
        cast = _cast(found, FLOAT, unused(f"{found.name}_wide", taken))
        taken.add(str(cast.outputs[0].name))
        before.append(cast)
        return cast.outputs[0]
    return found


def _cast(value: ir.Value, dtype: ir.DataType, name: str) -> ir.Node:
    made = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype))
    return ir.node("Cast", [value], {"to": dtype}, outputs=[made], name=f"{name}/cast")
