"""The verdicts of `compare` as JUnit XML, one test case for each limit of each row, for the test page of a CI.

A limit that is undecided, or that could not be compared, is a skipped test: it neither holds nor fails.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from deploykit.quote import printable
from deploykit.report.gate import said
from deploykit.results.gate import Check, GateReport, GateRow

SUITE = "deploykit compare"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


def junit(report: GateReport) -> str:
    """The XML. Characters that XML cannot hold are shown escaped."""
    cases = list(_cases(report))
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": "0",
    }
    suites = ET.Element("testsuites", {"name": SUITE, **counts})
    suite = ET.SubElement(suites, "testsuite", {"name": SUITE, **counts})
    facts = {"BASE": report.base.source, "NEW": report.new.source, "limits": ",".join(report.fail_on)}
    facts |= {each.what: f"{each.base} -> {each.new}" for each in report.differences}
    properties = ET.SubElement(suite, "properties")
    for name, value in facts.items():
        ET.SubElement(properties, "property", {"name": printable(name), "value": printable(value)})
    suite.extend(cases)
    ET.indent(suites)
    return HEAD + ET.tostring(suites, encoding="unicode") + "\n"


def _cases(report: GateReport) -> Iterator[ET.Element]:
    for row in report.rows:
        if row.lost:
            outcome = "failure" if row.verdict == "fails" else "skipped"
            yield _case(row, "row", outcome, row.lost)
        for check in row.checks:
            if check.limit:
                yield _case(row, check.limit, *_outcome(check))


def _outcome(check: Check) -> tuple[str, str]:
    values = f"{said(check.figure, check.unit, check.base)} -> {said(check.figure, check.unit, check.new)}"
    text = "; ".join(filter(None, (values, check.said if check.change is not None else "", check.reason)))
    return {"fails": "failure", "holds": ""}.get(check.verdict, "skipped"), text


def _case(row: GateRow, name: str, outcome: str, text: str) -> ET.Element:
    case = ET.Element(
        "testcase", {"classname": printable(f"{row.model}.{row.label}"), "name": printable(name), "time": "0"}
    )
    if outcome:
        found = ET.SubElement(case, outcome, {"message": printable(text)})
        if outcome == "failure":
            found.set("type", "GateFailed")
            found.text = printable(text)
    return case
