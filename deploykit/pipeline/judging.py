"""What a table holds its rows to: float64, the typed graph run literally, and onnxruntime's own quantiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from deploykit.backends import get_backend
from deploykit.backends.protocol import ORT_CPU, Feed
from deploykit.data.feeds import runs
from deploykit.errors import DeploykitError
from deploykit.graph import parse
from deploykit.loader import read_onnx
from deploykit.ort_session import compute, open_session
from deploykit.parity import (
    CHUNK,
    Limits,
    ParityResult,
    Reference,
    distance,
    file_reference,
    joined,
    judge,
    module_reference,
)
from deploykit.pipeline.artefacts import Artefacts
from deploykit.pipeline.inputs import Inputs
from deploykit.pipeline.stages import read_graph
from deploykit.pipeline.values import Built, Exported, Typed
from deploykit.precision.emulate import emulate_rounding, find_overflow, literal_graph
from deploykit.precision.yardstick import quantize_static
from deploykit.spec import Precision, TensorSpec
from deploykit.store import Writer

Array = np.ndarray[Any, Any]


@dataclass
class Judge:
    """Judges rows of one network on the same `images`: photographs first, `photographs` of them (or what stands for
    them), then white noise.

    The reference and each typed graph are run once, whatever the number of rows. `calibration` gives the images that
    INT8 was calibrated on.
    """

    artefacts: Artefacts
    exported: Exported
    images: Feed
    count: int
    photographs: int
    batch: int
    calibration: Inputs | None
    literal: dict[str, dict[str, Array]] = field(default_factory=dict)  # by digest of the typed graph
    yardsticks: dict[tuple[bool, bool], float] = field(default_factory=dict)  # dB, by symmetric activations, seven bits

    def verdict(self, built: Built, outputs: Sequence[Feed] | None) -> ParityResult:
        """Of the engine's `outputs`, or of its typed graph alone where they are None.

        FP32 and FP16 answer for all images, INT8 for photographs: it was calibrated on such.
        """
        precision = built.engine.precision
        shown = self.photographs if precision is Precision.INT8 else self.count
        engine = literal = None
        blame = ""
        if outputs is not None:
            engine = self._first(joined(outputs, self.exported.batch_axes), shown)
        if built.typed is not None:
            literal = self._first(self._literally(built.typed), shown)
            if precision is Precision.FP16 and not all(np.isfinite(array).all() for array in literal.values()):
                blame = self._overflow(built.typed)
        limits = Limits(
            precision,
            random_weights=self.exported.random_weights,
            yardstick_db=self._yardstick_db(built) if precision is Precision.INT8 else None,
        )
        exact, float32 = self._first(self.reference.exact, shown), self._first(self.reference.float32, shown)
        reference = replace(self.reference, exact=exact, float32=float32)
        return judge(engine, literal, reference, limits, blame=blame)

    def feeds(self, inputs: Sequence[TensorSpec]) -> list[Feed]:
        """The images in batches, as an engine's inputs take them."""
        return runs(self.images, inputs, self.batch)

    @property
    def reference(self) -> Reference:
        """Raises ExecutionFailed or BuildFailed, each time anew, where nothing can compute it."""
        if isinstance(self._reference, DeploykitError):
            raise self._reference
        return self._reference

    @cached_property
    def _reference(self) -> Reference | DeploykitError:
        size = self.exported.run_length(self.batch, CHUNK)
        with self.artefacts.timed("reference in float64"):
            try:
                return reference_outputs(self.exported, runs(self.images, self.exported.inputs, size))
            except DeploykitError as error:
                return error

    def _first(self, outputs: Mapping[str, Array], shown: int) -> dict[str, Array]:
        """What belongs to the first `shown` images; an output that has not one row per image is cut in proportion."""
        return {name: array[: len(array) * shown // self.count] for name, array in outputs.items()}

    def _literally(self, typed: Typed) -> dict[str, Array]:
        """The typed graph's outputs, executed as written."""
        digest, precision = typed.graph.digest, typed.graph.precision
        names = [spec.name for spec in typed.graph.outputs]
        if digest not in self.literal:
            with self.artefacts.timed(f"run the {precision} graph literally"):
                session = open_session(literal_graph(read_graph(typed.graph.path), precision), optimise=False)
                answers = [compute(session, names, feed) for feed in self._feeds_of(typed)]
                self.literal[digest] = joined(answers, self.exported.batch_axes)
        return self.literal[digest]

    def _overflow(self, typed: Typed) -> str:
        emulated = emulate_rounding(read_graph(typed.graph.path))
        sites = (find_overflow(emulated, feed) for feed in self._feeds_of(typed))
        return next((f"float16 overflow in {site}" for site in sites if site), "")

    def _feeds_of(self, typed: Typed) -> list[Feed]:
        return self.feeds(typed.graph.inputs)

    def _yardstick_db(self, built: Built) -> float | None:
        """The SQNR that onnxruntime's own quantiser reaches on the same images with the same kind of activations, dB.

        Asked for random weights only, where no fixed limit means anything.
        """
        placement = get_backend(built.engine.backend).placement
        if placement is None or self.calibration is None or not self.exported.random_weights:
            return None
        kind = placement.symmetric, placement.weight_limit < ORT_CPU.weight_limit
        if kind not in self.yardsticks:
            self.yardsticks[kind] = self._quantised_db(self.calibration, symmetric=kind[0], seven_bits=kind[1])
        return self.yardsticks[kind]

    def _quantised_db(self, calibration: Inputs, *, symmetric: bool, seven_bits: bool) -> float:
        """Run as it is written, in float between Q and DQ, so that it does not depend on this CPU's kernels."""

        def make(writer: Writer) -> dict[str, Any]:
            with self.artefacts.timed("quantise with onnxruntime for comparison"):
                network = read_graph(self.exported.path)
                content = quantize_static(network, calibration.feeds(), symmetric=symmetric, seven_bits=seven_bits)
            writer.write("model.onnx", content)
            return {}

        parts = {
            "graph": self.exported.digest,
            "data": calibration.digest,
            "symmetric": symmetric,
            "seven_bits": seven_bits,
        }
        entry, _ = self.artefacts.get_or_make("yardstick", parts, make, request=parts)
        session = open_session(entry.path("model.onnx"), optimise=False)
        size = self.exported.run_length(self.batch, 1)
        shown = runs(self.images, self.exported.inputs, size)[: self.photographs // size]
        names, axes = list(self.reference.exact), self.exported.batch_axes
        found = joined([compute(session, names, feed) for feed in shown], axes)
        exact = self._first(self.reference.exact, self.photographs)
        return min(distance(found[name], exact[name]).sqnr_db for name in exact)


def reference_outputs(exported: Exported, feeds: Sequence[Feed]) -> Reference:
    """Of the module in float64, or of an `.onnx` file as it came, so that a wrong rewrite of it shows.

    Raises as `file_reference`.
    """
    if exported.module is None:
        file = read_onnx(Path(exported.model.name))
        return file_reference(file, parse(file), feeds, exported.batch_axes)
    names = tuple(output.name for output in exported.outputs)
    return module_reference(exported.module.load(), feeds, names, exported.batch_axes)
