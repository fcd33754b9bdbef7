"""The tutorials and README, followed step by step: files are written, commands run, and the output shown comes out."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import run_in_process
from site_pages import DOCS, ROOT, Command, blocks, commands, skeleton

README = (ROOT / "README.md").read_text()
# The first tutorial with a miniature in place of the network; `list` does not show miniatures.
MINIATURE = {"mobilenet": "test_mobilenet", "(1, 3, 224, 224)": "(1, 3, 32, 32)"}


def follow(text: str, folder: Path, store: Path, *, leave_out: str = " ") -> list[tuple[Command, str]]:
    """Write the files and run the commands of a page in `folder`; the commands with what they printed on stdout."""
    done = []
    for block in blocks(text):
        if block.title:
            (folder / block.title).write_text(block.text)
        if block.language == "console":
            wanted = (command for command in commands(block) if not command.line.startswith(leave_out))
            done += [(command, run(command.line, folder, store)) for command in wanted]
    return done


def run(line: str, folder: Path, store: Path) -> str:
    program, *arguments = shlex.split(line)
    if program == "deploykit":
        done = run_in_process(arguments, cwd=folder, environment={"DEPLOYKIT_STORE": str(store)})
    else:
        done = python(folder, store, *arguments)
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return done.stdout


def python(folder: Path, store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DEPLOYKIT_STORE": str(store), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)


def not_printed(done: list[tuple[Command, str]]) -> list[str]:
    """Lines that a page shows and the command did not print, figures apart."""
    wrong = []
    for command, output in done:
        printed = {skeleton(line) for line in output.splitlines()}
        wrong += [f"{command.line}: {line}" for line in command.shown if skeleton(line) not in printed]
    return wrong


@pytest.mark.full
@pytest.mark.parametrize("name", ["int8-on-your-images", "your-own-network"])
def test_a_tutorial_does_what_it_shows(name, tmp_path, shared_store):
    done = follow((DOCS / "tutorials" / f"{name}.md").read_text(), tmp_path, shared_store)
    assert len(done) >= 4
    assert not_printed(done) == []


@pytest.mark.full
def test_the_first_tutorial_works_on_a_miniature(tmp_path, shared_store):
    text = (DOCS / "tutorials/first-engine.md").read_text()
    for name, small in MINIATURE.items():
        text = text.replace(name, small)
    done = follow(text, tmp_path, shared_store, leave_out="deploykit list")
    assert len(done) == 4
    assert (tmp_path / "test_mobilenet.engine").stat().st_size > 0


@pytest.mark.full
def test_the_first_tutorial_does_what_it_shows(tmp_path, shared_store):
    text = (DOCS / "tutorials/first-engine.md").read_text()
    assert not_printed(follow(text, tmp_path, shared_store)) == []


def test_readme_does_what_it_shows(tmp_path, shared_store):
    done = follow(README, tmp_path, shared_store)
    assert len(done) == 2
    assert not_printed(done) == []


def test_the_python_of_readme_runs(tmp_path, shared_store):
    (block,) = [block for block in blocks(README) if block.language == "python"]
    done = python(tmp_path, shared_store, "-c", block.text)
    assert done.returncode == 0, done.stderr
    assert "(1, 10)" in done.stdout
