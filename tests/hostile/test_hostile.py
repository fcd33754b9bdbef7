"""Hostile files against commands, each in a process of its own with bounded memory and time.

Whatever the file is, the command answers or ends in one line, in seconds, without a traceback, without a character that
steers a terminal, and without a file that was not there before. The quick cases are refused before a framework is
imported, so that each takes the time that Python takes to start.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_cases import FULL, QUICK, Case

HANGS = 300  # seconds after which a command waits for something that does not come
# A small process starts the command: the most that a child held includes what its parent held when it was started.
LAUNCH = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    file.write(f"{used.ru_utime + used.ru_stime} {used.ru_maxrss / 1000}")
sys.exit(code & 255)
"""
ADDRESS_SPACE = 16 * 10**9  # bytes: a process that asks for more gets none, whatever its case allows it


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[pytest.mark.full] if number % 3 else []) for number, case in enumerate(QUICK)],
    ids=str,
)
def test_a_hostile_file_is_refused_in_one_line(case, tmp_path, shared_store):
    _hold(case, tmp_path, shared_store)


@pytest.mark.full
@pytest.mark.parametrize("case", FULL, ids=str)
def test_a_larger_hostile_file_too(case, tmp_path, shared_store):
    _hold(case, tmp_path, shared_store)


def _hold(case: Case, place: Path, store: Path) -> None:
    file = case.make(place)
    before = sorted(map(os.fsencode, place.rglob("*")))
    arguments = [part.replace("{file}", str(file)) for part in case.command.split()]
    code, out, said, seconds, megabytes = _run(arguments, place, store)
    assert code in case.codes, said
    _assert_clean(out + said)
    if code:
        assert len([line for line in said.splitlines() if line.startswith("deploykit: error: ")]) == 1, said
        assert out == ""
    assert max(map(len, said.splitlines()), default=0) < 5000
    assert sorted(map(os.fsencode, place.rglob("*"))) == before
    assert megabytes <= case.megabytes
    assert seconds <= case.seconds


def _assert_clean(text: str) -> None:
    assert "Traceback" not in text
    steering = {char for char in text if not (char.isprintable() or char == "\n")}
    assert not steering, text[:1000]


def _run(arguments: list[str], place: Path, store: Path) -> tuple[int, str, str, float, float]:
    """Exit code, stdout, stderr, processor seconds, and the most megabytes that the process held."""
    environment = os.environ | {"DEPLOYKIT_STORE": str(store), "OMP_NUM_THREADS": "1"}
    told = place.parent / f"{place.name}.usage"
    command = [sys.executable, "-S", "-c", LAUNCH, str(told), sys.executable, "-m", "deploykit", *arguments]
    with (
        (place.parent / f"{place.name}.out").open("w+b") as out,
        (place.parent / f"{place.name}.err").open("w+b") as err,
    ):
        process = subprocess.Popen(
            command, cwd=place, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, preexec_fn=_bound,
            start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(HANGS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            pytest.fail("the command did not end")
        out.seek(0)
        err.seek(0)
        texts = [file.read().decode(errors="surrogateescape") for file in (out, err)]
    seconds, megabytes = map(float, told.read_text().split())
    return process.returncode, *texts, seconds, megabytes


def _bound() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


def test_a_reader_that_leaves_ends_a_command_quietly(tmp_path, shared_store):
    """As `| head -1` does: of a table that rich draws, of JSON, and of a result that is shorter than a buffer."""
    for arguments in (["list"], ["list", "--json"], ["--version"], ["--help"]):
        command = f"{sys.executable} -m deploykit {' '.join(arguments)} | true; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, timeout=60,
            env=os.environ | {"DEPLOYKIT_STORE": str(shared_store)},
        )  # fmt: skip
        assert (done.stdout, done.stderr) == ("0\n", ""), arguments


def test_hidden_folders_are_no_classes(tmp_path):
    from hostile_files import folder, png

    from deploykit.data.dataset import open_labeled

    place = folder("set", folder("a", png("a.png", 8, 8)), folder("b", png("b.png", 8, 9)),
                   folder(".cache", png("c.png", 8, 8)))(tmp_path)  # fmt: skip
    assert open_labeled(place).classes == ("a", "b")
