"""The typed graph: the optimized graph whose types are the precision that was asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from deploykit.backends.protocol import TypedGraph
from deploykit.data.inputs import calibration_inputs, grouped
from deploykit.errors import BackendMissing, UsageError
from deploykit.precision.reports import Int8Report
from deploykit.results.build import RepairResult, TypingReport
from deploykit.results.calibration import CalibrationSource
from deploykit.spec import BuildSpec, Placement, Precision, Repair
from deploykit.store import Entry, Writer
from deploykit.workflow.calibrate import calibrate, equalized
from deploykit.workflow.export import Exported
from deploykit.workflow.facts import GraphFacts, TypedFacts
from deploykit.workflow.workspace import Workspace

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Typed:
    """A typed graph, what its typing was (`report`, `note`), and for INT8 the `calibration` and the `repair`.

    `report` is None where nothing was to be typed, or somebody else did it. `seconds` is what typing took.
    """

    graph: TypedGraph
    report: TypingReport | None = None
    note: str = ""
    calibration: CalibrationSource | None = None
    repair: RepairResult | None = None
    seconds: float = 0.0


def type_graph(workspace: Workspace, exported: Exported, spec: BuildSpec, placement: Placement | None) -> Typed:
    """The graph whose types are `spec.precision`. Raises Float16Overflow; UsageError without images for INT8."""
    match spec.precision:
        case Precision.FP32:
            types = exported.facts.computes_in
            note = f"the file as it is, which computes in {', '.join(types)}" if types else ""
            return Typed(exported.as_typed(Precision.FP32), note=note)
        case Precision.FP16:
            return _float16(workspace, exported, spec)
        case Precision.INT8:
            if exported.quantized:
                return _quantized(workspace, exported, spec)
            if placement is None:
                raise BackendMissing("this backend has no INT8 Q/DQ scheme")
            return _int8(workspace, exported, spec, placement)


def _float16(workspace: Workspace, exported: Exported, spec: BuildSpec) -> Typed:
    def make(writer: Writer) -> TypedFacts:
        from deploykit.workflow import transforms

        stage = "convert the graph to fp16"
        with workspace.timed(stage):
            content, facts = transforms.type_float16(exported.path, keep_io=spec.keep_io, keep=spec.keep_fp32)
        writer.write("typed.onnx", content)
        return replace(facts, seconds=workspace.seconds[stage])

    parts = {
        "graph": exported.digest,
        "precision": Precision.FP16,
        "keep_io": spec.keep_io,
        "keep_fp32": spec.keep_fp32,
    }
    entry, _ = workspace.get_or_make(
        "typed", parts, make, request={"model": exported.model, **parts}, facts=TypedFacts, files=("typed.onnx",)
    )
    return _stored(entry, Precision.FP16, None)


def _int8(workspace: Workspace, exported: Exported, spec: BuildSpec, placement: Placement) -> Typed:
    if spec.policy.auto:
        raise UsageError("--int8-policy plan is not decided yet", hint="name the layers, or use `build`")
    source = equalized(workspace, exported, spec)
    read = cache(lambda: _read(source))  # once, for calibrating and for typing
    table, calibration = calibrate(workspace, source, spec, read=read)
    shown = calibration_inputs(source, spec) if spec.repair.bias else None

    def make(writer: Writer) -> TypedFacts:
        from deploykit.workflow import transforms

        stage = f"convert the graph to int8 for {placement.name}"
        with workspace.timed(stage):
            content, facts = transforms.type_int8(
                read(),
                table,
                placement,
                spec.policy,
                clip=spec.repair.clip,
                keep_fp32=spec.keep_fp32,
                feeds=(lambda: grouped(shown)) if shown else None,
            )
        writer.write("typed.onnx", content)
        return replace(facts, seconds=workspace.seconds[stage])

    parts = {
        "graph": source.digest,
        "precision": Precision.INT8,
        "placement": placement,
        "policy": spec.policy,
        "repair": spec.repair,
        "keep_fp32": spec.keep_fp32,
    }
    key = {**parts, "table": table.to_json(), "data": shown.digest if shown else None}
    entry, _ = workspace.get_or_make(
        "typed", key, make, request={"model": exported.model, **parts}, facts=TypedFacts, files=("typed.onnx",)
    )
    found = _stored(entry, Precision.INT8, placement)
    correction = entry.facts_as(TypedFacts).correction
    repair = RepairResult(asked=str(spec.repair), equalized=source.facts.equalized, correction=correction)
    return replace(found, calibration=calibration, repair=None if spec.repair == Repair() else repair)


def _read(exported: Exported) -> ir.Model:
    from deploykit.workflow.transforms import read_graph

    return read_graph(exported.path)


def _quantized(workspace: Workspace, exported: Exported, spec: BuildSpec) -> Typed:
    """A file that is quantized already is its own INT8 graph. Raises UsageError for what would change that."""
    untouched = BuildSpec(model=spec.model)
    if (spec.policy, spec.repair, spec.calibration) != (untouched.policy, untouched.repair, untouched.calibration):
        raise UsageError(
            f"{exported.model.label} is quantized by its author: no option of ours changes where or how",
            hint="leave out the options of INT8 and of its calibration, or give the float network",
        )

    def make(_: Writer) -> Int8Report:
        from deploykit.workflow import transforms

        return transforms.quantized_layers(exported.path)

    entry, _ = workspace.get_or_make(
        "quantized", {"graph": exported.digest}, make, request={"model": exported.model}, facts=Int8Report
    )
    note = "quantized by its author, not calibrated"
    return Typed(exported.as_typed(Precision.INT8), entry.facts_as(Int8Report), note)


def _stored(entry: Entry, precision: Precision, placement: Placement | None) -> Typed:
    """The typed graph of a store's entry, with the facts of its making."""
    facts = entry.facts_as(TypedFacts)
    graph = _stored_graph(entry, facts, precision, placement)
    return Typed(graph, facts.report, facts.note, seconds=facts.seconds)


def _stored_graph(entry: Entry, facts: GraphFacts, precision: Precision, placement: Placement | None) -> TypedGraph:
    return TypedGraph(
        path=entry.path("typed.onnx"),
        digest=entry.files["typed.onnx"].sha256,
        precision=precision,
        placement=placement.name if placement else None,
        inputs=facts.inputs,
        outputs=facts.outputs,
    )
