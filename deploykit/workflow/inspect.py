"""`inspect`: the compiled plan of a network or of an engine file, and everything that is to be said of it.

A network is built first (or found in the store). An engine file is not opened: without a driver that is impossible, and
an engine is native code. Its content is looked up in the store, where every build left its plan; any other file is
refused, unless the caller trusts it and a GPU is here to read it with.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.backends.protocol import Backend
from deploykit.errors import BackendMissing, BuildFailed, GateFailed, UnsupportedGraph, UntrustedArtifact
from deploykit.plan.audit import Audit, Conversion, audit
from deploykit.plan.diagnosis import WIDER, Diagnosis, diagnose
from deploykit.plan.diff import PlanDiff, diff
from deploykit.plan.gpus import Gpu
from deploykit.plan.model import EnginePlan, PlanLayer
from deploykit.plan.roofline import LayerTime, Roofline, roofline
from deploykit.plan.summary import summarize
from deploykit.results.document import SCHEMA_VERSION
from deploykit.spec import BuildSpec, Precision, WeightsOrigin
from deploykit.workflow.engine import Built, build
from deploykit.workflow.engine_file import digest_of_engine, read_record, stored_records
from deploykit.workflow.workspace import Workspace
from deploykit.zoo import registry
from deploykit.zoo.misnamed import KINDS

ENGINE_SUFFIXES = {".engine", ".plan", ".trt", ".rtx"}
NO_WEIGHTS: Mapping[str, Any] = {"weights": None, "weights_digest": None, "weights_notes": []}
NOT_COMPARED = (BackendMissing, BuildFailed, GateFailed, UnsupportedGraph)


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and what it is of; `reasons` says of weighted nodes why the typing left them in another type."""

    title: str
    plan: EnginePlan
    reasons: Mapping[str, str]
    weights: WeightsOrigin | None = None  # None for an engine from elsewhere
    calibration: Mapping[str, Any] | None = None  # what INT8's ranges come from, where the graph was typed here


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """One plan, audited, bounded on `gpu` where there is one, diagnosed, and beside another where that was asked."""

    planned: Planned
    audit: Audit
    roofline: Roofline | None
    diagnoses: tuple[Diagnosis, ...]
    diff: PlanDiff | None
    beside: str = ""  # what `diff` compares with

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints and the reports are written from; `layers` has the kernels, in order of execution."""
        plan = self.planned.plan
        return {
            "schema_version": SCHEMA_VERSION,
            "title": self.planned.title,
            **(self.planned.weights.facts() if self.planned.weights else NO_WEIGHTS),
            "calibration": self.planned.calibration,
            "compiler": plan.compiler,
            "source": plan.source,
            "precision": plan.precision.value,
            "batch": plan.batch,
            "targets": list(plan.targets),
            "summary": summarize(plan).as_dict(),
            "kernels_by_type": list(_by_type(plan)),
            "conversions_by_kind": list(_by_kind(self.audit)),
            "layers": list(_layers(plan, self.roofline)),
            "audit": self.audit.as_dict(),
            "roofline": self.roofline.as_dict() if self.roofline else None,
            "diagnoses": [diagnosis.as_dict() for diagnosis in self.diagnoses],
            "beside": self.beside or None,
            "diff": self.diff.as_dict() if self.diff else None,
        }


def is_engine(name: str) -> bool:
    """Whether a command line names an engine file rather than a network."""
    path = Path(name)
    known = path.suffix.lower() in {".onnx", ".py", *KINDS} or name in registry.cards()
    return path.suffix in ENGINE_SUFFIXES or (path.is_file() and not known)


def planned_network(workspace: Workspace, spec: BuildSpec, backend: Backend) -> Planned:
    """Build `spec`, or find it. Raises as `build`, and BackendMissing where the compiler tells nothing."""
    built = build(workspace, spec, backend)
    plan = built.plan
    if plan is None:
        raise BackendMissing(
            f"{built.engine.flavour or backend.name} does not say what it compiled", hint="inspect it with trt-rtx"
        )
    exported = built.exported
    title = f"{exported.model.label}, {spec.precision}"
    calibration = built.typed.facts.get("calibration") if built.typed else None
    return Planned(title, plan, _reasons(built), exported.weights, calibration)


def planned_engine(workspace: Workspace, path: Path, *, trusted: bool, precision: Precision, batch: int) -> Planned:
    """The plan of an engine file, by what it contains. `precision` and `batch` say what a foreign one is to be read as.

    Raises UsageError where it cannot be read, UntrustedArtifact for one that is corrupt, or that this store did not
    build and that is not `trusted` or cannot be opened here.
    """
    digest = digest_of_engine(path)
    for found in (*stored_records(workspace.store, digest), read_record(path, digest)):
        if found is not None and found.plan is not None:
            return Planned(f"{found.model}, {found.plan.precision}", found.plan, {}, found.weights)
    if workspace.store.holds(path):
        raise UntrustedArtifact(
            f"the engine {path} is corrupt: its content is not what its name says",
            hint="delete it and build the engine again",
        )
    if not trusted:
        raise UntrustedArtifact(
            f"there is no stored plan for the engine {path}, and an engine is native code that is not opened unasked",
            hint=f"build it with deploykit, name its store with --store (this one is {workspace.store.root}), "
            "or trust it with --trust-engine on a machine with its GPU",
        )
    from deploykit.backends.foreign_engine import read_foreign_engine

    plan = read_foreign_engine(path.read_bytes(), precision=precision, batch=batch)
    return Planned(f"{path.name}, {plan.precision}", plan, {})


def inspect(
    planned: Planned,
    *,
    others: tuple[EnginePlan, ...] = (),
    beside: Planned | None = None,
    gpu: Gpu | None = None,
    tf32: bool = False,
) -> Inspection:
    """`others` are plans of the same network that the diagnosis may compare with; `beside` gets a full comparison.

    Raises UsageError where `beside` is for another batch.
    """
    plan, reasons = planned.plan, planned.reasons
    compared = (*others, beside.plan) if beside else others
    return Inspection(
        planned=planned,
        audit=audit(plan, reasons),
        roofline=roofline(plan, gpu, tf32=tf32) if gpu else None,
        diagnoses=diagnose(plan, others=compared, gpu=gpu, tf32=tf32, reasons=reasons),
        diff=diff(beside.plan, plan) if beside else None,
        beside=beside.title if beside else "",
    )


def wider_plans(workspace: Workspace, spec: BuildSpec, backend: Backend) -> tuple[EnginePlan, ...]:
    """The plan in the next wider type, which a precision has to improve on; nothing where it cannot be had."""
    for precision in WIDER[spec.precision][:1]:
        try:
            return (planned_network(workspace, spec.with_precision(precision), backend).plan,)
        except NOT_COMPARED:
            return ()
    return ()


def _reasons(built: Built) -> dict[str, str]:
    """What the typing report says of the nodes that it left in float: out of INT8, or out of float16."""
    report = (built.typed.facts.get("report") if built.typed else None) or {}
    return {item["node"]: item["reason"] for item in (*report.get("left", ()), *report.get("float32", ()))}


def _by_type(plan: EnginePlan) -> Iterator[dict[str, Any]]:
    kernels: Counter[tuple[str, str]] = Counter()
    moved: Counter[tuple[str, str]] = Counter()
    for layer in plan.kernels:
        kernels[layer.kind, layer.reads] += 1
        moved[layer.kind, layer.reads] += layer.bytes_moved(plan.batch)
    for (kind, reads), size in moved.most_common():
        yield {"kind": kind, "reads": reads, "kernels": kernels[kind, reads], "bytes_moved": size}


def _by_kind(found: Audit) -> Iterator[dict[str, Any]]:
    groups: dict[str, list[Conversion]] = defaultdict(list)
    for conversion in found.conversions:
        groups[conversion.what].append(conversion)
    for what, group in groups.items():
        largest = max(group, key=lambda conversion: conversion.bytes_moved)
        moved = sum(conversion.bytes_moved for conversion in group)
        yield {"what": what, "kernels": len(group), "bytes_moved": moved, "largest": largest.layer}


def _layers(plan: EnginePlan, bounds: Roofline | None) -> Iterator[dict[str, Any]]:
    times = bounds.layers if bounds else (None,) * len(plan.kernels)
    for layer, time in zip(plan.kernels, times, strict=True):
        yield _layer(layer, time, plan.batch)


def _layer(layer: PlanLayer, time: LayerTime | None, batch: int) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "reads": layer.reads,
        "writes": layer.outputs[0].dtype if layer.outputs else "?",
        "format": layer.inputs[0].format if layer.inputs else "",
        "inputs": [tensor.name for tensor in layer.inputs],
        "outputs": [tensor.name for tensor in layer.outputs],
        "bytes_moved": layer.bytes_moved(batch),
        "macs": layer.macs,
        "nodes": list(layer.nodes),
        "modules": list(layer.modules),
        "tactic": layer.tactic,
        "us": time.us if time else None,
        "binds": time.binds if time else None,
        "intensity": time.intensity if time else None,
    }
