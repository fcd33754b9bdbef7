"""What is installed, read from package metadata alone: releases, packages that overwrite each other, CUDA's release."""

import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from deploykit.doctor.finding import Finding
from deploykit.host import installed_version

TORCH = ("torch", "torch:channels_last", "torch:compile")
ORT, TRT = ("ort",), ("trt",)
RTX = ("trt", "trt-rtx")
# Packages that have a finding of their own, by what installs them; the first that is installed counts.
LIBRARIES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "torch": (("torch",), TORCH),
    "onnx": (("onnx",), ()),
    "onnx-ir": (("onnx-ir",), ()),
    "onnxscript": (("onnxscript",), ()),
    "onnxruntime": (("onnxruntime-gpu", "onnxruntime"), ORT),
    "tensorrt-rtx": (("tensorrt-rtx",), RTX),
    "tensorrt": (("tensorrt",), TRT),
    "pycuda": (("pycuda",), RTX),
}
GENERAL = ("click", "filelock", "jinja2", "numpy", "pillow", "rich", "safetensors")
OPTIONAL = {"mlcommons-loadgen": "bench --scenario", "scikit-image": "demo images", "scikit-learn": "demo images"}
# Of each line one may be installed: they write the same files. The first that is installed is kept.
SAME_FILES = {
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime", "onnxruntime-openvino", "onnxruntime-directml"),
    "cudnn": ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "nvidia-cudnn-cu11"),
    "tensorrt": ("tensorrt-cu13-bindings", "tensorrt-cu12-bindings", "tensorrt-cu11-bindings"),
    "tensorrt-rtx": ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"),
}
ON_CUDA = ("onnxruntime-gpu", "torch", "tensorrt", "tensorrt-rtx")


def look_at_packages(*, optional: bool) -> Iterator[Finding]:
    """deploykit, Python, and every package that deploykit asks for."""
    floors = _floors()
    yield Finding("python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield _deploykit()
    for subject, (names, backends) in LIBRARIES.items():
        yield _package(subject, names, floors, backends)
    general = [_package(name, (name,), floors) for name in GENERAL]
    yield from (finding for finding in general if finding.state != "ok")
    if sound := [f"{finding.subject} {finding.detail}" for finding in general if finding.state == "ok"]:
        yield Finding("other packages", "ok", ", ".join(sound))
    for name, purpose in OPTIONAL.items() if optional else ():
        found = _package(name, (name,), floors)
        detail = f"{found.detail}: only for {purpose}" if found.state == "missing" else found.detail
        yield Finding(name, found.state, detail, found.fix)


def look_for_duplicates() -> Iterator[Finding]:
    """Packages that have overwritten each other's files: which of them is imported is chance."""
    for subject, names in SAME_FILES.items():
        there = [name for name in names if installed_version(name)]
        if len(there) > 1:
            detail = f"{' and '.join(there)} are both installed, and overwrite each other's files"
            fix = f"pip uninstall -y {' '.join(there)} && pip install {there[0]}"
            backends = {"onnxruntime": ORT, "tensorrt": TRT, "tensorrt-rtx": RTX}.get(subject, ())
            yield Finding(f"duplicate {subject}", "broken", detail, fix, backends)


def cuda_majors() -> dict[str, int]:
    """The CUDA release that each installed package is for: "torch" -> 13. Packages for the CPU alone are left out."""
    found = {name: _cuda_major(name) for name in ON_CUDA}
    return {name: major for name, major in found.items() if major is not None}


def look_at_cuda(majors: Mapping[str, int]) -> Iterator[Finding]:
    """Whether all packages are for the same CUDA; nothing where none is for any."""
    if not majors:
        return
    newest = max(majors.values())
    behind = [name for name, major in majors.items() if major != newest]
    if not behind:
        yield Finding("cuda", "ok", f"{', '.join(majors)} for CUDA {newest}")
        return
    each = ", ".join(f"{name} for CUDA {major}" for name, major in majors.items())
    detail = f"{each}: what the one brings, the other cannot load"
    yield Finding("cuda", "broken", detail, f"pip install --upgrade --force-reinstall {' '.join(behind)}")


def _deploykit() -> Finding:
    where = Path(__file__).parents[1]
    found = installed_version("deploykit")
    if found is None:
        return Finding(
            "deploykit", "broken", f"{where} is imported and not installed", "pip install .  # in a checkout"
        )
    return Finding("deploykit", "ok", f"{found}, {where}")


def _package(
    subject: str, names: tuple[str, ...], floors: Mapping[str, str], backends: tuple[str, ...] = ()
) -> Finding:
    name = next((each for each in names if installed_version(each)), names[0])
    found, oldest = installed_version(name), floors.get(name, "")
    install = f'pip install "{name}>={oldest}"' if oldest else f"pip install {name}"
    if found is None and (spec := find_spec(subject.replace("-", "_"))) and spec.origin:
        return Finding(subject, "ok", f"of unknown release, {spec.origin}", backends=backends)
    if found is None:
        return Finding(subject, "missing", "not installed", install + REMARKS.get(subject, ""), backends)
    if _numbers(found) < _numbers(oldest):
        return Finding(subject, "broken", f"{found} is older than {oldest}", install, backends)
    return Finding(subject, "ok", found if name == subject else f"{name} {found}", backends=backends)


REMARKS = {
    "tensorrt-rtx": "  # x86-64 Linux and Windows",
    "tensorrt": "  # on a machine with an NVIDIA GPU",
}


def _floors() -> dict[str, str]:
    """The oldest release that deploykit takes, by package: "torch" -> "2.10"."""
    try:
        lines = requires("deploykit") or []
    except PackageNotFoundError:
        lines = []
    found = (re.match(r"([\w.-]+)(?:\[[^]]*])?\s*>=\s*([\d.]+)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def _numbers(release: str) -> tuple[int, ...]:
    found = re.match(r"[\d.]*", release)
    return tuple(int(part) for part in (found[0] if found else "").split(".") if part)


def _cuda_major(name: str) -> int | None:
    """As its local version says ("2.14.1+cu126"), else the packages that it asks for (nvidia-cudnn-cu13)."""
    try:
        texts = [version(name), *(line.partition(";")[0] for line in requires(name) or ())]
    except PackageNotFoundError:
        return None
    found = (re.search(r"[-_+]cu(\d{2})", text) for text in texts)
    return next((int(match[1]) for match in found if match), None)
