"""Pages from Python: one function for every result that has one."""

import pytest

import deploykit as dk


def test_a_result_is_written_whole_and_its_path_comes_back(tmp_path):
    report = dk.bench_steps("lenet5", batch=1, burn_in=0, steps=2)
    page = tmp_path / "steps.html"
    page.write_text("older")
    assert dk.write_html(report, path=str(page)) == page
    assert "lenet5: speed" in page.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [page]


def test_what_has_no_page_and_a_path_that_is_none_are_one_line(tmp_path):
    with pytest.raises(dk.UsageError, match="a tuple has no page"):
        dk.write_html(dk.list_models("lenet5"), path=tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []
