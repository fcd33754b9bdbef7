"""Accuracy of every row on labeled images, and what each row's flips say against the first.

Images that INT8 was calibrated on are not among those that it is judged by, for no row: all rows see the same images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path

import numpy as np

from deploykit.bench import BenchSettings, fingerprint, stream_outputs
from deploykit.data.inputs import Inputs, calibration_inputs, unprepared
from deploykit.data.labeled import Labeled, classes_of, labeled_inputs, require_max_drop
from deploykit.errors import DeploykitError, UsageError
from deploykit.parity import GateMissed
from deploykit.parity.accuracy import TOP, Flips, Predictions, Share
from deploykit.results.accuracy import AccuracyConditions, AccuracyEnvironment, AccuracyReport, AccuracyRow
from deploykit.results.row import Row
from deploykit.spec import BuildSpec, Feed, Precision, TensorSpec
from deploykit.workflow.batch import with_batch
from deploykit.workflow.calibrate import describe_int8
from deploykit.workflow.export import Exported, export
from deploykit.workflow.rows import BuiltRow, RefusedRow, asked_rows, build_rows, row_of
from deploykit.workflow.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """`spec.data` is calibrated on; rows are judged by the labeled images of `labeled`, the first `limit` of them.

    A row that loses more than `max_drop` points of top-1 against the first row fails.
    """

    spec: BuildSpec
    labeled: Path
    backends: tuple[str, ...]
    precisions: tuple[Precision, ...]
    settings: BenchSettings
    strict: bool = False
    limit: int | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        if self.spec.fusions.auto:
            raise UsageError(
                "evaluate does not take fusions (--fuse) auto",
                hint="name the fusions, such as --fuse safe,merge_siblings",
            )
        require_max_drop(self.max_drop)


def evaluate(workspace: Workspace, request: EvaluationRequest) -> AccuracyReport:
    """Top-1 and top-5 of every row that runs here. Raises as `labeled_inputs` and `inputs_for`."""
    spec, settings = with_batch(workspace, request.spec), request.settings
    machine = fingerprint(threads=settings.worker_threads, seed=settings.seed, tf32=spec.tf32)
    exported = export(workspace, spec.model, spec.fusions)
    exported.require_batch(spec.batch)
    calibration = _calibration(exported, spec, request.precisions)
    images = _images(workspace, exported, request, calibration)
    asked = asked_rows(spec, request.backends, request.precisions, strict=request.strict)
    judged = [_judged(workspace, line, images, request) for line in build_rows(workspace, asked)]
    rows = tuple(_compared(judged, images, request.max_drop))
    conditions = replace(_conditions(exported, spec, images, calibration, settings), max_drop=request.max_drop)
    return AccuracyReport(environment=AccuracyEnvironment(**machine.facts(), conditions=conditions), rows=rows)


def _calibration(exported: Exported, spec: BuildSpec, precisions: Sequence[Precision]) -> Inputs | None:
    """What INT8 is calibrated on here; None where no row is INT8, the file came quantized, or a table is given."""
    if Precision.INT8 not in precisions or spec.calibration.table is not None or exported.quantized:
        return None
    return calibration_inputs(exported, spec)


def _images(
    workspace: Workspace, exported: Exported, request: EvaluationRequest, calibration: Inputs | None
) -> Labeled:
    """What is wrong with them is said before anything is built."""
    seen = frozenset(calibration.identities if calibration else ())
    images = labeled_inputs(exported, request.labeled, limit=request.limit, without=seen)
    workspace.warn_once(unprepared(request.spec.model, images.preparation))
    return images


def _judged(
    workspace: Workspace, line: BuiltRow | RefusedRow, images: Labeled, request: EvaluationRequest
) -> tuple[Row, Predictions | None]:
    if isinstance(line, RefusedRow) or not line.runs:
        return row_of(line), None
    try:
        with workspace.timed(f"evaluate {line.asked.label}"):
            parts = list(_predictions(workspace, line, images, request.settings))
    except DeploykitError as error:
        return row_of(line, failure=error), None
    if not parts:
        raise UsageError(f"no image of {request.labeled} can be read; the first: {images.skipped[0]}")
    return row_of(line), Predictions.joined(parts)


def _predictions(
    workspace: Workspace, line: BuiltRow, images: Labeled, settings: BenchSettings
) -> Iterator[Predictions]:
    """The predictions of each batch, as the row's worker answers it."""
    engine, batch, done = line.built.engine, line.asked.spec.batch.optimum, 0
    (output,) = (spec.name for spec in engine.outputs)
    shown, known = tee(images.batches(batch))
    outputs = stream_outputs(engine, (_filled(feed, engine.inputs, batch) for feed, _ in shown), settings)
    for found, (_, truth) in zip(outputs, known, strict=True):
        yield Predictions.of(found[output][: len(truth)], truth)
        done = min(done + len(truth), len(images))
        workspace.progress(f"evaluate {line.asked.label}: image", done, len(images))


def _filled(feed: Feed, inputs: tuple[TensorSpec, ...], batch: int) -> Feed:
    """A batch as the engine's inputs take it: where that is fixed, the last one is filled up."""
    found = {}
    for spec in inputs:
        rows = feed[spec.name]
        missing = batch - len(rows) if isinstance(spec.shape[0], int) else 0
        if missing:
            rows = np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])
        found[spec.name] = rows.astype(spec.dtype, copy=False)
    return found


def _compared(
    judged: Sequence[tuple[Row, Predictions | None]], images: Labeled, max_drop: float | None
) -> Iterator[AccuracyRow]:
    first = next((found for _, found in judged if found is not None), None)
    for row, found in judged:
        if found is None or first is None:
            yield AccuracyRow(row)
            continue
        flips = None if found is first else Flips.between(first, found)
        top5 = Share(found.within(TOP), len(found)) if images.classes > TOP else None
        top1, right = Share(found.within(1), len(found)), np.packbits(found.right).tobytes().hex()
        yield AccuracyRow(_gated(row, flips, max_drop), top1, top5, flips, right)


def _gated(row: Row, flips: Flips | None, max_drop: float | None) -> Row:
    if max_drop is None or flips is None or flips.drop <= max_drop:
        return row
    return replace(
        row, parity=GateMissed(f"over --max-drop: {flips.drop:.2f} points of top-1 lost, limit: at most {max_drop:g}")
    )


def _conditions(
    exported: Exported, spec: BuildSpec, images: Labeled, calibration: Inputs | None, settings: BenchSettings
) -> AccuracyConditions:
    said = describe_int8(spec, calibration)
    if calibration is not None:
        said += f"; {images.excluded} labeled images are left out because INT8 was calibrated on them or on copies"
    return AccuracyConditions(
        model=exported.model.label,
        **exported.weights.facts(),
        data=images.source,
        preprocessing=images.preparation,
        classes=images.classes,
        network_classes=classes_of(exported),
        skipped=tuple(images.skipped),
        excluded=images.excluded,
        calibration=said,
        batch=spec.batch.optimum,
        threads=settings.worker_threads,
        images_digest=images.images_digest,
    )
