"""An ONNX graph, walked from its image input: every node that works on the image is a row.

Nodes that only compute shapes or constants are none. Parameters are the initializers that weighted, normalizing and
elementwise nodes read, also through a Cast or a DequantizeLinear; a BatchNormalization's running statistics are not
counted, as in PyTorch, and one initializer that several nodes read counts for the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common

from deploykit.errors import DeploykitError, UsageError
from deploykit.graph import parse, set_input_sizes, tensor_specs
from deploykit.graph.costs import CONVOLUTIONS, PRODUCTS, fix_sizes, multiply_accumulates
from deploykit.graph.passes.cleanup import infer_missing_shapes
from deploykit.graph.passes.constants import fold_constants
from deploykit.graph.passes.naming import name_nodes
from deploykit.spec import InputShape
from deploykit.summary import onnx_rules as rules
from deploykit.summary.field import Field, Shape, Untraceable, of_images
from deploykit.summary.rows import LayerRow, Summary

IMAGE_AXES = 4  # a batch of images
ELEMENTWISE = ("Add", "Sub", "Mul", "Div")
SHAPE_OF = ("Shape", "Size")  # what they give does not depend on any pixel
REPRESENTATION = ("Cast", "DequantizeLinear", "Identity", "Reshape", "Transpose")  # a parameter in other clothes


def of_onnx(proto: onnx.ModelProto, shapes: Sequence[InputShape] = ()) -> Summary:
    """The nodes of a graph, per image: a free batch is taken as 1, a fixed one divided out, a range as its optimum.

    Free sizes are what `shapes` says; receptive fields are those in the first input that has an image's shape. `proto`
    is left alone. Raises what `graph.parse` does, UsageError where an input's sizes are open, and DeploykitError where
    the shape of a weighted node does not follow from the input's.
    """
    model = parse(proto)
    set_input_sizes(model, [*shapes])
    _fix_sizes(model)
    common.InlinePass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    params = _count_params(model)
    fold_constants(model)  # shapes that the graph itself computes stand in the way of inference
    infer_missing_shapes(model)
    name_nodes(model)
    images = [value for value in model.graph.inputs if value.shape is not None and len(value.shape) == IMAGE_AXES]
    image = (images or list(model.graph.inputs))[0]
    shape = rules.shape_of(image)
    walk = _Walk(params, batch=shape[0])
    walk.fields[image] = of_images(shape)
    for node in model.graph:
        walk.visit(node)
    return Summary(shape[1:], tuple(walk.rows))


def _fix_sizes(model: ir.Model) -> None:
    """One image, and the optimum of every range."""
    for spec in tensor_specs(model)[0]:
        if len(spec.shape) < 2 and len(model.graph.inputs) == 1:
            raise UsageError(
                f"the graph's input {spec.name} is not a batch of images", hint="its shape has to be (N, C, ...)"
            )
        if spec.open:
            raise UsageError(
                f"the graph's input {spec.name} leaves {', '.join(spec.open)} open", hint="fix them: --input-shape"
            )
    fix_sizes(model, batch=1)


class _Walk:
    """`rows` so far, and the field of each value that depends on the image; None where that is not known."""

    def __init__(self, params: Mapping[str | None, int], *, batch: int) -> None:
        self.params = params  # by the name of a node's first output
        self.batch = batch
        self.rows: list[LayerRow] = []
        self.fields: dict[ir.Value, Field | None] = {}

    def visit(self, node: ir.Node) -> None:
        known = [value for value in node.inputs if value is not None and value in self.fields]
        if not known or node.op_type in SHAPE_OF:
            return
        blind = any(self.fields[value] is None for value in known)
        for output in node.outputs:
            self.fields[output] = None if blind else self._seen(node, output)
        self.rows.append(self._row(node))

    def _seen(self, node: ir.Node, output: ir.Value) -> Field | None:
        try:
            return rules.propagate(rules.NodeCall(node, rules.shape_of(output), self.fields.get))
        except Untraceable:
            return None

    def _row(self, node: ir.Node) -> LayerRow:
        output, seen = self._output(node), self.fields[node.outputs[0]]
        row = LayerRow(
            name=node.name or node.op_type,
            kind=node.op_type,
            output=None if output is None else self._per_image(output),
            params=self.params.get(node.outputs[0].name, 0),
            receptive_field=seen.pixels if seen else None,
            whole_image=seen.whole_image if seen else False,
        )
        if node.op_type not in (*CONVOLUTIONS, *PRODUCTS):
            return row
        try:
            call = rules.NodeCall(node, rules.shape_of(node.outputs[0]), self.fields.get)
            macs, convolution = multiply_accumulates(node, rules.shape_of) // self.batch, rules.convolution_of(call)
        except Untraceable:
            raise DeploykitError(
                f"the shapes of node {row.name!r} ({row.kind}) do not follow from the input's",
                hint="export the network again for one image size",
            ) from None
        return replace(row, macs=macs, convolution=convolution)

    def _output(self, node: ir.Node) -> Shape | None:
        try:
            return rules.shape_of(node.outputs[0])
        except Untraceable:
            return None

    def _per_image(self, shape: Shape) -> Shape:
        if not shape or shape[0] % self.batch:
            return shape
        return shape[1:] if shape[0] == self.batch else (shape[0] // self.batch, *shape[1:])


def _count_params(model: ir.Model) -> dict[str | None, int]:
    """The elements of the parameters of each node, by its first output; what a node before has read is not counted.

    Whole numbers of 64 bits are shapes and axes, and a single number that is added or multiplied is a constant.
    """
    counted: set[ir.Value] = set()
    counts: dict[str | None, int] = {}
    for node in model.graph:
        operands = [node.inputs[index] for index in rules.PARAMETERS.get(node.op_type, ()) if index < len(node.inputs)]
        sources = {source for value in operands if value is not None and (source := _initializer(value)) is not None}
        sizes = {source: source.const_value.size for source in sources - counted if source.const_value is not None}
        single = 1 if node.op_type in ELEMENTWISE else 0
        kept = {source: size for source, size in sizes.items() if size > single and source.dtype != ir.DataType.INT64}
        counted |= kept.keys()
        counts[node.outputs[0].name] = sum(kept.values())
    return counts


def _initializer(value: ir.Value) -> ir.Value | None:
    """The initializer behind a value, cast, dequantized or turned; None for what is computed otherwise."""
    node = value.producer()
    while node is not None:
        if node.op_type not in REPRESENTATION or node.inputs[0] is None:
            return None
        value = node.inputs[0]
        node = value.producer()
    return value if value.is_initializer() else None
