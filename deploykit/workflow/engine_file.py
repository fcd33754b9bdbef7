"""Engines outside the store: `net.engine`, and beside it `net.engine.json`, the record of what it is.

The record has what opening and inspecting need: backend, library, precision, inputs, outputs, targets and the compiled
plan; and what predicting needs, how images are prepared and whether the outputs are probabilities. It names the
engine's content by its digest. An engine is native code, so one that this store did not build is opened only for a
caller who trusts it; its record is read in any case, which runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploykit.backends.protocol import Engine
from deploykit.codec import decode, read
from deploykit.data.preparation import Preparation, preparation_of, takes_images
from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.io.door import digest_file
from deploykit.io.files import copy_artifact, write_text
from deploykit.io.loader import read_stored_onnx, read_text
from deploykit.plan.model import EnginePlan
from deploykit.results.document import to_json
from deploykit.spec import BatchRange, BuildSpec, Precision, Target, TensorSpec, WeightsOrigin
from deploykit.store import Entry, Store
from deploykit.store.key import file_digest
from deploykit.workflow.engine import ENGINE_FILE, Built, stored_plan
from deploykit.workflow.facts import EngineFacts

SCHEMA_VERSION = 2
RECORD = "engine record"
PASSED = {"Identity", "Reshape", "Flatten", "Squeeze", "Cast", "QuantizeLinear", "DequantizeLinear"}
AGAIN = "build the engine again and save it with BuiltEngine.save or `deploykit build -o`"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """What an engine file is. `backend` and `flavour` say which library opens it, `targets` what it was compiled for.

    `digest` is the SHA-256 (hex) of the engine, `plan` what was compiled where the compiler says so. `batch` and
    `preparation` are None where only a store knows the engine, `preparation` also where the network takes no images;
    `probabilities` says that a softmax is the network's last step.
    """

    model: str
    digest: str
    backend: str
    flavour: str
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    targets: tuple[str, ...]
    note: str
    typed_digest: str | None
    weights: WeightsOrigin | None
    plan: EnginePlan | None
    batch: BatchRange | None = None
    preparation: Preparation | None = None
    probabilities: bool = False
    schema_version: int = SCHEMA_VERSION


def record_path(engine: Path) -> Path:
    """The path of an engine file's record."""
    return engine.with_name(f"{engine.name}.json")


def save_engine(built: Built, spec: BuildSpec, path: Path) -> Path:
    """Copy an engine that was built as `spec` says to `path` and put its record beside it; the path of the copy.

    Raises UsageError for what has no file, and where `path` cannot be written.
    """
    engine, exported = built.engine, built.exported
    if engine.path is None:
        raise UsageError(
            f"backend {engine.backend} makes no file that could be saved", hint="build with ort, trt or trt-rtx"
        )
    copy = copy_artifact(engine.path, path)
    record = EngineRecord(
        model=exported.model.label,
        digest=file_digest(copy),
        backend=engine.backend,
        flavour=engine.flavour,
        precision=engine.precision,
        inputs=engine.inputs,
        outputs=engine.outputs,
        targets=tuple(map(str, spec.targets)) if built.entry else (),
        note=engine.note,
        typed_digest=engine.typed_digest,
        weights=exported.weights,
        plan=built.plan,
        batch=spec.batch,
        preparation=preparation_of(exported) if takes_images(exported) else None,
        probabilities=ends_in_softmax(exported.path),
    )
    write_text(record_path(copy), to_json(record))
    return copy


def ends_in_softmax(path: Path) -> bool:
    """Whether the first output of a graph in the store is made by a softmax: it is probabilities already."""
    graph = read_stored_onnx(path).graph
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(graph.output[0].name) if graph.output else None
    while node is not None and node.op_type in PASSED:
        node = makers.get(node.input[0])
    return node is not None and node.op_type == "Softmax"


def open_record(store: Store, path: Path, *, trusted: bool) -> Engine:
    """The engine of `opened_record`. Raises as that."""
    return opened_record(store, path, trusted=trusted)[0]


def opened_record(store: Store, path: Path, *, trusted: bool) -> tuple[Engine, EngineRecord]:
    """The engine file at `path` as its backend opens it here, and its record.

    Raises UsageError where it cannot be read, UntrustedArtifact for one whose record is missing or another's, and for
    one that is neither from this store nor `trusted`.
    """
    digest = digest_of_engine(path)
    ours = next(stored_records(store, digest), None)
    found = read_record(path, digest) or ours
    if found is None:
        raise UntrustedArtifact(
            f"there is no record of the engine {path}: {record_path(path).name} is not beside it, and the store "
            f"{store.root} did not build it",
            hint=AGAIN,
        )
    if not (ours or trusted):
        raise UntrustedArtifact(
            f"the store {store.root} did not build the engine {path}, and an engine is native code",
            hint="name the store that did, or trust the engine: trust_engine=True",
        )
    backend = "trt-rtx" if found.flavour.startswith("tensorrt-rtx") else found.backend
    engine = Engine(
        backend=backend,
        flavour=found.flavour,
        precision=found.precision,
        inputs=found.inputs,
        outputs=found.outputs,
        note=found.note,
        path=path,
        typed_digest=found.typed_digest,
    )
    if backend != "trt-rtx":
        return engine, found
    from deploykit.backends.tensorrt_rtx import cannot_run

    return replace(engine, reason=cannot_run(tuple(map(Target.parse, found.targets)))), found


def digest_of_engine(path: Path) -> str:
    """Raises UsageError where the file cannot be read, UntrustedArtifact where it is too large."""
    return digest_file(path, "engine")


def read_record(engine: Path, digest: str) -> EngineRecord | None:
    """The record beside an engine file; None where there is none.

    Raises UntrustedArtifact for a record that is malformed, or of another engine.
    """
    path = record_path(engine)
    if not path.exists():
        return None
    found = read(EngineRecord, read_text(path), what=f"{RECORD} {path}", version=SCHEMA_VERSION, hint=AGAIN)
    if found.digest != digest:
        raise UntrustedArtifact(f"the {RECORD} {path} is that of another engine than {engine}", hint=AGAIN)
    return found


def stored_records(store: Store, digest: str) -> Iterator[EngineRecord]:
    """What the store knows of an engine with this content: of its builds, those with random weights come first.

    A file that has its weights inside does not tell that nobody trained them. Only of these builds are the files read.
    """
    builds = [each for each in store.manifests("engine") if _has_content(each, digest)]
    sound = [store.find("engine", each.key, facts=EngineFacts, files=(ENGINE_FILE,)) for each in builds]
    yield from sorted((_record_of(entry, digest) for entry in sound if entry), key=_claims_training)


def _has_content(entry: Entry, digest: str) -> bool:
    return ENGINE_FILE in entry.files and entry.files[ENGINE_FILE].sha256 == digest


@dataclass(frozen=True, slots=True)
class _Capability:
    major: int
    minor: int


def _record_of(entry: Entry, digest: str) -> EngineRecord:
    """Raises UntrustedArtifact where the manifest has another request than that of a build."""
    what = f"request of engine {entry.key[:12]} in the store"
    spec = decode(dict[str, Any], entry.request.get("spec"), what=what, hint=AGAIN)
    model = decode(dict[str, Any], spec.get("model"), what=what, hint=AGAIN)
    targets = decode(tuple[_Capability, ...], spec.get("targets"), what=what, hint=AGAIN)
    facts = entry.facts_as(EngineFacts)
    return EngineRecord(
        model=decode(str, model.get("name"), what=what, hint=AGAIN),
        digest=digest,
        backend=facts.backend,
        flavour=facts.flavour,
        precision=decode(Precision, spec.get("precision"), what=what, hint=AGAIN),
        inputs=facts.inputs,
        outputs=facts.outputs,
        targets=tuple(str(Target(each.major, each.minor)) for each in targets),
        note=facts.note,
        typed_digest=None,
        weights=facts.weights,
        plan=stored_plan(entry),
    )


def _claims_training(record: EngineRecord) -> bool:
    return record.weights is None or not record.weights.random
