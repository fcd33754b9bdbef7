"""Precision audit: the type that every weighted node computes in and why, and the kernels that only convert.

A graph of strong types leaves the compiler no choice: a product computes in the type that reaches it. So a node in
another type than the engine's got it from the graph (its reason stands in the typing report, where there is one), and
a node that no layer claims was folded into a constant or into a neighbor.

Four kinds of kernel convert and compute nothing that a floating-point engine would need a kernel for:

    requantize  types differ between inputs and outputs and one has 8 bits; also what finishes an 8-bit product
                (scale, bias) in the type it stands in, told by the weighted node whose name it carries
    cast        other types differ
    reformat    same type in another layout or rank: transposes, reshapes, a Concat that is written out
    copy        not even that: moves, and Concat in place

The compiler lets ReLU and residual additions ride in requantizing kernels; their bytes are counted whole, since a
floating-point convolution carries those for nothing. The other three compute nothing at all. A kernel that writes
fewer elements than it reads from one input (a mean, say) is none of the four.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from deploykit.codec import shown
from deploykit.plan.model import COMPUTE_TYPE, POINTWISE, TYPES_OF_SIZE, EnginePlan, PlanLayer, PlanTensor
from deploykit.spec import Precision
from deploykit.spec.operators import RECURRENT

CONVERTING_KINDS = POINTWISE | {"runtime_function", "reformat"}
EIGHT_BITS = frozenset(TYPES_OF_SIZE[1]) - {"Bool"}
REQUANTISE, CAST, REFORMAT, COPY = "requantize", "cast", "reformat", "copy"
GENERATED, OPERATION = re.compile(r"__myl_((?:[A-Z][a-z]+)+)_"), re.compile(r"[A-Z][a-z]+")
MOVES = frozenset({"Cast", "Conc", "Move", "Repl", "Resh", "Slic", "Tran"})
UNCLAIMED = "folded away, or run by a layer that does not name it"
TAKEN_APART = "taken apart into products and generated code that do not name it"


@dataclass(frozen=True, slots=True)
class AuditedNode:
    """A weighted node. `dtype` is what it computes in and `layer` where, both None when no layer claims it.

    `reason` is "" for a node in the engine's type.
    """

    JSON_PROPERTIES = shown("as_wanted")

    name: str
    op: str
    wanted: str
    dtype: str | None
    layer: str | None
    reason: str

    @property
    def as_wanted(self) -> bool:
        return self.dtype == self.wanted


@dataclass(frozen=True, slots=True)
class Conversion:
    """A kernel that converts: `what` is one of the four kinds, `nodes` the ONNX nodes that it carries.

    `widening` is elements of the largest output over elements needed (those of all inputs where they are joined, of
    one where they are added): above 1 where channels are padded to what the next kernel takes.
    """

    layer: str
    what: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    bytes_moved: int
    widening: float
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Nodes in the order of the graph, conversions in the order of execution; bytes are per batch."""

    JSON_PROPERTIES = shown("conversion_bytes", "conversion_share")

    precision: Precision
    wanted: str
    nodes: tuple[AuditedNode, ...]
    conversions: tuple[Conversion, ...]
    bytes_moved: int
    bytes_by_type: Mapping[str, int] = field(default_factory=dict)

    @property
    def other_type(self) -> tuple[AuditedNode, ...]:
        """Nodes that compute in another type than the engine's."""
        return tuple(node for node in self.nodes if node.dtype is not None and not node.as_wanted)

    @property
    def unclaimed(self) -> tuple[AuditedNode, ...]:
        """Nodes that no layer claims."""
        return tuple(node for node in self.nodes if node.dtype is None)

    @property
    def conversion_bytes(self) -> int:
        return sum(conversion.bytes_moved for conversion in self.conversions)

    @property
    def conversion_share(self) -> float:
        """The conversions' part of all bytes, 0 to 1."""
        return self.conversion_bytes / self.bytes_moved if self.bytes_moved else 0.0

    def of_kind(self, *what: str) -> tuple[Conversion, ...]:
        return tuple(conversion for conversion in self.conversions if conversion.what in what)


def audit(plan: EnginePlan, reasons: Mapping[str, str] | None = None) -> Audit:
    """Check every weighted node; `reasons` is the typing report's, by node, and stands before what the plan tells."""
    wanted = COMPUTE_TYPE[plan.precision]
    runners = plan.runners()
    computes_in = plan.computes_in()
    return Audit(
        precision=plan.precision,
        wanted=wanted,
        nodes=tuple(_audited(plan, node, op, runners.get(node), reasons or {}) for node, op in plan.weighted.items()),
        conversions=tuple(
            found for layer in plan.kernels if (found := _conversion(layer, plan.batch, computes_in)) is not None
        ),
        bytes_moved=plan.bytes_moved,
        bytes_by_type=_bytes_by_type(plan),
    )


def _audited(plan: EnginePlan, node: str, op: str, layer: PlanLayer | None, reasons: Mapping[str, str]) -> AuditedNode:
    wanted = COMPUTE_TYPE[plan.precision]
    if layer is None:
        return AuditedNode(node, op, wanted, None, None, reasons.get(node) or _why_unclaimed(plan, node, op))
    if layer.reads == wanted:
        return AuditedNode(node, op, wanted, wanted, layer.name, "")
    return AuditedNode(node, op, wanted, layer.reads, layer.name, reasons.get(node) or _why_other(plan, layer))


def _why_unclaimed(plan: EnginePlan, node: str, op: str) -> str:
    if op in RECURRENT:
        return TAKEN_APART
    carriers = [layer.name for layer in plan.layers if node in layer.nodes]
    return f"only generated pointwise code carries its name: {', '.join(carriers)}" if carriers else UNCLAIMED


def _why_other(plan: EnginePlan, layer: PlanLayer) -> str:
    """The origin of the type that `layer` reads, followed back through kernels that carry no node."""
    if not layer.inputs:
        return "its layer reads no tensor"
    source, seen = layer.inputs[0], {layer.name}
    writers = {tensor.name: other for other in plan.layers for tensor in other.outputs}
    while (writer := writers.get(source.name)) and not writer.nodes and writer.inputs and writer.name not in seen:
        source = writer.inputs[0]
        seen.add(writer.name)
    if writer is None:
        return f"the graph gives it {layer.reads}, from its input {source.name}"
    narrow = EIGHT_BITS & {tensor.dtype for tensor in writer.inputs}
    if layer.reads not in EIGHT_BITS and narrow and writer.kind in CONVERTING_KINDS:
        return f"{writer.name} widens {', '.join(sorted(narrow))} to {layer.reads} before it"
    return f"the graph gives it {layer.reads}, from {', '.join(writer.nodes) or writer.name}"


def _bytes_by_type(plan: EnginePlan) -> dict[str, int]:
    moved: Counter[str] = Counter()
    for layer in plan.kernels:
        for tensor in (*layer.inputs, *layer.outputs):
            moved[tensor.dtype] += tensor.size(plan.batch)
        for tensor in layer.constants:
            moved[tensor.dtype] += tensor.size(1)
    return dict(moved.most_common())


def _conversion(layer: PlanLayer, batch: int, computes_in: Mapping[str, str]) -> Conversion | None:
    what = _what(layer, batch, computes_in)
    if what is None:
        return None
    return Conversion(
        layer=layer.name,
        what=what,
        reads=tuple(tensor.dtype for tensor in layer.inputs),
        writes=tuple(tensor.dtype for tensor in layer.outputs),
        bytes_moved=layer.bytes_moved(batch),
        widening=_widening(layer, batch),
        nodes=layer.nodes,
    )


def _what(layer: PlanLayer, batch: int, computes_in: Mapping[str, str]) -> str | None:
    if layer.kind not in CONVERTING_KINDS or layer.macs or not (layer.inputs and layer.outputs):
        return None
    if _elements(layer.outputs, batch) < _largest(layer.inputs, batch):
        return None
    reads, writes = ({tensor.dtype for tensor in tensors} for tensors in (layer.inputs, layer.outputs))
    finishes_8_bits = any(computes_in.get(node) in EIGHT_BITS for node in layer.nodes)
    if finishes_8_bits or (reads != writes and EIGHT_BITS & (reads | writes)):
        return REQUANTISE
    if not _only_moves(layer):
        return None
    if reads != writes:
        return CAST
    before, after = ({(tensor.format, len(tensor.shape)) for tensor in side} for side in (layer.inputs, layer.outputs))
    return COPY if before & after else REFORMAT


def _only_moves(layer: PlanLayer) -> bool:
    """Whether it computes nothing: it stands for no ONNX node, or the name of its generated code has only moves in it.

    TensorRT-RTX names such code after its operations, `__myl_CastReplConc_myl0_1` after Cast, Replicate, Concat.
    """
    found = GENERATED.match(layer.name)
    return not layer.nodes or (found is not None and {*OPERATION.findall(found[1])} <= MOVES)


def _widening(layer: PlanLayer, batch: int) -> float:
    written, joined = _largest(layer.outputs, batch), _elements(layer.inputs, batch)
    return written / (joined if written >= joined else _largest(layer.inputs, batch))


def _elements(tensors: tuple[PlanTensor, ...], batch: int) -> int:
    return sum(_count(tensor, batch) for tensor in tensors)


def _largest(tensors: tuple[PlanTensor, ...], batch: int) -> int:
    return max(_count(tensor, batch) for tensor in tensors)


def _count(tensor: PlanTensor, batch: int) -> int:
    return prod(batch if dimension == -1 else dimension for dimension in tensor.shape)
