"""Backends by name. Built-in ones are imported when asked for; others come from the entry points `deploykit.backends`.

An entry point names a class or function that makes an object of `protocol.Backend` when called without arguments.
"""

from importlib import import_module
from typing import cast

from deploykit.backends.protocol import Backend
from deploykit.errors import UnknownName
from deploykit.plugins import entry_points

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
    """The backend called `name`; `strict` forbids `trt` to be compiled by TensorRT-RTX. Raises UnknownName.

    A plug-in that cannot be loaded is a backend that is never available.
    """
    if name in BACKENDS:
        module, _, attribute = BACKENDS[name].partition(":")
        make = getattr(import_module(module), attribute)
        return cast(Backend, make(strict=True) if strict and name == "trt" else make())
    if (point := entry_points(ENTRY_POINTS).get(name)) is not None:
        from deploykit.backends.plugin import PluginBackend

        return PluginBackend(point)
    raise UnknownName("backend", name, backend_names(), fix=OTHER_NAMES.get(name.lower(), ""))


def backend_names() -> tuple[str, ...]:
    """Built-in names in the order of tables, then those that other packages add; not `null`, which is for tests."""
    return (
        *(name for name in BACKENDS if name != "null"),
        *(name for name in entry_points(ENTRY_POINTS) if name not in BACKENDS),
    )
