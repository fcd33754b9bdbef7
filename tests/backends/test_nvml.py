"""Memory on the GPU by process, asked of a stand-in for NVML that is compiled here."""

import os
import subprocess
import sys

import pytest
from fake_nvml import compile_library, make_nvml, needs_compiler

from deploykit.backends import nvml

ASK = "import os; from deploykit.backends.nvml import process_device_memory as ask; print(ask(os.getpid()))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def ask(folder):
    """What a process that finds the library is told of itself."""

    def answer(said, *, fails=""):
        environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "FAKE_NVML": said, "FAKE_NVML_FAILS": fails}
        done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    return answer


@needs_compiler
@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("me:1000000", "1000000"),
        ("1:5,me:7,2:9;3:1", "7"),
        ("1:5;2:6,me:7", "7"),  # on the second GPU
        ("me:3;me:4", "7"),  # on both
        (",".join(f"{pid}:1" for pid in range(1, 41)) + ",me:7", "7"),  # more than one call has room for
        ("1:5;2:6", "None"),  # in a container with numbers of its own
        ("", "None"),
        (f"me:{2**64 - 1}", "None"),  # the driver does not tell
        (f"me:{2**64 - 1};me:4", "4"),
    ],
)
def test_a_process_is_told_what_it_holds(ask, said, answer):
    assert ask(said) == answer


@needs_compiler
@pytest.mark.parametrize("call", ["init", "count", "processes"])
def test_a_library_that_fails_tells_nothing(ask, call):
    assert ask("me:7", fails=call) == "None"


def test_without_the_library_nothing_is_told(monkeypatch):
    monkeypatch.setattr(nvml, "LIBRARY", "libno-such-thing.so.1")
    assert nvml.process_device_memory(os.getpid()) is None


@needs_compiler
def test_an_older_library_without_the_call_tells_nothing(tmp_path, monkeypatch):
    source = tmp_path / "old.c"
    source.write_text(
        "int nvmlInit_v2(void) { return 0; } int nvmlShutdown(void) { return 0; }"
        "int nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return 0; }"
        "int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) { *d = 0; return 0; }"
    )
    compile_library(source, tmp_path / "old.so")
    monkeypatch.setattr(nvml, "LIBRARY", str(tmp_path / "old.so"))
    assert nvml.process_device_memory(os.getpid()) is None
