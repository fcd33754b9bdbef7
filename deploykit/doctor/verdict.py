"""Whether a backend can work here: the first finding among those it depends on that is not ok decides.

To work is to run where there is a GPU. Without one it is to compile for `trt` and `trt-rtx`, and to run on the CPU for
the others.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from deploykit.backends import BACKENDS, ENTRY_POINTS, get_backend
from deploykit.doctor.finding import Finding
from deploykit.doctor.libraries import FoundGpu
from deploykit.doctor.packages import GENERAL
from deploykit.doctor.providers import CPU, wanted_provider

ALWAYS = (*GENERAL, "onnx", "onnx-ir", "onnxscript", "store")
COMPILERS = ("trt", "trt-rtx")


def verdict(
    name: str, findings: Sequence[Finding], gpu: FoundGpu | None, said: Mapping[str, Any] | None = None
) -> Finding:
    """The finding on the backend `name`; `said` is why one of another package is unavailable, by its own words."""
    subject, itself = f"backend {name}", (name,)
    if lack := _first_lack(name, {finding.subject: finding for finding in findings}, gpu):
        instead = name == "trt" and lack.subject == "tensorrt-rtx"
        what = "there is no GPU, and TensorRT-RTX cannot compile without one" if instead else lack.subject
        return Finding(subject, lack.state, f"{what}: {lack.detail}", lack.fix, itself)
    if name in BACKENDS and name not in COMPILERS and (reason := get_backend(name).unavailable()):
        return Finding(subject, "missing", reason.what, reason.fix, itself)
    if said and "fault" in said:
        fix = f"pip install --force-reinstall {_distribution(name)}"
        return Finding(subject, "broken", f"its package fails: {said['fault']}", fix, itself)
    if said and "what" in said:
        return Finding(subject, "missing", str(said["what"]), str(said["fix"]), itself)
    return Finding(subject, "ok", _work(name, gpu), backends=itself)


def _first_lack(name: str, found: Mapping[str, Finding], gpu: FoundGpu | None) -> Finding | None:
    if found["gpu"].state == "broken":  # whatever runs here would ask the same driver
        return found["gpu"]
    needs = (*ALWAYS, *_needs(name, found, gpu))
    return next((found[subject] for subject in needs if subject in found and found[subject].state != "ok"), None)


def _needs(name: str, found: Mapping[str, Finding], gpu: FoundGpu | None) -> tuple[str, ...]:
    """The subjects that a backend depends on, the decisive one first."""
    if name == "ort":
        wanted = f"provider {wanted_provider(gpu)}"
        fails = wanted in found and found[wanted].state != "ok"
        return ("onnxruntime", *(["duplicate onnxruntime"] if fails else []), wanted)
    if name == "trt" and gpu:
        return ("tensorrt", "pycuda")
    if name in COMPILERS:
        return ("tensorrt-rtx", "tensorrt-rtx targets", "pycuda") if gpu else ("tensorrt-rtx",)
    return ("torch",) if name.partition(":")[0] == "torch" else ()


def _work(name: str, gpu: FoundGpu | None) -> str:
    """What a backend that lacks nothing does here."""
    if name in COMPILERS and gpu:
        return f"compiles engines and runs them on {gpu}"
    if name in COMPILERS:
        return f"compiles engines{', by TensorRT-RTX' if name == 'trt' else ''}; there is no GPU to run them on"
    if name not in BACKENDS:
        return "available"
    on_gpu = gpu and (name != "ort" or wanted_provider(gpu) != CPU)
    return f"runs on {gpu}" if on_gpu else "runs on the CPU"


def _distribution(plugin: str) -> str:
    """The package that brings a backend."""
    points = entry_points(group=ENTRY_POINTS, name=plugin)
    return next((point.dist.name for point in points if point.dist), plugin)
