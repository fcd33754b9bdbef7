"""Names by which a person finds a node again: TensorRT's build log knows a kernel by its nodes' names only.

A node that a module made is named for it: the weighted ones bear the module's path itself (`layer1.0.conv1`), the
others the path and the operator (`layer1.0/Add`), since a block does several things. A call in the network's own
`forward` has no module below the root and bears torch's name for the call (`flatten`). A node of a foreign file keeps
its name. What would repeat gets `_1`, `_2`, ... in graph order, so the same graph always gets the same names.
"""

import ast

import onnx_ir as ir

from deploykit.graph.rewrite import NAME_SCOPES, WEIGHTED, PassResult, unused


def name_nodes(model: ir.Model) -> PassResult:
    """Give every node, also those in subgraphs, a readable name that no other node has. Refuses nothing."""
    result = PassResult("name_nodes")
    taken: set[str] = set()
    for node in model.graph.all_nodes():
        name = unused(_readable(node), taken)
        taken.add(name)
        if node.name != name:
            node.name = name
            result.rewritten.append(name)
    return result


def _readable(node: ir.Node) -> str:
    recorded = node.metadata_props.get(NAME_SCOPES)
    if not recorded:
        return node.name or next((value.name for value in node.outputs if value.name), node.op_type)
    *modules, call = ast.literal_eval(recorded)
    if not modules or not modules[-1]:
        return str(call) or node.op_type
    return str(modules[-1]) if node.op_type in WEIGHTED else f"{modules[-1]}/{node.op_type}"
