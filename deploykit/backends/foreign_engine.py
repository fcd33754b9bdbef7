"""The plan of an engine that somebody else built: TensorRT opens it on the GPU that is here, and its inspector tells.

An engine is native code, so this is for files that the user trusts by name. It never ran on a GPU; the inspector's
JSON is read by `plan/inspector.py`.
"""

from importlib.util import find_spec

from deploykit.backends.device import find_gpu
from deploykit.backends.nvinfer import load_library
from deploykit.backends.nvinfer_session import inspect_engine
from deploykit.backends.tensorrt_rtx import no_device
from deploykit.errors import UntrustedArtifact
from deploykit.plan.inspector import read_inspector
from deploykit.plan.model import EnginePlan
from deploykit.spec import Precision

LIBRARIES = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}  # module and the name in a plan


def read_foreign_engine(content: bytes, *, precision: Precision, batch: int) -> EnginePlan:
    """Raises UntrustedArtifact where there is nothing to open it with, and as TensorRT and the reader do."""
    if reason := no_device():
        raise UntrustedArtifact(
            f"there is no stored plan, and the engine cannot be opened: {reason.what}", hint=reason.fix
        )
    name = next(name for name in LIBRARIES if find_spec(name))
    trt = load_library(name)
    gpu = find_gpu()
    return read_inspector(
        inspect_engine(trt, content, batch=batch),
        compiler=f"{LIBRARIES[name]} {'.'.join(trt.__version__.split('.')[:3])}",
        precision=precision,
        batch=batch,
        targets=(str(gpu.capability),) if gpu else (),
        engine_bytes=len(content),
        weighted={},
    )
