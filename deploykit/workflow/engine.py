"""The engine: what a backend makes of the typed graph, or of the module, and the plan of what was compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploykit.backends.device import find_gpu
from deploykit.backends.protocol import Backend, Engine, Source, TypedGraph
from deploykit.errors import BackendMissing
from deploykit.host import library_versions
from deploykit.plan.model import EnginePlan
from deploykit.spec import BuildSpec, Precision, Reason, WeightsOrigin
from deploykit.store import Entry, Writer
from deploykit.workflow.export import Exported, export
from deploykit.workflow.typed import Typed, type_graph
from deploykit.workflow.workspace import COMPILERS, Workspace, specs_of


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
    def plan(self) -> EnginePlan | None:
        """What was compiled, layer by layer; None where the compiler tells nothing."""
        return stored_plan(self.entry) if self.entry else None


def build(workspace: Workspace, spec: BuildSpec, backend: Backend, *, typed: Typed | None = None) -> Built:
    """One engine. Raises BackendMissing where the backend cannot be used or cannot do this, BuildFailed."""
    if reason := backend.unavailable():
        raise BackendMissing(f"backend {backend.name} cannot be used here: {reason.what}", hint=reason.fix)
    exported = export(workspace, spec.model, spec.fusions)
    exported.require_batch(spec.batch)
    if reason := _refusal(backend, exported, spec.precision):
        raise BackendMissing(f"backend {backend.name} cannot do {spec.precision}: {reason.what}", hint=reason.fix)
    if typed is None and not backend.runs_module:
        typed = type_graph(workspace, exported, spec, backend.placement)
    source = Source(module=exported.module, typed=typed.graph if typed else None)
    if exported.random_weights and backend.compiles:
        workspace.warn_once(
            f"the engine of {exported.model.label} has weights that nobody trained ({exported.weights})"
        )
    if not backend.compiles or typed is None:
        engine = backend.build(source, spec.precision, spec, workspace.progress)
        return Built(exported, typed, engine, entry=None, hit=False, seconds=None)
    entry, hit = _compile(workspace, spec, backend, source, typed.graph, exported.weights)
    return Built(exported, typed, _stored(entry, typed.graph), entry, hit, entry.facts["seconds"])


def stored_plan(entry: Entry) -> EnginePlan | None:
    """The plan that lies beside a stored engine."""
    if "plan.json" not in entry.files:
        return None
    return EnginePlan.from_json(entry.path("plan.json").read_bytes())


def stored_weights(entry: Entry) -> WeightsOrigin | None:
    """Where the weights of a stored engine came from; None where its build did not say."""
    found = entry.facts.get("weights")
    return WeightsOrigin.from_dict(found) if found else None


def _refusal(backend: Backend, exported: Exported, precision: Precision) -> Reason | None:
    """Asked with the graph that would be typed, before any calibration or conversion is paid for."""
    return backend.supports(Source(module=exported.module, typed=exported.as_typed(precision)), precision)


def _compile(
    workspace: Workspace,
    spec: BuildSpec,
    backend: Backend,
    source: Source,
    typed: TypedGraph,
    weights: WeightsOrigin,
) -> tuple[Entry, bool]:
    stage = f"compile with {backend.name}"

    def steps(phase: str, done: int, total: int) -> None:
        workspace.progress(f"{stage}: {phase}", done, total)

    def make(writer: Writer) -> Mapping[str, Any]:
        with workspace.timed(stage):
            engine = backend.build(source, spec.precision, spec, steps)
        writer.write("model.engine", engine.content or b"")
        writer.write("build.log", engine.log)
        if engine.layers is not None:
            from deploykit.workflow import transforms

            plan = transforms.plan_with_costs(engine.layers, typed.path)
            writer.write("plan.json", plan.to_json())
        kept = ("backend", "flavour", "inputs", "outputs", "reason", "note", "plan")
        made = {name: getattr(engine, name) for name in kept}
        return {**made, "seconds": workspace.seconds[stage], "weights": weights.as_dict()}

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
    return workspace.get_or_make("engine", parts, make, request={"spec": spec, "backend": backend.name})


def _stored(entry: Entry, typed: TypedGraph) -> Engine:
    """The engine as its build left it, from the store's manifest."""
    facts = entry.facts
    reason = facts["reason"]
    return Engine(
        backend=facts["backend"],
        flavour=facts["flavour"],
        precision=typed.precision,
        inputs=specs_of(facts["inputs"]),
        outputs=specs_of(facts["outputs"]),
        reason=Reason(reason["what"], reason["fix"]) if reason else None,
        note=facts["note"],
        path=entry.path("model.engine"),
        typed_digest=typed.digest,
        plan=facts["plan"],
    )
