"""A backend that needs nothing: it computes no network, yet obeys every rule of the protocol.

The whole pipeline runs on it in milliseconds, on any machine. Each output is a fixed function of the image alone,

    y[n, k] = cos(f_k * p_n + g_k),   p_n = mean over the inputs' values x_i of x_i * cos(i)   (float64)

with f and g seeded by the output's name, so outputs vary over images, not over runs, batches or machines' threads. In
FP16 y is rounded to float16, in INT8 to multiples of 1/127, so precision costs something here too.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

from deploykit.backends.feed import check_feed
from deploykit.backends.protocol import (
    Engine,
    Source,
    TypedGraph,
)
from deploykit.backends.session import BindingSession
from deploykit.host import installed_version
from deploykit.spec import (
    TENSORRT,
    EngineSettings,
    Feed,
    Placement,
    Precision,
    Progress,
    Reason,
    TensorSpec,
)
from deploykit.spec.arrays import Array


class NullBackend:
    """A backend that runs no network, so that a whole pipeline runs in a test in milliseconds."""

    name = "null"
    compiles = False
    libraries: tuple[str, ...] = ()
    runs_module = False
    placement: Placement | None = TENSORRT

    def unavailable(self) -> Reason | None:
        return None

    def supports(self, source: Source) -> Reason | None:  # noqa: ARG002 - any will do
        return None

    def build(
        self,
        source: Source,
        settings: EngineSettings,  # noqa: ARG002 - nothing is compiled
        progress: Progress | None = None,
    ) -> Engine:
        if progress:
            progress("build null", 1, 1)
        return Engine(
            backend=self.name,
            flavour=f"deploykit {installed_version('deploykit') or 'of unknown version'} null",
            precision=source.precision,
            inputs=source.inputs,
            outputs=source.outputs,
            note="computes no network",
            typed_digest=source.digest if isinstance(source, TypedGraph) else None,
        )

    def open(self, engine: Engine, *, threads: int = 0) -> NullSession:  # noqa: ARG002 - it uses the caller's thread
        return NullSession(engine)


class NullSession(BindingSession):
    """Answers a smooth function of the inputs, in the engine's precision."""

    def __init__(self, engine: Engine) -> None:
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.precision = engine.precision

    def bound(self, feed: Feed) -> NullBound:
        return NullBound(self, feed, check_feed(self.inputs, feed))

    def free(self) -> None:
        """It holds nothing."""


class NullBound:
    """The inputs of one run, and the answers to them."""

    def __init__(self, session: NullSession, feed: Feed, batch: int) -> None:
        self._session = session
        self._images = [np.asarray(feed[spec.name], np.float64).reshape(batch, -1) for spec in session.inputs]
        self._batch = batch
        self.results: dict[str, Array] = {}

    def launch(self) -> None:
        phase = np.zeros(self._batch)
        for images in self._images:
            phase += (images * np.cos(np.arange(images.shape[1]))).mean(axis=1)
        self.results = {spec.name: self._output(spec, phase) for spec in self._session.outputs}

    def synchronize(self) -> None:
        """Everything is done when `launch` returns."""

    def device_ms(self) -> float | None:
        return None

    def fetch(self) -> dict[str, Array]:
        return self.results

    def _output(self, spec: TensorSpec, phase: Array) -> Array:
        shape = spec.at_batch(self._batch)
        batched = bool(spec.shape) and isinstance(spec.shape[0], str)
        rows = phase[:, None] if batched else phase.mean().reshape(1, 1)
        columns = math.prod(shape) // len(rows)
        random = np.random.default_rng(zlib.crc32(spec.name.encode()))
        scale, shift = random.uniform(50, 500, columns), random.uniform(0, 2 * np.pi, columns)
        values = np.cos(scale * rows + shift)
        if self._session.precision is Precision.FP16:
            values = values.astype(np.float16)
        elif self._session.precision is Precision.INT8:
            values = np.rint(values * 127) / 127
        return values.reshape(shape).astype(spec.dtype)
