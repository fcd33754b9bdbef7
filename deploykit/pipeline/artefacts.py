"""ModelSpec -> module -> optimised graph -> typed graph -> engine, each step behind the store.

A step is keyed by what it is made from: the step before, the options it reads, library versions and deploykit's own
source. So a second identical request finds its artefacts without importing a framework.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deploykit
from deploykit.backends.device import find_gpu
from deploykit.backends.protocol import Backend, Engine, ModuleSource, Placement, Progress, Reason, Source, TypedGraph
from deploykit.cachekey import cache_key, file_digest, library_versions, source_digest
from deploykit.errors import BackendMissing, UsageError
from deploykit.images import ImageSet, Role, open_images
from deploykit.spec import BuildSpec, ModelSpec, Precision, Preprocessing, TensorSpec
from deploykit.store import Entry, Store, Writer
from deploykit.zoo import registry

if TYPE_CHECKING:
    import onnx_ir as ir

    from deploykit.precision.calibrate.table import CalibrationTable

LIBRARIES = ("torch", "numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime-gpu", "onnxruntime")
COMPILERS = ("tensorrt", "tensorrt-rtx", "pycuda")
CALIBRATION_METHOD = "minmax"
ONNX_CROP_SHARE = 0.875  # 224 of 256: how much of the resized side an .onnx file without a card is shown


def silent(_phase: str, _done: int, _total: int) -> None:
    """Progress for callers that want none."""


@dataclass(frozen=True)
class Exported:
    """The optimised float32 graph of one network. `module` is None for an `.onnx` file."""

    model: ModelSpec
    path: Path
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    module: ModuleSource | None
    facts: Mapping[str, Any]
    hit: bool

    @property
    def random_weights(self) -> bool:
        return self.module is not None and self.model.weights is None

    def image_input(self) -> TensorSpec:
        """The one image input; raises UsageError where the network takes something else."""
        spec = self.inputs[0]
        if len(self.inputs) != 1 or len(spec.shape) != 4 or spec.dtype != "float32":
            shapes = ", ".join(f"{item.name} {item.dtype}{list(item.shape)}" for item in self.inputs)
            raise UsageError(
                f"{self.model.name} takes {shapes}", hint="deploykit feeds one float32 image input (batch, C, H, W)"
            )
        return spec


@dataclass(frozen=True)
class Typed:
    """A typed graph and what its making reported."""

    graph: TypedGraph
    facts: Mapping[str, Any]
    hit: bool


@dataclass(frozen=True)
class Built:
    """An engine and the artefacts it came from; `entry` is None where the backend compiles nothing."""

    exported: Exported
    typed: Typed | None
    engine: Engine
    entry: Entry | None
    hit: bool
    seconds: float


@dataclass
class Artefacts:
    """Makes artefacts, or finds them in the store. `seconds` lists what was really done this time."""

    store: Store
    progress: Progress = silent
    seconds: dict[str, float] = field(default_factory=dict)

    def export(self, model: ModelSpec) -> Exported:
        """The optimised graph. Raises UsageError, CheckpointMismatch, UntrustedArtefact, ExportFailed."""
        module = None if model.is_onnx else self._module(model)
        weights = Path(model.name) if module is None else module.weights
        inputs = () if module is None else module.inputs
        parts = {"of": "file" if module is None else model.name, "weights": _digest(weights), "inputs": inputs}
        options = {"width_mult": model.width_mult}

        def make(writer: Writer) -> dict[str, Any]:
            from deploykit import graph
            from deploykit.export import export_module
            from deploykit.loader import read_onnx

            with self.timed("export to ONNX"):
                if module is None:
                    network = graph.parse(read_onnx(weights))
                else:
                    names = tuple(spec.name for spec in module.outputs)
                    network = export_module(module.load(), module.inputs[0], output_names=names)
            with self.timed("optimise the graph"):
                ledger = graph.optimise(network)
                content = graph.serialise(network)
                graph.check(content)
            writer.write("model.onnx", content)
            found_inputs, found_outputs = graph.tensor_specs(network)
            return {"inputs": found_inputs, "outputs": found_outputs, "ledger": ledger}

        entry, hit = self._get_or_make("export", {**parts, **options}, make, request={"model": model})
        return Exported(
            model=model,
            path=entry.path("model.onnx"),
            digest=entry.files["model.onnx"].sha256,
            inputs=_specs(entry.facts["inputs"]),
            outputs=_specs(entry.facts["outputs"]),
            module=module,
            facts=entry.facts,
            hit=hit,
        )

    def preprocessing(self, exported: Exported) -> Preprocessing:
        """How photographs become this network's input: its card's recipe, or ImageNet's for an `.onnx` file."""
        spec = exported.image_input()
        if not exported.model.is_onnx:
            return registry.preprocessing(exported.model)
        height, width = spec.shape[2:]
        if not isinstance(height, int) or height != width:
            raise UsageError(
                f"{exported.model.name} takes images of {height} x {width}", hint="deploykit feeds square images"
            )
        recipe = Preprocessing(crop=height, resize=round(height / ONNX_CROP_SHARE))
        if spec.shape[1] == 3:
            return recipe
        return Preprocessing(crop=recipe.crop, resize=recipe.resize, mean=(0.5,), std=(0.5,))

    def images(self, exported: Exported, role: Role, count: int, data: Path | None) -> ImageSet:
        """Photographs for calibration or test; the two roles never share one. Raises UsageError."""
        spec = exported.image_input()
        channels = spec.shape[1]
        if channels not in (1, 3):
            raise UsageError(f"{exported.model.name} takes images of {channels} channels", hint="1 or 3 can be fed")
        return open_images(
            role, self.preprocessing(exported), channels=channels, count=count, seed=exported.model.seed, folder=data
        )

    def calibrate(self, exported: Exported, spec: BuildSpec) -> tuple[CalibrationTable, Mapping[str, Any]]:
        """The calibration table of the optimised graph over calibration photographs, and which those were."""
        images = self.images(exported, "calibration", spec.calibration_images, spec.data)
        parts = {"graph": exported.digest, "data": images.digest, "method": CALIBRATION_METHOD}

        def make(writer: Writer) -> dict[str, Any]:
            from deploykit.precision.calibrate.collect import collect

            network = read_graph(exported.path)
            with self.timed(f"calibrate on {len(images)} images"):
                table = collect(
                    network,
                    images.batches(1),
                    method=CALIBRATION_METHOD,
                    graph_digest=exported.digest,
                    data_digest=images.digest,
                    preprocessing=str(self.preprocessing(exported)),
                )
            writer.write("table.json", table.to_json())
            return {
                "method": CALIBRATION_METHOD,
                "images": len(images),
                "photographs": [photograph.name for photograph in images.used],
                "skipped": [str(item) for item in images.skipped],
            }

        from deploykit.precision.calibrate.table import CalibrationTable

        entry, _ = self._get_or_make("calibration", parts, make, request={"model": exported.model, "data": spec.data})
        return CalibrationTable.from_json(entry.path("table.json").read_text()), entry.facts

    def typed(self, exported: Exported, spec: BuildSpec, placement: Placement | None) -> Typed:
        """The graph whose types are `spec.precision`. Raises Float16Overflow; UsageError without images for INT8."""
        precision = spec.precision
        if precision is Precision.FP32:
            return Typed(self._untyped(exported, precision), {}, exported.hit)
        parts: dict[str, Any] = {"graph": exported.digest, "precision": precision}
        table, calibration = None, None
        if precision is Precision.INT8:
            if placement is None:
                raise UsageError("this backend has no INT8 placement")
            table, calibration = self.calibrate(exported, spec)
            parts |= {"placement": placement, "table": table.to_json()}
        else:
            parts |= {"keep_io": spec.keep_io}

        def make(writer: Writer) -> dict[str, Any]:
            from deploykit import graph
            from deploykit.precision.float16 import to_float16
            from deploykit.precision.int8 import quantise

            network = read_graph(exported.path)
            with self.timed(f"type the graph as {precision}"):
                if table is not None and placement is not None:
                    table.require_graph(exported.digest)
                    report: Any = quantise(network, table, placement)
                else:
                    report = to_float16(network, keep_io=spec.keep_io)
                content = graph.serialise(network)
                graph.check(content)
            writer.write("typed.onnx", content)
            inputs, outputs = graph.tensor_specs(network)
            return {"inputs": inputs, "outputs": outputs, "report": report, "calibration": calibration}

        entry, hit = self._get_or_make("typed", parts, make, request={"model": exported.model, "precision": precision})
        typed = TypedGraph(
            path=entry.path("typed.onnx"),
            digest=entry.files["typed.onnx"].sha256,
            precision=precision,
            placement=placement.name if table is not None and placement is not None else None,
            inputs=_specs(entry.facts["inputs"]),
            outputs=_specs(entry.facts["outputs"]),
        )
        return Typed(typed, entry.facts, hit)

    def keep(self, kind: str, parts: Mapping[str, Any], make: Callable[[Writer], Mapping[str, Any]]) -> Path:
        """One more artefact under the same rules: the path of its `model.onnx`."""
        entry, _ = self._get_or_make(kind, parts, make, request=parts)
        return entry.path("model.onnx")

    def adopt(self, path: Path, precision: Precision) -> Typed:
        """A typed graph that somebody else made, checked and copied into the store."""
        from deploykit import graph
        from deploykit.loader import read_onnx

        digest = _digest(path)

        def make(writer: Writer) -> dict[str, Any]:
            network = graph.parse(read_onnx(path))
            writer.write("typed.onnx", graph.serialise(network))
            inputs, outputs = graph.tensor_specs(network)
            return {"inputs": inputs, "outputs": outputs}

        entry, hit = self._get_or_make("adopted", {"file": digest}, make, request={"file": path.name})
        inputs, outputs = _specs(entry.facts["inputs"]), _specs(entry.facts["outputs"])
        stored = entry.path("typed.onnx")
        return Typed(
            TypedGraph(stored, entry.files["typed.onnx"].sha256, precision, path.name, inputs, outputs),
            entry.facts,
            hit,
        )

    def build(self, spec: BuildSpec, backend: Backend, *, typed: Typed | None = None) -> Built:
        """One engine. Raises BackendMissing where the backend cannot be used or cannot do this, BuildFailed."""
        if reason := backend.unavailable():
            raise BackendMissing(f"backend {backend.name} cannot be used here: {reason.what}", hint=reason.fix)
        exported = self.export(spec.model)
        if reason := self._refusal(backend, exported, spec.precision):
            raise BackendMissing(f"backend {backend.name} cannot do {spec.precision}: {reason.what}", hint=reason.fix)
        if typed is None and backend.name != "torch":
            typed = self.typed(exported, spec, backend.placement)
        source = Source(spec.model.label, exported.module, typed.graph if typed else None)
        began = time.perf_counter()
        if not backend.compiles:
            engine = backend.build(source, spec.precision, spec, self.progress)
            return Built(exported, typed, engine, None, False, time.perf_counter() - began)
        assert typed is not None  # noqa: S101 - only eager PyTorch goes without
        entry, hit = self._compile(spec, backend, source, typed.graph)
        engine = _engine(entry, typed.graph)
        return Built(exported, typed, engine, entry, hit, time.perf_counter() - began)

    def _refusal(self, backend: Backend, exported: Exported, precision: Precision) -> Reason | None:
        """Asked with the graph that would be typed, before any calibration or conversion is paid for."""
        untyped = self._untyped(exported, precision)
        return backend.supports(Source(exported.model.label, exported.module, untyped), precision)

    def _untyped(self, exported: Exported, precision: Precision) -> TypedGraph:
        return TypedGraph(exported.path, exported.digest, precision, None, exported.inputs, exported.outputs)

    def _compile(self, spec: BuildSpec, backend: Backend, source: Source, typed: TypedGraph) -> tuple[Entry, bool]:
        parts = {
            "typed": typed.digest,
            "backend": backend.name,
            "strict": getattr(backend, "strict", False),
            "batch": spec.batch,
            "targets": spec.targets,
            "tf32": spec.tf32,
            "compilers": library_versions(COMPILERS),
            "gpu": find_gpu(),
        }

        def make(writer: Writer) -> dict[str, Any]:
            stage = f"compile with {backend.name}"

            def steps(phase: str, done: int, total: int) -> None:
                self.progress(f"{stage}: {phase}", done, total)

            with self.timed(stage):
                engine = backend.build(source, spec.precision, spec, steps)
            writer.write("model.engine", engine.content or b"")
            writer.write("build.log", engine.log)
            return {
                "backend": engine.backend,
                "flavour": engine.flavour,
                "precision": engine.precision,
                "inputs": engine.inputs,
                "outputs": engine.outputs,
                "reason": engine.reason,
                "note": engine.note,
                "plan": engine.plan,
            }

        return self._get_or_make("engine", parts, make, request={"spec": spec, "backend": backend.name})

    def _module(self, model: ModelSpec) -> ModuleSource:
        """The recipe for a zoo network; seeded weights and their BatchNorm statistics are made once and kept."""
        inputs = (registry.input_spec(model),)
        outputs = (registry.output_spec(model),)
        if model.weights is not None:
            return ModuleSource(model, model.weights, inputs, outputs)

        def make(writer: Writer) -> dict[str, Any]:
            from deploykit.weights import seeded_state, write_state

            with self.timed("seed weights and estimate BatchNorm statistics"):
                write_state(seeded_state(model), writer.path("weights.safetensors"))
            return {"weights": "random", "seed": model.seed}

        entry, _ = self._get_or_make("weights", {"model": model}, make, request={"model": model})
        return ModuleSource(model, entry.path("weights.safetensors"), inputs, outputs)

    def _get_or_make(
        self,
        kind: str,
        parts: Mapping[str, Any],
        make: Callable[[Writer], Mapping[str, Any]],
        *,
        request: Mapping[str, Any],
    ) -> tuple[Entry, bool]:
        versions = library_versions(LIBRARIES)
        key = cache_key({"kind": kind, **parts, "source": _source(), "versions": versions})
        return self.store.get_or_make(kind, key, make, request=request, versions=versions)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        self.progress(stage, 0, 1)
        began = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - began
        self.progress(stage, 1, 1)


@cache
def _source() -> str:
    return source_digest(Path(deploykit.__file__).parent)


@cache
def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="check the path") from error


def read_graph(path: Path) -> ir.Model:
    """A graph of the store, through the same door as a foreign one."""
    from deploykit import graph
    from deploykit.loader import read_onnx

    return graph.parse(read_onnx(path))


def _specs(found: list[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(item["name"], tuple(item["shape"]), item["dtype"]) for item in found)


def _engine(entry: Entry, typed: TypedGraph) -> Engine:
    """The engine value as its build left it, from the store's manifest."""
    facts = entry.facts
    reason = facts["reason"]
    return Engine(
        backend=facts["backend"],
        flavour=facts["flavour"],
        precision=Precision(facts["precision"]),
        inputs=_specs(facts["inputs"]),
        outputs=_specs(facts["outputs"]),
        reason=Reason(reason["what"], reason["fix"]) if reason else None,
        note=facts["note"],
        path=entry.path("model.engine"),
        typed_digest=typed.digest,
        plan=facts["plan"],
    )
