"""The engine: what a backend makes of the typed graph, or of the module, and the plan of what was compiled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from deploykit.backends.device import find_gpu
from deploykit.backends.protocol import Backend, Engine, Source, TypedGraph
from deploykit.errors import BackendMissing
from deploykit.host import library_versions
from deploykit.plan.model import EnginePlan
from deploykit.spec import BuildSpec, Precision, WeightsOrigin
from deploykit.store import Entry, Writer
from deploykit.workflow.export import Exported, export
from deploykit.workflow.facts import EngineFacts
from deploykit.workflow.typed import Typed, type_graph
from deploykit.workflow.workspace import Workspace

ENGINE_FILE = "model.engine"


@dataclass(frozen=True)
class Built:
    """An engine and what it came from. `entry` is None and `seconds` too where the backend compiles nothing."""

    exported: Exported
    typed: Typed | None
    engine: Engine
    entry: Entry | None
    hit: bool
    seconds: float | None

    @property
    def export_seconds(self) -> float | None:
        """What making the typed graph took, its calibration apart; None where the backend runs the module itself."""
        if self.typed is None or self.exported.facts.seconds is None:
            return None
        return self.exported.facts.seconds + self.typed.seconds

    @property
    def engine_digest(self) -> str | None:
        """SHA-256 (hex) of a compiled engine; None where the backend compiles nothing."""
        return self.entry.files[ENGINE_FILE].sha256 if self.entry else None

    @cached_property
    def plan(self) -> EnginePlan | None:
        """What was compiled, layer by layer; None where the compiler tells nothing."""
        return self.engine.layers or (stored_plan(self.entry) if self.entry else None)


def build(workspace: Workspace, spec: BuildSpec, backend: Backend, *, typed: Typed | None = None) -> Built:
    """One engine. Raises BackendMissing where the backend cannot be used or cannot do this, BuildFailed."""
    require_usable(backend)
    return build_with(workspace, spec, backend, typed=typed)


def require_usable(backend: Backend) -> None:
    """Raises BackendMissing where nothing can be built with it here."""
    if missing := lacking(backend):
        raise missing


def lacking(backend: Backend) -> BackendMissing | None:
    """What `require_usable` raises, if anything."""
    reason = backend.unavailable()
    if reason is None:
        return None
    return BackendMissing(f"backend {backend.name} cannot be used here: {reason.what}", hint=reason.fix)


def build_with(workspace: Workspace, spec: BuildSpec, backend: Backend, *, typed: Typed | None = None) -> Built:
    """One engine of a backend that is known to be usable. Raises as `build`."""
    exported = export(workspace, spec.model, spec.fusions)
    exported.require_batch(spec.batch)
    source = _source(backend, exported, spec.precision)
    if reason := backend.supports(source):
        raise BackendMissing(f"backend {backend.name} cannot do {spec.precision}: {reason.what}", hint=reason.fix)
    if isinstance(source, TypedGraph):
        typed = typed or type_graph(workspace, exported, spec, backend.placement)
        source = typed.graph
    if exported.random_weights and backend.compiles:
        label = exported.model.label
        workspace.warn_once(f"the engine of {label} has weights that nobody trained ({exported.weights})")
    if not (backend.compiles and isinstance(source, TypedGraph)):
        engine = backend.build(source, spec.engine_settings, workspace.progress)
        return Built(exported, typed, engine, entry=None, hit=False, seconds=None)
    engine, facts, entry, hit = _compile(workspace, spec, backend, source, exported.weights)
    return Built(exported, typed, engine, entry, hit, facts.seconds)


def stored_plan(entry: Entry) -> EnginePlan | None:
    """The plan that lies beside a stored engine."""
    if "plan.json" not in entry.files:
        return None
    return EnginePlan.from_json(entry.path("plan.json").read_bytes())


def _source(backend: Backend, exported: Exported, precision: Precision) -> Source:
    """What the backend builds from: the module, or the graph before it is typed, which may be long in the making."""
    if backend.runs_module and exported.module is not None:
        return exported.module.at(precision)
    return exported.as_typed(precision)


def _compile(
    workspace: Workspace, spec: BuildSpec, backend: Backend, typed: TypedGraph, weights: WeightsOrigin
) -> tuple[Engine, EngineFacts, Entry, bool]:
    """The engine, where it is kept, and whether it was there: only then is it read back from what the store knows."""
    stage = f"compile with {backend.name}"
    fresh: list[Engine] = []

    def steps(phase: str, done: int, total: int) -> None:
        workspace.progress(f"{stage}: {phase}", done, total)

    def make(writer: Writer) -> EngineFacts:
        with workspace.timed(stage):
            engine = backend.build(typed, spec.engine_settings, steps)
        if engine.layers is not None:
            engine = replace(engine, layers=_with_costs(engine.layers, typed))
        fresh.append(engine)
        return _kept(engine, writer, seconds=workspace.seconds[stage], weights=weights)

    parts = {
        "typed": typed.digest,
        "weights": str(weights),  # which the engine is asked for later, and a graph does not tell
        "precision": spec.precision,
        "backend": backend.name,
        "batch": spec.batch,
        "targets": spec.targets,
        "tf32": spec.tf32,
        "options": spec.options,
        "compilers": library_versions(backend.libraries),
        "gpu": find_gpu(),
    }
    request = {"spec": spec, "backend": backend.name}
    entry, hit = workspace.get_or_make("engine", parts, make, request=request, facts=EngineFacts, files=(ENGINE_FILE,))
    facts = entry.facts_as(EngineFacts)
    if not fresh:
        return _stored(entry, facts, typed), facts, entry, hit
    return replace(fresh[0], path=entry.path(ENGINE_FILE), content=None, log=""), facts, entry, hit


def _kept(engine: Engine, writer: Writer, *, seconds: float, weights: WeightsOrigin) -> EngineFacts:
    """Write the engine, its log and its plan; what else a later build reads of it."""
    writer.write(ENGINE_FILE, engine.content or b"")
    writer.write("build.log", engine.log)
    if engine.layers is not None:
        writer.write("plan.json", engine.layers.to_json())
    return EngineFacts(
        inputs=engine.inputs,
        outputs=engine.outputs,
        backend=engine.backend,
        flavour=engine.flavour,
        reason=engine.reason,
        note=engine.note,
        plan=engine.plan,
        seconds=seconds,
        weights=weights,
    )


def _with_costs(plan: EnginePlan, typed: TypedGraph) -> EnginePlan:
    from deploykit.workflow.transforms import plan_with_costs, read_graph

    return plan_with_costs(plan, read_graph(typed.path))


def _stored(entry: Entry, facts: EngineFacts, typed: TypedGraph) -> Engine:
    """The engine as its build left it, from the store's manifest."""
    return Engine(
        backend=facts.backend,
        flavour=facts.flavour,
        precision=typed.precision,
        inputs=facts.inputs,
        outputs=facts.outputs,
        reason=facts.reason,
        note=facts.note,
        path=entry.path(ENGINE_FILE),
        typed_digest=typed.digest,
        plan=facts.plan,
    )
