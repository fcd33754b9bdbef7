"""OpenVINO as a backend of deploykit, on the CPU; the entry point `openvino` of `deploykit.backends` names the class.

It runs the typed graph, an ONNX file, as OpenVINO's CPU plug-in compiles it. What it computes in is what the row says:

| precision | computes in |
|---|---|
| FP32 | float32, `INFERENCE_PRECISION_HINT` f32: without it a CPU with bfloat16 would round to that and not say so |
| FP16 | float16 where the CPU has arithmetic for it, else float32, and the row's note says so |
| INT8 | integers where the graph has Q/DQ pairs, float32 elsewhere |

`build` compiles nothing: what OpenVINO compiles is for one shape and this CPU, so `open` does it, for the batch and the
sizes that the engine is tuned for. A feed of another shape is served by a second, dynamic compilation, made when the
first such feed comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from deploykit.backends.feed import check_feed
from deploykit.backends.protocol import Engine, Source, typed_or_reason
from deploykit.backends.quoted import quoted
from deploykit.backends.session import BindingSession
from deploykit.errors import BackendMissing, BuildFailed, one_line
from deploykit.host import installed_version, saturates_u8s8, usable_cores
from deploykit.spec import EngineSettings, Feed, Placement, Precision, Progress, Reason

__all__ = ["OPENVINO", "OPENVINO_7BIT", "OpenVinoBackend"]

DEVICE = "CPU"
# What OpenVINO's CPU plug-in fuses best (README.md has the figures): uint8 activations on the inputs of weighted
# operators, so that a convolution adds the shortcut, bends and requantizes in one kernel; float biases.
OPENVINO = Placement("openvino", symmetric=False, int32_bias=False, quantize_outputs=False, residual_branch_only=True)
OPENVINO_7BIT = Placement(
    "openvino-7bit",
    symmetric=False,
    int32_bias=False,
    quantize_outputs=False,
    residual_branch_only=True,
    weight_limit=64,
)


@dataclass(frozen=True, slots=True)
class OpenVinoEngine(Engine):
    """An engine that is opened for `batch` images at a time, in the arithmetic of `hint`."""

    batch: int = 1
    hint: str = "f32"


class OpenVinoBackend:
    """OpenVINO's CPU plug-in."""

    name = "openvino"
    compiles = False
    libraries: tuple[str, ...] = ("openvino",)
    runs_module = False

    @property
    def placement(self) -> Placement | None:
        """OpenVINO's Q/DQ scheme; with weights of seven bits where integer kernels saturate, on x86 without VNNI."""
        return OPENVINO_7BIT if saturates_u8s8() else OPENVINO

    def unavailable(self) -> Reason | None:
        if find_spec("openvino") is None:
            return Reason("OpenVINO is not installed", "pip install openvino")
        return None

    def supports(self, source: Source) -> Reason | None:
        found = typed_or_reason(source, "OpenVINO runs")
        return found if isinstance(found, Reason) else None

    def build(
        self,
        source: Source,
        settings: EngineSettings,
        progress: Progress | None = None,  # noqa: ARG002 - nothing takes time here
    ) -> OpenVinoEngine:
        typed = typed_or_reason(source, "OpenVINO runs")
        if isinstance(typed, Reason):
            raise BackendMissing(typed.what, hint=typed.fix)
        in_float16 = typed.precision is Precision.FP16 and "FP16" in _capabilities()
        in_float32 = typed.precision is Precision.FP16 and not in_float16
        return OpenVinoEngine(
            backend=self.name,
            flavour=f"openvino {installed_version('openvino') or 'of unknown version'} {DEVICE}",
            precision=typed.precision,
            inputs=typed.inputs,
            outputs=typed.outputs,
            note="computed in float32" if in_float32 else "",
            path=typed.path,
            typed_digest=typed.digest,
            batch=settings.batch.optimum,
            hint="f16" if in_float16 else "f32",
        )

    def open(self, engine: Engine, *, threads: int = 0) -> OpenVinoSession:
        if not isinstance(engine, OpenVinoEngine) or engine.path is None:
            raise BackendMissing("this engine contains no graph for OpenVINO", hint="build it with backend openvino")
        return OpenVinoSession(engine, threads=threads or usable_cores())


class OpenVinoSession(BindingSession):
    """A model compiled for the shapes that the engine is tuned for, and one for all others once they are asked for."""

    def __init__(self, engine: OpenVinoEngine, *, threads: int) -> None:
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self._path, self._tuned = engine.path, {spec.name: spec.at_batch(engine.batch) for spec in engine.inputs}
        self._config = {
            "INFERENCE_PRECISION_HINT": engine.hint,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        self._static = self._compiled(self._tuned)
        self._dynamic: Any = None

    def bound(self, feed: Feed) -> OpenVinoBound:
        check_feed(self.inputs, feed)
        if all(np.shape(feed[name]) == shape for name, shape in self._tuned.items()):
            return OpenVinoBound(self, self._static, feed)
        if self._dynamic is None:
            self._dynamic = self._compiled(None)
        return OpenVinoBound(self, self._dynamic, feed)

    def free(self) -> None:
        self._static = self._dynamic = None

    def _compiled(self, shapes: dict[str, tuple[int, ...]] | None) -> Any:
        """An `openvino.CompiledModel`. Raises BuildFailed with OpenVINO's own words."""
        import openvino

        try:
            core = openvino.Core()
            model = core.read_model(str(self._path))
            if shapes:
                model.reshape({name: openvino.PartialShape(list(shape)) for name, shape in shapes.items()})
            return core.compile_model(model, DEVICE, self._config)
        except Exception as error:
            raise BuildFailed(f"OpenVINO rejects the graph: {one_line(error)}") from error


class OpenVinoBound:
    """One request whose input tensors are the feed's arrays: nothing is copied when it runs."""

    @quoted("OpenVINO")
    def __init__(self, session: OpenVinoSession, compiled: Any, feed: Feed) -> None:
        import openvino

        self._names = [spec.name for spec in session.outputs]
        self._request = compiled.create_infer_request()
        self._arrays = {spec.name: np.ascontiguousarray(feed[spec.name]) for spec in session.inputs}
        for name, array in self._arrays.items():
            self._request.set_tensor(name, openvino.Tensor(array, shared_memory=True))

    @quoted("OpenVINO")
    def launch(self) -> None:
        self._request.infer(share_outputs=True)

    def synchronize(self) -> None:
        """Everything is done when `launch` returns."""

    def device_ms(self) -> float | None:
        return None

    @quoted("OpenVINO")
    def fetch(self) -> dict[str, np.ndarray[Any, Any]]:
        return {name: self._request.get_tensor(name).data.copy() for name in self._names}


def _capabilities() -> list[str]:
    import openvino

    found: list[str] = openvino.Core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    return found
