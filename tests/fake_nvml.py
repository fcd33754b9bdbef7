"""Compiles the stand-in for NVIDIA's management library, under NVML's own name."""

import shutil
import subprocess
from pathlib import Path

import pytest

from deploykit.backends.nvml import LIBRARY

COMPILER = shutil.which("gcc") or shutil.which("cc")
SOURCE = Path(__file__).parent / "fake_nvml.c"
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


def compile_library(source: Path, library: Path) -> None:
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", "-Wall", "-Werror", "-D_GNU_SOURCE", source, "-o", library], check=True
    )


def make_nvml(folder: Path) -> Path:
    """The folder, with the library in it."""
    compile_library(SOURCE, folder / LIBRARY)
    return folder
