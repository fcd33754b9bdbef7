"""Nobody but the loader opens foreign files."""

import re
from pathlib import Path

import deploykit

FORBIDDEN = (
    r"\btorch\.load\(",
    r"\bnp\.load\(|\bnumpy\.load\(",
    r"\b(import|from) pickle\b|\bpickle\.",
    r"\bonnx\.load|\bload_model_from_string\b",
    r"\bextractall\(",
    r"\bImage\.open\(",
    r"\bload_file\(|\bsafe_open\(",
)
PACKAGE = Path(deploykit.__file__).parent


def openers():
    pattern = re.compile("|".join(FORBIDDEN))
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(pattern.search(line.split("#")[0]) for line in path.read_text().splitlines())
    }


READS = (
    r"\.read_text\(",
    r"\.read_bytes\(",
    r"\.open\(\"rb\"",
    r"(?<![.\w])(?<!def )open\([^)]",
    r"\btomllib\.load",
    r"\bgzip\.",
    r"\bZipFile\(",
)
NOT_FOREIGN = {  # readers of files that deploykit wrote, of its own package, or of the system
    "backends/nvinfer_session.py": "an engine whose digest was looked up",
    "bench/disturbance.py": "/proc and /sys",
    "bench/environment.py": "/sys",
    "bench/loadgen.py": "LoadGen's log",
    "data/dataset.py": "the list of demo images",
    "doctor/machine.py": "/proc",
    "doctor/probe.py": "the profile that ONNX Runtime wrote",
    "host.py": "/proc",
    "modules/live.py": "a snapshot for a worker",
    "plan/gpus.py": "the built-in table",
    "precision/int8/baseline.py": "the baseline's own output",
    "workflow/calibrate.py": "an entry of the store",
    "workflow/engine.py": "an entry of the store",
    "zoo/misnamed.py": "sources of installed packages",
    "zoo/registry.py": "the built-in cards",
    "zoo/sources.py": "sources that Python has found, and will run",
}


def test_nobody_reads_a_file_past_the_door():
    pattern = re.compile("|".join(READS))
    readers = set()
    for path in PACKAGE.rglob("*.py"):
        lines = [line.split("#")[0] for line in path.read_text().splitlines()]
        if any(map(pattern.search, lines)):
            readers.add(path.relative_to(PACKAGE).as_posix())
    assert {name for name in readers if not name.startswith(("io/", "store/"))} == set(NOT_FOREIGN)


def test_only_the_loader_opens_foreign_files():
    own = {"modules/live.py"}  # pickles that this process wrote itself, for its workers
    assert openers() == {"io/loader.py", "io/arrays.py", *own}
