"""Bytes become real numbers before anything moves them: TensorRT takes uint8 only where a Cast reads it.

    uint8 x -> Transpose -> Cast -> ...      becomes      uint8 x -> Cast -> Transpose -> ...

A cast is element by element, so it commutes with whatever only moves elements. Left alone: an input that is read twice
on the way, and a value that the graph hands out.
"""

import onnx_ir as ir

from deploykit.graph.rewrite import NAME_SCOPES, is_public

SHAPE_OF = ("Shape", "Size")  # they read no byte
MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def cast_bytes_first(model: ir.Model) -> None:
    """Change `model` in place."""
    for value in model.graph.inputs:
        if value.dtype == ir.DataType.UINT8 and not value.is_initializer():
            _move(model.graph, value)


def _move(graph: ir.Graph, pixels: ir.Value) -> None:
    moves: list[ir.Node] = []
    value = pixels
    while (reader := _only_reader(value)) is not None and reader.op_type in MOVES:
        moves.append(reader)
        value = reader.outputs[0]
    if not moves or reader is None or reader.op_type != "Cast" or is_public(reader.outputs[0]):
        return
    scopes = reader.metadata_props.get(NAME_SCOPES)
    cast = ir.node(
        "Cast",
        [pixels],
        {"to": reader.attributes.get_int("to", 1)},
        name=f"{reader.name}/first" if reader.name else None,
        metadata_props={NAME_SCOPES: scopes} if scopes else {},
    )
    made, kind = cast.outputs[0], reader.outputs[0].type
    made.name, made.shape, made.type = f"{reader.outputs[0].name}/first", pixels.shape, kind
    graph.insert_before(moves[0], cast)
    moves[0].replace_input_with(0, made)
    for node in moves:
        node.outputs[0].type = kind
    for user, index in list(reader.outputs[0].uses()):
        user.replace_input_with(index, value)
    graph.remove(reader, safe=True)


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = [(node, index) for node, index in value.uses() if node.op_type not in SHAPE_OF]
    if len(uses) != 1 or value.is_graph_output() or uses[0][1] != 0:
        return None
    return uses[0][0]
