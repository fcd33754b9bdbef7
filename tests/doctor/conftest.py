"""Installations that are broken on purpose: folders in front of the search path, libraries that are compiled here."""

import importlib
import shutil
import subprocess
from pathlib import Path

import pytest

COMPILER = shutil.which("gcc") or shutil.which("cc")
DRIVER = Path(__file__).with_name("fake_driver.c")


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder in which Python looks first, also in the processes that the doctor starts."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def installed(site):
    """`installed("torch", "2.12.0+cu126", ["nvidia-cudnn-cu12==9.1"])`: what pip writes of a package."""

    def write(name: str, release: str, needs: list[str] = ()) -> None:
        info = site / f"{name.replace('-', '_')}-{release}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {release}"]
        (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {each}" for each in needs), ""]))
        importlib.invalidate_caches()

    return write


@pytest.fixture
def module(site):
    """`module("torch", code)`: a package of this name that does what `code` says when it is imported."""

    def write(name: str, code: str) -> None:
        (site / name).mkdir()
        (site / name / "__init__.py").write_text(code)
        importlib.invalidate_caches()

    return write


@pytest.fixture
def compiled():
    """`compiled(code, library, *flags)`: a shared library."""

    def build(code: str, library: Path, *flags: str) -> Path:
        if COMPILER is None:
            pytest.skip("no C compiler")
        library.parent.mkdir(parents=True, exist_ok=True)
        source = library.with_suffix(".c")
        source.write_text(code)
        subprocess.run([COMPILER, "-shared", "-fPIC", "-Wall", "-Werror", source, *flags, "-o", library], check=True)
        return library

    return build


@pytest.fixture
def driver(tmp_path, compiled, monkeypatch):
    """`driver(target=90, cuda=13000)`: processes that are started from now on find an NVIDIA driver with two GPUs."""

    def install(*, target: int = 90, cuda: int = 13000, on_start: str = "return 0;") -> None:
        flags = (f"-DTARGET={target}", f"-DCUDA={cuda}", f"-DON_START={on_start}")
        compiled(DRIVER.read_text(), tmp_path / "driver/libcuda.so.1", *flags)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "driver"))

    return install
