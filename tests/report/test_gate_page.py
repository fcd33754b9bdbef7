"""The page of `compare`: the terminal's lines, every figure, and changes with their limits."""

import io
from dataclasses import replace

from frozen import HOSTILE
from pages import Page
from test_gate import NEW, report_of

from deploykit.report.gate import render_gate
from deploykit.report.html import html_of


def said(report):
    return " ".join(" ".join(Page(html_of(report)).text).split())


def test_the_page_says_all_that_the_terminal_says_and_every_figure_that_is_equal():
    report, out = report_of(), io.StringIO()
    render_gate(report, file=out)
    page = said(report)
    assert "warning The gate fails: of 7 checks (each limit on each row) 3 fail, 4 hold: " in page
    for line in out.getvalue().splitlines():
        if "  " not in line and not line.startswith("-"):
            assert line in page
    for figure in ("+10.0 % [+9.3, +10.7]", "32.6 dB", "-2.6 dB", "holds", "torch fp32", "500.10 MB"):
        assert figure in page


def test_changes_are_drawn_with_their_limits():
    text = html_of(report_of())
    assert "Changes in % of BASE" in text
    assert "ort fp32 p50: +10.0 % [+9.3, +10.7]" in text
    assert text.count('class="limit"') == 6  # of p50, mb and sqnr, for a page and for a phone


def test_equal_results_have_no_chart_and_foreign_names_are_harmless():
    assert "<svg" not in html_of(report_of(new=report_of.__defaults__[0]))
    other = replace(NEW, rows=tuple(replace(row, backend=HOSTILE) for row in NEW.rows))
    page = Page(html_of(report_of(new=other)))
    assert page.open == []
    assert "script" not in page.tags
