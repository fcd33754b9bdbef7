"""Read TensorRT-RTX's verbose build log: which layers it compiled a network into.

With `profiling_verbosity = DETAILED` the log ends with one line per compiled layer,

    Name: c1_myl0_2, LayerType: correlation, Inputs: [{...}], Constants: [{...}], Outputs: [{...}], TacticName: ...,
    StreamId: 0, Metadata: [ONNX Layer: c1]<US>[ONNX Layer: r1]

where <US> is the byte 0x1F, and in which a tensor reads
`{ Name: x, Dimensions: [-1,8,16,16], Strides: [...], ..., Datatype: Half, Format: ... }`.
Such a line settles which nodes run together, in which types and layouts. It does not settle the machine code: that is
made for the GPU at hand when the engine is opened, so a plan counts kernels and bytes, never milliseconds.
"""

import re
from collections.abc import Iterable

from deploykit.errors import BuildFailed
from deploykit.plan.model import ELEMENT_SIZE, EnginePlan, PlanLayer, PlanTensor
from deploykit.spec import Precision

WEIGHTED_OPS = ("Conv", "Gemm", "MatMul")
LAYER = re.compile(
    r"Name: (?P<name>.*), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*)\], Constants: \[(?P<constants>.*)\], "
    r"Outputs: \[(?P<outputs>.*)\], TacticName: (?P<tactic>.*?), StreamId: .*?, Metadata: ?(?P<metadata>.*)"
)
TENSOR = re.compile(
    r"\{ Name: (.*?), Dimensions: \[([-\d,]*)\], [^{}]*?Datatype: (\w+)(?:, Format: ([^{},]*))?[^{}]*\}"
)
ORIGIN = re.compile(r"\[ONNX Layer: ([^\x1f]*)\](?:__\w+)?")  # such as __gemm_from_conv1x1
PARSED_NODE = re.compile(r"^Parsing node: (.*) \[(\w+)\]$", re.MULTILINE)
MEMORY = {
    "weights_bytes": re.compile(r"^Total Weights Memory: (\d+) bytes", re.MULTILINE),
    "activation_bytes": re.compile(r"^Total Activation Memory: (\d+) bytes", re.MULTILINE),
    "scratch_bytes": re.compile(r"^Max Scratch Memory: (\d+) bytes", re.MULTILINE),
}


def read_log(
    log: str, *, compiler: str, precision: Precision, batch: int, targets: tuple[str, ...], engine_bytes: int
) -> EnginePlan:
    """The plan in a verbose build log. Raises BuildFailed when the log holds no plan or one of an unknown form."""
    found = {name: pattern.search(log) for name, pattern in MEMORY.items()}
    return EnginePlan(
        compiler=compiler,
        source="build log",
        precision=precision,
        batch=batch,
        targets=targets,
        layers=parse_layers(log),
        weighted=weighted_nodes(log),
        engine_bytes=engine_bytes,
        **{name: int(match[1]) if match else None for name, match in found.items()},
    )


def weighted_nodes(log: str) -> dict[str, str]:
    """The ONNX nodes that hold weights and their operators, in the order the parser met them."""
    return {name: op for name, op in PARSED_NODE.findall(log) if op in WEIGHTED_OPS}


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
        tactic=found["tactic"],
    )


def _tensors(text: str, line: str) -> Iterable[PlanTensor]:
    """The tensors of one list; what is left over when they are taken out may only be commas and blanks."""
    if TENSOR.sub("", text).strip(" ,"):
        raise _unreadable("has a tensor in a form that deploykit does not know", line)
    for name, dimensions, dtype, layout in TENSOR.findall(text):
        if dtype not in ELEMENT_SIZE:
            raise _unreadable(f"has a tensor of the unknown type {dtype}", line)
        yield PlanTensor(name, tuple(int(size) for size in dimensions.split(",") if size), dtype, layout.strip())


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
