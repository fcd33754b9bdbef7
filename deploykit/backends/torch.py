"""Eager PyTorch, the reference of every table: the module itself, on the GPU where there is one.

FP32 runs with TF32 off; FP16 is `module.half()`. There is no INT8 here: eager PyTorch has no such path, and running
FP32 under that name would be a lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from deploykit.backends.device import find_gpu
from deploykit.backends.feed import check_feed
from deploykit.backends.protocol import (
    Engine,
    ModuleSource,
    Source,
    TypedGraph,
)
from deploykit.backends.quoted import is_out_of_memory, quoted
from deploykit.backends.session import BindingSession
from deploykit.errors import BackendMissing, first_line
from deploykit.host import installed_version
from deploykit.modules.calling import call
from deploykit.modules.outputs import flatten_outputs
from deploykit.spec import (
    EngineSettings,
    Feed,
    Placement,
    Precision,
    Progress,
    Reason,
)
from deploykit.spec.arrays import Array

if TYPE_CHECKING:
    import torch

ON_GPU = "(cuda)"  # how such an engine's flavour ends


def flavour_here(variant: str = "") -> str:
    """What PyTorch is here: release, the variant of eager where it is one, and device. Imports no framework."""
    release = installed_version("torch") or "of unknown version"
    return " ".join(filter(None, ("torch", release, variant, ON_GPU if find_gpu() else "(cpu)")))


def configure(flavour: str, *, threads: int) -> torch.device:
    """The device that `flavour` names. This process then computes on `threads` (0: as many as before), with TF32 off.

    Raises BackendMissing where PyTorch cannot use the GPU that is here.
    """
    import torch

    on_gpu = flavour.endswith(ON_GPU)
    if on_gpu and not torch.cuda.is_available():
        raise BackendMissing(
            f"PyTorch {torch.__version__} cannot use the GPU that is here",
            hint="install a build of PyTorch for this GPU's CUDA, or hide the GPU with CUDA_VISIBLE_DEVICES=",
        )
    if threads:
        torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if on_gpu else "cpu")


def _module_or_reason(source: Source) -> ModuleSource | Reason:
    if isinstance(source, TypedGraph):
        return Reason(
            "eager PyTorch needs the module, and an .onnx file has none",
            "name a network of the zoo or a function that returns one",
        )
    return Reason("eager PyTorch has no INT8 path here") if source.precision is Precision.INT8 else source


class TorchBackend:
    """Eager PyTorch, the reference: FP32, and FP16 as `half()` makes it."""

    name = "torch"
    variant = ""
    compiles = False
    libraries: tuple[str, ...] = ("torch",)
    runs_module = True
    placement: Placement | None = None

    def unavailable(self) -> Reason | None:
        if find_spec("torch") is None:
            return Reason("PyTorch is not installed", "pip install torch")
        return None

    def supports(self, source: Source) -> Reason | None:
        found = _module_or_reason(source)
        return found if isinstance(found, Reason) else None

    def build(
        self,
        source: Source,
        settings: EngineSettings,  # noqa: ARG002 - eager PyTorch compiles nothing
        progress: Progress | None = None,  # noqa: ARG002
    ) -> Engine:
        module = _module_or_reason(source)
        if isinstance(module, Reason):
            raise BackendMissing(module.what, hint=module.fix)
        return Engine(
            backend=self.name,
            flavour=flavour_here(self.variant),
            precision=module.precision,
            inputs=module.inputs,
            outputs=module.outputs,
            module=module,
        )

    def open(self, engine: Engine, *, threads: int = 0) -> TorchSession:
        return TorchSession(engine, threads=threads)


class TorchSession(BindingSession):
    """Runs the module under `inference_mode`. The thread count is the process's, so keep one session a process."""

    def __init__(self, engine: Engine, *, threads: int = 0) -> None:
        import torch

        if engine.module is None:
            raise BackendMissing("this engine contains no PyTorch module")
        self.device = configure(engine.flavour, threads=threads)
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self.dtype = torch.float16 if engine.precision is Precision.FP16 else torch.float32
        self.source = engine.module
        self.module = self.prepared(self._placed(self.source.load(), self.dtype))

    def bound(self, feed: Feed) -> TorchBound:
        check_feed(self.inputs, feed)
        return TorchBound(self, feed)

    def free(self) -> None:
        del self.module

    def prepared(self, module: torch.nn.Module) -> torch.nn.Module:
        """The module on its device as a variant of eager PyTorch runs it."""
        return module

    def laid_out(self, tensor: torch.Tensor) -> torch.Tensor:
        """An input on its device as a variant of eager PyTorch has it in memory."""
        return tensor

    @quoted("PyTorch")
    def _placed(self, module: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
        return module.to(self.device, dtype)

    @quoted("PyTorch")
    def forward(self, tensors: Mapping[str, torch.Tensor]) -> object:
        """What the module answers, under `inference_mode`.

        Raises BackendMissing where it runs in FP32 and not as `half()` leaves it: tensors that its forward makes or
        casts stay float32, a constant of it is beyond float16, or PyTorch has no FP16 kernel for an operator.
        """
        import torch

        with torch.inference_mode():
            try:
                return call(self.module, tensors)
            except Exception as error:
                if self.dtype is torch.float32 or is_out_of_memory(error) or not self._runs_in_float32(tensors):
                    raise
                raise BackendMissing(
                    f"eager PyTorch runs this module in FP32 and not in FP16: {first_line(error)}",
                    hint="half() reaches parameters, buffers and inputs, not the tensors that forward makes or casts",
                ) from error

    def _runs_in_float32(self, tensors: Mapping[str, torch.Tensor]) -> bool:
        import torch

        try:
            call(self._placed(self.source.load(), torch.float32), _floats_as(torch.float32, tensors))
        except Exception:  # noqa: BLE001 - user code raises what it likes, and the first failure is what is told
            return False
        return True


def _floats_as(dtype: torch.dtype, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


class TorchBound:
    """Inputs on the module's device, and CUDA events where that is a GPU."""

    @quoted("PyTorch")
    def __init__(self, session: TorchSession, feed: Feed) -> None:
        import torch

        self._torch = torch
        self._session = session
        placed = {spec.name: torch.from_numpy(np.array(feed[spec.name])).to(session.device) for spec in session.inputs}
        typed = _floats_as(session.dtype, placed)
        self._arguments = {name: session.laid_out(tensor) for name, tensor in typed.items()}
        self._result: object = None
        on_gpu = session.device.type == "cuda"
        self._events = [torch.Event("cuda", enable_timing=True) for _ in range(2)] if on_gpu else []

    @quoted("PyTorch")
    def launch(self) -> None:
        for event in self._events[:1]:
            event.record()
        self._result = self._session.forward(self._arguments)
        for event in self._events[1:]:
            event.record()

    @quoted("PyTorch")
    def synchronize(self) -> None:
        if self._session.device.type == "cuda":
            self._torch.cuda.synchronize()

    def device_ms(self) -> float | None:
        return float(self._events[0].elapsed_time(self._events[1])) if self._events else None

    @quoted("PyTorch")
    def fetch(self) -> dict[str, Array]:
        """The outputs on the host, in the types that the specification gives."""
        return {
            spec.name: result.cpu().numpy().astype(spec.dtype, copy=False)
            for spec, result in zip(self._session.outputs, flatten_outputs(self._result), strict=True)
        }
