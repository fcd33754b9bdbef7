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
def test_a_long_quote_has_both_its_ends(quote):
    assert quote(ValueError("x" * LONGEST_QUOTE)) == "x" * LONGEST_QUOTE
    cut = quote(ValueError("node n: " + "x" * 5000 + " failed to allocate"))
    assert (len(cut), cut[:8], cut[-18:]) == (LONGEST_QUOTE, "node n: ", "failed to allocate")
    assert " ... " in cut
