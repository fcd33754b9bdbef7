"""ModelSpec -> module -> optimized graph -> typed graph -> engine, each step behind the store.

A step is keyed by what it is made from: the step before, the options it reads, library versions, deploykit's own source
and that of a plug-in. So a second identical request finds its artifacts without importing a framework.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deploykit
from deploykit.backends.device import find_gpu
from deploykit.backends.protocol import (
    Backend,
    Source,
    TypedGraph,
)
from deploykit.data.inputs import calibration_inputs, grouped, unprepared
from deploykit.data.preparation import require_inputs_of
from deploykit.errors import BackendMissing, UsageError
from deploykit.host import library_versions
from deploykit.io.loader import external_files
from deploykit.spec import (
    BuildSpec,
    Fusions,
    ModelSpec,
    Placement,
    Precision,
    Progress,
    Reason,
    WeightsOrigin,
    silent,
)
from deploykit.store import Entry, Store, Writer
from deploykit.store.key import cache_key, source_digest
from deploykit.workflow.calibrate import Shard, given_table, observe_inputs
from deploykit.workflow.networks import Resolved, architecture, digest_of, resolve
from deploykit.workflow.values import Built, Exported, Typed, specs_of, stored_engine, stored_typed

if TYPE_CHECKING:
    import onnx_ir as ir

    from deploykit.precision.calibrate.observations import Observations
    from deploykit.precision.calibrate.table import CalibrationTable

LIBRARIES = ("torch", "numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime-gpu", "onnxruntime")
COMPILERS = ("tensorrt", "tensorrt-rtx", "pycuda")

Make = Callable[[Writer], Mapping[str, Any]]


def warn_on_stderr(text: str) -> None:
    """Beside the progress, never among the results."""
    sys.stderr.write(f"deploykit: warning: {text}\n")


@dataclass
class Artifacts:
    """Makes artifacts, or finds them in the store. `seconds` lists what was really done this time.

    `warn` gets what a user should look at before trusting an answer, each text once.
    """

    store: Store
    progress: Progress = silent
    warn: Callable[[str], None] = warn_on_stderr
    seconds: dict[str, float] = field(default_factory=dict)
    _traced: dict[ModelSpec, ir.Model] = field(default_factory=dict, init=False, repr=False)
    _resolved: dict[ModelSpec, Resolved] = field(default_factory=dict, init=False, repr=False)
    _warned: set[str] = field(default_factory=set, init=False, repr=False)

    def export(self, model: ModelSpec, fusions: Fusions = Fusions()) -> Exported:  # noqa: B008 - a frozen value
        """The optimized graph. Raises UsageError, CheckpointMismatch, UntrustedArtifact, ExportFailed."""
        fusions.require_decided()
        parts = {**self.identity(model), "fusions": fusions}
        module, weights = (None, _of_file(model, parts["weights"])) if model.is_onnx else self._module(model)

        def make(writer: Writer) -> Mapping[str, Any]:
            from deploykit.workflow import stages

            network = self._traced[model].clone() if model in self._traced else self._trace(model)
            with self.timed("optimize the graph"):
                content, facts = stages.optimize(network, fusions)
            writer.write("model.onnx", content)
            return facts

        entry, hit = self.get_or_make("export", parts, make, request={"model": model, "fusions": fusions})
        weights = replace(weights, warnings=(*weights.warnings, *entry.facts.get("nan", ())))
        exported = Exported(
            model=module.model if module else model,
            path=entry.path("model.onnx"),
            digest=entry.files["model.onnx"].sha256,
            inputs=specs_of(entry.facts["inputs"]),
            outputs=specs_of(entry.facts["outputs"]),
            preprocess=entry.facts.get("preprocess"),
            normalizes=entry.facts.get("normalizes", ""),
            module=module,
            weights=weights,
            facts=entry.facts,
            hit=hit,
        )
        require_inputs_of(exported)
        for warning in weights.warnings:
            self.warn_once(warning)
        return exported

    def identity(self, model: ModelSpec) -> Mapping[str, Any]:
        """What the raw graph of `model` is made from: part of the key of whatever is made from that graph."""
        if model.is_onnx:
            return {"file": True, "weights": _digest_onnx(Path(model.name)), "inputs": model.shapes}
        module, _ = self._module(model)
        return {**architecture(module.model), "weights": digest_of(module.weights), "inputs": module.inputs}

    def traced(self, model: ModelSpec) -> ir.Model:
        """The raw graph, as a copy to be changed. It is kept: a network that is tried many ways is traced once."""
        if model not in self._traced:
            self._traced[model] = self._trace(model)
        return self._traced[model].clone()

    def calibrate(self, exported: Exported, spec: BuildSpec) -> tuple[CalibrationTable, Mapping[str, Any]]:
        """The calibration table of the optimized graph, and over what it was made.

        Raises UsageError, UntrustedArtifact for a table that is given and does not fit, or is none.
        """
        asked = spec.calibration
        if exported.quantized:
            raise UsageError(
                f"{exported.model.label} is quantized by its author: there is nothing to calibrate",
                hint="build it with --precision int8, or give the float network",
            )
        if asked.table is not None:
            given = given_table(asked.table, exported)
            self.warn_once(unprepared(exported.model, given[0].preprocessing))
            return given
        observations, facts = self.observe(exported, spec)
        table = observations.table(asked.method, percentile=asked.percentile)
        return table, {"method": table.method, "images": table.images, **facts}

    def observe(self, exported: Exported, spec: BuildSpec) -> tuple[Observations, Mapping[str, Any]]:
        """What the activations of the optimized graph are on the calibration images, and what those were.

        An interrupted collection goes on where it stopped: its counts lie beside the store's entries meanwhile.
        """
        inputs = calibration_inputs(exported, spec)
        self.warn_once(unprepared(exported.model, inputs.preparation))
        parts = {"graph": exported.digest, "data": inputs.digest}
        kept = self.store.root / "unfinished" / f"{cache_key({**parts, 'source': _source()})}.json"

        def make(writer: Writer) -> Mapping[str, Any]:
            kept.parent.mkdir(mode=0o700, exist_ok=True)
            stage = f"calibrate on {len(inputs)} images"
            with self.timed(stage):
                seen = observe_inputs(
                    exported, inputs, shard=Shard(), kept=kept, progress=self.progress, stage=f"{stage}: batch"
                )
            writer.write("observations.json", seen.to_json())
            kept.unlink(missing_ok=True)
            return {}

        entry, _ = self.get_or_make("observations", parts, make, request={"model": exported.model, "data": spec.data})
        from deploykit.precision.calibrate.observations import Observations

        facts = {**inputs.facts, **inputs.asked}  # of this request: equal images may bear other names elsewhere
        return Observations.from_json(entry.path("observations.json").read_bytes()), facts

    def quantizable(self, exported: Exported, spec: BuildSpec) -> Exported:
        """The graph that INT8 is made of: `exported`, its channels evened out where `spec.repair` says so.

        A calibration table belongs to this graph.
        """
        if not spec.repair.equalize:
            return exported
        inputs = calibration_inputs(exported, spec)

        def make(writer: Writer) -> Mapping[str, Any]:
            from deploykit.workflow import stages

            with self.timed("even out channels"):
                content, facts = stages.equalize_channels(exported.path, inputs.feeds())
            writer.write("model.onnx", content)
            return {**exported.facts, **facts}

        parts = {"graph": exported.digest, "data": inputs.digest}
        entry, hit = self.get_or_make("equalized", parts, make, request={"model": exported.model, "data": spec.data})
        path, digest = entry.path("model.onnx"), entry.files["model.onnx"].sha256
        return replace(exported, path=path, digest=digest, facts=entry.facts, hit=hit)

    def typed(self, exported: Exported, spec: BuildSpec, placement: Placement | None) -> Typed:
        """The graph whose types are `spec.precision`. Raises Float16Overflow; UsageError without images for INT8."""
        match spec.precision:
            case Precision.FP32:
                types = exported.facts.get("computes_in")
                note = {"note": f"the file as it is, which computes in {', '.join(types)}"} if types else {}
                return Typed(exported.as_typed(Precision.FP32), note)
            case Precision.FP16:
                return self._float16(exported, keep_io=spec.keep_io, keep=spec.keep_fp32)
            case Precision.INT8:
                if exported.quantized:
                    return self._quantized(exported, spec)
                if placement is None:
                    raise BackendMissing("this backend names no INT8 placement")
                return self._int8(exported, spec, placement)

    def adopt(self, path: Path, exported: Exported, precision: Precision) -> Typed:
        """A typed graph of `exported` that somebody else made, checked and copied into the store.

        Raises UntrustedArtifact for a file that is no graph, UsageError for one with other inputs or outputs.
        """

        def make(writer: Writer) -> Mapping[str, Any]:
            from deploykit.workflow import stages

            content, facts = stages.write(stages.read_graph(path))
            writer.write("typed.onnx", content)
            return facts

        entry, _ = self.get_or_make("adopted", {"file": _digest_onnx(path)}, make, request={"file": path.name})
        typed = stored_typed(entry, precision, None)
        for ours, theirs in ((exported.inputs, typed.graph.inputs), (exported.outputs, typed.graph.outputs)):
            if [(spec.name, spec.shape[1:]) for spec in ours] != [(spec.name, spec.shape[1:]) for spec in theirs]:
                raise UsageError(
                    f"{path} is no graph of {exported.model.label}: it has {', '.join(map(str, theirs))}",
                    hint=f"expected {', '.join(map(str, ours))}",
                )
        return typed

    def build(self, spec: BuildSpec, backend: Backend, *, typed: Typed | None = None) -> Built:
        """One engine. Raises BackendMissing where the backend cannot be used or cannot do this, BuildFailed."""
        if reason := backend.unavailable():
            raise BackendMissing(f"backend {backend.name} cannot be used here: {reason.what}", hint=reason.fix)
        exported = self.export(spec.model, spec.fusions)
        exported.require_batch(spec.batch)
        if reason := _refusal(backend, exported, spec.precision):
            raise BackendMissing(f"backend {backend.name} cannot do {spec.precision}: {reason.what}", hint=reason.fix)
        if typed is None and not backend.runs_module:
            typed = self.typed(exported, spec, backend.placement)
        source = Source(module=exported.module, typed=typed.graph if typed else None)
        if exported.random_weights and backend.compiles:
            self.warn_once(f"the engine of {exported.model.label} has weights that nobody trained ({exported.weights})")
        if not backend.compiles or typed is None:
            engine = backend.build(source, spec.precision, spec, self.progress)
            return Built(exported, typed, engine, entry=None, hit=False, seconds=None)
        entry, hit = self._compile(spec, backend, source, typed.graph, exported.weights)
        return Built(exported, typed, stored_engine(entry, typed.graph), entry, hit, entry.facts["seconds"])

    def get_or_make(
        self, kind: str, parts: Mapping[str, Any], make: Make, *, request: Mapping[str, Any]
    ) -> tuple[Entry, bool]:
        """The entry of `kind` for `parts`, and whether it was there; library versions and our source join the key."""
        versions = library_versions(LIBRARIES)
        key = cache_key({"kind": kind, **parts, "source": _source(), "versions": versions})
        return self.store.get_or_make(kind, key, make, request=request, versions=versions)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Report a stage and remember its seconds."""
        self.progress(stage, 0, 1)
        began = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - began
        self.progress(stage, 1, 1)

    def _trace(self, model: ModelSpec) -> ir.Model:
        from deploykit.workflow import stages

        source = Path(model.name) if model.is_onnx else self._module(model).source
        with self.timed("export to ONNX"):
            return stages.trace(source, model.shapes if model.is_onnx else ())

    def warn_once(self, text: str) -> None:
        """To `warn`, unless it was said before or is ""."""
        if text and text not in self._warned:
            self._warned.add(text)
            self.warn(text)

    def _module(self, model: ModelSpec) -> Resolved:
        """The recipe for a network: its state lies in the store, where every process finds the same numbers."""
        if model not in self._resolved:
            self._resolved[model] = resolve(self, model)
        return self._resolved[model]

    def _float16(self, exported: Exported, *, keep_io: bool, keep: tuple[str, ...]) -> Typed:
        def make(writer: Writer) -> Mapping[str, Any]:
            from deploykit.workflow import stages

            with self.timed("type the graph as fp16"):
                content, facts = stages.type_float16(exported.path, keep_io=keep_io, keep=keep)
            writer.write("typed.onnx", content)
            return facts

        parts = {"graph": exported.digest, "precision": Precision.FP16, "keep_io": keep_io, "keep_fp32": keep}
        entry, _ = self.get_or_make("typed", parts, make, request={"model": exported.model, **parts})
        return stored_typed(entry, Precision.FP16, None)

    def _int8(self, exported: Exported, spec: BuildSpec, placement: Placement) -> Typed:
        if spec.policy.auto:
            raise UsageError("--int8-policy plan is not decided yet", hint="name the layers, or use `build`")
        source = self.quantizable(exported, spec)
        table, calibration = self.calibrate(source, spec)
        shown = calibration_inputs(source, spec) if spec.repair.bias else None

        def make(writer: Writer) -> Mapping[str, Any]:
            from deploykit.workflow import stages

            with self.timed(f"type the graph as int8 for {placement.name}"):
                content, facts = stages.type_int8(
                    source.path,
                    table,
                    placement,
                    spec.policy,
                    clip=spec.repair.clip,
                    keep_fp32=spec.keep_fp32,
                    feeds=(lambda: grouped(shown)) if shown else None,
                )
            writer.write("typed.onnx", content)
            repaired = {"repair": str(spec.repair), "equalized": source.facts.get("equalized")}
            return {**facts, "calibration": calibration, **repaired}

        parts = {
            "graph": source.digest,
            "precision": Precision.INT8,
            "placement": placement,
            "policy": spec.policy,
            "repair": spec.repair,
            "keep_fp32": spec.keep_fp32,
        }
        key = {**parts, "table": table.to_json(), "data": shown.digest if shown else None}
        entry, _ = self.get_or_make("typed", key, make, request={"model": exported.model, **parts})
        found = stored_typed(entry, Precision.INT8, placement)
        return replace(found, facts={**found.facts, "calibration": calibration})

    def _quantized(self, exported: Exported, spec: BuildSpec) -> Typed:
        """A file that is quantized already is its own INT8 graph. Raises UsageError for what would change that."""
        untouched = BuildSpec(model=spec.model)
        if (spec.policy, spec.repair, spec.calibration) != (untouched.policy, untouched.repair, untouched.calibration):
            raise UsageError(
                f"{exported.model.label} is quantized by its author: no option of ours changes where or how",
                hint="leave out the options of INT8 and of its calibration, or give the float network",
            )

        def make(_: Writer) -> Mapping[str, Any]:
            from deploykit.workflow import stages

            return {"report": stages.quantized_layers(exported.path), "note": "quantized by its author, not calibrated"}

        entry, _ = self.get_or_make("quantized", {"graph": exported.digest}, make, request={"model": exported.model})
        return Typed(exported.as_typed(Precision.INT8), entry.facts)

    def _compile(
        self, spec: BuildSpec, backend: Backend, source: Source, typed: TypedGraph, weights: WeightsOrigin
    ) -> tuple[Entry, bool]:
        stage = f"compile with {backend.name}"

        def steps(phase: str, done: int, total: int) -> None:
            self.progress(f"{stage}: {phase}", done, total)

        def make(writer: Writer) -> Mapping[str, Any]:
            with self.timed(stage):
                engine = backend.build(source, spec.precision, spec, steps)
            writer.write("model.engine", engine.content or b"")
            writer.write("build.log", engine.log)
            if engine.layers is not None:
                from deploykit.workflow import stages

                plan = stages.plan_with_costs(engine.layers, typed.path)
                writer.write("plan.json", json.dumps(plan.as_dict()))
            kept = ("backend", "flavour", "inputs", "outputs", "reason", "note", "plan")
            made = {name: getattr(engine, name) for name in kept}
            return {**made, "seconds": self.seconds[stage], "weights": weights.as_dict()}

        parts = {
            "typed": typed.digest,
            "weights": str(weights),  # which the engine is asked for later, and a graph does not tell
            "precision": spec.precision,
            "backend": backend.name,
            "batch": spec.batch,
            "targets": spec.targets,
            "tf32": spec.tf32,
            "options": spec.options,
            "compilers": library_versions(COMPILERS),
            "gpu": find_gpu(),
        }
        return self.get_or_make("engine", parts, make, request={"spec": spec, "backend": backend.name})


def _refusal(backend: Backend, exported: Exported, precision: Precision) -> Reason | None:
    """Asked with the graph that would be typed, before any calibration or conversion is paid for."""
    return backend.supports(Source(module=exported.module, typed=exported.as_typed(precision)), precision)


@cache
def _source() -> str:
    return source_digest(Path(deploykit.__file__).parent)


def _of_file(model: ModelSpec, digests: list[str]) -> WeightsOrigin:
    """The weights of an `.onnx` file, whose digest is that of the file and of the data beside it (`digests`)."""
    digest = digests[0] if len(digests) == 1 else cache_key({"files": digests})
    return WeightsOrigin(kind="own", file=Path(model.name).name, digest=digest)


def _digest_onnx(path: Path) -> list[str]:
    """Of the file and of the external data it refers to."""
    return [digest_of(path), *(digest_of(part) for part in external_files(path))]
