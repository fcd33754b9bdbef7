"""Foreign text on its way out: nothing in it steers a terminal, and none of it is endless."""

import pickle

import pytest

from deploykit.errors import DeploykitWarning, UnknownName, UsageError
from deploykit.quote import LONGEST_QUOTE, LONGEST_WORD, printable, quoted, shown

STEERING = "\x1b[31m\x07\x9b1m\u202e\u2066\udcff\x00\x7f"


@pytest.mark.parametrize("write", [printable, quoted, shown])
def test_what_steers_a_terminal_is_an_escape(write):
    assert write(f"a {STEERING}b") == r"a \x1b[31m\x07\x9b1m\u202e\u2066\udcff\x00\x7fb"
    assert write("gr\u00fcn \u7da0 \U0001f7e2") == "gr\u00fcn \u7da0 \U0001f7e2"


def test_a_message_is_one_line():
    assert quoted("a\nb\r\n\tc") == "a b c"


def test_a_name_of_ten_megabytes_keeps_its_ends():
    said = quoted(f"unknown key {'k' * 10_000_000}z; known: {'a, ' * 80}")
    assert said.startswith("unknown key kkk")
    assert len(said) < LONGEST_QUOTE
    assert quoted("k" * LONGEST_WORD) == "k" * LONGEST_WORD
    assert len(quoted("\x1b " * 10_000_000)) <= LONGEST_QUOTE
    assert len(quoted("\x1b" * 10_000_000)) <= 3 * LONGEST_WORD


def test_quoting_twice_changes_nothing():
    for text in (STEERING, "k" * 1000, "a\nb", "word " * 2000, f"{STEERING * 500} {'x' * 300}"):
        assert quoted(quoted(text)) == quoted(text)


def test_errors_and_warnings_are_quoted_where_they_are_made():
    error = UsageError(f"tensor {STEERING}", hint="n" * 10_000)
    assert str(error).isprintable()
    assert len(error.hint) == LONGEST_WORD
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(DeploykitWarning(STEERING)).isprintable()
    assert str(UnknownName("model", STEERING * 10_000, ["a"])).isprintable()
