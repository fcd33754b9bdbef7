"""pycuda is compiled where it is installed: what that takes, before pip runs into the lack of it.

Its setup looks for CUDA above the folder of the first `nvcc` on PATH, which misses where that is a link or a script,
and reads no variable for it. It includes the headers below and links to the driver's library and to cuRAND.
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
ROOTS = ("CUDA_ROOT", "CUDA_HOME", "CUDA_PATH")
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
    detail = f"not installed; it can be compiled here ({here.compiler}, CUDA in {here.root})"
    return replace(package, detail=detail, fix=_shown_to_setup(here.root) + package.fix)


def _shown_to_setup(root: Path | None) -> str:
    """The variables with which pycuda's setup, or else the compiler, finds CUDA in `root`."""
    nvcc = shutil.which("nvcc")
    if root is None or (nvcc and Path(nvcc).parent.parent == root):
        return ""
    if (root / "bin/nvcc").exists():
        return f"PATH={root / 'bin'}:$PATH "
    return f"CPATH={root / 'include'} LIBRARY_PATH={':'.join(str(root / folder) for folder in LIBRARY_FOLDERS)} "


def requirements() -> Requirements:
    compiler = os.environ.get("CXX") or "g++"
    root = next((folder for folder in _roots() if (folder / "include/cuda.h").exists()), None)
    return Requirements(compiler, root, tuple(_lacks(compiler, root)))


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
    if nvcc := shutil.which("nvcc"):
        yield Path(nvcc).parent.parent
        yield Path(nvcc).resolve().parent.parent
    yield from (Path(os.environ[name]) for name in ROOTS if os.environ.get(name))
    yield TOOLKIT
