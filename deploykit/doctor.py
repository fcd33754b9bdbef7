"""What this machine has for deploykit: one finding a line, each with its fix. Imports no framework."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploykit.backends import backend_names, get_backend
from deploykit.backends.device import find_gpu, why_no_gpu
from deploykit.backends.onnxruntime import INSTALL_ONNXRUNTIME
from deploykit.errors import DeploykitError
from deploykit.host import cpu_flags, installed_version, usable_cores
from deploykit.store import Store

State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`detail` is what was found, `fix` what to do where it is missing and wanted."""

    subject: str
    state: State
    detail: str
    fix: str = ""


def examine(store: Path | None) -> tuple[Finding, ...]:
    return (*_libraries(), *_device(), *_backends(), _demo_images(), _store(store))


def _libraries() -> Iterator[Finding]:
    yield Finding("python", "ok", platform.python_version())
    for subject, names, fix in (
        ("torch", ["torch"], "pip install torch"),
        ("onnx", ["onnx"], "pip install onnx"),
        ("onnxruntime", ["onnxruntime-gpu", "onnxruntime"], INSTALL_ONNXRUNTIME),
        ("tensorrt-rtx", ["tensorrt-rtx"], "pip install tensorrt-rtx (compiles engines without a GPU)"),
        ("tensorrt", ["tensorrt"], 'on a GPU host, in a checkout: pip install ".[gpu]"'),
        ("pycuda", ["pycuda"], 'on a GPU host, in a checkout: pip install ".[gpu]"'),
    ):
        found = installed_version(*names)
        yield Finding(subject, "ok", found) if found else Finding(subject, "missing", "not installed", fix)


def _device() -> Iterator[Finding]:
    gpu = find_gpu()
    if gpu:
        yield Finding("gpu", "ok", f"{gpu.name}, {gpu.capability}, driver {gpu.driver}")
    else:
        reason = why_no_gpu()
        yield Finding("gpu", "missing", reason.what, reason.fix)
    flags = cpu_flags()
    if flags:
        vnni = sorted(flags & {"avx512_vnni", "avx_vnni"})
        yield (
            Finding("int8 on the cpu", "ok", f"{', '.join(vnni)}, {usable_cores()} cores")
            if vnni
            else Finding(
                "int8 on the cpu",
                "missing",
                "no VNNI: ort int8 gets weights of seven bits, since eight would saturate; less accurate and slower",
                "for the INT8 figures of a CPU with VNNI, measure on one",
            )
        )


def _backends() -> Iterator[Finding]:
    for name in backend_names():
        reason = get_backend(name).unavailable()
        if reason:
            yield Finding(f"backend {name}", "missing", reason.what, reason.fix)
        elif get_backend(name).compiles and find_gpu() is None:
            yield Finding(f"backend {name}", "ok", "compiles engines, by TensorRT-RTX; there is no GPU to run them on")
        else:
            yield Finding(f"backend {name}", "ok", "available")


def _demo_images() -> Finding:
    from deploykit.data.dataset import demo_images

    try:
        found = demo_images()
    except DeploykitError as error:
        return Finding("demo images", "missing", error.message, error.hint)
    return Finding("demo images", "ok", f"{len(found)} images for calibration and parity")


def _store(path: Path | None) -> Finding:
    try:
        store = Store.open(path)
    except DeploykitError as error:
        return Finding("store", "broken", error.message, error.hint)
    nearest = next(folder for folder in (store.root, *store.root.parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        return Finding("store", "broken", f"cannot write to {nearest}", "choose another with --store")
    return Finding("store", "ok", str(store.root))
