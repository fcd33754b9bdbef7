"""A network with an auxiliary head, found through a real entry point."""

import importlib

import pytest


@pytest.fixture
def headed(tmp_path, monkeypatch):
    """The model `headed` is installed; its name."""
    info = tmp_path / "stepping-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stepping\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[deploykit.models]\nheaded = stepping_networks:HEADED\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return "headed"
