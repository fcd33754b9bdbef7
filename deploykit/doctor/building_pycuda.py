"""pycuda is compiled where it is installed: what that takes, before pip runs into the lack of it.

Its setup takes CUDA's folder from CUDA_ROOT, else from where `nvcc` lies on PATH, which misses where that is a link or
a script. It includes the headers below and links to the driver's library and to cuRAND.
"""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from deploykit.doctor.finding import Finding

HEADERS = ("cuda.h", "cudaProfiler.h", "curand.h")
LIBRARIES = ("libcuda.so", "libcurand.so")
LIBRARY_FOLDERS = ("lib", "lib64", "lib/stubs", "lib64/stubs")  # of CUDA's folder
TOOLKIT = Path("/usr/local/cuda")
SYSTEM_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/wsl/lib",
)
# What installs a C++ compiler, Python's headers, and CUDA's toolkit (from NVIDIA's repository).
PACKAGES = {
    "apt-get": ("g++", "python3-dev", "cuda-toolkit"),
    "dnf": ("gcc-c++", "python3-devel", "cuda-toolkit"),
    "zypper": ("gcc-c++", "python3-devel", "cuda-toolkit"),
}


@dataclass(frozen=True, slots=True)
class Requirements:
    """`root` is CUDA's folder, None where there is none; `lacks` says what is missing, with the line that brings it."""

    compiler: str
    root: Path | None
    found_by_setup: bool
    lacks: tuple[tuple[str, str], ...]


def look_at_requirements(package: Finding) -> Finding:
    """The finding that pycuda is not installed, with whether it can be."""
    if sys.platform != "linux":
        return package
    here = requirements()
    if here.lacks:
        what = ", ".join(what for what, _ in here.lacks)
        fixes = dict.fromkeys(fix for _, fix in here.lacks)
        detail = f"not installed, and it cannot be compiled here: {what}"
        return replace(package, detail=detail, fix=" && ".join([*fixes, package.fix]))
    fix = package.fix if here.found_by_setup else f"CUDA_ROOT={here.root} {package.fix}"
    detail = f"not installed; it can be compiled here ({here.compiler}, CUDA in {here.root})"
    return replace(package, detail=detail, fix=fix)


def requirements() -> Requirements:
    compiler = os.environ.get("CXX") or "g++"
    root = next((folder for folder in _roots() if (folder / "include/cuda.h").exists()), None)
    found = root is not None and root == _root_of_setup()
    return Requirements(compiler, root, found, tuple(_lacks(compiler, root)))


def _lacks(compiler: str, root: Path | None) -> Iterator[tuple[str, str]]:
    manager = next((each for each in PACKAGES if shutil.which(each)), "apt-get")
    gxx, python, cuda = (f"{manager} install -y {package}" for package in PACKAGES[manager])
    if shutil.which(compiler.split()[0]) is None:
        yield f"no C++ compiler ({compiler})", gxx
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        yield "no headers of this Python (Python.h)", python
    if root is None:
        yield "no CUDA toolkit (nvcc, cuda.h)", cuda
        return
    if absent := [header for header in HEADERS if not (root / "include" / header).exists()]:
        yield f"no {', '.join(absent)} in {root / 'include'}", cuda
    places = [*(root / folder for folder in LIBRARY_FOLDERS), *map(Path, SYSTEM_FOLDERS)]
    if absent := [name for name in LIBRARIES if not any((place / name).exists() for place in places)]:
        yield f"no {', '.join(absent)} to link to", cuda


def _roots() -> Iterator[Path]:
    """Where the toolkit may be, the choice of pycuda's setup first."""
    if root := _root_of_setup():
        yield root
    if nvcc := shutil.which("nvcc"):
        yield Path(nvcc).resolve().parent.parent
    yield from (Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name))
    yield TOOLKIT


def _root_of_setup() -> Path | None:
    if root := os.environ.get("CUDA_ROOT"):
        return Path(root)
    nvcc = shutil.which("nvcc")
    return Path(nvcc).parent.parent if nvcc else None
