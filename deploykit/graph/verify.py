"""What must hold between two passes, cheaply enough to be checked each time. A breach names the pass that made it.

The same is asked of a graph before the first pass, so that no pass is blamed for what came in.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from deploykit.errors import DeploykitError
from deploykit.graph.rewrite import bodies

Signature = tuple[tuple[str | None, ir.DataType | None], ...]


@dataclass(frozen=True, slots=True)
class Interface:
    """What callers of the graph rely on: the names and types of what goes in and comes out, in order."""

    inputs: Signature
    outputs: Signature

    @classmethod
    def of(cls, model: ir.Model) -> "Interface":
        def signature(values: list[ir.Value]) -> Signature:
            return tuple((value.name, value.dtype) for value in values)

        return cls(signature(list(model.graph.inputs)), signature(list(model.graph.outputs)))


def verify(model: ir.Model, interface: Interface, *, after: str) -> None:
    """Raise DeploykitError, naming the pass `after` which the graph broke.

    Holds: inputs and outputs are as before; every operand is a graph input, an initializer with data, or the output
    of an earlier node; every value has a name of its own. The two branches of an If may use the same names.
    """
    found = Interface.of(model)
    breach = breach_of(model)
    if found != interface:
        breach = f"inputs or outputs changed from {interface} to {found}"
    if breach is not None:
        raise DeploykitError(f"graph pass {after} broke the graph: {breach}", hint="this is a defect; please report it")


def breach_of(model: ir.Model) -> str | None:
    """The first thing wrong with a graph that no pass has touched, in words; None where everything holds."""
    return next(_breaches(model.graph, frozenset(), set()), None)


def verify_names(model: ir.Model, *, after: str) -> None:
    """Raise DeploykitError where a node has no name or one that another node has too."""
    seen: set[str] = set()
    for node in model.graph.all_nodes():
        if not node.name or node.name in seen:
            raise DeploykitError(
                f"graph pass {after} left a {node.op_type} with the name {node.name!r}, not one of its own"
            )
        seen.add(node.name)


def _breaches(graph: ir.Graph, outer: frozenset[ir.Value], names: set[str]) -> Iterator[str]:
    known = set(outer)
    for value in {**dict.fromkeys(graph.inputs), **dict.fromkeys(graph.initializers.values())}:
        known.add(value)
        yield from _name_breach(value, names)
    for name, value in graph.initializers.items():
        if value.const_value is None or value.name != name:
            yield f"initializer {name!r} has no data or is filed under another name"
    for node in graph:
        for operand in node.inputs:
            if operand is not None and operand not in known:
                yield f"{node.op_type} {node.name!r} reads {operand.name!r} before anything makes it"
        for attribute in node.attributes.values():
            for body in bodies(attribute):
                yield from _breaches(body, frozenset(known), set(names))
        for value in node.outputs:
            known.add(value)
            if value.name != "":  # an omitted optional output
                yield from _name_breach(value, names)
    for value in graph.outputs:
        if value not in known:
            yield f"output {value.name!r} is made by nothing"


def _name_breach(value: ir.Value, names: set[str]) -> Iterator[str]:
    if not value.name or value.name in names:
        yield f"two values are called {value.name!r}" if value.name else "a value has no name"
    else:
        names.add(value.name)
