"""Read what TensorRT's engine inspector says of an engine: `get_engine_information(LayerInformationFormat.JSON)`.

Written against documentation; it has never read an engine of a real GPU. So a form that it does not know is an error.
What it relies on:

- NVIDIA, "Engine Inspector" (docs.nvidia.com/deeplearning/tensorrt, inference-library/engine-tools): with the verbosity
  DETAILED a layer is an object of Name, LayerType, Inputs, Outputs, Weights, Bias, TacticName and the attributes of its
  type; with LAYER_NAMES_ONLY it is a bare string.
- NVIDIA, "Migrating IEngineInspector Usage from TensorRT 10.x to 11.x" (same site, api/migration): `Bindings`, names,
  became `I/O Tensors`, objects; a tensor's `Format/Datatype` was split in two.
- trt-engine-explorer (github.com/NVIDIA/TensorRT, tools/experimental, Apache-2.0): the sentences that `Format/Datatype`
  takes ("Channel major FP16 format where channel % 8 == 0"), `{"Type": "Half", "Count": 9408}` for weights, the bytes
  0x1E and 0x1F between nodes, and ` [profile 1]` after the names of further optimization profiles.
- github.com/NVIDIA/TensorRT, issues 4020 (a whole layer of 10.1, with StreamId and Metadata), 4048 (bare strings) and
  4397 (layers that Myelin compiled: the type is one word, `Half`, no weights are told, nodes follow without a byte
  between them).
- The build log of tensorrt-rtx 1.7, which prints the same fields: there `Datatype` and `Format` stand apart, and
  `Constants` are tensors.

TensorRT 10 answers "N/A due to dynamic shapes" for a tensor's format unless an execution context holds the shapes:
`backends.nvinfer_session.inspect_engine` gives it one. Sizes follow from dimensions, without the padding of formats
such as "thirty-two wide channel vectorized"; of layers that tell no weights, those are not counted.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from deploykit.errors import BuildFailed
from deploykit.plan.model import EnginePlan, PlanLayer, PlanTensor
from deploykit.spec import Precision

SOURCE = "engine inspector"
SAMPLES = "TensorRT 10 and 11"
TYPE_WORDS = {
    "BF16": "BFloat16",
    "BFLOAT16": "BFloat16",
    "BOOL": "Bool",
    "FLOAT": "Float",
    "FP16": "Half",
    "FP32": "Float",
    "FP8": "FP8",
    "HALF": "Half",
    "INT32": "Int32",
    "INT64": "Int64",
    "INT8": "Int8",
    "UINT8": "UInt8",
}
WORD = re.compile(r"[A-Za-z]+\d*")
UNTOLD = "N/A due to dynamic shapes"
OTHER_PROFILE = re.compile(r"\[profile +\d+\]")
ONNX_NODE = "[ONNX Layer: "
ORIGIN = re.compile(r"\[ONNX Layer: ((?:(?!\[ONNX Layer: )[^\x1e\x1f])*?)\](?:__\w+)?(?=[\x1e\x1f]|\[ONNX Layer: |$)")


def read_inspector(
    text: str,
    *,
    compiler: str,
    precision: Precision,
    batch: int,
    targets: tuple[str, ...],
    engine_bytes: int,
    weighted: Mapping[str, str],
    idle: Collection[str] = (),
) -> EnginePlan:
    """The plan of an engine's first optimization profile. `weighted` has the typed graph's nodes, {} if it is not here.

    `idle` names inputs that no node of the graph reads, so that no layer has to.

    Raises BuildFailed for an engine without details, and for a form that is not in the sources above.
    """
    found = _decode(text)
    layers = tuple(_layer(item) for item in _layers(found))
    _check_io(found, layers, idle)
    plan = EnginePlan(
        compiler=compiler,
        source=SOURCE,
        precision=precision,
        batch=batch,
        targets=targets,
        layers=layers,
        weighted=weighted,
        engine_bytes=engine_bytes,
    )
    if weighted and not plan.runners():
        raise _unreadable(f"has no layer that runs any of the {len(weighted)} nodes with weights", layers[0].name)
    return plan


def _decode(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, strict=False)  # the bytes between nodes are control characters, and not escaped
    except ValueError as error:
        position = getattr(error, "pos", 0)
        raise _unreadable(f"answers with no JSON ({error})", text[max(0, position - 100) : position + 100]) from error
    if not isinstance(found, dict) or not isinstance(found.get("Layers"), list):
        raise _unreadable("has no list of layers", found)
    return found


def _layers(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The layers of the first profile, as they are written."""
    items = found["Layers"]
    if not items or any(isinstance(item, str) for item in items):
        raise BuildFailed(
            f"TensorRT's engine inspector reports {'only the names of layers' if items else 'no layers'}",
            hint="build the engine with the profiling verbosity DETAILED (trtexec --profilingVerbosity=detailed)",
        )
    layers = [item for item in items if not OTHER_PROFILE.search(_text(item, "Name"))]
    if not layers:
        raise _unreadable("has no layer of the first profile", items[0])
    return layers


def _layer(item: Mapping[str, Any]) -> PlanLayer:
    return PlanLayer(
        name=_text(item, "Name"),
        kind=_text(item, "LayerType"),
        inputs=tuple(_tensors(item, "Inputs")),
        constants=(*_tensors(item, "Constants", []), *_weights(item)),
        outputs=tuple(_tensors(item, "Outputs")),
        nodes=_nodes(item),
        tactic=_text(item, "TacticName", ""),
    )


def _tensors(item: Mapping[str, Any], role: str, default: list[Any] | None = None) -> Iterator[PlanTensor]:
    tensors = item.get(role, default)
    if not isinstance(tensors, list):
        raise _unreadable(f"has a layer without a list of {role}", item)
    for tensor in tensors:
        shape = tensor.get("Dimensions") if isinstance(tensor, dict) else None
        if not isinstance(shape, list) or not all(type(size) is int and size >= -1 for size in shape):
            raise _unreadable("has a tensor in a form that deploykit does not know", tensor)
        yield PlanTensor(_text(tensor, "Name"), tuple(shape), *_type_and_format(tensor))


def _type_and_format(tensor: Mapping[str, Any]) -> tuple[str, str]:
    """TensorRT 10 tells both in one sentence, or the type alone; 11 has a field for each."""
    if "Format/Datatype" in tensor:
        told = _text(tensor, "Format/Datatype").rstrip(".")
        return _type(told, tensor), "" if told.upper() in TYPE_WORDS else told
    return _type(_text(tensor, "Datatype"), tensor), _text(tensor, "Format", "")


def _type(told: str, where: object) -> str:
    """The one type that a sentence names, as plans call it."""
    if told == UNTOLD:
        raise BuildFailed(
            f"TensorRT's engine inspector does not report types: {UNTOLD}",
            hint="let it look at an execution context whose input shapes are set",
        )
    types = {TYPE_WORDS[word.upper()] for word in WORD.findall(told) if word.upper() in TYPE_WORDS}
    if len(types) != 1:
        raise _unreadable(f"has a tensor of the unknown type {told!r}", where)
    return types.pop()


def _weights(item: Mapping[str, Any]) -> Iterator[PlanTensor]:
    for role in ("Weights", "Bias"):
        found = item.get(role)
        if found is None:
            continue
        if not isinstance(found, dict) or type(found.get("Count")) is not int:
            raise _unreadable(f"tells a layer's {role} in a form that deploykit does not know", item)
        if found["Count"]:
            yield PlanTensor(role, (found["Count"],), _type(_text(found, "Type"), item))


def _nodes(item: Mapping[str, Any]) -> tuple[str, ...]:
    """The ONNX nodes in a layer's metadata, which is free text when another program than the ONNX parser set it."""
    metadata = _text(item, "Metadata", "")
    if ONNX_NODE not in metadata:
        return ()
    if ORIGIN.sub("", metadata).strip("\x1e\x1f "):
        raise _unreadable("names a layer's origin in a form that deploykit does not know", metadata)
    return tuple(ORIGIN.findall(metadata))


def _check_io(found: Mapping[str, Any], layers: tuple[PlanLayer, ...], idle: Collection[str]) -> None:
    """Layers read and write every input and output of the engine that is not `idle`: else some of them are missing."""
    tensors = found.get("I/O Tensors", found.get("Bindings"))
    if not isinstance(tensors, list) or not tensors:
        raise _unreadable("names neither I/O Tensors nor Bindings", sorted(found))
    names = [tensor if isinstance(tensor, str) else _text(tensor, "Name") for tensor in tensors]
    touched = {tensor.name for layer in layers for tensor in (*layer.inputs, *layer.outputs)}.union(idle)
    for name in names:
        if name not in touched and not OTHER_PROFILE.search(name):
            raise _unreadable(f"has no layer that touches {name!r}", names)


def _text(item: object, key: str, default: str | None = None) -> str:
    found = item.get(key, default) if isinstance(item, dict) else None
    if not isinstance(found, str):
        raise _unreadable(f"leaves {key} out, or writes it in an unknown form", item)
    return found


def _unreadable(what: str, excerpt: object) -> BuildFailed:
    quoted = excerpt if isinstance(excerpt, str) else json.dumps(excerpt, default=str)
    return BuildFailed(
        f"TensorRT's engine inspector {what}: {' '.join(quoted.split())[:300]!r}",
        hint=f"please report this with the version of TensorRT; deploykit knows the forms of {SAMPLES}",
    )
