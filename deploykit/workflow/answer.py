"""What `export` and `build` answer, from what their steps made."""

from __future__ import annotations

from dataclasses import replace

from deploykit.parity import ParityResult
from deploykit.results.build import BuildResult, ExportResult, OverflowResult, UndecidedResult
from deploykit.results.choices import FusionDecision, Int8LayerDecision, PrecisionChoice
from deploykit.results.fusions import FusionReport
from deploykit.spec import BuildSpec
from deploykit.workflow.engine import Built
from deploykit.workflow.export import Exported, export
from deploykit.workflow.workspace import Workspace


def export_result(
    workspace: Workspace,
    exported: Exported,
    checked: ParityResult | None,
    *,
    checked_on: str,
    decision: FusionDecision | None = None,
    report: FusionReport | None = None,
) -> ExportResult:
    """The answer of `export`; `decision` is that of `--fuse auto`, `report` that of `--fusion-report`."""
    ledger = exported.facts.ledger
    return ExportResult(
        model=exported.model.label,
        **exported.weights.facts(),
        onnx=exported.path,
        digest=exported.digest,
        from_store=exported.hit,
        inputs=tuple(map(str, exported.inputs)),
        outputs=tuple(map(str, exported.outputs)),
        nodes_exported=ledger.nodes_before,
        nodes=ledger.nodes_after,
        passes=ledger.passes,
        notes=exported.facts.notes,
        check=checked,
        checked_on=checked_on if checked and checked.images else None,
        seconds=dict(workspace.seconds),
        decision=decision,
        fusion_report=report,
    )


def build_result(
    workspace: Workspace,
    built: Built,
    spec: BuildSpec,
    *,
    overflow: OverflowResult | None,
    decision: FusionDecision | None = None,
    choice: PrecisionChoice | None = None,
    layers: Int8LayerDecision | None = None,
) -> BuildResult:
    """The answer of `build`; `decision`, `choice` and `layers` are those of its searches."""
    engine, entry, typed = built.engine, built.entry, built.typed
    return BuildResult(
        model=built.exported.model.label,
        notes=built.exported.facts.notes,
        **built.exported.weights.facts(),
        backend=engine.backend,
        flavour=engine.flavour,
        precision=engine.precision.value,
        targets=tuple(map(str, spec.targets)),
        batch=str(spec.batch),
        tf32=spec.tf32,
        inputs=tuple(map(str, engine.inputs)),
        outputs=tuple(map(str, engine.outputs)),
        onnx=built.exported.path,
        typed_onnx=typed.graph.path if typed else None,
        typed_digest=engine.typed_digest,
        precision_report=typed.report if typed else None,
        overflow=overflow,
        repair=typed.repair if typed else None,
        calibration=typed.calibration if typed else None,
        engine=engine.path if entry else None,
        engine_digest=built.engine_digest,
        build_log=entry.path("build.log") if entry else None,
        plan=engine.plan,
        runs_here=engine.reason is None,
        reason=str(engine.reason) if engine.reason else None,
        note="; ".join(filter(None, (engine.note, typed.note if typed else ""))) or None,
        decision=decision,
        best=choice,
        int8_layers=replace(layers, policy=str(spec.policy)) if layers else None,
        from_store=built.hit,
        seconds=dict(workspace.seconds),
    )


def undecided_result(workspace: Workspace, spec: BuildSpec, backend: str, choice: PrecisionChoice) -> UndecidedResult:
    """The answer of `build --precision best` where there is none."""
    exported = export(workspace, spec.model, spec.fusions)
    return UndecidedResult(
        model=exported.model.label,
        **exported.weights.facts(),
        backend=backend,
        best=choice,
        seconds=dict(workspace.seconds),
    )
