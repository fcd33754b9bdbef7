"""The notebook-style script in examples/, from an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "first_engine.py"


@pytest.mark.full
def test_the_first_engine(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "DEPLOYKIT_STORE"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(SCRIPT.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    said = done.stdout.splitlines()
    assert any(line.startswith("engine: tensorrt-rtx") for line in said)
    top1 = next(float(line.split()[-2]) for line in said if line.startswith("top-1"))
    assert top1 > 95
    assert "  ort int8: measured pass" in said
    assert any(line.startswith("  torch fp32: unavailable __main__.Stripes") for line in said)
    assert {path.name for path in tmp_path.iterdir()} == {
        "engines",
        "stripes.engine",
        "stripes.engine.json",
        "stripes.npz",
    }
