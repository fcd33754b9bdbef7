"""ONNX Runtime on the typed graph, with IO binding: the CUDA provider on a GPU (TF32 off), else the CPU provider.

The flavour names the provider, and a session on which another one loaded is rejected, never used. The CPU provider has
next to no float16 kernels: an FP16 graph runs there with float32 arithmetic, unrounded from node to node, so that its
row shows neither FP16's speed nor its error. The engine's note says so.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import numpy as np

from deploykit.backends.device import find_gpu
from deploykit.backends.feed import check_feed
from deploykit.backends.protocol import (
    Engine,
    Source,
    typed_or_reason,
)
from deploykit.backends.quoted import quoted
from deploykit.backends.session import BindingSession
from deploykit.errors import BackendMissing
from deploykit.host import installed_version, saturates_u8s8
from deploykit.ort_session import CPU, CUDA, open_session, optimized_in_full
from deploykit.spec import (
    ORT_CPU,
    ORT_CPU_7BIT,
    TENSORRT,
    EngineSettings,
    Feed,
    Placement,
    Precision,
    Progress,
    Reason,
)
from deploykit.spec.arrays import Array

INSTALL_ONNXRUNTIME = "pip install onnxruntime-gpu (or onnxruntime)"
BASIC = "ONNX Runtime's optimizer fails on this graph, so it ran at the basic level of optimization"


class OnnxRuntimeBackend:
    """ONNX Runtime, on CUDA where there is a GPU and the package for it, else on the CPU."""

    name = "ort"
    compiles = False
    libraries: tuple[str, ...] = ("onnxruntime-gpu", "onnxruntime")
    runs_module = False

    @property
    def placement(self) -> Placement | None:
        """ONNX Runtime's Q/DQ scheme; on a CPU whose integer kernels saturate, with weights of seven bits."""
        if _provider() == CUDA:
            return TENSORRT
        return ORT_CPU_7BIT if saturates_u8s8() else ORT_CPU

    def unavailable(self) -> Reason | None:
        if find_spec("onnxruntime") is None:
            return Reason("ONNX Runtime is not installed", INSTALL_ONNXRUNTIME)
        return None

    def supports(self, source: Source) -> Reason | None:
        found = typed_or_reason(source, "ONNX Runtime runs")
        return found if isinstance(found, Reason) else None

    def build(
        self,
        source: Source,
        settings: EngineSettings,  # noqa: ARG002 - the session is built when it is opened
        progress: Progress | None = None,  # noqa: ARG002
    ) -> Engine:
        typed = typed_or_reason(source, "ONNX Runtime runs")
        if isinstance(typed, Reason):
            raise BackendMissing(typed.what, hint=typed.fix)
        provider = _provider()
        in_float32 = typed.precision is Precision.FP16 and provider == CPU
        release = installed_version("onnxruntime-gpu", "onnxruntime") or "of unknown version"
        return Engine(
            backend=self.name,
            flavour=f"onnxruntime {release} {provider}",
            precision=typed.precision,
            inputs=typed.inputs,
            outputs=typed.outputs,
            note="computed in float32" if in_float32 else "",
            careful=False,
            path=typed.path,
            typed_digest=typed.digest,
        )

    def open(self, engine: Engine, *, threads: int = 0) -> OnnxRuntimeSession:
        return OnnxRuntimeSession(engine, threads=threads)


class OnnxRuntimeSession(BindingSession):
    """One `InferenceSession`, run through IO binding."""

    def __init__(self, engine: Engine, *, threads: int = 0) -> None:
        if engine.path is None:
            raise BackendMissing("this engine contains no ONNX file")
        self.inputs, self.outputs = engine.inputs, engine.outputs
        provider = engine.flavour.rpartition(" ")[2]
        self.device = "cuda" if provider == CUDA else "cpu"
        level: Literal["basic", True] = "basic" if engine.careful else True
        self.session = open_session(engine.path, optimize=level, threads=threads, provider=provider)
        self.remark = "" if optimized_in_full(self.session) else BASIC

    def bound(self, feed: Feed) -> OnnxRuntimeBound:
        check_feed(self.inputs, feed)
        return OnnxRuntimeBound(self, feed)

    def free(self) -> None:
        del self.session


class OnnxRuntimeBound:
    """Inputs and outputs bound to the session's device."""

    @quoted("ONNX Runtime")
    def __init__(self, session: OnnxRuntimeSession, feed: Feed) -> None:
        import onnxruntime as ort

        self._session = session
        self._binding = session.session.io_binding()
        for spec in session.inputs:
            value = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(feed[spec.name]), session.device, 0)
            self._binding.bind_ortvalue_input(spec.name, value)
        for spec in session.outputs:
            self._binding.bind_output(spec.name, session.device)

    @quoted("ONNX Runtime")
    def launch(self) -> None:
        self._session.session.run_with_iobinding(self._binding)

    @quoted("ONNX Runtime")
    def synchronize(self) -> None:
        self._binding.synchronize_outputs()

    def device_ms(self) -> float | None:
        return None

    @quoted("ONNX Runtime")
    def fetch(self) -> dict[str, Array]:
        names = [spec.name for spec in self._session.outputs]
        return dict(zip(names, self._binding.copy_outputs_to_cpu(), strict=True))


def _provider() -> str:
    """CUDA needs a GPU and the package that has the provider: `onnxruntime` alone, as on ARM, is for the CPU."""
    return CUDA if find_gpu() and installed_version("onnxruntime-gpu") else CPU
