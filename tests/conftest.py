"""What the whole suite shares.

`shared_store` (a folder) and `workspace` (over it) are one store for the whole run, whatever the number of xdist
workers: a miniature is exported, calibrated and compiled by the first test that needs it. A test that asks whether
something was in the store already takes a store of its own.

`image_folder` is a small folder of images, `install` adds entry points as an installed package would.

`full_run` is the plugin behind `make test-full`. A test whose point is a real network at its own size, or a real
training, is marked `full`; CONTRIBUTING.md lists them.
"""

import functools
import importlib
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from example_plugins import write_entry_points
from PIL import Image

from deploykit.store import Store
from deploykit.workflow.workspace import Workspace
from deploykit.zoo import registry

pytest_plugins = ["full_run", "pytester"]


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory) -> Path:
    """The folder of the run's store; artifacts may be there already, and stay there for other tests."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared_store"


@pytest.fixture(scope="session")
def workspace(shared_store) -> Workspace:
    """What a command works with, over the run's store."""
    return Workspace(Store.open(shared_store))


@pytest.fixture(scope="session", autouse=True)
def one_operator_table() -> None:
    """torch.onnx makes its tables of operators anew for each export, and reads them only: here once a process.

    That is more than half of what the export of a miniature takes.
    """
    from torch._export import utils
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    utils._materialize_cpp_cia_ops = functools.cache(utils._materialize_cpp_cia_ops)
    ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory) -> Path:
    """A folder of eight small colorful images."""
    folder = tmp_path_factory.mktemp("image_folder")
    random = np.random.default_rng(5)
    for number in range(8):
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC).save(folder / f"image{number}.png")
    return folder


@pytest.fixture
def install(tmp_path_factory, monkeypatch):
    """`install("deploykit.backends", {"slow": "module:Slow"}, folder)`: entry points of modules in `folder`.

    Workers and other processes that the test starts through deploykit find them, too.
    """

    def add(group: str, points: dict[str, str], folder: Path) -> Path:
        site = tmp_path_factory.mktemp("site")
        write_entry_points(site, group, points)
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        registry.card_of.cache_clear()
        return site

    yield add
    registry.card_of.cache_clear()  # it answers for a process whose packages stay


# A process started in the background ignores Ctrl-C, and so do its children: undone here, for tests that send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
