"""What the whole suite shares.

`shared_store` (a folder) and `artefacts` (the pipeline's steps over it) are one store for the whole run, whatever the
number of xdist workers: a miniature is exported, calibrated and compiled by the first test that needs it. A test that
asks whether something was in the store already takes a store of its own.

`full_run` is the plugin behind `make test-full`. A test whose point is a real network at its own size, or a real
training, is marked `full`; CONTRIBUTING.md lists them.
"""

import os
import signal
from pathlib import Path

import pytest

from deploykit.pipeline.artefacts import Artefacts
from deploykit.store import Store

pytest_plugins = ["full_run"]


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory) -> Path:
    """The folder of the run's store; artefacts may be there already, and stay there for other tests."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared_store"


@pytest.fixture(scope="session")
def artefacts(shared_store) -> Artefacts:
    """The pipeline over the run's store."""
    return Artefacts(Store.open(shared_store))


# A process started in the background ignores Ctrl-C, and so do its children: undone here, for tests that send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
