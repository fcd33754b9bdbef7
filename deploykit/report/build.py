"""What `export`, `build` and `calibrate` answer, in words: name and value, one a line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deploykit.data.preparation import describe_preprocessing
from deploykit.plan.model import NO_KERNEL
from deploykit.plan.summary import PlanSummary
from deploykit.precision.reports import Float16Report, Int8Report
from deploykit.report.text import kinds_legend, with_notes
from deploykit.results.build import (
    BuildResult,
    ExportResult,
    OverflowResult,
    RepairResult,
    TypingReport,
    UndecidedResult,
)
from deploykit.results.calibration import CalibrationResult, CalibrationSource, ShardResult
from deploykit.results.choices import FusionDecision, Int8LayerDecision, PrecisionChoice
from deploykit.spec import COST_BASED_FUSIONS, SAFE_FUSIONS
from deploykit.spec.reports import PassRecord

FUSIONS = (*SAFE_FUSIONS, *COST_BASED_FUSIONS)
NO_OWN_KERNEL = (
    "no kernel of the plan has its name: small ones are computed inside generated kernels, constant ones are folded"
)
NAMED = 6  # nodes listed by name before "and n more"


def describe_export(facts: ExportResult) -> dict[str, str]:
    lines = {
        "model": facts.model,
        "weights": with_notes(facts.weights, facts.weights_notes),
        "onnx": f"{facts.onnx}{_kept(facts)}",
        "digest": facts.digest,
        "file notes": "\n".join(facts.notes),
        "inputs": ", ".join(facts.inputs),
        "nodes": f"{facts.nodes_exported} exported, {facts.nodes} after clean-up and fusions",
        "fusions": _decision(facts.decision),
    } | {record.name: said for record in facts.passes if record.name in FUSIONS and (said := _rewrites(record))}
    check = facts.check
    lines |= {"checked on": facts.checked_on or ""}
    if check and (same := check.worst.agreement):
        agree = f"{100 * same.share:.2f} % of {same.of} agree with the reference ({check.reference})"
        lines |= {"check": f"{agree}, {check.worst.precision_limit_text}: {check.verdict}"}
    elif check and check.worst.total is None:
        lines |= {"check": f"{check.verdict}: {check.reason}"}
    elif check and check.worst.total:
        floor, error = check.worst.floor, check.worst.total.relative_l2
        lines |= {
            "noise floor": f"{floor:.3g} relative L2 between plain float32 and the reference ({check.reference})",
            "error": f"{error:.3g} relative L2, {error / floor:.2f} times the floor; 3 are allowed: {check.verdict}",
        }
    return lines | _seconds(facts)


def describe_undecided(facts: UndecidedResult) -> dict[str, str]:
    """What `build --precision best` answers where it cannot decide."""
    return {
        "model": f"{facts.model}, precision undecided",
        "weights": with_notes(facts.weights, facts.weights_notes),
        "candidates": _best(facts.best),
    } | _seconds(facts)


def describe_shard(found: ShardResult) -> dict[str, str]:
    """One part of a calibration."""
    counted = f"{found.images} images in {found.batches} batches, {found.activations} activations"
    return {
        "shard": found.shard,
        "file": str(found.file),
        "counted": counted,
        "memory": _memory(found.peak_memory_bytes),
    }


def describe_calibration(found: CalibrationResult) -> dict[str, str]:
    """A table."""
    skipped = found.skipped or ()
    files = f" from {len(found.image_names)} files" if found.image_names else ""
    return {
        "model": found.model or "",
        "weights": with_notes(found.weights, found.weights_notes),
        "table": str(found.table or ""),
        "method": f"{found.method} over {found.images} images{files}",
        "images": found.data or "",
        "preprocessing": describe_preprocessing(found.preprocessing),
        "activations": str(found.activations),
        "graph": found.graph_digest[:12],
        "data": found.data_digest[:12],
        "skipped": f"{len(skipped)}: {'; '.join(skipped[:NAMED])}" if skipped else "",
        "note": found.note or "",
        "memory": _memory(found.peak_memory_bytes),
    }


def _memory(peak: int | None) -> str:
    return f"{peak / 1e9:.2f} GB peak, this process" if peak else ""


def _best(found: PrecisionChoice | None) -> str:
    """The contenders, then why."""
    if not found:
        return ""
    return "\n".join([*(f"{name}: {figure}" for name, figure in found.contenders.items()), found.why])


def _decision(found: FusionDecision | None) -> str:
    if not found:
        return ""
    tried = f"{len(found.steps)} candidates in {found.seconds:.0f} s"
    ended = f"stopped by the budget of {found.budget_seconds:g} s, with candidates untried" if found.ran_out else ""
    lines = [found.said, f"chosen by {found.objective}", f"{found.change}; {tried}", ended]
    return "\n".join(filter(None, lines))


def _rewrites(record: PassRecord) -> str:
    """ "" for a fusion that found no site."""
    refused = [f"{item.node}: {item.reason}" for item in record.skipped]
    done = f"{len(record.rewritten)} rewritten" if record.rewritten or refused else ""
    return done + (f", {_left(refused)}" if refused else "")


def describe_build(facts: BuildResult) -> dict[str, str]:
    shown = facts.calibration or facts.overflow
    lines = {
        "model": f"{facts.model}, {facts.precision}",
        "weights": with_notes(facts.weights, facts.weights_notes),
        "precision chosen": _best(facts.best),
        "fusions": _decision(facts.decision),
        "int8 layers": _layers(facts.int8_layers),
        "compiler": facts.flavour,
        "target": ", ".join(facts.targets),
        "inputs": ", ".join(facts.inputs),
        "batch": f"{facts.batch}, TF32 {'on' if facts.tf32 else 'off'}",
        "ONNX": str(facts.onnx),
        "file notes": "\n".join(facts.notes),
        "typed ONNX": str(facts.typed_onnx) if facts.typed_onnx != facts.onnx else "",
        "precision in graph": _typing(facts.precision_report),
        "overflow": _overflow(facts.overflow),
        "repair": _repair(facts.repair),
        "calibration": describe_ranges(facts.calibration),
        "preprocessing": describe_preprocessing(
            shown.preprocessing if (shown := facts.calibration or facts.overflow) else None
        ),
        "engine": f"{facts.engine}{_kept(facts)}" if facts.engine else "",
        "build log": str(facts.build_log or ""),
    }
    if plan := facts.plan:
        lines |= _plan(plan)
    chosen = ", ".join(" ".join(filter(None, pair)) for pair in facts.defaults.items())
    lines |= {"defaults": chosen}
    lines |= {"note": facts.note or "", "runs here": "yes" if facts.runs_here else f"no: {facts.reason}"}
    lines |= {"loads in": _loads_in(facts)}
    return lines | _seconds(facts)


def _loads_in(facts: BuildResult) -> str:
    """Which runtime opens the engine; "" where that goes without saying."""
    if facts.engine is None or not facts.flavour.startswith("tensorrt-rtx"):
        return ""
    release = facts.flavour.split()[1]
    return (
        f"TensorRT-RTX {release} on a GPU of {', '.join(facts.targets)}; TensorRT does not load it: for that, build on "
        "a host with a GPU and tensorrt"
    )


def _layers(found: Int8LayerDecision | None) -> str:
    """The policy that the plan favors, then every candidate."""
    if not found:
        return ""
    tried = [f"{name}: {figure}" for name, figure in found.candidates.items()]
    half = f"fp16, no INT8: {found.fp16}"
    return "\n".join([found.policy, f"chosen by {found.objective}", *tried, half])


def _typing(report: TypingReport | None) -> str:
    if not report:
        return ""
    if isinstance(report, Int8Report):
        left = [f"{item.node}: {item.reason}" for item in report.excluded]
        said = f"{len(report.quantized)} layers with weights in INT8, {report.pairs} Q/DQ pairs"
        said += f", Q/DQ scheme {report.placement}" + (f", {_left(left)}" if left else "")
        floats = [f"{item.node}: {item.reason}" for item in report.floats]
        said += f"\nnot quantized: {_some(floats)}" if floats else ""
        return said + (f"\nthe rest: {_float16(report.rest)}" if report.rest else "")
    return _float16(report)


def _float16(report: Float16Report) -> str:
    lines = [
        f"{report.elements:,} weights to float16: {_how_many(report.flushed, 'becomes 0', 'become 0')}, "
        f"{_how_many(report.subnormal, 'is subnormal', 'are subnormal')}, none overflows"
    ]
    if kept := report.float32:
        said = _some([f"{item.node}: {item.reason}" for item in kept])
        lines.append(f"{report.half_nodes} nodes compute in float16, {len(kept)} in float32 ({said})")
    lines += [f"{item.exact:g} in {item.value} is stored as {item.stored}: {item.why}" for item in report.clamped]
    return "\n".join(lines)


def _how_many(count: int, one: str, more: str) -> str:
    return f"{f'{count:,}' if count else 'none'} {one if count < 2 else more}"


def _overflow(found: OverflowResult | None) -> str:
    if not found:
        return ""
    if not found.first:
        return f"none {found.note}" if found.images else str(found.note)
    return f"{found.first} {found.note}; {found.cure}"


def _repair(found: RepairResult | None) -> str:
    if not found:
        return ""
    said = [found.asked]
    if (even := found.equalized) is not None:
        factor = f", by factors up to {even.largest_factor:g}" if even.pairs else ""
        said.append(f"cross-layer equalization of {len(even.pairs)} pairs of layers{factor}")
    if (bias := found.correction) is not None:
        before, after = bias.error_before, bias.error_after
        change = f"squared output error on the calibration images x {after / before:.2f}" if before else ""
        said.append(
            f"bias correction of {len(bias.corrected)} layers: {change}"
            if bias.kept
            else f"bias correction discarded: {change}"
        )
    return "\n".join(said)


def describe_ranges(found: CalibrationSource | None) -> str:
    """What INT8's ranges come from; "" where nothing was calibrated."""
    if not found:
        return ""
    if found.table:
        return "; ".join(filter(None, (f"{found.table}: {found.method} over {found.images} images", found.note)))
    if found.note:
        return f"{found.method} over {found.images} inputs; {found.note}"
    skipped = found.skipped
    if (
        found.preprocessing is None or found.preprocessing.origin is None
    ):  # arrays go in as they are: nobody says how to prepare them
        return f"{found.method} over {found.images} examples of {found.data}"
    said = f"{found.method} over {found.images} inputs from {len(found.image_names)} images ({found.data})"
    return said + (f"; {len(skipped)} skipped ({'; '.join(skipped[:NAMED])})" if skipped else "")


def _plan(plan: PlanSummary) -> dict[str, str]:
    kinds = {kind: count for kind, count in plan.kinds.items() if kind not in NO_KERNEL}
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    reads = ", ".join(f"{count} {kind}" for kind, count in plan.weighted_reads.items())
    other = [f"{node} reads {kind}" for node, kind in plan.other_precision.items()]
    matched = f"{plan.weighted_matched} of {plan.weighted_nodes} layers with weights matched to kernels"
    return {
        "kernels": f"{plan.kernels} ({counted})",
        "kernel kinds": kinds_legend(kinds),
        "traffic": f"{plan.mb_moved:.1f} MB for a batch of {plan.batch} (computed)",
        "engine MB": f"{plan.engine_mb:.1f}",
        "matched nodes": matched,
        "layer inputs": reads,
        "other types": _some(other),
        "no kernel": f"{_some(plan.unmatched)}: {NO_OWN_KERNEL}" if plan.unmatched else "",
    }


def _left(items: Iterable[str]) -> str:
    listed = list(items)
    return f"{len(listed)} skipped ({_some(listed)})"


def _some(listed: Sequence[str]) -> str:
    more = f"; and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return "; ".join(listed[:NAMED]) + more


def _kept(facts: ExportResult | BuildResult) -> str:
    return " (from the store)" if facts.from_store else ""


def _seconds(facts: ExportResult | BuildResult | UndecidedResult) -> dict[str, str]:
    return {"seconds": ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in facts.seconds.items())}
