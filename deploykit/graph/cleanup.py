"""Clean-up by named rules: what the exporter leaves behind goes, what a later stage must see stays.

A raw ResNet-50 has 450 nodes, four invented for each convolution without a bias, and TensorRT-RTX's parser rejects
it. onnxscript's default optimiser would cure that, but it also fuses BatchNorm in float32, pads into convolutions and
whatever its next release adds. So the rules stand here one by one, each with its reason (docs/decisions/clean-up.md
has the counts).
"""

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir
import onnx_ir.passes.common as common

from deploykit.graph.constants import fold_constants
from deploykit.graph.naming import name_nodes
from deploykit.graph.rewrite import GraphPass, PassResult

Definition = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CleanUpRule:
    """A library's pass under our name. `PassResult.rewritten` lists the values that went or are computed anew."""

    name: str
    reason: str
    run: Callable[[ir.Model], object]

    def __call__(self, model: ir.Model) -> PassResult:
        before = _definitions(model)
        self.run(model)
        after = _definitions(model)
        return PassResult(self.name, rewritten=[name for name in before if after.get(name) != before[name]])


def _definitions(model: ir.Model) -> dict[str, Definition]:
    """How each value of the graph comes about: by which operator, from which values."""
    found: dict[str, Definition] = dict.fromkeys(model.graph.initializers, ("initializer",))
    for node in model.graph:
        operands = [value.name or "" if value is not None else "" for value in node.inputs]
        for output in node.outputs:
            found[output.name or ""] = (node.domain, node.op_type, *operands)
    return found


def materialise_reshape_shapes(model: ir.Model) -> None:
    """`Reshape(x, Concat(Shape(x)[0], c))` -> `Reshape(x, [-1, c])` wherever at most one dimension is free."""
    from onnxscript.rewriter import RewritePass
    from onnxscript.rewriter.rules.common import materialize_reshape_shape_rule

    RewritePass([materialize_reshape_shape_rule])(model)


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
    CleanUpRule("inline_functions", "passes look at one graph, not at function bodies", common.InlinePass()),
    CleanUpRule("fold_constants", "the exporter computes biases, axes and shapes in the graph", fold_constants),
    CleanUpRule("remove_unused", "folding leaves producers that nobody reads", common.RemoveUnusedNodesPass()),
    CleanUpRule(
        "lift_constants",
        "weights must be initialisers to be folded, cast or quantised",
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    ),
    CleanUpRule(
        "share_subexpressions",
        "the exporter repeats the same Shape and Cast chains",
        common.CommonSubexpressionEliminationPass(),
    ),
    CleanUpRule(
        "share_initializers",
        "the same small constant (axes, zero biases) is stored once",
        common.DeduplicateInitializersPass(),
    ),
    CleanUpRule(
        "remove_identities",
        "an Identity hides a convolution from the BatchNorm behind it",
        common.IdentityEliminationPass(),
    ),
    CleanUpRule(
        "materialise_reshape_shapes",
        "TensorRT wants a Reshape's shape as a constant; a computed one also splits fusion",
        materialise_reshape_shapes,
    ),
    CleanUpRule(
        "lift_reshape_shapes",
        "the rule before writes its shapes as Constant nodes",
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    ),
    CleanUpRule("remove_shape_chains", "the shapes they computed are now constant", common.RemoveUnusedNodesPass()),
    CleanUpRule(
        "remove_unused_opsets",
        "an import of a domain that is gone makes parsers ask for a plugin",
        common.RemoveUnusedOpsetsPass(),
    ),
    CleanUpRule("infer_shapes", "precision and plan need every value's shape and type", infer_missing_shapes),
    CleanUpRule("drop_fold_notes", "texts about folding grow with the graph", drop_fold_notes),
    name_nodes,
)
