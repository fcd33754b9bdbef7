"""What a table holds its rows to: float64, the typed graph run literally, and onnxruntime's own quantizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from deploykit.backends import get_backend
from deploykit.data.feeds import runs
from deploykit.data.inputs import Inputs
from deploykit.errors import DeploykitError, ExecutionFailed
from deploykit.graph import parse
from deploykit.io.loader import read_onnx
from deploykit.ort_session import compute, open_session
from deploykit.parity import (
    CHUNK,
    Kind,
    Limits,
    ParityResult,
    Reference,
    apart,
    baseline_db,
    coordinate_noise,
    distance,
    file_reference,
    joined,
    judge,
    module_reference,
    output_kinds,
    sqnr_of_images,
    too_weak,
)
from deploykit.precision.emulate import emulate_rounding, find_overflow, literal_graph
from deploykit.precision.int8.baseline import quantize_static
from deploykit.precision.overflow import overflow
from deploykit.precision.reports import Float16Report
from deploykit.spec import (
    ORT_CPU,
    Feed,
    Precision,
    TensorSpec,
)
from deploykit.spec.arrays import Array
from deploykit.store import Writer
from deploykit.workflow.engine import Built
from deploykit.workflow.export import Exported
from deploykit.workflow.transforms import read_graph
from deploykit.workflow.typed import Typed
from deploykit.workflow.workspace import Workspace

HALVES = {"float16", "bfloat16"}
PROBED = 2  # images that show whether the rows of a batch depend on each other
BATCH_NOISE, BATCH_MATTERS = 1e-5, 1e-3  # relative L2 between batch sizes: above noise; worth saying

OVERFLOWING = 4  # runs on which an overflow is looked for


@dataclass(frozen=True, slots=True)
class Nature:
    """What a network is before any typing of ours, as far as its verdicts depend on it.

    `kinds` is what its graph says of its outputs. `quantized`: it rounds to integers itself. `half`: it has float16 or
    bfloat16 inside. `noise` is what float32 may cost (relative L2) whatever one run of it shows.
    """

    kinds: Mapping[str, Kind]
    quantized: bool
    half: bool
    noise: float

    def computes(self, named: Precision) -> Precision:
        """The type that a row's limits follow: a file in float16 computes in it under the name of FP32, too."""
        return Precision.FP16 if self.half and named is Precision.FP32 else named

    def limits(self, named: Precision, *, random_weights: bool) -> Limits:
        return Limits(self.computes(named), random_weights=random_weights, quantized=self.quantized)


def nature_of(exported: Exported) -> Nature:
    half = HALVES & set(exported.facts.computes_in)
    graph = read_graph(exported.path)
    return Nature(output_kinds(graph), exported.quantized, bool(half), coordinate_noise(graph))


@dataclass
class Judge:
    """Judges rows of one network on the same `images`, `count` in all: the first `without_noise` of them are those of
    the data, or what stands in for it, and white noise follows.

    The reference and each typed graph are run once, whatever the number of rows. `calibration` gives the images that
    INT8 was calibrated on.
    """

    workspace: Workspace
    exported: Exported
    images: Feed
    count: int
    without_noise: int
    batch: int
    calibration: Inputs | None
    literal: dict[str, dict[str, Array]] = field(default_factory=dict)  # by digest of the typed graph
    baselines: dict[tuple[bool, bool], dict[str, Array] | DeploykitError] = field(default_factory=dict)
    """What ONNX Runtime's quantizer answers, by symmetric activations and seven bits."""

    def verdict(self, built: Built, outputs: Sequence[Feed] | None) -> ParityResult:
        """The verdict on the engine's `outputs`, or on its typed graph alone where they are None.

        FP32 and FP16 are judged on all images, INT8 on those of the data: it was calibrated on such. Fewer outputs than
        there are feeds are those of the first images, and the verdict is on these.
        """
        precision = self.precision_of(built)
        shown = self.without_noise if built.engine.precision is Precision.INT8 else self.count
        reference = self.reference
        engine = literal = None
        blame = ""
        if outputs is not None:
            answered = min(self.count, len(outputs) * self.exported.run_length(self.batch, self.batch))
            shown = min(shown, answered)
            engine = self._first(joined(outputs, self.exported.batch_axes, self._apart), shown, of=answered)
        if built.typed is not None:
            literal = self._first(self._literally(built.typed, precision), shown)
            if precision is Precision.FP16 and not all(_finite(array) for array in literal.values()):
                blame = self._overflow(built.typed)
        exact, float32 = self._first(reference.exact, shown), self._first(reference.float32, shown)
        limits = self._limits(built, precision, exact, shown)
        single = replace(reference, exact=exact, float32=float32)
        found = judge(engine, literal, single, limits, kinds=self._nature.kinds, blame=blame)
        if precision is not Precision.FP16 or found.verdict != "fail" or blame or built.typed is None:
            return found
        return _with_cause(found, self._overflow(built.typed))

    def _limits(self, built: Built, precision: Precision, exact: Mapping[str, Array], shown: int) -> Limits:
        limits = self._nature.limits(built.engine.precision, random_weights=self.exported.random_weights)
        if precision is not Precision.INT8 or self._nature.quantized:
            return limits
        baseline = self._baseline(built)
        if isinstance(baseline, DeploykitError):
            return replace(limits, no_baseline=str(baseline))
        baseline = self._first(baseline, shown, of=self.without_noise)
        if baseline and (weak := too_weak(baseline, dict(exact), self._nature.kinds)):
            return replace(limits, no_baseline=weak)
        reached = baseline_db(baseline, dict(exact), self._nature.kinds) if baseline else None
        return replace(limits, baseline=baseline, baseline_db=reached)

    @cached_property
    def _nature(self) -> Nature:
        return nature_of(self.exported)

    @property
    def _apart(self) -> frozenset[str]:
        """Outputs whose runs are held apart."""
        return frozenset(name for name, array in self.reference.exact.items() if apart(array))

    def feeds(self, inputs: Sequence[TensorSpec]) -> list[Feed]:
        """The images in batches, as an engine's inputs take them."""
        return runs(self.images, inputs, self.batch)

    def precision_of(self, built: Built) -> Precision:
        """The type whose limits a row is held to."""
        return self._nature.computes(built.engine.precision)

    def telling(self, typed: Typed, precision: Precision, most: int) -> list[int]:
        """The runs, by number, on whose images the typed graph is furthest from float64, the furthest first."""
        shown = self.without_noise if typed.graph.precision is Precision.INT8 else self.count
        size = self.exported.run_length(self.batch, 1)
        literal, exact = (
            self._first(found, shown) for found in (self._literally(typed, precision), self.reference.exact)
        )
        worst = np.full(shown, np.inf)
        for name, array in exact.items():
            like = array.dtype.kind == "f" and literal[name].shape == array.shape and len(array) == shown
            if like:
                found = sqnr_of_images(literal[name], array)
                worst = np.minimum(worst, np.where(np.isnan(found), -np.inf, found))
        order = [int(number) // size for number in np.argsort(worst, kind="stable")]
        return list(dict.fromkeys(order))[:most]

    def run_of(self, number: int, inputs: Sequence[TensorSpec]) -> Feed:
        """One of the runs that `telling` names, as a graph's inputs take it."""
        return runs(self.images, inputs, self.exported.run_length(self.batch, 1))[number]

    @property
    def reference(self) -> Reference:
        """Raises ExecutionFailed or BuildFailed, each time anew, where nothing can compute it."""
        if isinstance(self._reference, DeploykitError):
            raise self._reference
        return self._reference

    @cached_property
    def _reference(self) -> Reference | DeploykitError:
        """Run in batches as the rows are, where that matters or costs nothing."""
        try:
            size, note = self._reference_run()
            with self.workspace.timed("reference in float64"):
                feeds = runs(self.images, self.exported.inputs, size)
                found = reference_outputs(self.exported, feeds, kinds=self._nature.kinds)
            least = max(found.least_floor, self._nature.noise)
            return replace(found, source=found.source + note, least_floor=least)
        except DeploykitError as error:
            return error

    def _reference_run(self) -> tuple[int, str]:
        """How many images the reference runs at a time, and what the rows say of it."""
        size = self.exported.run_length(self.batch, min(CHUNK, self.batch))
        if self.exported.fixed_batch is not None or self.count < PROBED:
            return size, ""
        gap = self._batch_gap()
        if gap < BATCH_NOISE:
            return size, ""
        said = f"; rows of a batch depend on each other: all ran in batches of {self.batch}"
        return self.batch, said if gap > BATCH_MATTERS else ""

    def _batch_gap(self) -> float:
        """How far the answers for some images, one batch, are from those for the same ones alone, relative L2."""
        names = [spec.name for spec in self.exported.outputs]
        try:
            with self.workspace.timed("run at two batch sizes"):
                session = open_session(self.exported.path, optimize=False)
                shown = runs(self.images, self.exported.inputs, PROBED)[0]
                together = compute(session, names, shown)
                alone = [compute(session, names, feed) for feed in runs(shown, self.exported.inputs, 1)]
        except ExecutionFailed:  # it may run in the row's batches all the same
            return BATCH_NOISE
        gaps = [0.0]
        for name, batch in together.items():
            parts = [np.atleast_1d(answer[name]) for answer in alone]
            like = len({part.shape[1:] for part in parts}) == 1 and np.shape(batch) == np.concatenate(parts).shape
            if not like or name in self._nature.kinds:
                gaps.append(BATCH_NOISE)  # whether it matters cannot be told from sets
                continue
            each = np.concatenate(parts)
            if batch.dtype.kind != "f":
                gaps.append(0.0 if np.array_equal(batch, each) else BATCH_NOISE)
            elif _finite(batch) and _finite(each):
                gaps.append(distance(batch, each).relative_l2)
        return max(gaps)

    def _first(self, outputs: Mapping[str, Array], shown: int, *, of: int | None = None) -> dict[str, Array]:
        """What belongs to the first `shown` images of all, or `of` so many.

        An output that has not one row per image is cut in proportion.
        """
        return {name: array[: len(array) * shown // (of or self.count)] for name, array in outputs.items()}

    def _literally(self, typed: Typed, precision: Precision) -> dict[str, Array]:
        """The typed graph's outputs, executed as written."""
        digest = typed.graph.digest
        names = [spec.name for spec in typed.graph.outputs]
        if digest not in self.literal:
            with self.workspace.timed(f"run the {typed.graph.precision} graph without optimizations"):
                session = open_session(literal_graph(read_graph(typed.graph.path), precision), optimize=False)
                answers = [compute(session, names, feed) for feed in self._feeds_of(typed)]
                self.literal[digest] = joined(answers, self.exported.batch_axes, self._apart)
        return self.literal[digest]

    def _overflow(self, typed: Typed) -> str:
        """The place where float16 overflows on a few of the images, and the option that cures it in a graph typed here.

        "" where it does nowhere, or where that cannot be told.
        """
        report = typed.report
        try:
            if report is None:
                emulated = emulate_rounding(read_graph(typed.graph.path))
                sites = (find_overflow(emulated, feed) for feed in self._feeds_of(typed)[:OVERFLOWING])
                return next((f"float16 overflow in {site}" for site in sites if site), "")
            feeds = self.feeds(self.exported.inputs)[:OVERFLOWING]
            kept = [item.node for item in report.float32] if isinstance(report, Float16Report) else []
            found = overflow(read_graph(self.exported.path), feeds, keep=kept)
        except DeploykitError:
            return ""
        return str(found) if found else ""

    def _feeds_of(self, typed: Typed) -> list[Feed]:
        return self.feeds(typed.graph.inputs)

    def _baseline(self, built: Built) -> dict[str, Array] | DeploykitError:
        """What onnxruntime's own quantizer answers on the same images with the same kind of activations.

        Asked for random weights only, where no fixed limit means anything; nothing otherwise. That it fails is no fault
        of the row: the error is handed back.
        """
        placement = get_backend(built.engine.backend).placement
        if placement is None or self.calibration is None or not self.exported.random_weights:
            return {}
        kind = placement.symmetric, placement.weight_limit < ORT_CPU.weight_limit
        if kind not in self.baselines:
            try:
                self.baselines[kind] = self._quantized_outputs(self.calibration, symmetric=kind[0], seven_bits=kind[1])
            except DeploykitError as error:
                self.baselines[kind] = error
        return self.baselines[kind]

    def _quantized_outputs(self, calibration: Inputs, *, symmetric: bool, seven_bits: bool) -> dict[str, Array]:
        """Run as it is written, in float between Q and DQ, so that it does not depend on this CPU's kernels."""

        def make(writer: Writer) -> None:
            with self.workspace.timed("quantize with onnxruntime for comparison"):
                network = read_graph(self.exported.path)
                content = quantize_static(network, calibration.feeds(), symmetric=symmetric, seven_bits=seven_bits)
            writer.write("model.onnx", content)

        parts = {
            "graph": self.exported.digest,
            "data": calibration.digest,
            "symmetric": symmetric,
            "seven_bits": seven_bits,
        }
        entry, _ = self.workspace.get_or_make("baseline", parts, make, request=parts, files=("model.onnx",))
        session = open_session(entry.path("model.onnx"), optimize=False)
        names = list(self.reference.exact)
        answers = [compute(session, names, feed) for feed in self.feeds(self.exported.inputs)]
        return self._first(joined(answers, self.exported.batch_axes, self._apart), self.without_noise)


def reference_outputs(
    exported: Exported, feeds: Sequence[Feed], *, kinds: Mapping[str, Kind] | None = None
) -> Reference:
    """The outputs of the module in float64, or of an `.onnx` file as it came, so that a wrong rewrite of it shows.

    `kinds` are those of the graph's outputs. Raises as `file_reference` and `module_reference`.
    """
    selected = [name for name, kind in (kinds or {}).items() if kind.name == "selected"]
    if exported.module is None:
        file = read_onnx(Path(exported.model.name))
        return file_reference(file, parse(file), feeds, exported.batch_axes, selected)
    return module_reference(
        exported.module.load(),
        feeds,
        tuple(output.name for output in exported.outputs),
        axes=exported.batch_axes,
        exported=lambda: read_graph(exported.path),
        keep_apart=selected,
    )


def _finite(array: Array) -> bool:
    if apart(array):
        return all(_finite(run) for run in array)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _with_cause(found: ParityResult, cause: str) -> ParityResult:
    """The verdict, its failed outputs with what is known of why."""
    outputs = (
        replace(output, reason=f"{output.reason}; {cause}") if cause and output.verdict == "fail" else output
        for output in found.outputs
    )
    return replace(found, outputs=tuple(outputs))
