"""The misbehaving backends, found through real entry points."""

import importlib
from pathlib import Path

import pytest

FAULTS = (
    "Abort",
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
    "Threads",
)


@pytest.fixture
def plugins(tmp_path_factory, monkeypatch):
    """Backends called `abort`, `raise`, ... as an installed package would add them."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "misbehaving-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
    points = "\n".join(f"{name.lower()} = misbehaving:{name}" for name in FAULTS)
    (info / "entry_points.txt").write_text(f"[deploykit.backends]\n{points}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    importlib.invalidate_caches()
    return folder
