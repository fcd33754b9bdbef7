"""A compiled engine, layer by layer, whatever it was read from: one model for build logs and for TensorRT's inspector.

A layer moves every input and output once per batch and every constant once:

    bytes = sum over inputs and outputs of size(type) * prod(dimensions at the batch) + sum over constants

Some layers launch no kernel: bookkeeping (`shape_call`, `signal`, `wait`), and views of another's memory (`NoOp`). A
convolution or a product computes in the type of the first input of the layer that carries its name. Layers that only
work point by point do not count as carrying it: `kgen`, generated code, takes a convolution's name when all it does is
to requantize that convolution's result. A recurrent operator is taken apart into products without a name, and computes
in the type that the generated code around them reads.

Which type of layer is which is data (`LayerKinds`), one table per compiler. Myelin compiles all of TensorRT-RTX's
layers and some of TensorRT's; TensorRT's own have other names, so that one union serves both.
"""

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from math import prod

from deploykit.codec import encode, read
from deploykit.spec import Precision
from deploykit.spec.operators import RECURRENT

SCHEMA_VERSION = 1
TYPES_OF_SIZE = {8: ("Int64",), 4: ("Float", "Int32"), 2: ("BFloat16", "Half"), 1: ("Bool", "FP8", "Int8", "UInt8")}
ELEMENT_SIZE = {dtype: size for size, dtypes in TYPES_OF_SIZE.items() for dtype in dtypes}  # bytes
COMPUTE_TYPE = {Precision.FP32: "Float", Precision.FP16: "Half", Precision.INT8: "Int8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerKinds:
    """What the types of a compiler's layers mean. One that is nowhere here is a kernel that computes its nodes.

    `no_bytes` moves nothing, `pointwise` computes no product that it is named after, `weighted` always computes one.
    """

    no_kernel: frozenset[str]
    no_bytes: frozenset[str]
    pointwise: frozenset[str]
    weighted: frozenset[str]


MYELIN = LayerKinds(  # as seen with tensorrt-rtx 1.7
    no_kernel=frozenset({"shape_call", "signal", "wait"}),
    no_bytes=frozenset({"shape_call"}),
    pointwise=frozenset({"kgen"}),
    weighted=frozenset({"correlation", "deconv", "gemm"}),
)
TENSORRT = LayerKinds(  # as documented, see plan.inspector
    no_kernel=frozenset({"Constant", "NoOp"}),
    no_bytes=frozenset({"Constant", "NoOp"}),
    pointwise=frozenset({"Constant", "NoOp", "PointWise", "PointWiseV2", "Reformat", "Scale", "Shuffle"}),
    weighted=frozenset(
        {
            "CaskConvActPool",
            "CaskConvolution",
            "CaskDeconvolution",
            "CaskDeconvolutionV2",
            "CaskGemm",
            "CaskGemmConvolution",
            "CaskGemmMatrixMultiply",
            "CaskJitConv",
            "CudaDepthwiseConvolution",
            "FusedConvActConvolution",
            "MatrixMultiply",
        }
    ),
)
NO_KERNEL = MYELIN.no_kernel | TENSORRT.no_kernel
NO_BYTES = MYELIN.no_bytes | TENSORRT.no_bytes
POINTWISE = MYELIN.pointwise | TENSORRT.pointwise
WEIGHTED_KINDS = MYELIN.weighted | TENSORRT.weighted


@dataclass(frozen=True, slots=True)
class PlanTensor:
    """A tensor that a kernel reads or writes."""

    name: str
    shape: tuple[int, ...]  # -1 where the batch goes
    dtype: str  # TensorRT's name: Float, Half, Int8, ...
    format: str = ""  # the layout in TensorRT's words

    def size(self, batch: int) -> int:
        """Bytes at this batch."""
        return ELEMENT_SIZE[self.dtype] * prod(batch if dimension == -1 else dimension for dimension in self.shape)


@dataclass(frozen=True, slots=True)
class PlanLayer:
    """One compiled layer, the ONNX nodes that were fused into it, and the PyTorch modules that those came from.

    `macs` are those of the weighted nodes it runs, for the plan's batch; 0 until the graph has been asked.
    """

    name: str
    kind: str
    inputs: tuple[PlanTensor, ...]
    constants: tuple[PlanTensor, ...]
    outputs: tuple[PlanTensor, ...]
    nodes: tuple[str, ...]
    tactic: str = ""
    modules: tuple[str, ...] = ()
    macs: int = 0

    @property
    def is_kernel(self) -> bool:
        return self.kind not in NO_KERNEL

    def runs(self, nodes: Container[str]) -> tuple[str, ...]:
        """Those of `nodes` that this layer computes, not merely requantizes."""
        return () if self.kind in POINTWISE else tuple(node for node in self.nodes if node in nodes)

    @property
    def reads(self) -> str:
        """The type of the first input, "?" where there is none."""
        return self.inputs[0].dtype if self.inputs else "?"

    def bytes_moved(self, batch: int) -> int:
        if self.kind in NO_BYTES:
            return 0
        moved = sum(tensor.size(batch) for tensor in (*self.inputs, *self.outputs))
        return moved + sum(tensor.size(1) for tensor in self.constants)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlan:
    """What a compiler made of a typed graph. Layers stand in the order of execution.

    `compiler` is library and version ("tensorrt-rtx 1.7.1"), `source` what the plan was read from ("build log, grammar
    1", "engine inspector"), `batch` the one that sizes are for. `weighted` has the typed graph's nodes with weights
    (`spec.operators`) and their operator. Sizes are bytes, None where the source does not give one.
    """

    compiler: str
    source: str
    precision: Precision
    batch: int
    targets: tuple[str, ...]
    layers: tuple[PlanLayer, ...]
    weighted: Mapping[str, str] = field(default_factory=dict)
    engine_bytes: int = 0
    weights_bytes: int | None = None
    activation_bytes: int | None = None
    scratch_bytes: int | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def kernels(self) -> tuple[PlanLayer, ...]:
        """The layers that launch a kernel, in the order of execution."""
        return tuple(layer for layer in self.layers if layer.is_kernel)

    @property
    def bytes_moved(self) -> int:
        """Bytes that all layers read and write for one batch, constants included."""
        return sum(layer.bytes_moved(self.batch) for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one batch; 0 until the graph has been asked."""
        return sum(layer.macs for layer in self.layers)

    def runners(self) -> dict[str, PlanLayer]:
        """The layer that computes each weighted node; a node that no layer claims is left out."""
        recurrent = {node for node, op in self.weighted.items() if op in RECURRENT}
        found: dict[str, PlanLayer] = {}
        for layer in self.layers:
            gates = layer.inputs and layer.reads not in TYPES_OF_SIZE[1]  # of 8 bits its states are only moved
            unrolled = (node for node in layer.nodes if node in recurrent and gates)
            found |= dict.fromkeys((*layer.runs(self.weighted), *unrolled), layer)
        return found

    def computes_in(self) -> dict[str, str]:
        """The type that each weighted node computes in; a node that no layer claims is left out."""
        return {node: layer.reads for node, layer in self.runners().items()}

    def with_costs(self, costs: Mapping[str, tuple[int, str]]) -> "EnginePlan":
        """The same plan, each layer with its MACs and modules; `costs` has MACs and module of nodes by name.

        A node counts for the first layer that runs it.
        """
        left, layers = dict(costs), []
        for layer in self.layers:
            macs = sum(left.pop(node, (0, ""))[0] for node in layer.runs(costs))
            modules = (costs[node][1] if node in costs else node.rpartition("/")[0] for node in layer.nodes)
            layers.append(replace(layer, macs=macs, modules=tuple(dict.fromkeys(filter(None, modules)))))
        return replace(self, layers=tuple(layers))

    def to_json(self) -> str:
        """The plan as a file holds it."""
        return json.dumps(encode(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> "EnginePlan":
        """Raises UntrustedArtifact for anything that `to_json` does not write."""
        return read(cls, text, what="engine plan", version=SCHEMA_VERSION, hint="build the engine again")
