"""Rows side by side: build every backend at every precision, run what runs here, and judge it against float64.

`verify` computes outputs only; `bench` times the same rows in interleaved rounds. Both answer with one `Report`, in
which every requested row has its state and its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from deploykit.bench import (
    BenchSettings,
    Measurement,
    RowJob,
    describe_inputs,
    fingerprint,
    latency,
    ratios_to_first,
    run_outputs,
    run_rows,
)
from deploykit.data.feeds import joined_feeds, runs, whole_runs
from deploykit.data.images import assert_disjoint
from deploykit.data.inputs import (
    ImageInputs,
    Inputs,
    calibration_inputs,
    inputs_for,
    require_feedable,
    unprepared,
)
from deploykit.data.noise import can_draw, white_noise
from deploykit.data.preparation import image_axes
from deploykit.errors import BackendMissing, DeploykitError, UnsupportedGraph, UsageError
from deploykit.parity import Parity, ParityResult, Undecided
from deploykit.results.document import Conditions, Report
from deploykit.results.row import Row, State
from deploykit.spec import BuildSpec, Feed, Fusions, Precision
from deploykit.spec.shapes import End
from deploykit.workflow.engine import Built
from deploykit.workflow.export import Exported, export
from deploykit.workflow.judge import Judge
from deploykit.workflow.rows import Line, build_line, without_twins
from deploykit.workflow.settle import settled
from deploykit.workflow.typed import adopt
from deploykit.workflow.workspace import Workspace

PHOTOGRAPHS, NOISE = 8, 4  # images behind a parity verdict
ENDS: tuple[End, ...] = ("minimum", "maximum")
AT_ENDS = 2  # images at the smallest and at the largest sizes
ROTATED = 4  # timed inputs that take turns


@dataclass(frozen=True, slots=True)
class Request:
    """`spec.precision` is replaced by each of `precisions`. `typed` is a typed graph to judge in place of our own.

    `fusions` says how those of `spec` were decided, where they were searched for.
    """

    spec: BuildSpec
    backends: tuple[str, ...]
    precisions: tuple[Precision, ...]
    settings: BenchSettings
    strict: bool = False
    typed: Path | None = None
    fusions: str = ""

    def __post_init__(self) -> None:
        if self.typed is not None and len(self.precisions) != 1:
            raise UsageError("--typed judges one graph", hint="give the one --precision that it is meant to be")


def verify(workspace: Workspace, request: Request) -> Report:
    """Parity of every row; nothing is timed."""
    return _compare(workspace, request, timed=False)


def bench(workspace: Workspace, request: Request) -> Report:
    """Parity and speed of every row."""
    return _compare(workspace, request, timed=True)


def _compare(workspace: Workspace, request: Request, *, timed: bool) -> Report:
    request = replace(request, spec=settled(workspace, request.spec))
    request.spec.fusions.require_decided()
    said = str(request.spec.fusions) if request.spec.fusions != Fusions() else ""
    return _Comparison(workspace, request, timed, request.fusions or said).report()


@dataclass
class _Comparison:
    workspace: Workspace
    request: Request
    timed: bool
    fusions: str

    def report(self) -> Report:
        settings, progress = self.request.settings, self.workspace.progress
        machine = fingerprint(threads=settings.worker_threads, seed=settings.seed, tf32=self.request.spec.tf32)
        asked = [(name, precision) for name in self.request.backends for precision in self.request.precisions]
        lines = self._fed(without_twins([self._build(name, precision) for name, precision in asked]))
        running = [line for line in lines if line.runs]
        jobs = [self._job(line.row, line.built) for line in running if line.built]
        measurement = run_rows(jobs, settings, progress) if self.timed and jobs else None
        samples = measurement.rows if measurement else run_outputs(jobs, settings, progress)
        for line, found in zip(running, samples, strict=True):
            line.samples = found
        rows = tuple(self._finished(line) for line in lines)
        if measurement:
            rows = _with_ratios(rows, settings.seed)
        built = next((line.built for line in lines if line.built), None)
        return Report(self._conditions(jobs, measurement, machine, built), machine, rows)

    def _build(self, name: str, precision: Precision) -> Line:
        path = self.request.typed
        typed = adopt(self.workspace, path, self.exported, precision) if path else None
        spec = self.request.spec.with_precision(precision)
        return build_line(self.workspace, spec, name, strict=self.request.strict, typed=typed)

    @cached_property
    def exported(self) -> Exported:
        return export(self.workspace, self.request.spec.model, self.request.spec.fusions)

    def _fed(self, lines: list[Line]) -> list[Line]:
        """A network that nothing can be shown to is only compiled: rows that would run say so instead.

        Raises UnsupportedGraph where no row is left.
        """
        if not any(line.built for line in lines):
            return lines
        try:
            require_feedable(self.exported, self.request.spec.data)
        except UnsupportedGraph as error:
            fed = [
                Line(replace(line.row, state="unavailable", reason=str(error), note="")) if line.runs else line
                for line in lines
            ]
            if not any(line.built for line in fed):
                raise
            return fed
        return lines

    @cached_property
    def calibration(self) -> Inputs | None:
        """What INT8 is calibrated on; None where no row is INT8, the file came quantized, or there is nothing.

        Rows that have nothing to be calibrated on say so.
        """
        if Precision.INT8 not in self.request.precisions or self.exported.quantized:
            return None
        try:
            return calibration_inputs(self.exported, self.request.spec)
        except UnsupportedGraph:
            return None

    @cached_property
    def test(self) -> Inputs:
        """Images for parity and for the timed inputs; none of them is a calibration photograph."""
        spec, batch = self.request.spec, self.request.spec.batch.optimum
        count = max(PHOTOGRAPHS, ROTATED * batch) if self.timed else PHOTOGRAPHS
        images = inputs_for(self.exported, "test", count=count, batch=batch, data=spec.data)
        self.workspace.warn_once(unprepared(spec.model, images.preparation))
        if isinstance(self.calibration, ImageInputs) and isinstance(images, ImageInputs):
            assert_disjoint(self.calibration.images, images.images)
        return images

    @cached_property
    def images(self) -> Feed:
        with self.workspace.timed(f"cut {len(self.test)} test images"):
            return joined_feeds(list(self.test.feeds()))

    @cached_property
    def judge(self) -> Judge:
        """On PHOTOGRAPHS images, or as many as an archive has, and NOISE of seeded white noise, in whole batches."""
        inputs, run = self.exported.inputs, self.test.run
        shown, noise = min(whole_runs(PHOTOGRAPHS, run), len(self.test)), whole_runs(NOISE, run)
        photographs = joined_feeds(runs(self.images, inputs, run)[: shown // run])
        batch, ranges = self.request.spec.batch.optimum, self.request.spec.model.input_ranges
        if not all(can_draw(spec, ranges) for spec in inputs):  # nor was anything but given arrays shown
            return Judge(self.workspace, self.exported, photographs, shown, shown, batch, self.calibration)
        white = white_noise(inputs, count=noise, run=run, seed=self.request.settings.seed, ranges=ranges)
        images = joined_feeds([photographs, white])
        return Judge(self.workspace, self.exported, images, shown + noise, shown, batch, self.calibration)

    @cached_property
    def ends(self) -> dict[str, Judge]:
        """By what they are called, judges for the smallest and the largest sizes that a network leaves free.

        `bench` times the optimum alone.
        """
        return {name: found for name, found in self._at_ends.items() if isinstance(found, Judge)}

    @cached_property
    def _at_ends(self) -> dict[str, Judge | DeploykitError]:
        """Each end's judge, or why nothing can be shown there, which costs no row its verdict at the optimum."""
        found: dict[str, Judge | DeploykitError] = {}
        if self.timed or not any(spec.ranges for spec in self.exported.inputs):
            return found
        for end in ENDS:
            try:
                found[f"{end} sizes"] = self._judge_at(end)
            except DeploykitError as error:
                found[f"{end} sizes"] = error
        return found

    def _judge_at(self, end: End) -> Judge:
        """On images whose short side is resized to that of the input at least, whatever `resize=` says."""
        inputs = tuple(spec.fixed_at(end) for spec in self.exported.inputs)
        sized, spec = replace(self.exported, inputs=inputs), self.request.spec
        if (asked := sized.model.preprocess) and (axes := image_axes(sized)):
            filling = asked.filling(min(axes.height, axes.width))
            sized = replace(sized, model=replace(sized.model, preprocess=filling))
        batch = spec.batch.optimum
        given = spec.data if not isinstance(spec.data, Path) or spec.data.suffix != ".npz" else None  # of one size
        shown = inputs_for(sized, "test", count=AT_ENDS, batch=batch, data=given)
        images = joined_feeds(list(shown.feeds()))
        return Judge(self.workspace, sized, images, len(shown), len(shown), batch, self.calibration)

    def _job(self, row: Row, built: Built) -> RowJob:
        inputs, batch = built.engine.inputs, self.request.spec.batch.optimum
        timed = runs(self.images, inputs, batch)[:ROTATED] if self.timed else []
        shown = [feed for judge in (self.judge, *self.ends.values()) for feed in judge.feeds(inputs)]
        return RowJob(label=row.label, engine=built.engine, feeds=tuple(timed), parity=tuple(shown))

    def _finished(self, line: Line) -> Row:
        """The row with what its worker gave, judged. A row that was only compiled is judged by its typed graph."""
        row, samples, built = line.row, line.samples, line.built
        if built is None:
            return row
        if samples is None:
            nothing = Undecided("the row has neither an engine that runs here nor a typed graph")
            return replace(row, parity=self._parity(line, built) if built.typed else nothing)
        if samples.failure is not None:
            state: State = "unavailable" if isinstance(samples.failure, BackendMissing) else "failed"
            return replace(row, state=state, reason=str(samples.failure))
        seed = self.request.settings.seed
        return replace(
            row,
            note="; ".join(filter(None, (row.note, samples.remark))),
            cold_ms=samples.cold_ms,
            latency_ms=latency(samples.blocks, seed=seed),
            device_ms=latency(samples.blocks, seed=seed, device=True),
            images_per_second=samples.throughput and samples.throughput * row.batch,
            blocks=samples.blocks,
            parity=self._parity(line, built),
        )

    def _parity(self, line: Line, built: Built) -> Parity:
        """The verdict; what keeps it from being reached costs this row's verdict and no other row's figures.

        It is that of the optimum sizes, unless they pass and the ends of a range do not.
        """
        outputs = list(line.samples.outputs) if line.samples else None
        try:
            found = self._judged(self.judge, built, outputs)
            others = {name: self._judged(judge, built, outputs) for name, judge in self.ends.items()}
        except DeploykitError as error:
            return Undecided(str(error))
        for name, other in others.items():
            if found.verdict == "pass" and other.verdict != "pass":
                said = (replace(output, reason=f"at its {name}: {output.reason}") for output in other.outputs)
                return replace(other, outputs=tuple(said))
        return found

    @staticmethod
    def _judged(judge: Judge, built: Built, outputs: list[Feed] | None) -> ParityResult:
        """The verdict on the outputs that are this judge's, which are the next ones."""
        count = len(judge.feeds(built.engine.inputs))
        mine = None if outputs is None else [outputs.pop(0) for _ in range(count)]
        return judge.verdict(built, mine)

    def _preparation(self) -> str:
        """How images were prepared, if any were shown."""
        shown = vars(self).get("test")
        return str(shown.how) if isinstance(shown, ImageInputs) else ""

    def _conditions(
        self,
        jobs: Sequence[RowJob],
        measurement: Measurement | None,
        machine: Mapping[str, Any],
        built: Built | None,
    ) -> Conditions:
        """`built` is any of the rows: all have the same network."""
        spec, settings = self.request.spec, self.request.settings
        model, weights = (built.exported.model, built.exported.weights.facts()) if built else (spec.model, {})
        return Conditions(
            model=model.label,
            **weights,
            batch=spec.batch.optimum,
            threads=settings.worker_threads,
            tf32=spec.tf32,
            fusions=self.fusions,
            inputs=self._inputs(jobs, machine["cpu"]["cache_bytes"]),
            preprocessing=self._preparation(),
            copies="none inside the timed region (inputs and outputs are bound)" if measurement else "",
            stopped_by=measurement.stopped_by if measurement else "",
            rounds=measurement.rounds if measurement else 0,
            seconds=measurement.seconds if measurement else 0.0,
        )

    def _inputs(self, jobs: Sequence[RowJob], cache_bytes: int | None) -> str:
        if not jobs:
            return ""
        feeds = f"{describe_inputs(jobs[0].feeds, cache_bytes)}; " if self.timed else ""
        said = f"{feeds}{self.test.source}"
        said += "".join(f"; {text}" for text in self._said_of_ends())
        passed_over = (*self.test.skipped, *(self.calibration.skipped if self.calibration else ()))
        skipped = list(dict.fromkeys(passed_over))
        return f"{said}; {len(skipped)} skipped ({'; '.join(skipped)})" if skipped else said

    def _said_of_ends(self) -> Iterator[str]:
        if self.ends:
            yield f"parity also at its {' and '.join(self.ends)}"
        for name, found in self._at_ends.items():
            if isinstance(found, DeploykitError):
                yield f"parity not at its {name}: {found}"
            elif (there := found.exported.model.preprocess) and there != self.exported.model.preprocess:
                yield f"at its {name} images are resized to {there.resize}: resize= does not fill them"


def _with_ratios(rows: tuple[Row, ...], seed: int) -> tuple[Row, ...]:
    ratios = ratios_to_first([row.blocks if row.state == "measured" else () for row in rows], seed=seed)
    return tuple(replace(row, ratio_to_first=found) for row, found in zip(rows, ratios, strict=True))
