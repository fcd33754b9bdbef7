"""The runner of these tests against a real process: the same streams, the same exit code, nothing left behind."""

import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

import click
import pytest

from deploykit.cli import list_command


@pytest.mark.full
@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "resnet*"],
        ["--help"],
        [],
        ["export", "resnet51"],
        ["summary", "lenet5", "--csv"],
        ["list", "--frobnicate"],
    ],
    ids=" ".join,
)
def test_a_command_says_what_its_process_says(run, run_process, arguments):
    inside, outside = run(*arguments), run_process(*arguments)
    assert (inside.returncode, inside.stdout, inside.stderr) == (outside.returncode, outside.stdout, outside.stderr)


def test_what_native_code_prints_and_python_warns_of_is_heard(run, monkeypatch):
    def noisy(*_, **__):
        os.write(1, b"from native code\n")
        os.write(2, b"and its complaint\n")
        warnings.warn("a warning that users see", stacklevel=1)
        click.echo("the answer")

    monkeypatch.setattr(list_command.command, "callback", noisy)
    for _ in range(2):  # a second process warns, too
        done = run("list")
        assert done.stdout == "from native code\nthe answer\n"
        assert "and its complaint\n" in done.stderr
        assert "UserWarning: a warning that users see" in done.stderr


def test_nothing_is_left_behind(run, tmp_path):
    (tmp_path / "own_left_behind.py").write_text("from torch import nn\ndef tiny():\n    return nn.Conv2d(3, 4, 3)\n")
    before = (os.getcwd(), list(sys.path), dict(os.environ), sys.stdout, sys.stderr, list(sys.argv))  # noqa: PTH109
    assert run("summary", "own_left_behind:tiny", "--input-shape", "3,8,8", path=tmp_path).returncode == 0
    assert "own_left_behind" not in sys.modules
    assert before == (os.getcwd(), list(sys.path), dict(os.environ), sys.stdout, sys.stderr, list(sys.argv))  # noqa: PTH109


def test_a_users_file_comes_before_a_module_of_the_tests(run, tmp_path, monkeypatch):
    loaded = ModuleType("same_name")
    loaded.__file__ = str(Path(__file__).with_name("same_name.py"))
    monkeypatch.setitem(sys.modules, "same_name", loaded)
    (tmp_path / "same_name.py").write_text("from torch import nn\ndef network():\n    return nn.Conv2d(3, 4, 3)\n")
    done = run("summary", "same_name:network", "--input-shape", "3,8,8", path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Conv" in done.stdout
    assert sys.modules["same_name"] is loaded
