"""`deploykit ARGUMENTS` inside the test's own process: what a user's shell would get, without paying for imports.

The command line is entered where a process enters it, `deploykit.__main__._run`, so exit codes and one-line errors are
the real ones. Both streams are taken from their file descriptors, so what a C++ library prints is there, too. What a
command leaves behind in a process (working directory, environment, search path, imported user modules, warnings already
shown) is put back, as its end would.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO
from unittest.mock import patch

from deploykit import __main__ as program

IGNORED_WARNINGS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # Python's default


def run_in_process(
    arguments: Sequence[object], *, cwd: Path, environment: Mapping[str, str], path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in `cwd`, with `path` in front of the search path of it and of the workers that it starts."""
    command = ["deploykit", *map(str, arguments)]
    environment = {**environment, **({"PYTHONPATH": str(path)} if path else {})}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with ExitStack() as stack:
            stack.enter_context(_descriptor_replaced(1, "stdout", out))
            stack.enter_context(_descriptor_replaced(2, "stderr", err))
            stack.enter_context(patch.dict(os.environ, environment))
            stack.enter_context(patch.object(sys, "argv", command))
            stack.enter_context(_imports_of_its_own(cwd, path))
            stack.enter_context(_warnings_of_its_own())
            stack.enter_context(_working_directory(cwd))
            code = program._run()
        if code == program.INTERRUPTED:
            raise KeyboardInterrupt
        return subprocess.CompletedProcess(command, code, _text(out), _text(err))


@contextmanager
def _descriptor_replaced(number: int, name: str, file: IO[bytes]) -> Iterator[None]:
    """Descriptor `number` and `sys.NAME` write into `file`, as when a shell redirects them."""
    kept = os.dup(number)
    os.dup2(file.fileno(), number)
    errors = "backslashreplace" if name == "stderr" else "strict"
    stream = open(number, "w", encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115 - a descriptor
    try:
        with patch.object(sys, name, stream):
            yield
    finally:
        stream.close()
        os.dup2(kept, number)
        os.close(kept)


@contextmanager
def _imports_of_its_own(cwd: Path, path: Path | None) -> Iterator[None]:
    """A user's module is the one that a new process finds, and what the command imports is forgotten afterwards.

    A module of this process, the tests' own `digits.py` say, does not stand in for the file of its name in `cwd`.
    """
    hidden = {name: sys.modules.pop(name) for name in _shadowed([cwd, *([path] if path else [])])}
    before, modules = list(sys.path), set(sys.modules)
    if path is not None:
        sys.path.insert(0, str(path))
        importlib.invalidate_caches()
    try:
        yield
    finally:
        added = {Path(entry).resolve() for entry in set(sys.path) - set(before)}
        sys.path[:] = before
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file and added & set(Path(file).resolve().parents):
                del sys.modules[name]
        sys.modules.update(hidden)
        importlib.invalidate_caches()


def _shadowed(folders: Sequence[Path]) -> list[str]:
    """The modules of the tests that a file NAME.py, or a package NAME, of one of `folders` comes before."""
    files = [file for folder in folders for pattern in ("*.py", "*/__init__.py") for file in folder.glob(pattern)]
    found = {file.parent.name if file.name == "__init__.py" else file.stem for file in files}
    tests = str(Path(__file__).resolve().parent)
    mine = [name for name, module in sys.modules.items() if str(getattr(module, "__file__", "")).startswith(tests)]
    return [name for name in mine if name.partition(".")[0] in found]


@contextmanager
def _warnings_of_its_own() -> Iterator[None]:
    """Python's own filters, each warning printed to stderr: pytest would swallow what a user reads."""

    def show(message, category, filename, lineno, file=None, line=None):  # type: ignore[no-untyped-def]
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))

    with warnings.catch_warnings():
        warnings.resetwarnings()
        for category in IGNORED_WARNINGS:
            warnings.simplefilter("ignore", category, append=True)
        with patch.object(warnings, "showwarning", show):
            yield


@contextmanager
def _working_directory(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8").replace("\r\n", "\n")
