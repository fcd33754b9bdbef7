"""A graph from somebody else's ONNX file, brought to the form that the passes expect.

The bytes have been vetted by whoever opened the file; here the graph itself is: what it claims is not believed
where a pass would act on it, and what would unfold beyond measure is refused.
"""

import graphlib
from collections import Counter
from collections.abc import Iterator

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common

from deploykit.errors import ExportFailed, UntrustedArtefact, one_line
from deploykit.graph.separate_outputs import separate_outputs

OLDEST_OPSET = 17
TARGET_OPSETS = (20, 19, 18, 17)  # tried in this order for an older file
IR_VERSION = 10  # the one that belongs to opset 20
MAKE_SEQUENCES = ("SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceMap")
MAX_NODES = 100_000  # after inlining; Inception-ResNet v2 has about 1,000


def parse(proto: onnx.ModelProto) -> ir.Model:
    """The graph of `proto`, opset 17 or newer, initialisers apart from inputs; `proto` itself is left alone.

    An initialiser that is listed as an input too (a default that callers could override; obligatory before IR
    version 4) becomes a constant. Shapes of intermediate values are inferred anew: a wrong claim would steer
    constant folding.

    Raises ExportFailed where the opset cannot be brought up, or the graph needs what no backend here has, and
    UntrustedArtefact where the graph is malformed or would unfold beyond MAX_NODES.
    """
    proto = _with_recent_opset(proto)
    try:
        model = ir.serde.deserialize_model(proto)
    except Exception as error:  # malformed bytes make the deserialiser raise anything
        raise UntrustedArtefact(f"the ONNX graph cannot be read: {one_line(error)}") from error
    _refuse_explosions(model)
    _refuse_unsupported(model)
    model.ir_version = max(model.ir_version or 0, IR_VERSION)
    common.RemoveInitializersFromInputsPass()(model)
    separate_outputs(model)
    _infer_shapes_anew(model)
    return model


def _with_recent_opset(proto: onnx.ModelProto) -> onnx.ModelProto:
    version = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), None)
    if version is None:
        raise UntrustedArtefact("the ONNX graph imports no version of ONNX's own operators")
    newest = onnx.defs.onnx_opset_version()
    if version > newest:
        raise ExportFailed(
            f"the ONNX graph uses opset {version}, onnx {onnx.__version__} knows {newest}", hint="update onnx"
        )
    if version >= OLDEST_OPSET:
        return proto
    failures: list[Exception] = []
    for target in TARGET_OPSETS:
        try:
            return onnx.version_converter.convert_version(proto, target)
        except Exception as error:  # noqa: BLE001 - the converter raises RuntimeError, ValueError and its own kinds
            failures.append(error)
    unknown = _operators_without_schema(proto, version)
    because = f"it has no operator {', '.join(unknown)}" if unknown else one_line(failures[0])
    raise ExportFailed(
        f"opset {version} cannot be converted to {OLDEST_OPSET} or newer: {because}",
        hint=f"export the network again with opset {OLDEST_OPSET} or newer",
    ) from failures[0]


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
        raise UntrustedArtefact("the ONNX graph has functions that call themselves") from error
    size: dict[ir.OperatorIdentifier, int] = {}
    for key in order:
        size[key] = sum(size.get(called, 1) * count for called, count in calls.get(key, Counter()).items()) or 1
    total = sum(size.get(node.op_identifier(), 1) for node in model.graph.all_nodes())
    if total > MAX_NODES:
        raise UntrustedArtefact(f"the ONNX graph stands for {total} nodes, more than {MAX_NODES}")


def _refuse_unsupported(model: ir.Model) -> None:
    for node in _all_nodes(model):
        if node.op_type == "SplitToSequence":
            raise ExportFailed(
                f"node {node.name!r} is a SplitToSequence; no backend here takes sequences",
                hint="export the network again with torch.onnx.export(..., optimize=True)",
            )
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                raise UntrustedArtefact(f"node {node.name!r} keeps its value in another file")
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            if isinstance(value.const_value, ir.ExternalTensor):
                raise UntrustedArtefact(f"initialiser {name!r} was not loaded from its external file")


def _all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def _infer_shapes_anew(model: ir.Model) -> None:
    """Replace what the file says about intermediate values by what follows from its inputs and initialisers.

    Of the claims two things survive: the names of free dimensions, where inference finds a dimension free as well
    (`Reshape(x, [-1, 512])` alone would lose that its first dimension is the batch), and the element type of what an
    operator makes that ONNX does not know.
    """
    public = set(model.graph.outputs)
    made = [(value, node) for node in _all_nodes(model) for value in node.outputs if value not in public]
    values = [value for value, _ in made]
    claims = [(value.shape, value.type) for value in values]
    for value in values:
        value.shape = None
        value.type = None
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    for (value, node), (shape, kind) in zip(made, claims, strict=True):
        if value.type is None:
            value.type = kind
        elif isinstance(value.type, ir.TensorType) and node.op_type in MAKE_SEQUENCES:
            value.type = ir.SequenceType(value.type)  # the pass hands on the type of the elements alone
        if value.shape is not None and shape is not None and len(value.shape) == len(shape):
            value.shape = ir.Shape(_named(found, said) for found, said in zip(value.shape, shape, strict=True))


def _named(found: int | ir.SymbolicDim, said: int | ir.SymbolicDim) -> int | ir.SymbolicDim:
    return said if isinstance(found, ir.SymbolicDim) and isinstance(said, ir.SymbolicDim) and said.value else found
