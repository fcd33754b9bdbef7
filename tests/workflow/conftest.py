"""A network with an auxiliary head, and backends whose answers are known, found through real entry points."""

from pathlib import Path

import pytest
from answering import FAULTS


@pytest.fixture
def headed(install):
    """The model `headed` is installed; its name."""
    install("deploykit.models", {"headed": "stepping_networks:HEADED"}, Path(__file__).parent)
    return "headed"


@pytest.fixture
def answering(install):
    """The backends of answering.py are installed, each under its class's name in small letters."""
    install("deploykit.backends", {name.lower(): f"answering:{name}" for name in FAULTS}, Path(__file__).parent)
