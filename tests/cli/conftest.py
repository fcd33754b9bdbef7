"""The command line as a user meets it: its streams, its exit code, the files that it leaves.

`run` stays in the test's process, which takes milliseconds instead of the seconds that imports take; `run_process` is
for tests of the process itself: what it imports, signals, redirected streams, a changed interpreter.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import run_in_process

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # faults to plant


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory):
    """A working directory away from the checkout."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="session")
def run(shared_store, elsewhere):
    """`deploykit ARGUMENTS` in this process; `store` defaults to that of the whole run, `path` holds modules."""

    def start(*arguments, store=None, path=None):
        environment = {"DEPLOYKIT_STORE": str(store or shared_store)}
        return run_in_process(arguments, cwd=elsewhere, environment=environment, path=path)

    return start


@pytest.fixture(scope="session")
def run_process(shared_store, elsewhere):
    """The same in a process of its own."""

    def start(*arguments, store=None, path=None, timeout=240):
        extra = {"DEPLOYKIT_STORE": str(store or shared_store)}
        if path is not None:
            extra["PYTHONPATH"] = str(path)
        command = [sys.executable, "-m", "deploykit", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, cwd=elsewhere, env=os.environ | extra
        )

    return start
