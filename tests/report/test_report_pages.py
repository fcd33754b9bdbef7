"""Pages of results: whole, harmless, and with the figures of the terminal, character for character."""

import io
import re
from dataclasses import replace

import pytest
from frozen import ACCURACY, BENCH, HOSTILE, NO_GPU, PASSING, SWEEP, VERIFY, accuracy, report, row, timed
from frozen_plan import FOUND
from pages import Page, drawn, of_class

from deploykit.report.accuracy import render_accuracy
from deploykit.report.html import html_of
from deploykit.report.page import POLICY
from deploykit.report.table import render_report
from deploykit.report.text import Sheet
from deploykit.results.accuracy import AccuracyRow
from deploykit.results.roofline import RooflineShare

RESULTS = {
    "bench": BENCH,
    "passing": PASSING,
    "verify": VERIFY,
    "sweep": SWEEP,
    "accuracy": ACCURACY,
    "plan": FOUND,
}


def said(result):
    """The text of a page as a reader has it, words apart by one space."""
    return " ".join(" ".join(Page(html_of(result)).text).split())


def figures(result):
    """The page's drawings, without those for a phone."""
    return [drawn(each) for each in re.findall(r'<div class="wide">(<svg.*?</svg>)', html_of(result), re.DOTALL)]


@pytest.mark.parametrize("name", RESULTS)
def test_a_page_is_well_formed_self_contained_and_the_same_each_time(name):
    text = html_of(RESULTS[name])
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
    assert not re.search(r"(?:href|src|srcset|action)=|url\(|@import", text)
    assert set(re.findall(r"https?://[^\s\"<]*", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert ("content", POLICY) in page.attributes
    assert html_of(RESULTS[name]) == text


@pytest.mark.parametrize("name", ["bench", "verify", "sweep", "accuracy"])
def test_the_page_says_all_that_the_terminal_says(name):
    render, result = render_accuracy if name == "accuracy" else render_report, RESULTS[name]
    out, sheet = io.StringIO(), Sheet()
    render(result, file=out)
    render(result, file=sheet)
    terminal, page = " ".join(out.getvalue().split()), said(result)
    for cell in (cell for line in sheet.table.lines for cell in line if cell):
        assert cell in terminal
        assert cell in page
    for line in out.getvalue().splitlines():
        if not line.startswith("-") and "  " not in line:  # neither a rule nor a line of a table
            assert " ".join(line.split()) in page


@pytest.mark.parametrize("field", ["reason", "note", "flavour", "weights", "backend", "precision"])
def test_foreign_text_is_harmless(field):
    state = {"state": "built", "reason": NO_GPU} if field != "note" else {}
    rows = (*BENCH.rows, row("trt", "fp16", **state) if field not in state else row("trt", "fp16", "built", reason="x"))
    found = replace(BENCH, rows=(*rows[:-1], replace(rows[-1], **{field: HOSTILE})))
    _harmless(html_of(found), html_of(BENCH))


def test_foreign_names_of_models_data_and_machines_are_harmless():
    _harmless(html_of(report(*BENCH.rows, model=HOSTILE, inputs=HOSTILE)), html_of(BENCH))
    environment = replace(ACCURACY.environment, conditions=replace(ACCURACY.conditions, model=HOSTILE, data=HOSTILE))
    environment = replace(environment, cpu=replace(environment.cpu, model=HOSTILE), libraries={HOSTILE: HOSTILE})
    _harmless(html_of(replace(ACCURACY, environment=environment)), html_of(ACCURACY))


def _harmless(text, plain):
    page = Page(text)
    assert page.open == []
    assert set(page.tags) == set(Page(plain).tags)
    assert not {"\x1b", "\u202e"} & set(text)
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        shown = [each.text or "" for each in drawn(svg).iter() if each.tag.endswith("}text")]
        assert max(map(len, shown)) < 120


def test_the_page_begins_with_what_the_command_comes_to():
    assert f"warning {BENCH.failure}" in said(BENCH)
    assert "ok No row failed, and every verdict is a pass." in said(PASSING)
    unjudged = replace(PASSING.environment, conditions=replace(PASSING.conditions, parity_checked=False))
    assert "ok No row failed, and parity was not checked." in said(replace(PASSING, environment=unjudged))
    assert "The fastest row that passes is ort fp32: 58.20 [57.04, 59.36] ms per batch." in said(BENCH)  # not int8


def test_rows_without_a_figure_are_named_and_not_drawn_as_zero():
    speed_ups, times, losses = figures(BENCH)
    assert len(of_class(speed_ups, "bar")) == len(of_class(times, "samples")) == 4
    for chart in (speed_ups, times):
        absent = [each.text for each in of_class(chart, "tick") if each.text.endswith("not timed")]
        assert absent == ["unavailable, not timed", "built, not timed", "built, not timed"]
    assert "Without a time: torch int8 (unavailable); trt fp16, trt int8 (built)." in said(BENCH)
    assert "trt fp16: built, not timed" in speed_ups.find("{*}desc").text
    assert "torch int8: unavailable, not compared" in losses.find("{*}desc").text


def test_a_speed_up_is_the_ratio_of_the_table_inverted():
    speed_ups = figures(BENCH)[0]
    found = [each.text for each in speed_ups.iter() if each.tag.endswith("}text")]
    assert {"1", "within noise", "2.42 [2.37, 2.47]", "6.45 [6.33, 6.58]"} <= set(found)


def test_single_steps_and_rows_with_too_few_rounds_have_charts_too():
    ratio = replace(timed(10.0, 0.5, seed=1)["ratio_to_first"], ci95=None)
    short = row("ort", "fp32", **timed(10.0, 0.5, seed=1) | {"ratio_to_first": ratio})
    speed_ups = figures(report(row("torch", "fp32", **timed(20.0, 1.0, seed=2)), short))[0]
    assert "2 [too few rounds]" in [each.text for each in speed_ups.iter()]
    stepped = row("torch", "fp32", mode="forward", steps_ns=(20_000_000, 21_000_000, 22_000_000))
    (times,) = figures(report(replace(stepped, per_batch_ms=_per_batch()), steps=3))
    assert "time of a step (ms), logarithmic" in [each.text for each in times.iter()]


def _per_batch():
    from deploykit.bench import per_batch

    return per_batch((20_000_000, 21_000_000, 22_000_000), burn_in=1)


def test_nothing_measured_is_a_page_without_charts():
    nothing = report(row("torch", "int8", "unavailable", reason="eager PyTorch has no INT8 path here"))
    assert figures(nothing) == []
    assert "eager PyTorch has no INT8 path here" in said(nothing)
    assert figures(accuracy(AccuracyRow(nothing.rows[0]))) == []


def test_accuracy_stands_against_bytes_where_both_are_known():
    against, drops = figures(ACCURACY)
    assert len(of_class(against, "dot")) == 3
    assert "Without a file: torch fp32 (measured). Without an accuracy: trt int8 (built)." in said(ACCURACY)
    assert "ort int8: +1.25 [+0.52, +1.98]" in drops.find("{*}desc").text


def test_a_sweep_has_a_curve_for_each_backend_and_precision():
    curve = next(each for each in figures(SWEEP) if of_class(each, "curve"))
    assert len(of_class(curve, "curve")) == 3
    assert "batch 32: " in curve.find("{*}desc").text
    assert not any(of_class(each, "curve") for each in figures(BENCH))


def test_a_throughput_that_was_measured_is_the_one_that_is_drawn():
    rows = tuple(replace(row, images_per_second=100.0 + row.batch) for row in SWEEP.rows)
    curve = next(each for each in figures(replace(SWEEP, rows=rows)) if of_class(each, "curve"))
    assert "batch 32: 132.0 images/s" in curve.find("{*}desc").text
    assert of_class(curve, "interval") == []


def test_shares_of_the_roofline_are_those_of_the_table():
    bound = RooflineShare(roof="CPU", compute_ms=6.0, memory_ms=1.0, measured_ms=20.0)
    wrong = replace(bound, measured_ms=5.0)
    shares = {"ort fp32": bound, "ort int8": wrong}
    found = replace(BENCH, rows=tuple(replace(row, roofline=shares.get(row.label)) for row in BENCH.rows))
    chart = figures(found)[2]
    assert len(of_class(chart, "bar")) == 2
    assert "ort fp32: 30 %" in chart.find("{*}desc").text
    assert "ort int8: 120 %" in chart.find("{*}desc").text
    assert "trt fp16: built, no bound" in chart.find("{*}desc").text
