"""If with a constant condition: the branch that runs takes its place.

    y = If(true) <then: t = f(a), else: ...>   ->   y = f(a)

The branch reads outer values by reference, so its nodes can be moved as they are; names that would clash are made
unique afterwards, as everywhere. A branch that hands out an outer value does so through an Identity.
"""

import onnx_ir as ir

from deploykit.graph.rewrite import bodies, unused


def decide_branches(model: ir.Model) -> int:
    """Move the decided branches of the main graph into it, in place; returns how many. Nested ones come next time."""
    decided = [node for node in model.graph if node.op_type == "If" and not node.domain]
    return sum(_decide(node, model.graph) for node in decided)


def _decide(node: ir.Node, graph: ir.Graph) -> bool:
    condition = node.inputs[0]
    known = None if condition is None or condition.is_graph_input() else ir.convenience.get_const_tensor(condition)
    if known is None or known.size != 1:
        return False
    attribute = node.attributes.get("then_branch" if known.numpy().item() else "else_branch")
    if attribute is None or not bodies(attribute):
        return False
    (branch,) = bodies(attribute)
    handed_out = list(branch.outputs)
    branch.outputs.clear()
    for name, value in list(branch.initializers.items()):
        del branch.initializers[name]
        value.name = unused(name, graph.initializers)
        graph.register_initializer(value)
    moved = list(branch)
    branch.remove(moved)
    graph.insert_before(node, moved)
    for output, value in zip(node.outputs, handed_out, strict=True):
        _replace(output, value, node, graph)
    graph.remove(node, safe=True)
    for other in node.attributes.values():
        for body in bodies(other):
            _let_go(body)
    return True


def _let_go(body: ir.Graph) -> None:
    """A branch that never runs reads nothing: what only it read is unused from now on."""
    body.outputs.clear()
    for node in body.all_nodes():
        for index in range(len(node.inputs)):
            node.replace_input_with(index, None)


def _replace(output: ir.Value, value: ir.Value, node: ir.Node, graph: ir.Graph) -> None:
    """An output of the graph keeps its name and its claims: an Identity of what the branch gives stands for it."""
    if output.is_graph_output():
        copy = ir.node("Identity", [value], name=f"{node.name or 'If'}/{output.name}")
        copy.outputs[0].shape, copy.outputs[0].type = output.shape, output.type
        graph.insert_before(node, copy)
        name = output.name
        output.replace_all_uses_with(copy.outputs[0], replace_graph_outputs=True)
        copy.outputs[0].name = name
        return
    value.shape = value.shape or output.shape
    value.type = value.type or output.type
    output.replace_all_uses_with(value)
