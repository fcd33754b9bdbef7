"""Accuracy of every row on labeled images, and what each row's flips say against the first.

Images that INT8 was calibrated on are not among those that it is judged by, for no row: all rows see the same images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product, tee
from pathlib import Path

import numpy as np

from deploykit.bench import BenchSettings, fingerprint, stream_outputs
from deploykit.data.inputs import Inputs, calibration_inputs, unprepared
from deploykit.data.labeled import Labeled, classes_of, labeled_inputs, require_max_drop
from deploykit.errors import BackendMissing, DeploykitError, UsageError
from deploykit.parity import GateMissed
from deploykit.parity.accuracy import TOP, Flips, Predictions, Share
from deploykit.report.accuracy import AccuracyConditions, AccuracyReport, AccuracyRow
from deploykit.results.row import Row, State
from deploykit.spec import BuildSpec, Feed, Precision, TensorSpec
from deploykit.workflow.export import Exported, export
from deploykit.workflow.rows import Line, build_line, without_twins
from deploykit.workflow.settle import settled
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
            raise UsageError("evaluate judges one graph", hint="give --fuse the rewrites by name")
        require_max_drop(self.max_drop)


def evaluate(workspace: Workspace, request: EvaluationRequest) -> AccuracyReport:
    """Top-1 and top-5 of every row that runs here. Raises as `labeled_inputs` and `inputs_for`."""
    return _Evaluation(workspace, replace(request, spec=settled(workspace, request.spec))).report()


@dataclass
class _Evaluation:
    workspace: Workspace
    request: EvaluationRequest

    def report(self) -> AccuracyReport:
        request = self.request
        machine = fingerprint(
            threads=request.settings.worker_threads, seed=request.settings.seed, tf32=request.spec.tf32
        )
        self.images  # noqa: B018 - what is wrong with the images is said before anything is built
        asked = product(request.backends, request.precisions)
        lines = without_twins(
            [
                build_line(self.workspace, request.spec.with_precision(precision), name, strict=request.strict)
                for name, precision in asked
            ]
        )
        judged = [self._judged(line) for line in lines]
        rows = tuple(self._compared(judged))
        return AccuracyReport(self._conditions(), machine, rows)

    @cached_property
    def exported(self) -> Exported:
        exported = export(self.workspace, self.request.spec.model, self.request.spec.fusions)
        exported.require_batch(self.request.spec.batch)
        return exported

    @cached_property
    def images(self) -> Labeled:
        seen = self._calibration.identities if self._calibration else ()
        request = self.request
        images = labeled_inputs(self.exported, request.labeled, limit=request.limit, without=frozenset(seen))
        self.workspace.warn_once(unprepared(request.spec.model, images.preparation))
        return images

    @cached_property
    def _calibration(self) -> Inputs | None:
        """What INT8 is calibrated on here; None where no row is INT8, the file came quantized, or a table is given."""
        spec = self.request.spec
        if Precision.INT8 not in self.request.precisions or spec.calibration.table is not None:
            return None
        if self.exported.quantized:
            return None
        return calibration_inputs(self.exported, spec)

    def _judged(self, line: Line) -> tuple[Row, Predictions | None]:
        if not line.runs or line.built is None:
            return line.row, None
        parts: list[Predictions] = []
        engine, stage = line.built.engine, f"evaluate {line.row.label}"
        try:
            with self.workspace.timed(stage):
                (output,) = (spec.name for spec in engine.outputs)
                shown, known = tee(self.images.batches(self.request.spec.batch.optimum))
                feeds = (self._filled(feed, engine.inputs) for feed, _ in shown)
                outputs = stream_outputs(engine, feeds, self.request.settings)
                for found, (_, truth) in zip(outputs, known, strict=True):
                    parts.append(Predictions.of(found[output][: len(truth)], truth))
                    done = sum(map(len, parts))
                    self.workspace.progress(f"{stage}: image", min(done, len(self.images)), len(self.images))
        except DeploykitError as error:
            state: State = "unavailable" if isinstance(error, BackendMissing) else "failed"
            return replace(line.row, state=state, reason=str(error)), None
        if not parts:
            raise UsageError(f"{self.request.labeled} has no sound image, the first: {self.images.skipped[0]}")
        return line.row, Predictions.joined(parts)

    def _filled(self, feed: Feed, inputs: tuple[TensorSpec, ...]) -> Feed:
        """A batch as the engine's inputs take it: where that is fixed, the last one is filled up."""
        found = {}
        for spec in inputs:
            rows = feed[spec.name]
            missing = self.request.spec.batch.optimum - len(rows) if isinstance(spec.shape[0], int) else 0
            if missing:
                rows = np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])
            found[spec.name] = rows.astype(spec.dtype, copy=False)
        return found

    def _compared(self, judged: Sequence[tuple[Row, Predictions | None]]) -> Iterator[AccuracyRow]:
        first = next((found for _, found in judged if found is not None), None)
        for row, found in judged:
            if found is None or first is None:
                yield AccuracyRow(row)
                continue
            flips = None if found is first else Flips.between(first, found)
            top5 = Share(found.within(TOP), len(found)) if self.images.classes > TOP else None
            yield AccuracyRow(self._gated(row, flips), Share(found.within(1), len(found)), top5, flips)

    def _gated(self, row: Row, flips: Flips | None) -> Row:
        limit = self.request.max_drop
        if limit is None or flips is None or flips.drop <= limit:
            return row
        reason = f"{flips.drop:.2f} points of top-1 lost, {limit:g} are allowed"
        return replace(row, parity=GateMissed(reason))

    def _conditions(self) -> AccuracyConditions:
        spec, images = self.request.spec, self.images
        calibration = self._calibration
        said = ""
        if spec.calibration.table is not None:
            said = f"table {spec.calibration.table}"
        elif calibration is not None:
            origin = spec.data or "demo images"
            said = f"{spec.calibration.method} over {len(calibration)} images of {origin}, none of which is judged here"
        return AccuracyConditions(
            model=self.exported.model.label,
            **self.exported.weights.facts(),
            data=images.source,
            preprocessing=images.preparation,
            classes=images.classes,
            network_classes=classes_of(self.exported),
            skipped=tuple(images.skipped),
            calibration=said,
            batch=spec.batch.optimum,
            threads=self.request.settings.worker_threads,
        )
