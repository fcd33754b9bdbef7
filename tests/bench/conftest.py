"""The misbehaving backends, found through real entry points."""

from pathlib import Path

import pytest

FAULTS = (
    "Abort",
    "Careless",
    "Raise",
    "OutOfMemory",
    "Exit",
    "Killed",
    "Slow",
    "Slower",
    "Tiring",
    "Hanging",
    "Noisy",
    "Parent",
    "Relapsing",
    "Threads",
)


@pytest.fixture
def plugins(install):
    """Backends called `abort`, `raise`, ... as an installed package would add them."""
    return install(
        "deploykit.backends", {name.lower(): f"misbehaving:{name}" for name in FAULTS}, Path(__file__).parent
    )
