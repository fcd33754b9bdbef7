"""Rows side by side: build every backend at every precision, run what runs here, and judge it against float64.

`verify` computes outputs only; `bench` times the same rows in interleaved rounds. Both answer with one `Report`, in
which every requested row has its state and its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from deploykit.backends import get_backend
from deploykit.backends.protocol import Feed, Progress
from deploykit.bench import (
    BenchSettings,
    Measurement,
    RowJob,
    RowSamples,
    describe_inputs,
    fingerprint,
    latency,
    ratios_to_first,
    run_outputs,
    run_rows,
)
from deploykit.errors import BackendMissing, BuildFailed, GateFailed, UsageError
from deploykit.images import Skipped, assert_disjoint
from deploykit.ort_session import open_session
from deploykit.parity import Limits, ParityResult, Reference, distance, judge
from deploykit.pipeline.artefacts import Artefacts, Built, Exported, Typed, read_graph
from deploykit.pipeline.export_check import reference_outputs
from deploykit.report import Conditions, Report, Row
from deploykit.spec import BuildSpec, Precision
from deploykit.store import Writer

PHOTOGRAPHS, NOISE = 8, 4  # images behind a parity verdict
ROTATED = 4  # timed inputs that take turns
FAILED, PARITY_FAILED, NOTHING_AVAILABLE = 1, GateFailed.exit_code, BackendMissing.exit_code
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """`spec.precision` is replaced by each of `precisions`. `typed` is a typed graph to judge in place of our own."""

    spec: BuildSpec
    backends: tuple[str, ...]
    precisions: tuple[Precision, ...]
    settings: BenchSettings
    strict: bool = False
    typed: Path | None = None

    def __post_init__(self) -> None:
        if self.typed is not None and len(self.precisions) != 1:
            raise UsageError("--typed judges one graph", hint="give the one --precision that it is meant to be")


@dataclass
class _Line:
    """One row while it comes into being."""

    row: Row
    precision: Precision
    built: Built | None = None
    samples: RowSamples | None = None

    @property
    def runs_here(self) -> bool:
        return self.built is not None and self.built.engine.reason is None


def verify(artefacts: Artefacts, request: Request) -> Report:
    """Parity of every row; nothing is timed."""
    return _Comparison(artefacts, request).report(timed=False)


def bench(artefacts: Artefacts, request: Request) -> Report:
    """Parity and speed of every row."""
    return _Comparison(artefacts, request).report(timed=True)


def exit_code(report: Report) -> int:
    """1 when a row failed, 3 when parity or another gate did not hold, 4 when nothing was available, else 0."""
    states = {row.state for row in report.rows}
    gates = [row for row in report.rows if row.parity.get("verdict", "pass") != "pass"]
    broken = [row for row in report.rows if row.state == "failed" and row not in gates]
    if broken:
        return FAILED
    if gates:
        return PARITY_FAILED
    return NOTHING_AVAILABLE if states == {"unavailable"} else 0


@dataclass
class _Comparison:
    artefacts: Artefacts
    request: Request
    literal: dict[str, dict[str, Array]] = field(default_factory=dict)  # by digest of the typed graph
    yardsticks: dict[bool, float] = field(default_factory=dict)  # dB, by whether activations are symmetric
    skipped: tuple[Skipped, ...] = ()

    @property
    def progress(self) -> Progress:
        return self.artefacts.progress

    def report(self, *, timed: bool) -> Report:
        settings = self.request.settings
        machine = fingerprint(threads=settings.worker_threads, seed=settings.seed, tf32=self.request.spec.tf32)
        lines = _without_twins([self._build(name, kind) for name in self.request.backends for kind in self.precisions])
        running = [line for line in lines if line.runs_here]
        jobs = [self._job(line) for line in running]
        measurement = None
        if timed and jobs:
            measurement = run_rows(jobs, settings, self.progress)
        samples = measurement.rows if measurement else run_outputs(jobs, settings, self.progress)
        for line, found in zip(running, samples, strict=True):
            line.samples = found
        rows = tuple(self._finished(line) for line in lines)
        if measurement:
            rows = _with_ratios(rows, settings.seed)
        return Report(self._conditions(jobs, measurement, machine), machine, rows)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        return self.request.precisions

    def _build(self, name: str, precision: Precision) -> _Line:
        """Build one row; what a backend lacks or a compiler refuses becomes its state, a wrong request is raised."""
        spec = self.request.spec.with_precision(precision)
        row = Row(
            model=spec.model.label, backend=name, precision=precision.value, batch=spec.batch.optimum, state="measured"
        )
        try:
            typed = self.artefacts.adopt(self.request.typed, precision) if self.request.typed else None
            built = self.artefacts.build(spec, get_backend(name, strict=self.request.strict), typed=typed)
        except BackendMissing as error:
            return _Line(replace(row, state="unavailable", reason=str(error)), precision)
        except BuildFailed as error:
            return _Line(replace(row, state="failed", reason=str(error)), precision)
        except GateFailed as error:
            parity = {"verdict": "fail", "reason": str(error)}
            return _Line(replace(row, state="failed", reason=str(error), parity=parity), precision)
        engine = built.engine
        shown = replace(
            row,
            state="built" if engine.reason else "measured",
            reason=str(engine.reason or ""),
            flavour=engine.flavour,
            note=engine.note,
            typed_digest=engine.typed_digest,
            build_seconds=built.seconds if built.entry else None,
            cache_hit=built.hit,
            plan=engine.plan,
        )
        return _Line(shown, precision, built)

    @cached_property
    def exported(self) -> Exported:
        return self.artefacts.export(self.request.spec.model)

    @cached_property
    def photographs(self) -> Array:
        """Test photographs, enough for parity and for the timed inputs; none of them is a calibration photograph."""
        spec = self.request.spec
        count = max(PHOTOGRAPHS, ROTATED * spec.batch.optimum)
        images = self.artefacts.images(self.exported, "test", count, spec.data)
        self.skipped += images.skipped
        if Precision.INT8 in self.precisions:
            calibration = self.artefacts.images(self.exported, "calibration", spec.calibration_images, spec.data)
            assert_disjoint(calibration, images)
            self.skipped += calibration.skipped
        return np.concatenate(list(images.batches(spec.batch.optimum)))

    @cached_property
    def parity_images(self) -> Array:
        """PHOTOGRAPHS photographs, then NOISE images of seeded white noise."""
        shown = self.photographs[:PHOTOGRAPHS]
        noise = np.random.default_rng(self.request.settings.seed).standard_normal((NOISE, *shown.shape[1:]))
        return np.concatenate([shown, noise.astype(np.float32)])

    @cached_property
    def reference(self) -> Reference:
        with self.artefacts.timed("reference in float64"):
            return reference_outputs(self.exported, self.parity_images)

    def _job(self, line: _Line) -> RowJob:
        assert line.built is not None  # noqa: S101 - only rows that run here become jobs
        batch, engine = self.request.spec.batch.optimum, line.built.engine
        timed = [self.photographs[start : start + batch] for start in range(0, ROTATED * batch, batch)]
        parity = [self.parity_images[start : start + batch] for start in range(0, PHOTOGRAPHS + NOISE, batch)]
        name = f"{line.row.backend} {line.row.precision}"
        spec = engine.inputs[0]
        return RowJob(
            label=name,
            engine=replace(engine, log="", plan={}),
            feeds=tuple({spec.name: images.astype(spec.dtype)} for images in timed),
            parity=tuple({spec.name: images.astype(spec.dtype)} for images in parity),
        )

    def _finished(self, line: _Line) -> Row:
        """The row with what its worker gave, judged. A row that was only compiled is judged by its typed graph."""
        row, samples, built = line.row, line.samples, line.built
        if built is None:
            return row
        if samples is None:
            found = self._judge(built, line.precision, None) if built.typed else None
            return replace(row, parity=found.as_dict() if found else {})
        if samples.failure is not None:
            return replace(row, state="failed", reason=str(samples.failure))
        seed = self.request.settings.seed
        return replace(
            row,
            cold_ms=samples.cold_ms,
            latency_ms=latency(samples.blocks, seed=seed),
            device_ms=latency(samples.blocks, seed=seed, device=True),
            images_per_second=samples.throughput and samples.throughput * row.batch,
            blocks=samples.blocks,
            parity=self._judge(built, line.precision, samples.outputs).as_dict(),
        )

    def _judge(self, built: Built, precision: Precision, outputs: Sequence[Feed] | None) -> ParityResult:
        """FP32 and FP16 answer for photographs and noise, INT8 for photographs: it was calibrated on such."""
        shown = PHOTOGRAPHS if precision is Precision.INT8 else PHOTOGRAPHS + NOISE
        engine = literal = None
        blame = ""
        if outputs is not None:
            engine = {name: np.concatenate([part[name] for part in outputs])[:shown] for name in outputs[0]}
        if built.typed is not None and built.engine.typed_digest is not None:
            literal = {name: array[:shown] for name, array in self._literal(built.typed, precision).items()}
            if precision is Precision.FP16 and not all(np.isfinite(array).all() for array in literal.values()):
                blame = self._overflow(built.typed)
        reference = Reference(
            {name: array[:shown] for name, array in self.reference.exact.items()},
            {name: array[:shown] for name, array in self.reference.float32.items()},
            self.reference.source,
        )
        limits = Limits(
            precision,
            random_weights=built.exported.random_weights,
            yardstick_db=self._yardstick_db(built) if precision is Precision.INT8 else None,
        )
        return judge(engine, literal, reference, limits, blame=blame)

    def _literal(self, typed: Typed, precision: Precision) -> dict[str, Array]:
        """The typed graph's outputs, executed as written."""
        if typed.graph.digest not in self.literal:
            from deploykit.precision.emulate import literal_graph

            names = [spec.name for spec in typed.graph.outputs]
            with self.artefacts.timed(f"run the {precision} graph literally"):
                runner = open_session(literal_graph(read_graph(typed.graph.path), precision), optimise=False)
                found = [runner.run(names, feed) for feed in self._parity_feeds(typed)]
            joined = [np.concatenate(parts) for parts in zip(*found, strict=True)]
            self.literal[typed.graph.digest] = dict(zip(names, joined, strict=True))
        return self.literal[typed.graph.digest]

    def _overflow(self, typed: Typed) -> str:
        from deploykit.precision.emulate import emulate_rounding, find_overflow

        emulated = emulate_rounding(read_graph(typed.graph.path))
        sites = (find_overflow(emulated, feed) for feed in self._parity_feeds(typed))
        return next((f"float16 overflow in {site}" for site in sites if site), "")

    def _parity_feeds(self, typed: Typed) -> list[Feed]:
        spec, batch = typed.graph.inputs[0], self.request.spec.batch.optimum
        images = self.parity_images.astype(spec.dtype)
        return [{spec.name: images[start : start + batch]} for start in range(0, len(images), batch)]

    def _yardstick_db(self, built: Built) -> float | None:
        """The SQNR that ONNX Runtime's own quantiser reaches on the same images with the same kind of activations, dB.

        Asked for random weights only, where no fixed limit means anything.
        """
        placement = get_backend(built.engine.backend).placement
        if placement is None or not built.exported.random_weights:
            return None
        if placement.symmetric not in self.yardsticks:
            self.yardsticks[placement.symmetric] = self._quantised_by_onnxruntime(symmetric=placement.symmetric)
        return self.yardsticks[placement.symmetric]

    def _quantised_by_onnxruntime(self, *, symmetric: bool) -> float:
        from deploykit.precision.yardstick import quantize_static

        exported, spec = self.exported, self.request.spec
        images = self.artefacts.images(exported, "calibration", spec.calibration_images, spec.data)

        def make(writer: Writer) -> dict[str, Any]:
            with self.artefacts.timed("quantise with onnxruntime for comparison"):
                content = quantize_static(read_graph(exported.path), images.batches(1), symmetric=symmetric)
            writer.write("model.onnx", content)
            return {}

        parts = {"graph": exported.digest, "data": images.digest, "symmetric": symmetric}
        runner = open_session(self.artefacts.keep("yardstick", parts, make))
        name, worst = exported.inputs[0].name, []
        for output, exact in self.reference.exact.items():
            found = [runner.run([output], {name: self.parity_images[i : i + 1]})[0] for i in range(PHOTOGRAPHS)]
            worst.append(distance(np.concatenate(found), exact[:PHOTOGRAPHS]).sqnr_db)
        return min(worst)

    def _conditions(self, jobs: Sequence[RowJob], measurement: Measurement | None, machine: Any) -> Conditions:
        spec, settings = self.request.spec, self.request.settings
        weights = spec.model.weights.name if spec.model.weights else f"random weights, seed {spec.model.seed}"
        source = "the demo photographs" if spec.data is None else "the given images"
        timed = f"{describe_inputs(jobs[0].feeds, machine['cpu']['cache_bytes'])}; crops of {source}" if jobs else ""
        if self.skipped:
            timed += f"; {len(self.skipped)} skipped ({'; '.join(map(str, dict.fromkeys(self.skipped)))})"
        return Conditions(
            model=spec.model.label if spec.model.is_onnx else f"{spec.model.label} ({weights})",
            batch=spec.batch.optimum,
            threads=settings.worker_threads,
            tf32=spec.tf32,
            inputs=timed,
            copies="none inside the timed region (inputs and outputs are bound)" if measurement else "",
            stopped_by=measurement.stopped_by if measurement else "",
            rounds=measurement.rounds if measurement else 0,
            seconds=measurement.seconds if measurement else 0.0,
        )


def _without_twins(lines: list[_Line]) -> list[_Line]:
    """Where `trt` and `trt-rtx` were compiled by the same library they are one row, under the name asked for first."""
    kept: list[_Line] = []
    for line in lines:
        twins = {line.row.backend, *(other.row.backend for other in kept if _same_engine(line, other))}
        if not {"trt", "trt-rtx"} <= twins:
            kept.append(line)
    return kept


def _same_engine(one: _Line, other: _Line) -> bool:
    return (one.row.flavour, one.row.precision, one.row.typed_digest) == (
        other.row.flavour,
        other.row.precision,
        other.row.typed_digest,
    ) and bool(one.row.flavour)


def _with_ratios(rows: tuple[Row, ...], seed: int) -> tuple[Row, ...]:
    ratios = ratios_to_first([row.blocks if row.state == "measured" else () for row in rows], seed=seed)
    return tuple(replace(row, ratio_to_first=found) for row, found in zip(rows, ratios, strict=True))
