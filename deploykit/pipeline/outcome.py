"""What `export` and `build` answer: artefact paths, digests and figures, as one flat JSON-ready mapping each."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from deploykit.errors import UsageError
from deploykit.parity import ParityResult
from deploykit.pipeline.artefacts import Artefacts, Built, Exported

SCHEMA_VERSION = 1
NAMED = 6  # nodes listed by name before "and n more"


def export_facts(artefacts: Artefacts, exported: Exported, checked: ParityResult | None) -> dict[str, Any]:
    ledger = exported.facts["ledger"]["passes"]
    folding = next(record for record in ledger if record["name"] == "fold_batchnorm")
    facts: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "model": exported.model.label,
        "onnx": str(exported.path),
        "digest": exported.digest,
        "nodes": f"{ledger[0]['nodes_before']} exported, {ledger[-1]['nodes_after']} after clean-up and folding",
        "batchnorm": _folded(folding),
        "from_store": exported.hit,
    }
    if checked:
        worst = checked.worst
        error = worst.total.relative_l2 if worst.total else float("nan")
        facts |= {
            "reference": checked.reference,
            "noise_floor": f"{worst.floor:.3g} relative L2, eager float32",
            "error": f"{error:.3g} relative L2, {error / worst.floor:.2f}x the floor; 3x is allowed",
            "verdict": checked.verdict,
        }
    return facts | {"seconds": _seconds(artefacts)}


def build_facts(artefacts: Artefacts, built: Built) -> dict[str, Any]:
    engine, plan = built.engine, built.engine.plan
    facts: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "model": built.exported.model.label,
        "backend": engine.backend,
        "flavour": engine.flavour,
        "precision": engine.precision.value,
        "onnx": str(built.exported.path),
        "typed_onnx": str(built.typed.graph.path) if built.typed else None,
        "typed_digest": engine.typed_digest,
        "engine": str(engine.path) if built.entry else None,
        "engine_digest": built.entry.files["model.engine"].sha256 if built.entry else None,
        "build_log": str(built.entry.path("build.log")) if built.entry else None,
        "typed": _typed(built),
        "plan": dict(plan) or None,
        "runs_here": engine.reason is None,
        "reason": str(engine.reason) if engine.reason else None,
        "note": engine.note or None,
        "from_store": built.hit,
    }
    return facts | {"seconds": _seconds(artefacts)}


def copy_artefact(source: Path, target: Path) -> Path:
    """Copy a stored file to where the user wants it, whole or not at all. Raises UsageError."""
    if target.is_dir():
        target = target / source.name
    try:
        descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(descriptor)
        try:
            shutil.copyfile(source, draft)
            Path(draft).replace(target)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}", hint="give another --output") from error
    return target


def _folded(folding: dict[str, Any]) -> str:
    refused = [f"{item['node']}: {item['reason']}" for item in folding["refused"]]
    said = f"{len(folding['rewritten'])} folded in float64"
    return f"{said}, {len(refused)} left ({_some(refused)})" if refused else said


def _typed(built: Built) -> Any:
    return built.typed.facts.get("report") if built.typed else None


def _seconds(artefacts: Artefacts) -> dict[str, float]:
    return {stage: round(seconds, 3) for stage, seconds in artefacts.seconds.items()}


def _some(items: list[str]) -> str:
    shown = ", ".join(items[:NAMED])
    return f"{shown} and {len(items) - NAMED} more" if len(items) > NAMED else shown
