"""The benchmarks behind docs/results run, each on the smallest network that it takes."""

import subprocess
import sys

import pytest
from site_pages import ROOT

from deploykit.host import installed_version

RTX = installed_version("tensorrt-rtx")
BENCHMARKS = {
    "aa_test.py": ("--runs", "1", "--max-seconds", "5"),
    "calibration.py": ("--network", "lenet5", "--images", "4", "--repeats", "1"),
    "costs.py": ("--model", "mobilenet", "--repeats", "1"),
    "coverage.py": ("--trials", "2"),
    "explain.py": ("--network", "test_resnet", "--networks", "test_resnet"),
    "families.py": ("--networks", "lenet5", "--seconds", "1"),
    "harness.py": ("--network", "lenet5", "--rounds", "2"),
    "int8_zoo.py": ("--networks", "lenet5"),
    "own_networks.py": ("--networks", "detector", "--skip-reading"),
    "parity_limits.py": ("--networks", "test_convnet"),
    "plans.py": ("--networks", "lenet5"),
    "predict.py": ("--network", "test_resnet", "--precision", "fp32", "--images", "16", "--rounds", "1"),
    "rtx_releases.py": ("--base", str(RTX), "--new", str(RTX), "--networks", "lenet5"),
    "zoo.py": ("--networks", "lenet5"),
}


@pytest.mark.full
@pytest.mark.parametrize("script", BENCHMARKS)
def test_a_benchmark_runs(script):
    command = [sys.executable, script, *BENCHMARKS[script]]
    done = subprocess.run(command, cwd=ROOT / "benchmarks", capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
