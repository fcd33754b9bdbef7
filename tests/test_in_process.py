"""What tests see of a command run in their own process is what a new process shows."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from in_process import run_in_process

NETWORK = """
import torch

def network():
    return torch.nn.Conv2d(3, 4, 3)
"""


def test_a_users_file_comes_before_a_module_of_the_tests(tmp_path, monkeypatch):
    loaded = ModuleType("same_name")
    loaded.__file__ = str(Path(__file__).with_name("same_name.py"))
    monkeypatch.setitem(sys.modules, "same_name", loaded)
    (tmp_path / "same_name.py").write_text(NETWORK)
    done = run_in_process(["summary", "same_name:network", "--input-shape", "3,8,8"], cwd=tmp_path, environment={})
    assert done.returncode == 0, done.stderr
    assert "Conv" in done.stdout
    assert sys.modules["same_name"] is loaded
