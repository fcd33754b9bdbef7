"""Backends by name. Built-in ones are imported when asked for; others come from the entry points `deploykit.backends`.

An entry point names a class or function that makes an object of `protocol.Backend` when called without arguments.
"""

from importlib import import_module
from typing import cast

from deploykit.backends.protocol import Backend
from deploykit.errors import UnknownName

__all__ = ["BACKENDS", "backend_names", "get_backend"]

ENTRY_POINTS = "deploykit.backends"

BACKENDS = {
    "torch": "deploykit.backends.torch:TorchBackend",
    "torch:channels_last": "deploykit.backends.torch_variants:ChannelsLastBackend",
    "torch:compile": "deploykit.backends.torch_variants:CompiledBackend",
    "ort": "deploykit.backends.onnxruntime:OnnxRuntimeBackend",
    "trt": "deploykit.backends.tensorrt:TensorRTBackend",
    "trt-rtx": "deploykit.backends.tensorrt_rtx:TensorRTRTXBackend",
    "null": "deploykit.backends.null:NullBackend",
}
OTHER_NAMES = {
    **dict.fromkeys(("tensorrt", "trtexec", "nvinfer"), "write trt"),
    **dict.fromkeys(("tensorrt-rtx", "tensorrt_rtx", "rtx", "trt_rtx", "trtrtx"), "write trt-rtx"),
    **dict.fromkeys(("onnxruntime", "onnx", "onnx-runtime", "ort-cpu", "ort-cuda"), "write ort"),
    **dict.fromkeys(("pytorch", "eager", "pt", "torch:eager"), "write torch"),
    **dict.fromkeys(("inductor", "torch:inductor", "torch.compile", "torch-compile"), "write torch:compile"),
    **dict.fromkeys(("channels_last", "nhwc", "torch:nhwc"), "write torch:channels_last"),
}


def get_backend(name: str, *, strict: bool = False) -> Backend:
    """The backend called `name`; `strict` forbids `trt` to be compiled by TensorRT-RTX. Raises UnknownName."""
    if name in BACKENDS:
        module, _, attribute = BACKENDS[name].partition(":")
        make = getattr(import_module(module), attribute)
        return cast(Backend, make(strict=True) if strict and name == "trt" else make())
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS, name=name):
        return cast(Backend, point.load()())
    raise UnknownName("backend", name, backend_names(), fix=OTHER_NAMES.get(name.lower(), ""))


def backend_names() -> tuple[str, ...]:
    """Built-in names in the order of tables, then those that other packages add; not `null`, which is for tests."""
    from importlib.metadata import entry_points

    return (
        *(name for name in BACKENDS if name != "null"),
        *sorted(point.name for point in entry_points(group=ENTRY_POINTS)),
    )
