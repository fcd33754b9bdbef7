"""`inspect`: the compiled plan of a network or of an engine file, and everything that is to be said of it.

A network is built first (or found in the store). An engine file is not opened: without a driver that is impossible, and
an engine is native code. Its content is looked up in the store, where every build left its plan; any other file is
refused, unless the caller trusts it and a GPU is here to read it with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploykit.backends.protocol import Backend
from deploykit.errors import BackendMissing, BuildFailed, GateFailed, UnsupportedGraph, UntrustedArtifact
from deploykit.io.door import read_file
from deploykit.plan.audit import audit
from deploykit.plan.diagnosis import WIDER, diagnose
from deploykit.plan.diff import diff
from deploykit.plan.gpus import Gpu
from deploykit.plan.model import EnginePlan
from deploykit.plan.roofline import roofline
from deploykit.plan.summary import summarize
from deploykit.precision.reports import Int8Report
from deploykit.results.calibration import CalibrationSource
from deploykit.results.inspection import Inspection, conversion_groups, kernel_groups, kernels_of
from deploykit.spec import BuildSpec, Precision, WeightsOrigin
from deploykit.workflow.engine import Built, build
from deploykit.workflow.engine_file import digest_of_engine, read_record, stored_records
from deploykit.workflow.workspace import Workspace
from deploykit.zoo import registry
from deploykit.zoo.misnamed import KINDS

ENGINE_SUFFIXES = {".engine", ".plan", ".trt", ".rtx"}
NOT_COMPARED = (BackendMissing, BuildFailed, GateFailed, UnsupportedGraph)


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and what it is of; `reasons` says of weighted nodes why the typing left them in another type."""

    title: str
    plan: EnginePlan
    reasons: Mapping[str, str]
    weights: WeightsOrigin | None = None  # None for an engine from elsewhere
    calibration: CalibrationSource | None = None  # what INT8's ranges come from, where the graph was typed here


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
    calibration = built.typed.calibration if built.typed else None
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

    plan = read_foreign_engine(read_file(path, "engine"), precision=precision, batch=batch)
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
    plan, reasons, origin = planned.plan, planned.reasons, planned.weights
    compared = (*others, beside.plan) if beside else others
    found, bounds = audit(plan, reasons), roofline(plan, gpu, tf32=tf32) if gpu else None
    weights = origin.facts() if origin else None
    return Inspection(
        plan=plan,
        title=planned.title,
        weights=weights["weights"] if weights else None,
        weights_digest=weights["weights_digest"] if weights else None,
        weights_notes=weights["weights_notes"] if weights else (),
        calibration=planned.calibration,
        compiler=plan.compiler,
        source=plan.source,
        precision=plan.precision.value,
        batch=plan.batch,
        targets=plan.targets,
        summary=summarize(plan),
        kernels_by_type=tuple(kernel_groups(plan)),
        conversions_by_kind=tuple(conversion_groups(found)),
        layers=tuple(kernels_of(plan, bounds)),
        audit=found,
        roofline=bounds,
        diagnoses=diagnose(plan, others=compared, gpu=gpu, tf32=tf32, reasons=reasons),
        beside=beside.title if beside else None,
        diff=diff(beside.plan, plan) if beside else None,
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
    report = built.typed.report if built.typed else None
    if report is None:
        return {}
    left = report.excluded if isinstance(report, Int8Report) else report.float32
    return {item.node: item.reason for item in left}
