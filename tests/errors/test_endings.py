"""How the command line ends on an exception that nothing foresaw: one line, and the traceback for those who ask."""

import re
import sys

import click
import pytest

from deploykit import __main__ as program
from deploykit.errors import DEBUG_VARIABLE, UsageError, own_frame, unforeseen
from deploykit.spec import BatchRange


def deep() -> int:
    return deep() + 1


def raises(error: BaseException) -> None:
    raise error


FAULTS = {
    "TypeError": lambda: len(3),  # type: ignore[arg-type]
    "RecursionError": deep,
    "UnicodeEncodeError": lambda: "ö".encode("ascii"),
    "AssertionError": lambda: raises(AssertionError()),
    "KeyError": lambda: {}["weights"],
    "ExceptionGroup": lambda: raises(ExceptionGroup("two", [ValueError("a\nb")])),
}


@pytest.fixture
def end(monkeypatch, capsys):
    """Run the program with `fault` for its command; the exit code and stderr."""

    def run(fault, debug: str | None = None):
        monkeypatch.setattr(program, "deploykit", click.Command("deploykit", callback=fault))
        monkeypatch.setattr(sys, "argv", ["deploykit", "verify", "my net:f"])
        monkeypatch.setattr(program.deploykit, "main", lambda **_: fault())
        if debug is not None:
            monkeypatch.setenv(DEBUG_VARIABLE, debug)
        return program._run(), capsys.readouterr().err

    return run


@pytest.mark.parametrize("name", FAULTS)
def test_an_unforeseen_exception_is_one_line_that_asks_for_a_report(end, name):
    code, said = end(FAULTS[name])
    assert code == 1
    assert said.count("\n") == 1
    assert said.startswith(f"deploykit: error: internal error: {name}")
    assert said.endswith("; please report it with the output of `DEPLOYKIT_DEBUG=1 deploykit verify 'my net:f'`\n")


def test_the_traceback_is_there_for_those_who_ask(end):
    assert "Traceback" in end(FAULTS["TypeError"], debug="1")[1]
    assert "Traceback" in end(lambda: raises(UsageError("wrong")), debug="1")[1]
    assert "Traceback" not in end(FAULTS["TypeError"], debug="0")[1]


@pytest.mark.parametrize(
    ("ending", "code"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 0), (MemoryError("3 GB"), 1)]
)
def test_foreseen_endings_are_no_internal_error(end, ending, code, monkeypatch):
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # a broken pipe closes it
    found, said = end(lambda: raises(ending))
    assert found == code
    assert "internal error" not in said


def test_the_innermost_place_in_our_own_code_is_named():
    with pytest.raises(TypeError) as caught:
        BatchRange("a", 1, 1)  # type: ignore[arg-type]
    place = own_frame(caught.value)
    assert place is not None
    assert re.fullmatch(r"deploykit/spec/types\.py:\d+", place)
    assert unforeseen(caught.value).endswith(f" (at {place})")
    assert own_frame(ValueError()) is None
