"""The packages under examples/plugins, made known by their own entry points as `pip install` would."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[1] / "examples" / "plugins"
OPENVINO = PLUGINS / "deploykit-openvino"


def write_entry_points(site: Path, group: str, points: Mapping[str, str]) -> None:
    """What an installed distribution leaves in `site`: these entry points of `group`."""
    info = site / "plugged-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    listed = "\n".join(f"{name} = {target}" for name, target in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{listed}\n")


def declared_entry_points(package: Path) -> dict[str, dict[str, str]]:
    """Group -> name -> target, as the package's pyproject.toml declares them."""
    found: dict[str, dict[str, str]] = tomllib.loads((package / "pyproject.toml").read_text())["project"][
        "entry-points"
    ]
    return found


@contextmanager
def plugged(package: Path, site: Path) -> Iterator[None]:
    """The backends of `package` are installed; workers and other processes that deploykit starts find them, too."""
    write_entry_points(site, "deploykit.backends", declared_entry_points(package)["deploykit.backends"])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.syspath_prepend(str(package))
        importlib.invalidate_caches()
        yield
