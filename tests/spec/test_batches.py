"""Batches as a user writes them: one, a range, or a list."""

import pytest

from deploykit.api.choices import batches_of
from deploykit.errors import UsageError
from deploykit.spec import BatchRange, parse_batches


@pytest.mark.parametrize(
    ("text", "optima"),
    [("8", [8]), ("1:4:16", [4]), ("1,8,32", [1, 8, 32]), ("8, 1", [8, 1]), ("4,4,2", [4, 2])],
)
def test_a_list_is_one_batch_after_the_other_each_once(text, optima):
    assert [each.optimum for each in parse_batches(text)] == optima


def test_a_batch_of_a_list_is_what_it_is_alone():
    assert parse_batches("2,8") == (BatchRange.parse("2"), BatchRange.parse("8"))
    assert parse_batches("1:4:16") == (BatchRange(1, 4, 16),)


@pytest.mark.parametrize("text", ["1,", ",8", "1,,8", "1,1:4:8", "1,eight", "1,-8", "1;8", "1,8.5", ""])
def test_what_is_no_list_is_refused_with_how_to_write_one(text):
    with pytest.raises(UsageError, match=r"cannot read .*write"):
        parse_batches(text)


@pytest.mark.parametrize("text", ["0,8", "1,70000"])
def test_each_batch_is_in_range(text):
    with pytest.raises(UsageError, match="is not a range of whole numbers"):
        parse_batches(text)


@pytest.mark.parametrize(
    ("batch", "batches", "said"),
    [
        (4, [1, 8], "batch and batches cannot be combined"),
        (None, "1,8", "is not a list of numbers"),
        (None, 8, "is not a list of numbers"),
        (None, [1, 8.0], "8.0 is not a number of images"),
        (None, [True], "True is not a number of images"),
        (None, [0, 8], "is not a range of whole numbers"),
    ],
)
def test_python_says_the_same(batch, batches, said):
    with pytest.raises(UsageError, match=said):
        batches_of(batch, batches)


def test_python_takes_one_batch_or_several():
    assert [each.optimum for each in batches_of(None, [1, 8, 1])] == [1, 8]
    assert batches_of(None, ()) == (BatchRange(1, 1, 1, asked=False),)
    assert batches_of((1, 4, 8), []) == (BatchRange(1, 4, 8),)
