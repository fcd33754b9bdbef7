"""Any result that has a page, as that page."""

from __future__ import annotations

from typing import TypeAlias

from deploykit.report.page import Page, page_html
from deploykit.report.pages.accuracy import accuracy_page
from deploykit.report.pages.comparison import comparison_page
from deploykit.report.pages.gate import gate_page
from deploykit.report.pages.inspection import inspection_page
from deploykit.results.accuracy import AccuracyReport
from deploykit.results.comparison import Report
from deploykit.results.gate import GateReport
from deploykit.results.inspection import Inspection

Shown: TypeAlias = Report | AccuracyReport | Inspection | GateReport


def has_page(result: object) -> bool:
    """Whether there is a page of such a value."""
    return isinstance(result, Report | AccuracyReport | Inspection | GateReport)


def html_of(result: Shown) -> str:
    """The page of a result, as text."""
    return page_html(_page(result))


def _page(result: Shown) -> Page:
    match result:
        case Inspection():
            return inspection_page(result)
        case AccuracyReport():
            return accuracy_page(result)
        case GateReport():
            return gate_page(result)
        case Report():
            return comparison_page(result)
