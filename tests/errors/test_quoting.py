"""What a message takes over from a library's."""

import pytest

from deploykit.errors import LONGEST_QUOTE, first_line, one_line


@pytest.mark.parametrize(
    ("said", "whole", "first"),
    [
        ("wrong shape", "wrong shape", "wrong shape"),
        ("\n  wrong\n\tshape \n", "wrong shape", "wrong"),
        ("", "ValueError", "ValueError"),
        (" \n ", "ValueError", "ValueError"),
    ],
)
def test_a_quote_is_one_line_and_never_empty(said, whole, first):
    assert (one_line(ValueError(said)), first_line(ValueError(said))) == (whole, first)


@pytest.mark.parametrize("quote", [one_line, first_line])
def test_a_long_quote_is_cut(quote):
    assert quote(ValueError("x" * LONGEST_QUOTE)) == "x" * LONGEST_QUOTE
    assert quote(ValueError("x" * 5000)) == "x" * (LONGEST_QUOTE - 3) + "..."
