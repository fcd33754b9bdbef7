"""Read TensorRT-RTX's verbose build log: which layers it compiled a network into.

Grammar 1, checked with tensorrt-rtx 1.7. With `profiling_verbosity = DETAILED` a log has, among much else and in this
order,

    Parsing node: c1 [Conv]                                     one line per ONNX node
    Detected 1 inputs and 1 output network tensors.
    After reformat layers: 1 layers                             layers of the builder's; what follows is inside them
    Layer: {ForeignNode[c1...r1]} Host Persistent: 80 bytes Device Persistent: 0 bytes Scratch Memory: 4096 bytes
    Skipped printing memory information for 0 layers with 0 memory size ...
    Max Scratch Memory: 4096 bytes                              then Total Activation Memory, Total Weights Memory
    Layers:
    Name: c1_myl0_2, LayerType: correlation, Inputs: [{...}], Constants: [{...}], Outputs: [{...}], TacticName: ...,
    StreamId: 0, Metadata: [ONNX Layer: c1]<US>[ONNX Layer: r1]
    <an empty line>
    I/O Tensors:
     Name: x, IOMode: Input, ...
    <an empty line>
    Adding 1 engine(s) to plan file.

where a layer is one line, <US> is the byte 0x1F, and a tensor reads
`{ Name: x, Dimensions: [-1,8,16,16], Strides: [...], StrideOrder: [...], Datatype: Half, Format: ... }`.
An ONNX node in a function or a branch is called `c1 | block (Block)` in a layer's metadata and `c1` when it is parsed.

A form that is not in the grammar is an error, as is whatever does not add up: layers number themselves (`_myl0_2`)
without a gap, every output of the engine is one that a layer writes (an input may be one that no layer reads), inputs
and outputs are as many as were detected; every
node in a layer's metadata is one that was parsed; the builder's layers are those whose memory is listed or skipped,
and the largest scratch memory among them is the maximum. So no line is lost in silence.

A layer line settles which nodes run together, in which types and layouts. It does not settle the machine code: that is
made for the GPU at hand when the engine is opened, so a plan counts kernels and bytes, never milliseconds. The types
of layers are an open set: one that `plan.model` does not know counts as a kernel that computes its nodes.
"""

import re
from collections.abc import Iterable, Sequence

from deploykit.errors import BuildFailed
from deploykit.plan.model import ELEMENT_SIZE, EnginePlan, PlanLayer, PlanTensor
from deploykit.spec import Precision
from deploykit.spec.operators import WEIGHTED_OPS

GRAMMAR = 1
CHECKED_WITH = ("1.7",)  # releases of tensorrt-rtx

LAYER = re.compile(
    r"Name: (?P<name>.*_myl(?P<part>\d+)_(?P<number>\d+)), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*)\], "
    r"Constants: \[(?P<constants>.*)\], Outputs: \[(?P<outputs>.*)\], TacticName: (?P<tactic>.*?), "
    r"StreamId: \d+.*?, Metadata: ?(?P<metadata>.*)"
)
TENSOR = re.compile(
    r"\{ Name: (.*?), Dimensions: \[([-\d,]*)\], Strides: \[[-\d,]*\], StrideOrder: \[[\d,]*\], "
    r"Datatype: (\w+), Format: ([^{},]*(?:\[[\d,]*\])?) \}"
)
ORIGIN = re.compile(r"\[ONNX Layer: ([^\x1f]*)\](?:__\w+)?")  # such as __gemm_from_conv1x1
SCOPE = " | "
PARSED = "Parsing node: "
PARSED_NODE = re.compile(r"Parsing node: (.*) \[(\w+)\]")
IO_TENSOR = re.compile(r" Name: (.*), IOMode: (Input|Output), DataType: \w+, Dimensions: \[[-\d,]*\], .*")
DETECTED = re.compile(r"^Detected (\d+) inputs? and (\d+) outputs? network tensors\.$", re.MULTILINE)
ENGINES = re.compile(r"^Adding (\d+) engine\(s\) to plan file\.$", re.MULTILINE)
BUILDER_LAYERS = re.compile(r"^After reformat layers: (\d+) layers$", re.MULTILINE)
SKIPPED = re.compile(r"^Skipped printing memory information for (\d+) layers ", re.MULTILINE)
LISTED = re.compile(
    r"^Layer: .* Host Persistent: \d+ bytes Device Persistent: \d+ bytes Scratch Memory: (\d+) bytes$", re.MULTILINE
)
MEMORY = {
    "weights_bytes": re.compile(r"^Total Weights Memory: (\d+) bytes$", re.MULTILINE),
    "activation_bytes": re.compile(r"^Total Activation Memory: (\d+) bytes$", re.MULTILINE),
    "scratch_bytes": re.compile(r"^Max Scratch Memory: (\d+) bytes$", re.MULTILINE),
}


def read_log(
    log: str, *, compiler: str, precision: Precision, batch: int, targets: tuple[str, ...], engine_bytes: int
) -> EnginePlan:
    """The plan in a verbose build log. Raises BuildFailed when the log holds no plan or one of an unknown form.

    `compiler` is library and version ("tensorrt-rtx 1.7.1").
    """
    try:
        parsed = _parsed_nodes(log)
        layers = parse_layers(log)
        _check_origins(layers, parsed)
        memory = _memory(log)
    except BuildFailed as error:
        raise BuildFailed(error.message, hint=_report(compiler)) from error
    return EnginePlan(
        compiler=compiler,
        source=f"build log (format v{GRAMMAR})",
        precision=precision,
        batch=batch,
        targets=targets,
        layers=layers,
        weighted={name: op for name, op in parsed.items() if op in WEIGHTED_OPS},
        engine_bytes=engine_bytes,
        **memory,
    )


def weighted_nodes(log: str) -> dict[str, str]:
    """The ONNX nodes that hold weights and their operators, in the order the parser met them. Raises BuildFailed."""
    return {name: op for name, op in _parsed_nodes(log).items() if op in WEIGHTED_OPS}


def parse_layers(log: str) -> tuple[PlanLayer, ...]:
    """Every compiled layer of the log, in order of execution. Raises BuildFailed."""
    described, tensors = _sections(log)
    matches = [_match(LAYER, line, "a layer") for line in described]
    _check_numbers(matches)
    layers = tuple(map(_layer, matches))
    _check_io(log, layers, [_match(IO_TENSOR, line, "an I/O tensor") for line in tensors])
    return layers


def _sections(log: str) -> tuple[list[str], list[str]]:
    """The lines that describe layers, and those that describe the engine's inputs and outputs."""
    lines = log.split("\n")  # splitlines() would also cut at control characters
    if "Layers:" not in lines:
        raise _unreadable("holds no compiled layer", log[-200:])
    start = len(lines) - lines[::-1].index("Layers:")
    layers = _until_empty(lines[start:])
    rest = lines[start + len(layers) + 1 :]
    if not layers or not layers[0]:
        raise _unreadable("holds no compiled layer", log[-200:])
    if rest[:1] != ["I/O Tensors:"]:
        raise _unreadable("breaks off after the layers, or goes on in an unknown form", " ".join(lines[-2:]))
    if _number(log, ENGINES, "how many engines are in the plan file") != 1:
        raise _unreadable("is of a plan file with several engines")
    return layers, _until_empty(rest[1:])


def _until_empty(lines: Sequence[str]) -> list[str]:
    return list(lines[: lines.index("")] if "" in lines else lines)


def _layer(match: re.Match[str]) -> PlanLayer:
    return PlanLayer(
        name=match["name"],
        kind=match["kind"],
        inputs=tuple(_tensors(match["inputs"], match[0])),
        constants=tuple(_tensors(match["constants"], match[0])),
        outputs=tuple(_tensors(match["outputs"], match[0])),
        nodes=_nodes(match["metadata"], match[0]),
        tactic=match["tactic"],
    )


def _tensors(text: str, line: str) -> Iterable[PlanTensor]:
    """The tensors of one list; what is left over when they are taken out may only be commas and blanks."""
    if TENSOR.sub("", text).strip(" ,"):
        raise _unreadable("has a tensor in a form that deploykit does not know", line)
    for name, dimensions, dtype, layout in TENSOR.findall(text):
        if dtype not in ELEMENT_SIZE:
            raise _unreadable(f"has a tensor of the unknown type {dtype}", line)
        yield PlanTensor(name, tuple(int(size) for size in dimensions.split(",") if size), dtype, layout)


def _nodes(metadata: str, line: str) -> tuple[str, ...]:
    if not metadata:
        return ()
    matches = [ORIGIN.fullmatch(part) for part in metadata.split("\x1f")]
    if not all(matches):
        raise _unreadable("names a layer's origin in a form that deploykit does not know", line)
    return tuple(match[1] for match in matches if match)


def _parsed_nodes(log: str) -> dict[str, str]:
    """Every ONNX node and its operator, in the order the parser met them."""
    lines = [line for line in log.split("\n") if line.startswith(PARSED)]
    return dict(_match(PARSED_NODE, line, "an ONNX node").groups() for line in lines)  # type: ignore[misc]


def _memory(log: str) -> dict[str, int]:
    """The sizes that the log states, in bytes."""
    sizes = {name: _number(log, pattern, name.replace("_bytes", " memory")) for name, pattern in MEMORY.items()}
    listed = [int(size) for size in LISTED.findall(log)]
    skipped = _number(log, SKIPPED, "how many layers need no memory")
    layers = _number(log, BUILDER_LAYERS, "how many layers the builder has")
    if len(listed) + skipped != layers:
        raise _unreadable(f"lists the memory of {len(listed)} and skips {skipped} of {layers} layers")
    if max(listed, default=0) != sizes["scratch_bytes"]:
        raise _unreadable(f"states {sizes['scratch_bytes']} bytes of scratch memory, and its layers {listed}")
    return sizes


def _check_numbers(layers: Sequence[re.Match[str]]) -> None:
    """Layers are numbered as they stand, from 0 in every part."""
    expected: dict[str, int] = {}
    for match in layers:
        number = expected.get(match["part"], 0)
        if int(match["number"]) != number:
            raise _unreadable(f"has layer {match['number']} where layer {number} is due", match[0])
        expected[match["part"]] = number + 1


def _check_io(log: str, layers: Sequence[PlanLayer], tensors: Sequence[re.Match[str]]) -> None:
    """The engine's inputs and outputs are as many as the builder detected, and layers write the outputs.

    An input may be idle: networks have inputs that their answer does not depend on.
    """
    modes = [match[2] for match in tensors]
    detected = DETECTED.findall(log)
    if detected != [(str(modes.count("Input")), str(modes.count("Output")))]:
        raise _unreadable(f"lists {len(tensors)} I/O tensors, and detected {detected or 'none'} inputs and outputs")
    written = {tensor.name for layer in layers for tensor in layer.outputs}
    for match in tensors:
        if match[2] == "Output" and match[1] not in written:
            raise _unreadable(f"has no layer that writes {match[1]!r}", match[0])


def _check_origins(layers: Iterable[PlanLayer], parsed: dict[str, str]) -> None:
    """A layer's nodes are among those that were parsed: else a new form of `Parsing node` would leave none weighted."""
    for layer in layers:
        for name in layer.nodes:
            if name not in parsed and name.partition(SCOPE)[0] not in parsed:
                raise _unreadable(f"names in a layer the node {name!r}, which was never parsed", layer.name)


def _match(pattern: re.Pattern[str], line: str, what: str) -> re.Match[str]:
    match = pattern.fullmatch(line)
    if match is None:
        raise _unreadable(f"has {what} in a form that deploykit does not know", line)
    return match


def _number(log: str, pattern: re.Pattern[str], what: str) -> int:
    """The number that the log states once."""
    numbers = pattern.findall(log)
    if len(numbers) != 1:
        raise _unreadable(f"states {len(numbers)} times, not once: {what}")
    return int(numbers[0])


def _report(compiler: str) -> str:
    """What to do about a log that cannot be read, by the version that wrote it."""
    version = compiler.rpartition(" ")[2]
    ask = f"please report this line together with the version, {compiler}"
    if any(version == known or version.startswith(f"{known}.") for known in CHECKED_WITH):
        return ask
    return f"build log format v{GRAMMAR} is that of tensorrt-rtx {', '.join(CHECKED_WITH)}: install that, and {ask}"


def _unreadable(what: str, excerpt: str = "") -> BuildFailed:
    quoted = f": {' '.join(excerpt.split())[:300]!r}" if excerpt else ""
    return BuildFailed(f"the build log {what}{quoted}", hint="please report this line with the version of tensorrt-rtx")
