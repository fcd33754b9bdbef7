"""Names by which a person finds a node again: TensorRT's build log knows a kernel by its nodes' names only.

A node that a module made is named for it: the weighted ones bear the module's path itself (`layer1.0.conv1`), the
others the path and the operator (`layer1.0/Add`), since a block does several things. A call in the network's own
`forward` has no module below the root and bears torch's name for the call (`flatten`). A node of a foreign file keeps
its name. What would repeat gets `_1`, `_2`, ... in graph order, so the same graph always gets the same names.

Values are told apart by identity while a graph is in memory, and by name in a file. The names come from three sides
that do not ask each other: the user's attributes, the exporter's operators and our own passes. `separate_names` settles
that wherever a graph is about to be written or verified.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir

from deploykit.graph.rewrite import NAME_SCOPES, PassResult, bodies, unused
from deploykit.spec.operators import WEIGHTED_OPS

LONGEST_NAME = 200  # characters; TensorRT cuts names at 4096, and a build log repeats them in every line
# Brackets, braces, quotes, commas and bars delimit names in build logs, as do blanks and everything beyond ASCII.
DELIMITERS = re.compile(r"""[^!-~]|["',\[\]\\`{|}]""")


def name_nodes(model: ir.Model) -> PassResult:
    """Give every node, also those in subgraphs, a readable name that no other node has. Refuses nothing."""
    result = PassResult("name_nodes")
    taken: set[str] = set()
    seen: Counter[str] = Counter()
    for node in model.graph.all_nodes():
        name = _next_unused(_plain(_readable(node)), taken, seen)
        if node.name != name:
            node.name = name
            result.rewritten.append(name)
    return result


def separate_names(model: ir.Model) -> int:
    """Give every value and every named node, bodies of control-flow nodes included, a name that no other of its kind
    has; see `separate_values`. Returns how many were renamed.
    """
    renamed, taken, seen = separate_values(model), set[str](), Counter[str]()
    for node in model.graph.all_nodes():
        if node.name:
            name = _next_unused(node.name, taken, seen)
            renamed += name != node.name
            node.name = name
    return renamed


def separate_values(model: ir.Model) -> int:
    """Give every value, those in bodies of control-flow nodes included, a name of its own; returns how many changed.

    Inputs and outputs of the graph keep theirs. Of any other values that share a name the first in graph order keeps
    it. A name that a build log could not carry is written in plain characters.
    """
    graph = model.graph
    public = {*graph.inputs, *graph.outputs}
    taken = {value.name for value in public if value.name}
    seen: Counter[str] = Counter()
    renamed = 0
    for value in dict.fromkeys(_inner_values(graph)):
        if value not in public and value.name != "":  # an omitted optional output
            renamed += _rename(value, _next_unused(_plain(value.name or "value"), taken, seen))
    return renamed


def _inner_values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Every value in graph order; a body's stand where its node does."""
    yield from graph.inputs
    yield from list(graph.initializers.values())
    for node in graph:
        for attribute in node.attributes.values():
            for body in bodies(attribute):
                yield from _inner_values(body)
        yield from node.outputs


def _rename(value: ir.Value, name: str) -> bool:
    if value.name == name:
        return False
    graph = value.graph if value.is_initializer() else None
    if graph is not None and name in graph.initializers:  # its present owner comes later, and moves out of the way
        holder = graph.initializers[name]
        holder.name = unused(f"{name}_", graph.initializers)
    value.name = name
    return True


def _next_unused(name: str, taken: set[str], seen: Counter[str]) -> str:
    """The first of `name`, `name_1`, ... that is not taken; `seen` spares counting anew for each repetition."""
    unique = name
    while unique in taken:
        seen[name] += 1
        unique = f"{name}_{seen[name]}"
    taken.add(unique)
    return unique


def _plain(name: str) -> str:
    return DELIMITERS.sub("_", name)[:LONGEST_NAME]


def _readable(node: ir.Node) -> str:
    recorded = node.metadata_props.get(NAME_SCOPES)
    if not recorded:
        return node.name or next((value.name for value in node.outputs if value.name), node.op_type)
    *modules, call = ast.literal_eval(recorded)
    if not modules or not modules[-1]:
        return str(call) or node.op_type
    return str(modules[-1]) if node.op_type in WEIGHTED_OPS else f"{modules[-1]}/{node.op_type}"
