import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from deploykit import host
from deploykit.bench.environment import fingerprint
from deploykit.codec import encode

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2.60GHz
cpu MHz\t\t: 2600.125
flags\t\t: fpu sse2 avx2 avx512f avx512_vnni amx_int8 avx512_vnni_not

processor\t: 1
model name\t: another
"""


@pytest.fixture
def cpu_of(tmp_path, monkeypatch):
    """The fingerprint's CPU on a machine whose kernel says this."""

    def read(text):
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(host, "CPUINFO", tmp_path / "cpuinfo")
        return fingerprint(threads=1, seed=0, tf32=False).cpu

    return read


def test_reads_the_cpu_and_the_flags_that_int8_rests_on(cpu_of):
    found = cpu_of(CPUINFO)
    assert found.model == "Some CPU @ 2.60GHz"
    assert found.flags == ("avx2", "avx512f", "avx512_vnni", "amx_int8")
    assert found.clock_mhz == 2600.125


def test_a_kernel_that_says_nothing_leaves_no_flag_and_no_clock(cpu_of):
    found = cpu_of("")
    assert found.model
    assert (found.flags, found.clock_mhz) == ((), None)


def test_the_fingerprint_is_json_without_private_paths():
    found = fingerprint(threads=2, seed=3, tf32=False)
    text = json.dumps(encode(found), allow_nan=False)
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text
    assert (found.threads, found.seed, found.tf32) == (2, 3, False)
    assert found.libraries["torch"] == version("torch")
    assert found.cpu.cores >= 1
    assert found.memory_bytes > 2**20


def test_the_revision_is_that_of_this_checkout():
    root = Path(__file__).resolve().parents[2]
    found = fingerprint(threads=1, seed=0, tf32=False).git_revision
    if not (root / ".git").exists():
        assert found is None
        return
    head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    assert found.removesuffix("-dirty") == head.strip()


def test_no_framework_is_imported():
    script = (
        "import sys; from deploykit.bench import fingerprint; fingerprint(threads=1, seed=0, tf32=False); "
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'tensorrt', 'tensorrt_rtx', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
