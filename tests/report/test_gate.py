"""The verdicts of `compare` for a terminal, a pull request and a CI's page of tests."""

import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from made_up_results import MACHINE, parity, plan, row, table
from markdown_it import MarkdownIt

from deploykit.gate.compare import compare_results
from deploykit.gate.terms import parse_terms
from deploykit.report.gate import render_gate
from deploykit.report.junit import junit
from deploykit.report.markdown import LONGEST, markdown
from deploykit.results.gate import Side

LIMITS = "p50>3%,kernels>0,mb>1%,sqnr<-1dB"
BASE = table(
    row("torch", ms=40, parity=parity(96)),
    row("ort", ms=20, parity=parity(96)),
    row("trt", "int8", state="built", plan=plan(106), parity=parity(32.6)),
    row("torch", "int8", state="unavailable"),
)
NEW = table(
    row("torch", ms=40, parity=parity(96)),
    row("ort", ms=22, parity=parity(96)),
    row("trt", "int8", state="built", plan=plan(108, moved=500_100_000), parity=parity(30)),
    row("torch", "int8", state="unavailable"),
)
HOSTILE = "`|@everyone <img src=x onerror=alert(1)> [x](https://evil) \x1b[31m\n# Approved ::error::"


def report_of(base=BASE, new=NEW, limits=LIMITS, **options):
    return compare_results(base, new, parse_terms(limits) if limits else (), sources=("a.json", "b.json"), **options)


def shown(report):
    out = io.StringIO()
    render_gate(report, file=out)
    return out.getvalue()


def test_the_table_has_what_changed_and_counts_the_rest():
    assert (
        shown(report_of())
        == """\
BASE    a.json (bench of net)
NEW     b.json (bench of net)
limits  p50>3%, kernels>0, mb>1%, sqnr<-1dB

verdict  row       figure          BASE        NEW  change
--------------------------------------------------------------------------
FAILS    ort fp32  p50>3%      20.01 ms   22.01 ms  +10.0 % [+9.3, +10.7]
         ort fp32  ratio          0.500      0.550  +10.0 % [+10.0, +10.0]
FAILS    trt int8  kernels>0        106        108  +2
holds    trt int8  mb>1%      500.00 MB  500.10 MB  +0.0 %
FAILS    trt int8  sqnr<-1dB    32.6 dB    30.0 dB  -2.6 dB

Unchanged, with the number of rows: p50 (1), sqnr (2), parity (3), engine_mb (1), activation_mb (1).
The gate fails: of 7 checks (each limit on each row) 3 fail, 4 hold.
"""
    )


def test_the_table_fits_eighty_columns_and_reasons_stand_below():
    other = replace(NEW.environment, threads=1, libraries={"torch": "2.11.0"})
    text = shown(report_of(new=replace(NEW, environment=other)))
    table_of = text[text.index("verdict") : text.index("\n\n[1]")]
    assert max(map(len, table_of.splitlines())) <= 80
    assert "not compared [1]  ort fp32" in text
    assert "[1] not alike: threads, torch, onnxruntime" in text
    assert "differs  threads: 2 in BASE, 1 in NEW\n         torch: 2.10.0 in BASE, 2.11.0 in NEW\n" in text
    assert "times    not compared, see above" in text


def test_without_limits_everything_is_shown_and_nothing_judged():
    text = shown(report_of(limits=""))
    assert text.endswith("No limit was given (--fail-on).\n")
    assert "FAILS" not in text


def test_rows_are_named_by_batch_and_network_where_these_differ():
    rows = [row(ms=1, batch=1), row(ms=2, batch=8), row(ms=2, model="other")]
    text = shown(report_of(table(*rows), table(*rows[:2]), "p50>3%"))
    assert "FAILS [1]  other ort fp32, batch 1  state   measured" in text


def test_markdown_has_the_verdict_the_changes_and_the_rest_folded():
    text = markdown(report_of())
    assert "\n### The gate fails: of 7 checks (each limit on each row) 3 fail, 4 hold\n" in text
    before, folded = text.split("<details>", 1)
    assert "| `ort fp32` | `p50>3%` | `20.01 ms` | `22.01 ms` | `+10.0 % [+9.3, +10.7]` | **fails** |  |" in before
    assert "`torch fp32` | `p50>3%`" in folded
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {8}


def test_nothing_of_a_result_is_markup_in_markdown():
    base = table(row(ms=10, model=HOSTILE, backend=HOSTILE), row("ort", model=HOSTILE), preprocessing=HOSTILE)
    new = table(row("ort", state="failed", model=HOSTILE, reason=HOSTILE), preprocessing="b")
    text = markdown(replace(report_of(base, new, "p50>3%"), base=Side(HOSTILE, "bench", (HOSTILE,))))
    outside = re.sub(r"`[^`\n]*`", "", text)
    assert "everyone" in text
    for part in ("everyone", "<img", "https", "evil", "Approved", "::error", "\x1b"):
        assert part not in outside
    assert text.count("`") % 2 == 0
    assert all(line.count("`") % 2 == 0 for line in text.splitlines())


def test_markdown_fits_a_comment():
    many = [row("ort", state="built", plan=plan(), batch=number + 1) for number in range(800)]
    equal = markdown(report_of(table(*many), table(*many), "kernels>0"))
    assert len(equal) < 1000
    assert equal.endswith("The rest is left out: it does not fit a comment.\n")
    gone = markdown(report_of(table(*many), table(many[0]), "kernels>0"))
    assert LONGEST - 1000 < len(gone) < LONGEST + 100
    assert "| `ort fp32, batch 2` | `state` | `built` |" in gone


def test_markdown_renders_as_a_table():
    html = MarkdownIt("commonmark").enable("table").render(markdown(report_of()))
    assert "<h3>The gate fails: of 7 checks (each limit on each row) 3 fail, 4 hold</h3>" in html
    assert html.count("<table>") == 2
    assert "<td><strong>fails</strong></td>" in html
    assert "<td><code>p50&gt;3%</code></td>" in html


def test_junit_is_read_by_a_real_parser():
    found = ET.fromstring(junit(report_of()))
    suite = found[0]
    assert (found.tag, suite.tag) == ("testsuites", "testsuite")
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "7", "failures": "3", "errors": "0", "skipped": "0",
    }  # fmt: skip
    failed = [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None]
    assert failed == ["p50>3%", "kernels>0", "sqnr<-1dB"]


def test_junit_is_read_by_the_package_for_it(tmp_path):
    junitparser = pytest.importorskip("junitparser")
    file = tmp_path / "gate.xml"
    gone = report_of(new=table(*NEW.rows[:2], machine=replace(MACHINE, threads=1)))
    file.write_text(junit(gone))
    (suite,) = junitparser.JUnitXml.fromfile(str(file))
    kinds = {(case.classname, case.name): [type(each).__name__ for each in case.result] for case in suite}
    assert kinds == {
        ("net.torch fp32, batch 1", "p50>3%"): ["Skipped"],
        ("net.torch fp32, batch 1", "sqnr<-1dB"): [],
        ("net.ort fp32, batch 1", "p50>3%"): ["Skipped"],
        ("net.ort fp32, batch 1", "sqnr<-1dB"): [],
        ("net.trt int8, batch 1", "row"): ["Failure"],
    }
    assert (suite.tests, suite.failures, suite.skipped) == (5, 1, 2)


def test_junit_holds_text_that_xml_does_not():
    base = table(row(ms=10, model=HOSTILE + "\x00\ufffe"))
    found = ET.fromstring(junit(report_of(base, base, "p50>3%")))
    assert "everyone" in next(found.iter("testcase")).get("classname")
