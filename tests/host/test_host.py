"""Facts about the machine, read from files that stand in for the kernel's."""

import os
import subprocess
import sys

import pytest

from deploykit import host

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2.60GHz
flags\t\t: fpu avx2 avx512_vnni

processor\t: 1
model name\t: another
"""


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "CPUINFO", tmp_path / "cpuinfo")
    return tmp_path / "cpuinfo"


def test_the_first_processor_speaks_for_all(cpuinfo):
    cpuinfo.write_text(CPUINFO)
    assert host.cpu_facts()["model name"] == "Some CPU @ 2.60GHz"
    assert host.cpu_flags() == {"fpu", "avx2", "avx512_vnni"}


def test_arm_calls_them_features(cpuinfo):
    cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimddp i8mm\n")
    assert host.cpu_flags() == {"fp", "asimddp", "i8mm"}


def test_a_system_without_the_file_says_nothing(cpuinfo):
    assert host.cpu_facts() == {}
    assert host.cpu_flags() == frozenset()


def test_versions_name_what_is_absent():
    found = host.library_versions(["numpy", "no-such-distribution"])
    assert found["no-such-distribution"] == "absent"
    assert found["numpy"][0].isdigit()


def test_the_first_distribution_that_is_installed_counts():
    assert host.installed_version("no-such-distribution", "numpy") == host.installed_version("numpy") is not None
    assert host.installed_version("no-such-distribution") is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process to cores")
def test_only_cores_that_this_process_may_use_are_counted():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert host.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert host.usable_cores() == len(allowed)


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "avx2 avx512f", True),
        ("x86_64", "avx2 avx_vnni", False),
        ("AMD64", "", True),
        ("aarch64", "asimddp", False),
    ],
)
def test_x86_without_vnni_saturates(monkeypatch, tmp_path, machine, flags, expected):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"flags\t\t: {flags}\n")
    monkeypatch.setattr(host, "CPUINFO", cpuinfo)
    monkeypatch.setattr(host.platform, "machine", lambda: machine)
    assert host.saturates_u8s8() is expected


PEAK = """
import numpy as np
from deploykit.host import peak_memory_bytes
before = peak_memory_bytes()
array = np.ones(200_000_000, np.uint8)
del array
print(before, peak_memory_bytes())
"""


def test_the_peak_is_what_the_process_had_at_once():
    """A large array raises it by what it takes, and dropping it does not lower it; what its parent had is no part."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before < 200_000_000 <= after < before + 2 * 200_000_000
