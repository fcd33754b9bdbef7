"""What pycuda needs to be compiled on this machine, and what it lacks."""

import os

import pytest

from deploykit.doctor import building_pycuda
from deploykit.doctor.finding import Finding


@pytest.fixture
def no_toolkit(monkeypatch, tmp_path):
    """Neither a toolkit nor NVIDIA's libraries, whatever this machine has; a package manager, and a C++ compiler."""
    for name in building_pycuda.ROOTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(building_pycuda, "TOOLKIT", tmp_path / "nowhere")
    monkeypatch.setattr(building_pycuda, "SYSTEM_FOLDERS", ())
    programs = tmp_path / "programs"
    for name in ("apt-get", "g++"):
        program(programs / name)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("CXX", raising=False)


def program(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o700)


def toolkit(root, *, leave_out=""):
    headers = ("include/cuda.h", "include/cudaProfiler.h", "include/curand.h")
    for name in (*headers, "lib64/libcurand.so", "lib64/stubs/libcuda.so"):
        if name != leave_out:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()


PYCUDA = Finding("pycuda", "missing", "not installed", "pip install pycuda")


def test_pycuda_can_be_compiled_where_all_is_there(no_toolkit, monkeypatch, tmp_path):
    cuda = tmp_path / "cuda"
    toolkit(cuda)
    monkeypatch.setenv("CUDA_HOME", str(cuda))
    found = building_pycuda.look_at_requirements(PYCUDA)
    assert found.detail == f"not installed; it can be compiled here (g++, CUDA in {cuda})"
    assert found.fix.startswith(f"CPATH={cuda}/include LIBRARY_PATH={cuda}/lib:")  # its setup wants nvcc
    program(cuda / "bin/nvcc")
    assert building_pycuda.look_at_requirements(PYCUDA).fix == f"PATH={cuda}/bin:$PATH pip install pycuda"
    monkeypatch.setenv("PATH", f"{cuda}/bin{os.pathsep}{os.environ['PATH']}")
    assert building_pycuda.look_at_requirements(PYCUDA).fix == "pip install pycuda"


@pytest.mark.parametrize(
    ("lacks", "said"),
    [("include/curand.h", "no curand.h in {}/include"), ("lib64/stubs/libcuda.so", "no libcuda.so to link to")],
)
def test_what_a_toolkit_lacks_is_named(no_toolkit, monkeypatch, tmp_path, lacks, said):
    toolkit(tmp_path / "cuda", leave_out=lacks)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    found = building_pycuda.look_at_requirements(PYCUDA)
    assert found.detail.endswith(f"cannot be compiled here: {said.format(tmp_path / 'cuda')}")
    assert found.fix == "apt-get install -y cuda-toolkit && pip install pycuda"


def test_what_pycuda_lacks_to_be_compiled_is_named_with_its_package(no_toolkit, monkeypatch):
    monkeypatch.setenv("CXX", "compiler-of-nobody -O2")
    found = building_pycuda.look_at_requirements(PYCUDA)
    assert "no C++ compiler (compiler-of-nobody -O2), " in found.detail
    assert found.detail.endswith("no CUDA toolkit (nvcc, cuda.h)")
    assert found.fix.startswith("apt-get install -y g++ && ")
    assert found.fix.endswith("apt-get install -y cuda-toolkit && pip install pycuda")
