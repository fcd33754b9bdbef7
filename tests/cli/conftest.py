"""The command line as a user meets it: a real process, its streams, its exit code."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory):
    """One store for the tests that do not care which artefacts are there already."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def run(shared_store, tmp_path_factory):
    """Run `deploykit ARGUMENTS` away from the checkout; `store` defaults to the shared one."""
    folder = tmp_path_factory.mktemp("elsewhere")

    def start(*arguments, store=None, path=None, timeout=240):
        extra = {"DEPLOYKIT_STORE": str(store or shared_store)}
        if path is not None:
            extra["PYTHONPATH"] = str(path)
        command = [sys.executable, "-m", "deploykit", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, cwd=folder, env=os.environ | extra
        )

    return start


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """A folder of eight small colourful images."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(5)
    for number in range(8):
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC).save(folder / f"image{number}.png")
    return folder
