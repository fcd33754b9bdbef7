"""ONNX Runtime on the typed graph, with IO binding: the CUDA provider where there is a GPU, else the CPU.

ONNX Runtime falls back to the CPU silently, so the row names the provider that really loaded. On a CPU it computes
FP16 nodes in float32 and drops the casts between them: such an engine says so in its note.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

import numpy as np

from deploykit.backends.device import find_gpu
from deploykit.backends.feed import check_feed
from deploykit.backends.protocol import ORT_CPU, TENSORRT, Engine, Feed, Placement, Progress, Reason, Source
from deploykit.errors import BackendMissing, ExecutionFailed
from deploykit.ort_session import open_session
from deploykit.spec import BuildSpec, Precision


class OnnxRuntimeBackend:
    name = "ort"
    compiles = False

    @property
    def placement(self) -> Placement | None:
        return TENSORRT if find_gpu() else ORT_CPU

    def unavailable(self) -> Reason | None:
        if find_spec("onnxruntime") is None:
            return Reason("ONNX Runtime is not installed", "pip install onnxruntime-gpu (or onnxruntime)")
        return None

    def supports(self, source: Source, precision: Precision) -> Reason | None:  # noqa: ARG002 - any typed graph will do
        return None if source.typed else Reason("ONNX Runtime runs a typed graph, and there is none")

    def build(
        self,
        source: Source,
        precision: Precision,
        spec: BuildSpec,  # noqa: ARG002 - the session is built when it is opened
        progress: Progress | None = None,  # noqa: ARG002
    ) -> Engine:
        if reason := self.unavailable() or self.supports(source, precision):
            raise BackendMissing(reason.what, hint=reason.fix)
        typed = source.typed
        assert typed is not None  # noqa: S101 - supports() has just said so
        provider = "CUDAExecutionProvider" if find_gpu() else "CPUExecutionProvider"
        in_float32 = precision is Precision.FP16 and provider == "CPUExecutionProvider"
        return Engine(
            backend=self.name,
            flavour=f"onnxruntime {_version()} {provider}",
            precision=precision,
            inputs=typed.inputs,
            outputs=typed.outputs,
            note="computed in float32" if in_float32 else "",
            path=typed.path,
            typed_digest=typed.digest,
        )

    def open(self, engine: Engine, *, threads: int = 0) -> OnnxRuntimeSession:
        return OnnxRuntimeSession(engine, threads=threads)


class OnnxRuntimeSession:
    def __init__(self, engine: Engine, *, threads: int = 0) -> None:
        if engine.path is None:
            raise BackendMissing("this engine holds no ONNX file")
        self.inputs, self.outputs = engine.inputs, engine.outputs
        wanted = engine.flavour.rpartition(" ")[2]
        self.device = "cuda" if wanted == "CUDAExecutionProvider" else "cpu"
        self.session = open_session(engine.path, threads=threads, provider=wanted)
        loaded = self.session.get_providers()[0]
        if loaded != wanted:
            raise BackendMissing(
                f"ONNX Runtime loaded {loaded}, not {wanted}", hint="check CUDA and cuDNN with `deploykit doctor`"
            )

    def run(self, feed: Feed) -> dict[str, np.ndarray[Any, Any]]:
        bound = self.bind(feed)
        bound.launch()
        bound.synchronize()
        return bound.fetch()

    def bind(self, feed: Feed) -> OnnxRuntimeBound:
        check_feed(self.inputs, feed)
        return OnnxRuntimeBound(self, feed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self.session


class OnnxRuntimeBound:
    def __init__(self, session: OnnxRuntimeSession, feed: Feed) -> None:
        import onnxruntime as ort

        self._session = session
        self._binding = session.session.io_binding()
        for spec in session.inputs:
            value = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(feed[spec.name]), session.device, 0)
            self._binding.bind_ortvalue_input(spec.name, value)
        for spec in session.outputs:
            self._binding.bind_output(spec.name, session.device)

    def launch(self) -> None:
        try:
            self._session.session.run_with_iobinding(self._binding)
        except Exception as error:
            raise ExecutionFailed(f"ONNX Runtime failed: {str(error).splitlines()[0]}") from error

    def synchronize(self) -> None:
        self._binding.synchronize_outputs()

    def device_ms(self) -> float | None:
        return None

    def fetch(self) -> dict[str, np.ndarray[Any, Any]]:
        names = [spec.name for spec in self._session.outputs]
        return dict(zip(names, self._binding.copy_outputs_to_cpu(), strict=True))


def _version() -> str:
    for package in ("onnxruntime-gpu", "onnxruntime"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "unknown"
