"""Clean-up by named rules: what the exporter leaves behind goes, what a later stage must see stays.

A raw ResNet-50 has 450 nodes, four invented for each convolution without a bias, and TensorRT-RTX's parser rejects
it. onnxscript's default optimizer would cure that, but it also fuses BatchNorm in float32, pads into convolutions and
whatever its next release adds. So the rules stand here one by one, each with its reason (docs/decisions/clean-up.md
has the counts).

The bodies of If, Loop and Scan stay as they are, but for an If whose condition is constant: its branch takes its place.
The libraries' passes do enter bodies, and break them: removing the Identity through which a body hands out a value of
the outer graph renames that value. No value is lost by it, since a body reads outer values by reference.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import onnx_ir as ir
import onnx_ir.passes.common as common

from deploykit.graph.passes.cast_first import cast_bytes_first
from deploykit.graph.passes.constants import Budget, fold_constants
from deploykit.graph.passes.decide_branches import decide_branches
from deploykit.graph.passes.naming import name_nodes
from deploykit.graph.passes.separate_outputs import separate_outputs
from deploykit.graph.rewrite import (
    GraphPass,
    PassResult,
    bodies,
    bypass,
    constant,
    discard_unused,
    is_public,
    skip,
)
from deploykit.spec.reports import SkippedNode

Definition = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CleanUpRule:
    """A library's pass under our name. `PassResult.rewritten` lists the values that went or are computed anew.

    `enters_bodies`: it may work inside the bodies of control-flow nodes; otherwise those are refused, and not seen.
    """

    name: str
    reason: str
    run: Callable[[ir.Model], object]
    enters_bodies: bool = False

    def __call__(self, model: ir.Model) -> PassResult:
        before = _definitions(model)
        if self.enters_bodies:
            self.run(model)
            skipped = []
        else:
            with _bodies_out_of_sight(model.graph) as skipped:
                self.run(model)
        after = _definitions(model)
        return PassResult(
            self.name, rewritten=[name for name in before if after.get(name) != before[name]], skipped=skipped
        )


@contextmanager
def _bodies_out_of_sight(graph: ir.Graph) -> Iterator[list[SkippedNode]]:
    """Take the bodies off their nodes for a while; a mark in their place keeps two such nodes from looking the same.

    What a body reads from outside still counts as used: its nodes exist, and hold on to their operands.
    """
    held: list[tuple[ir.Node, ir.Attr]] = []
    for node in graph:
        for name in [name for name, attribute in node.attributes.items() if bodies(attribute)]:
            held.append((node, node.attributes[name]))
            node.attributes[name] = ir.AttrString(name, f"body {len(held)}")
    try:
        yield [skip(node, f"its {attribute.name} is left as it is") for node, attribute in held]
    finally:
        for node, attribute in held:
            node.attributes[attribute.name] = attribute


def _definitions(model: ir.Model) -> dict[str, Definition]:
    """How each value of the graph comes about: by which operator, from which values."""
    found: dict[str, Definition] = dict.fromkeys(model.graph.initializers, ("initializer",))
    for node in model.graph:
        operands = [value.name or "" if value is not None else "" for value in node.inputs]
        for output in node.outputs:
            found[output.name or ""] = (node.domain, node.op_type, *operands)
    return found


def decide_and_fold(model: ir.Model) -> None:
    """Replace each If whose condition is constant by the branch that runs, until folding decides no more."""
    budget = Budget()
    while decide_branches(model):
        with _bodies_out_of_sight(model.graph):
            fold_constants(model, budget)


def materialize_reshape_shapes(model: ir.Model) -> None:
    """`Reshape(x, Concat(Shape(x)[0], c))` -> `Reshape(x, [-1, c])` wherever at most one dimension is free."""
    from onnxscript.rewriter import RewritePass
    from onnxscript.rewriter.rules.common import materialize_reshape_shape_rule

    RewritePass([materialize_reshape_shape_rule])(model)


def remove_identities(model: ir.Model) -> None:
    """Let readers of `y = Identity(x)` read x, which takes the name of a y that is a graph output.

    Stays: an Identity from a graph input, an initializer or another graph output to a graph output; both are public.
    """
    for node in [node for node in model.graph if node.op_type == "Identity" and not node.domain]:
        source = node.inputs[0]
        if source is not None and not (node.outputs[0].is_graph_output() and is_public(source)):
            bypass(node, source, model.graph)


def drop_zero_biases(model: ir.Model) -> None:
    """Take the bias off every convolution that has one of zeros only: it is read, and changes nothing."""
    for node in model.graph:
        if node.op_type in ("Conv", "ConvTranspose") and not node.domain and len(node.inputs) > 2:
            bias = node.inputs[2]
            array = constant(bias)
            if array is not None and not array.any():
                node.resize_inputs(2)
                discard_unused(model.graph, bias)


def infer_missing_shapes(model: ir.Model) -> None:
    """Run ONNX's shape inference where a value lacks its shape or type; exported graphs already have all of them."""
    values = [output for node in model.graph for output in node.outputs]
    if any(value.shape is None or value.dtype is None for value in values):
        common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)


def drop_fold_notes(model: ir.Model) -> None:
    """Remove the bookkeeping that folding and rewriting attach; it grows with the graph and nothing reads it."""
    from onnxscript.optimizer import FOLDED_FROM_KEY
    from onnxscript.rewriter import RULE_NAME_TAG

    for value in (*model.graph.initializers.values(), *(value for node in model.graph for value in node.outputs)):
        value.metadata_props.pop(FOLDED_FROM_KEY, None)
    for node in model.graph:
        node.metadata_props.pop(RULE_NAME_TAG, None)


CLEAN_UP: tuple[GraphPass, ...] = (
    CleanUpRule(
        "inline_functions", "passes look at one graph, not at function bodies", common.InlinePass(), enters_bodies=True
    ),
    CleanUpRule("fold_constants", "the exporter computes biases, axes and shapes in the graph", fold_constants),
    CleanUpRule(
        "decide_branches",
        "TensorRT compiles both branches of an If, and nothing in them can be typed",
        decide_and_fold,
        enters_bodies=True,
    ),
    CleanUpRule("remove_unused", "folding leaves producers that nobody reads", common.RemoveUnusedNodesPass()),
    CleanUpRule(
        "lift_constants",
        "weights must be initializers to be folded, cast or quantized",
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    ),
    CleanUpRule("drop_zero_biases", "the exporter invents one for each convolution without", drop_zero_biases),
    CleanUpRule(
        "share_subexpressions",
        "the exporter repeats the same Shape and Cast chains",
        common.CommonSubexpressionEliminationPass(),
    ),
    CleanUpRule(
        "share_initializers",
        "the same small constant (axes, shapes) is stored once",
        common.DeduplicateInitializersPass(),
    ),
    CleanUpRule(
        "remove_identities",
        "an Identity hides a convolution from the BatchNorm behind it",
        remove_identities,
    ),
    CleanUpRule(
        "materialize_reshape_shapes",
        "TensorRT wants a Reshape's shape as a constant; a computed one also splits fusion",
        materialize_reshape_shapes,
    ),
    CleanUpRule(
        "lift_reshape_shapes",
        "the rule before writes its shapes as Constant nodes",
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    ),
    CleanUpRule("remove_shape_chains", "the shapes they computed are now constant", common.RemoveUnusedNodesPass()),
    CleanUpRule("cast_bytes_first", "TensorRT takes uint8 only where a Cast reads it", cast_bytes_first),
    CleanUpRule(
        "separate_outputs",
        "folding may make an output constant; a runtime hands out what a node makes",
        separate_outputs,
    ),
    CleanUpRule(
        "remove_unused_opsets",
        "an import of a domain that is gone makes parsers ask for a plugin",
        common.RemoveUnusedOpsetsPass(),
        enters_bodies=True,
    ),
    CleanUpRule(
        "infer_shapes", "precision and plan need every value's shape and type", infer_missing_shapes, enters_bodies=True
    ),
    CleanUpRule("drop_fold_notes", "texts about folding grow with the graph", drop_fold_notes),
    name_nodes,
)
