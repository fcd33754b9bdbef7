"""What `export` and `build` answer: artifact paths, digests and figures, as one JSON-ready mapping each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploykit.parity import ParityResult
from deploykit.results.document import SCHEMA_VERSION
from deploykit.spec import BuildSpec
from deploykit.tuning.fusions import Decision
from deploykit.tuning.int8_layers import PolicyDecision
from deploykit.tuning.precision import Choice
from deploykit.workflow.engine import Built
from deploykit.workflow.export import Exported, export
from deploykit.workflow.workspace import Workspace


def export_facts(
    workspace: Workspace, exported: Exported, checked: ParityResult | None, checked_on: str
) -> dict[str, Any]:
    passes = exported.facts["ledger"]["passes"]
    return {
        "schema_version": SCHEMA_VERSION,
        "model": exported.model.label,
        **exported.weights.facts(),
        "onnx": exported.path,
        "digest": exported.digest,
        "from_store": exported.hit,
        "inputs": [str(each) for each in exported.inputs],
        "outputs": [str(each) for each in exported.outputs],
        "nodes_exported": passes[0]["nodes_before"],
        "nodes": passes[-1]["nodes_after"],
        "passes": passes,
        "notes": exported.facts.get("notes", []),
        "check": checked.as_dict() if checked else None,
        "checked_on": checked_on if checked and checked.images else None,
        "seconds": dict(workspace.seconds),
    }


def build_facts(
    workspace: Workspace,
    built: Built,
    spec: BuildSpec,
    *,
    decision: Decision | None = None,
    choice: Choice | None = None,
    layers: PolicyDecision | None = None,
    overflow: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What `--fuse auto`, `--precision best` and `--int8-policy plan` came to: `decision`, `choice`, `layers`.

    `overflow` is what `overflow_facts` found.
    """
    engine, entry = built.engine, built.entry
    return {
        "schema_version": SCHEMA_VERSION,
        "model": built.exported.model.label,
        "notes": built.exported.facts.get("notes", []),
        **built.exported.weights.facts(),
        "backend": engine.backend,
        "flavour": engine.flavour,
        "precision": engine.precision.value,
        "target": [str(target) for target in spec.targets],
        "batch": str(spec.batch),
        "tf32": spec.tf32,
        "inputs": [str(each) for each in engine.inputs],
        "outputs": [str(each) for each in engine.outputs],
        "onnx": built.exported.path,
        "typed_onnx": built.typed.graph.path if built.typed else None,
        "typed_digest": engine.typed_digest,
        "typing": built.typed.facts.get("report") if built.typed else None,
        "overflow": dict(overflow) if overflow else None,
        "repair": _repair(built.typed.facts) if built.typed else None,
        "calibration": built.typed.facts.get("calibration") if built.typed else None,
        "engine": engine.path if entry else None,
        "engine_digest": entry.files["model.engine"].sha256 if entry else None,
        "build_log": entry.path("build.log") if entry else None,
        "plan": dict(engine.plan) or None,
        "runs_here": engine.reason is None,
        "reason": str(engine.reason) if engine.reason else None,
        "note": "; ".join(filter(None, (engine.note, built.typed.facts.get("note") if built.typed else None))) or None,
        "decision": decision.as_dict() if decision else None,
        "best": choice.as_dict() if choice else None,
        "int8_layers": layers.as_dict() if layers else None,
        "from_store": built.hit,
        "seconds": dict(workspace.seconds),
    }


def undecided_facts(workspace: Workspace, spec: BuildSpec, backend: str, choice: Choice) -> dict[str, Any]:
    """In place of `build_facts` where `--precision best` has no answer."""
    exported = export(workspace, spec.model, spec.fusions)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": exported.model.label,
        **exported.weights.facts(),
        "backend": backend,
        "precision": None,
        "engine": None,
        "best": choice.as_dict(),
        "seconds": dict(workspace.seconds),
    }


def _repair(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was done for INT8's accuracy; None where nothing was asked for."""
    if facts.get("repair", "none") == "none":
        return None
    return {"asked": facts["repair"], "equalized": facts["equalized"], "correction": facts["correction"]}
