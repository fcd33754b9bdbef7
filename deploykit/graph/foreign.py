"""A graph from somebody else's ONNX file, brought to the form that the passes expect.

The bytes have been vetted by whoever opened the file; here the graph itself is: what it claims is not believed
where a pass would act on it, and what would unfold beyond measure is refused. Whatever had to be put right is noted,
to be shown where the graph is.
"""

import graphlib
from collections import Counter

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common

from deploykit.errors import ExportFailed, UntrustedArtifact, one_line
from deploykit.graph.passes.naming import separate_values
from deploykit.graph.passes.separate_outputs import separate_outputs
from deploykit.graph.sizes import NOTES, name_free_sizes
from deploykit.graph.upgrade import TARGET, upgrade
from deploykit.graph.verify import breach_of
from deploykit.io.onnx_repair import repaired

OLDEST_OPSET = 17  # older graphs are brought to TARGET
IR_VERSION = 10  # the one that belongs to opset 20
MAKE_SEQUENCES = ("SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceMap")
MAX_NODES = 100_000  # after inlining; Inception-ResNet v2 has about 1,000


def parse(proto: onnx.ModelProto) -> ir.Model:
    """The graph of `proto`, opset 17 or newer, no functions, initializers apart from inputs; `proto` is left alone.

    An initializer that is listed as an input too (a default that callers could override; obligatory before IR
    version 4) becomes a constant. Shapes of intermediate values and outputs are inferred anew: a wrong claim would
    steer constant folding. `notes_of` tells what was put right.

    Raises ExportFailed where the opset cannot be brought up, or the graph needs what no backend here has, and
    UntrustedArtifact where the graph is malformed or would unfold beyond MAX_NODES.
    """
    version = _opset_of(proto)
    proto, notes = repaired(proto)
    try:
        model = ir.serde.deserialize_model(proto)
    except Exception as error:  # malformed bytes make the deserializer raise anything
        raise UntrustedArtifact(f"the ONNX graph cannot be read: {one_line(error)}") from error
    _refuse_explosions(model)
    common.RemoveInitializersFromInputsPass()(model)
    name_free_sizes(model)
    _bring_up(model, version)
    _inline(model)
    _drop_dead_nodes(model.graph)
    _refuse_unsupported(model)
    model.ir_version = max(model.ir_version or 0, IR_VERSION)
    separate_outputs(model)
    separate_values(model)
    if breach := breach_of(model):
        raise UntrustedArtifact(f"the ONNX graph is broken: {breach}")
    corrected = _infer_shapes_anew(model)
    model.graph.meta[NOTES] = (*notes, *corrected)
    return model


def notes_of(model: ir.Model) -> tuple[str, ...]:
    """What `parse` put right in a foreign file, in words; empty for a file to the letter and for any other graph."""
    return tuple(model.graph.meta.get(NOTES, ()))


def _opset_of(proto: onnx.ModelProto) -> int:
    version = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), None)
    if version is None:
        raise UntrustedArtifact("the ONNX graph imports no version of ONNX's own operators")
    newest = onnx.defs.onnx_opset_version()
    if version > newest:
        raise ExportFailed(
            f"the ONNX graph uses opset {version}, onnx {onnx.__version__} knows {newest}", hint="update onnx"
        )
    if version < OLDEST_OPSET and (unknown := _operators_without_schema(proto, version)):
        raise ExportFailed(
            f"cannot convert opset {version} to a newer one: it has no operator {', '.join(unknown)}",
            hint=f"export the network again with opset {OLDEST_OPSET} or newer",
        )
    return int(version)


def _bring_up(model: ir.Model, version: int) -> None:
    """One opset for the graph and its functions: the newest among them, and TARGET where the graph is an old one."""
    imports = {key: _onnx_import(body, version) for key, body in model.functions.items()}
    target = max(TARGET if version < OLDEST_OPSET else version, *imports.values(), 0)
    if version < target:
        _infer_shapes_anew(model)
        upgrade(model.graph, version, target=target)
        _set_import(model.graph, target)
    for key, opset in imports.items():
        if opset < target:
            upgrade(model.functions[key].graph, opset, target=target)
        _set_import(model.functions[key], target)


def _onnx_import(function: ir.Function, default: int) -> int:
    found: int = function.opset_imports.get("", function.opset_imports.get("ai.onnx", default))
    return found


def _set_import(part: ir.Graph | ir.Function, opset: int) -> None:
    part.opset_imports.pop("ai.onnx", None)
    part.opset_imports[""] = opset


def _inline(model: ir.Model) -> None:
    if not model.functions:
        return
    try:
        common.InlinePass()(model)
    except Exception as error:  # a library's pass on a foreign graph may raise anything
        raise UntrustedArtifact(f"the functions of the ONNX graph cannot be inlined: {one_line(error)}") from error
    model.functions.clear()


def _operators_without_schema(proto: onnx.ModelProto, version: int) -> list[str]:
    """ONNX's own operators that do not exist at this opset, by name; the converter's message buries it."""
    missing = set()
    for node in proto.graph.node:
        if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type, version, ""):
            missing.add(node.op_type)
    return sorted(missing)


def _refuse_explosions(model: ir.Model) -> None:
    """Functions that call each other can stand for 2^n nodes; count them in Python's integers before inlining."""
    calls = {key: Counter(node.op_identifier() for node in body.all_nodes()) for key, body in model.functions.items()}
    try:
        order = list(graphlib.TopologicalSorter({key: called.keys() for key, called in calls.items()}).static_order())
    except graphlib.CycleError as error:
        raise UntrustedArtifact("the ONNX graph has functions that call themselves") from error
    size: dict[ir.OperatorIdentifier, int] = {}
    for key in order:
        size[key] = sum(size.get(called, 1) * count for called, count in calls.get(key, Counter()).items()) or 1
    total = sum(size.get(node.op_identifier(), 1) for node in model.graph.all_nodes())
    if total > MAX_NODES:
        raise UntrustedArtifact(f"the ONNX graph expands to {total} nodes, more than {MAX_NODES}")


def _drop_dead_nodes(graph: ir.Graph) -> None:
    """What nothing reads is no part of what the file computes, whatever operator it is."""
    for node in reversed(list(graph)):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            graph.remove(node, safe=True)


def _refuse_unsupported(model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        if node.op_type == "SplitToSequence":
            raise ExportFailed(
                f"node {node.name!r} is a SplitToSequence; no backend here takes sequences",
                hint="export the network again with torch.onnx.export(..., optimize=True)",
            )
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                raise UntrustedArtifact(f"node {node.name!r} keeps its value in another file")
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            if isinstance(value.const_value, ir.ExternalTensor):
                raise UntrustedArtifact(f"initializer {name!r} was not loaded from its external data file")


def _infer_shapes_anew(model: ir.Model) -> list[str]:
    """Replace what the file says about values by what follows from its inputs and initializers.

    Of the claims three things survive: the names of free dimensions, where inference finds a dimension free as well
    (`Reshape(x, [-1, 512])` alone would lose that its first dimension is the batch), the element type of what an
    operator makes that ONNX does not know, and the sizes of outputs where inference finds none. Returns in words where
    an output is not as it was claimed, or nothing was.
    """
    made = [(value, node) for node in model.graph.all_nodes() for value in node.outputs]
    claims = [(value.shape, value.type) for value, _ in made]
    public = set(model.graph.outputs)
    for value, _ in made:
        value.shape = None
        value.type = value.type if value in public else None
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    corrected = []
    for (value, node), (shape, kind) in zip(made, claims, strict=True):
        if value.type is None:
            value.type = kind
        elif isinstance(value.type, ir.TensorType) and node.op_type in MAKE_SEQUENCES:
            value.type = ir.SequenceType(value.type)  # the pass hands on the type of the elements alone
        if value in public:
            found = value.shape
            value.shape = _output_shape(found, shape)
            if shape is None and found is not None:
                corrected.append(f"the shape of output {value.name!r} is not declared and was inferred")
            elif shape is not None and found is not None and not _agree(value.shape, shape):
                corrected.append(f"output {value.name!r} is declared as {shape}, but has the shape {value.shape}")
        elif value.shape is not None and shape is not None and len(value.shape) == len(shape):
            value.shape = ir.Shape(_named(found, said) for found, said in zip(value.shape, shape, strict=True))
    return corrected


def _named(found: int | ir.SymbolicDim, said: int | ir.SymbolicDim) -> int | ir.SymbolicDim:
    return said if isinstance(found, ir.SymbolicDim) and isinstance(said, ir.SymbolicDim) and said.value else found


def _output_shape(found: ir.Shape | None, said: ir.Shape | None) -> ir.Shape | None:
    """What was inferred, and what is said where nothing could be."""
    if found is None or said is None or len(found) != len(said):
        return said if found is None else found
    return ir.Shape(
        said_size if _is_unknown(size) else _named(size, said_size) for size, said_size in zip(found, said, strict=True)
    )


def _is_unknown(size: int | ir.SymbolicDim) -> bool:
    """Inference calls a size unk__0 that follows from no input's."""
    return isinstance(size, ir.SymbolicDim) and (size.value is None or str(size.value).startswith("unk__"))


def _agree(shape: ir.Shape | None, said: ir.Shape) -> bool:
    """Whether no number is contradicted; a free size may bear any name."""
    if shape is None or len(shape) != len(said):
        return False
    return all(
        one == other or not (isinstance(one, int) or isinstance(other, int))
        for one, other in zip(shape, said, strict=True)
    )
