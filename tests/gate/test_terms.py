"""Limits in words."""

import pytest

from deploykit.errors import UsageError
from deploykit.gate.terms import FIGURES, Term, parse_terms


def test_limits_are_read_with_their_units():
    assert parse_terms("p50>3%, sqnr<-1dB ,kernels>0,mb>1%,top1<-0.3,parity") == (
        Term("p50", ">", 3.0, "%"),
        Term("sqnr", "<", -1.0, "dB"),
        Term("kernels", ">", 0.0, ""),
        Term("mb", ">", 1.0, "%"),
        Term("top1", "<", -0.3, "points"),
        Term("parity", "", 0.0, ""),
    )


@pytest.mark.parametrize(
    "text", ["p50>0.5ms", "mb>2MB", "kernels>2%", "top5<-0.3", "ratio>3%", "agreement<-1", "parity"]
)
def test_a_limit_reads_as_it_was_written(text):
    (term,) = parse_terms(text)
    assert str(term) == text


def test_a_unit_may_be_in_lower_case_and_a_limit_given_twice_counts_once():
    assert [str(term) for term in parse_terms("sqnr<-1db,MB>2mb,sqnr<-1")] == ["sqnr<-1dB", "mb>2MB"]


@pytest.mark.parametrize(
    "text", ["", " , ", "p50", "p50>", "p50>=3%", "p50>three", "p51>3%", "parity>1", "p50>nan%", "p50>3%;x"]
)
def test_a_malformed_limit_lists_the_known_ones(text):
    with pytest.raises(UsageError) as caught:
        parse_terms(text)
    assert all(name in caught.value.hint for name in FIGURES)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p50>3", "limit 'p50>3': the change of p50 is in % or ms; write p50>1%"),
        ("sqnr<-3%", "the change of sqnr is in dB; write sqnr<-1dB"),
        ("kernels>1MB", "the change of kernels is in no unit or %"),
    ],
)
def test_a_wrong_unit_names_the_right_ones(text, said):
    with pytest.raises(UsageError) as caught:
        parse_terms(text)
    assert said in str(caught.value)
