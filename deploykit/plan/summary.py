"""Read TensorRT-RTX's verbose build log: what it compiled a network into, and what that costs in memory traffic.

With `profiling_verbosity = DETAILED` the log ends with one line per compiled layer,

    Name: c1_myl0_2, LayerType: correlation, Inputs: [{...}], Constants: [{...}], Outputs: [{...}], TacticName: ...,
    StreamId: 0, Metadata: [ONNX Layer: c1]<US>[ONNX Layer: r1]

where <US> is the byte 0x1F, and in which a tensor reads
`{ Name: x, Dimensions: [-1,8,16,16], Strides: [...], ..., Datatype: Half, Format: ... }`.
Such a line settles which nodes run together, in which types and layouts. It does not settle the machine code: that is
made for the GPU at hand when the engine is opened, so a plan counts kernels and bytes, never milliseconds.

A layer moves every input and output once per batch and every constant once:

    bytes = sum over inputs and outputs of size(type) * prod(dimensions at the batch) + sum over constants

Bookkeeping (`shape_call`, `signal`, `wait`) launches no kernel. A Conv, Gemm or MatMul computes in the type of the
first input of the layer that carries its name. One kind of layer does not count as carrying it: `kgen`, generated
pointwise code, which takes a convolution's name when all it does is to requantise that convolution's result.
"""

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from deploykit.errors import BuildFailed
from deploykit.spec import Precision

TYPES_OF_SIZE = {8: ("Int64",), 4: ("Float", "Int32"), 2: ("BFloat16", "Half"), 1: ("Bool", "FP8", "Int8", "UInt8")}
ELEMENT_SIZE = {dtype: size for size, dtypes in TYPES_OF_SIZE.items() for dtype in dtypes}  # bytes
COMPUTE_TYPE = {Precision.FP32: "Float", Precision.FP16: "Half", Precision.INT8: "Int8"}
WEIGHTED_OPS = ("Conv", "Gemm", "MatMul")
NO_KERNEL = ("shape_call", "signal", "wait")
POINTWISE = "kgen"
WEIGHTED_KINDS = ("correlation", "gemm")

LAYER = re.compile(
    r"Name: (?P<name>.*), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*)\], Constants: \[(?P<constants>.*)\], "
    r"Outputs: \[(?P<outputs>.*)\], TacticName: .*, Metadata: ?(?P<metadata>.*)"
)
TENSOR = re.compile(r"\{ Name: .*?, Dimensions: \[([-\d,]*)\], [^{}]*?Datatype: (\w+)[^{}]*\}")
ORIGIN = re.compile(r"\[ONNX Layer: ([^\x1f]*)\](?:__\w+)?")  # such as __gemm_from_conv1x1
PARSED_NODE = re.compile(r"^Parsing node: (.*) \[(\w+)\]$", re.MULTILINE)
MEMORY = {
    "weights_bytes": re.compile(r"^Total Weights Memory: (\d+) bytes", re.MULTILINE),
    "activation_bytes": re.compile(r"^Total Activation Memory: (\d+) bytes", re.MULTILINE),
    "scratch_bytes": re.compile(r"^Max Scratch Memory: (\d+) bytes", re.MULTILINE),
}


@dataclass(frozen=True, slots=True)
class PlanTensor:
    shape: tuple[int, ...]  # -1 where the batch goes
    dtype: str  # TensorRT's name: Float, Half, Int8, ...

    def size(self, batch: int) -> int:
        """Bytes at this batch."""
        return ELEMENT_SIZE[self.dtype] * prod(batch if dimension == -1 else dimension for dimension in self.shape)


@dataclass(frozen=True, slots=True)
class PlanLayer:
    """One compiled layer and the ONNX nodes that were fused into it."""

    name: str
    kind: str
    inputs: tuple[PlanTensor, ...]
    constants: tuple[PlanTensor, ...]
    outputs: tuple[PlanTensor, ...]
    nodes: tuple[str, ...]

    def runs(self, nodes: Container[str]) -> tuple[str, ...]:
        """Those of `nodes` that this layer computes, not merely requantises."""
        return () if self.kind == POINTWISE else tuple(node for node in self.nodes if node in nodes)

    @property
    def reads(self) -> str:
        """The type of the first input, "?" where there is none."""
        return self.inputs[0].dtype if self.inputs else "?"

    def bytes_moved(self, batch: int) -> int:
        if self.kind == "shape_call":
            return 0
        moved = sum(tensor.size(batch) for tensor in (*self.inputs, *self.outputs))
        return moved + sum(tensor.size(1) for tensor in self.constants)


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """A plan in figures: sizes in bytes, or megabytes of 1e6, and None where the log keeps quiet about one.

    "Weighted" means Conv, Gemm and MatMul. Their layers are tallied by what they read (`weighted_reads`), and the nodes
    that ended up in another type than the precision's are listed with it (`other_precision`). A node that was folded
    into a constant, say, is in no layer, hence `unaccounted`.
    """

    kernels: int
    kinds: Mapping[str, int]
    batch: int
    bytes_moved: int
    engine_bytes: int
    weights_bytes: int | None
    activation_bytes: int | None
    scratch_bytes: int | None
    weighted_nodes: int
    weighted_accounted: int
    weighted_reads: Mapping[str, int]
    other_precision: Mapping[str, str]
    unaccounted: tuple[str, ...]

    @property
    def mb_moved(self) -> float:
        return round(self.bytes_moved / 1e6, 1)

    @property
    def engine_mb(self) -> float:
        return round(self.engine_bytes / 1e6, 1)

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON holds it, under `plan`."""
        return {
            "kernels": self.kernels,
            "kinds": dict(self.kinds),
            "batch": self.batch,
            "mb_moved": self.mb_moved,
            "bytes_moved": self.bytes_moved,
            "engine_mb": self.engine_mb,
            "weights_bytes": self.weights_bytes,
            "activation_bytes": self.activation_bytes,
            "scratch_bytes": self.scratch_bytes,
            "weighted_nodes": self.weighted_nodes,
            "weighted_accounted": self.weighted_accounted,
            "weighted_reads": dict(self.weighted_reads),
            "other_precision": dict(self.other_precision),
            "unaccounted": list(self.unaccounted),
        }


def summarise(log: str, *, precision: Precision, batch: int, engine_bytes: int) -> PlanSummary:
    """The plan in a verbose build log. Raises BuildFailed when the log holds no plan or one of an unknown form."""
    layers = parse_layers(log)
    weighted = weighted_nodes(log)
    computes_in = {node: layer.reads for layer in layers for node in layer.runs(weighted)}
    reads = Counter(layer.reads for layer in layers if layer.kind in WEIGHTED_KINDS or layer.runs(weighted))
    wanted = COMPUTE_TYPE[precision]
    kinds = Counter(layer.kind for layer in layers)
    found = {name: pattern.search(log) for name, pattern in MEMORY.items()}
    return PlanSummary(
        kernels=sum(count for kind, count in kinds.items() if kind not in NO_KERNEL),
        kinds=dict(sorted(kinds.items())),
        batch=batch,
        bytes_moved=sum(layer.bytes_moved(batch) for layer in layers),
        engine_bytes=engine_bytes,
        weighted_nodes=len(weighted),
        weighted_accounted=len(computes_in),
        weighted_reads=dict(sorted(reads.items())),
        other_precision={node: computes_in[node] for node in weighted if computes_in.get(node, wanted) != wanted},
        unaccounted=tuple(node for node in weighted if node not in computes_in),
        **{name: int(match[1]) if match else None for name, match in found.items()},
    )


def weighted_nodes(log: str) -> tuple[str, ...]:
    """The names of the ONNX nodes that hold weights, in the order the parser met them."""
    return tuple(dict.fromkeys(name for name, op in PARSED_NODE.findall(log) if op in WEIGHTED_OPS))


def parse_layers(log: str) -> tuple[PlanLayer, ...]:
    """Every compiled layer of the log, in order of execution. Raises BuildFailed."""
    lines = [line.strip() for line in log.split("\n")]  # splitlines() would also cut at control characters
    layers = tuple(_layer(line) for line in lines if line.startswith("Name:") and "LayerType:" in line)
    if not layers:
        raise _unreadable("holds no compiled layer", log[-200:])
    return layers


def _layer(line: str) -> PlanLayer:
    found = LAYER.fullmatch(line)
    if found is None:
        raise _unreadable("has a layer in a form that deploykit does not know", line)
    return PlanLayer(
        name=found["name"],
        kind=found["kind"],
        inputs=tuple(_tensors(found["inputs"], line)),
        constants=tuple(_tensors(found["constants"], line)),
        outputs=tuple(_tensors(found["outputs"], line)),
        nodes=_nodes(found["metadata"], line),
    )


def _tensors(text: str, line: str) -> Iterable[PlanTensor]:
    """The tensors of one list; what is left over when they are taken out may only be commas and blanks."""
    if TENSOR.sub("", text).strip(" ,"):
        raise _unreadable("has a tensor in a form that deploykit does not know", line)
    for dimensions, dtype in TENSOR.findall(text):
        if dtype not in ELEMENT_SIZE:
            raise _unreadable(f"has a tensor of the unknown type {dtype}", line)
        yield PlanTensor(tuple(int(size) for size in dimensions.split(",") if size), dtype)


def _nodes(metadata: str, line: str) -> tuple[str, ...]:
    if not metadata:
        return ()
    found = [ORIGIN.fullmatch(part) for part in metadata.split("\x1f")]
    if not all(found):
        raise _unreadable("names a layer's origin in a form that deploykit does not know", line)
    return tuple(match[1] for match in found if match)


def _unreadable(what: str, excerpt: str) -> BuildFailed:
    return BuildFailed(
        f"the build log {what}: {' '.join(excerpt.split())[:300]!r}",
        hint="please report this line together with the version of tensorrt-rtx",
    )
