"""What a table holds its rows to: float64, the typed graph run literally, and onnxruntime's own quantiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from deploykit.backends import get_backend
from deploykit.backends.protocol import Feed
from deploykit.images import ImageSet
from deploykit.ort_session import open_session
from deploykit.parity import (
    Limits,
    ParityResult,
    Reference,
    distance,
    graph_reference,
    judge,
    module_reference,
)
from deploykit.pipeline.artefacts import Artefacts
from deploykit.pipeline.stages import read_graph
from deploykit.pipeline.values import Built, Exported, Typed
from deploykit.precision.emulate import emulate_rounding, find_overflow, literal_graph
from deploykit.precision.yardstick import quantize_static
from deploykit.spec import Precision
from deploykit.store import Writer

Array = np.ndarray[Any, Any]


@dataclass
class Judge:
    """Judges rows of one network on the same images: `images` is photographs first, `photographs` of them.

    The reference and each typed graph are run once, whatever the number of rows. `calibration` gives the images that
    INT8 was calibrated on.
    """

    artefacts: Artefacts
    exported: Exported
    images: Array
    photographs: int
    batch: int
    calibration: ImageSet | None
    literal: dict[str, dict[str, Array]] = field(default_factory=dict)  # by digest of the typed graph
    yardsticks: dict[bool, float] = field(default_factory=dict)  # dB, by whether activations are symmetric

    def verdict(self, built: Built, outputs: Sequence[Feed] | None) -> ParityResult:
        """Of the engine's `outputs`, or of its typed graph alone where they are None.

        FP32 and FP16 answer for all images, INT8 for photographs: it was calibrated on such.
        """
        precision = built.engine.precision
        shown = self.photographs if precision is Precision.INT8 else len(self.images)
        engine = literal = None
        blame = ""
        if outputs is not None:
            engine = {name: np.concatenate([part[name] for part in outputs])[:shown] for name in outputs[0]}
        if built.typed is not None:
            literal = {name: array[:shown] for name, array in self._literally(built.typed).items()}
            if precision is Precision.FP16 and not all(np.isfinite(array).all() for array in literal.values()):
                blame = self._overflow(built.typed)
        limits = Limits(
            precision,
            random_weights=self.exported.random_weights,
            yardstick_db=self._yardstick_db(built) if precision is Precision.INT8 else None,
        )
        return judge(engine, literal, _first(self.reference, shown), limits, blame=blame)

    def feeds(self, name: str, dtype: str) -> list[Feed]:
        """The images in batches, as an engine's input takes them."""
        images = self.images.astype(dtype)
        return [{name: images[start : start + self.batch]} for start in range(0, len(images), self.batch)]

    @cached_property
    def reference(self) -> Reference:
        with self.artefacts.timed("reference in float64"):
            return reference_outputs(self.exported, self.images)

    def _literally(self, typed: Typed) -> dict[str, Array]:
        """The typed graph's outputs, executed as written."""
        digest, precision, names = (
            typed.graph.digest,
            typed.graph.precision,
            [spec.name for spec in typed.graph.outputs],
        )
        if digest not in self.literal:
            with self.artefacts.timed(f"run the {precision} graph literally"):
                runner = open_session(literal_graph(read_graph(typed.graph.path), precision), optimise=False)
                found = [runner.run(names, feed) for feed in self._feeds_of(typed)]
            joined = (np.concatenate(parts) for parts in zip(*found, strict=True))
            self.literal[digest] = dict(zip(names, joined, strict=True))
        return self.literal[digest]

    def _overflow(self, typed: Typed) -> str:
        emulated = emulate_rounding(read_graph(typed.graph.path))
        sites = (find_overflow(emulated, feed) for feed in self._feeds_of(typed))
        return next((f"float16 overflow in {site}" for site in sites if site), "")

    def _feeds_of(self, typed: Typed) -> list[Feed]:
        spec = typed.graph.inputs[0]
        return self.feeds(spec.name, spec.dtype)

    def _yardstick_db(self, built: Built) -> float | None:
        """The SQNR that onnxruntime's own quantiser reaches on the same images with the same kind of activations, dB.

        Asked for random weights only, where no fixed limit means anything.
        """
        placement = get_backend(built.engine.backend).placement
        if placement is None or self.calibration is None or not self.exported.random_weights:
            return None
        if placement.symmetric not in self.yardsticks:
            self.yardsticks[placement.symmetric] = self._quantised_db(self.calibration, symmetric=placement.symmetric)
        return self.yardsticks[placement.symmetric]

    def _quantised_db(self, calibration: ImageSet, *, symmetric: bool) -> float:
        def make(writer: Writer) -> dict[str, Any]:
            with self.artefacts.timed("quantise with onnxruntime for comparison"):
                content = quantize_static(read_graph(self.exported.path), calibration.batches(1), symmetric=symmetric)
            writer.write("model.onnx", content)
            return {}

        parts = {"graph": self.exported.digest, "data": calibration.digest, "symmetric": symmetric}
        entry, _ = self.artefacts.get_or_make("yardstick", parts, make, request=parts)
        runner = open_session(entry.path("model.onnx"))
        name, worst = self.exported.inputs[0].name, []
        for output, exact in self.reference.exact.items():
            shown = (self.images[index : index + 1] for index in range(self.photographs))
            found = np.concatenate([runner.run([output], {name: image})[0] for image in shown])
            worst.append(distance(found, exact[: self.photographs]).sqnr_db)
        return min(worst)


def reference_outputs(exported: Exported, images: Array) -> Reference:
    """Of the module in float64, or of the graph where an `.onnx` file has no module."""
    if exported.module is None:
        return graph_reference(read_graph(exported.path), {exported.inputs[0].name: images})
    return module_reference(exported.module.load(), images, tuple(output.name for output in exported.outputs))


def _first(reference: Reference, count: int) -> Reference:
    """The same reference for the first `count` images."""
    return Reference(
        {name: array[:count] for name, array in reference.exact.items()},
        {name: array[:count] for name, array in reference.float32.items()},
        reference.source,
    )
