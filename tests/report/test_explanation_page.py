"""The error per layer on the page of `verify --explain`."""

import math
import re
from dataclasses import replace

from frozen import BENCH, report
from pages import Page, drawn, of_class

from deploykit.parity import LayerError
from deploykit.report.html import html_of
from deploykit.results.explanation import Explanation

LAYERS = tuple(
    LayerError(
        layer=f"layer{index}.conv",
        node=f"node{index}",
        operator="Conv",
        tensor=f"t{index}",
        sqnr_db=-math.inf if index == 40 else 45.0 - 0.3 * index - (20 if index >= 30 else 0),
        own_db=math.inf if index % 10 == 5 else 18.0 if index == 30 else 44.0,
        broken=index == 40,
    )
    for index in range(1, 51)
)
FOUND = Explanation(
    said="the loss arises in layer30.conv", first=LAYERS[29], options=("--keep-fp32", "layer30.conv"),
    cured="40.1 dB, pass", images=2, layers=LAYERS,
)  # fmt: skip
EXPLAINED = report(*(replace(row, explanation=FOUND) if row.precision == "int8" else row for row in BENCH.rows))


def test_the_layer_where_the_loss_arises_is_named_and_every_layer_listed():
    text = html_of(EXPLAINED)
    said = " ".join(" ".join(Page(text).text).split())
    assert "Error per layer of torch int8, ort int8, trt int8" in said  # one explanation, three rows
    assert "5 of 50 layers lose nothing by themselves and have no point there. NaN or infinity: layer40.conv." in said
    assert "Paste: --keep-fp32 layer30.conv" in said
    assert said.count("layer17.conv") == 1
    chart = next(each for each in map(drawn, re.findall(r"<svg.*?</svg>", text, re.DOTALL)) if of_class(each, "curve"))
    assert len(of_class(chart, "curve")) == 2
    assert "layer30.conv: 18.0 dB" in [each.text for each in of_class(chart, "halo")]
    assert "layer30.conv: 18.0 dB" in chart.find("{*}desc").text


def test_layers_that_lose_nothing_have_a_table_and_no_chart():
    exact = tuple(replace(layer, sqnr_db=math.inf, own_db=math.inf, broken=False) for layer in LAYERS)
    found = replace(FOUND, layers=exact, first=None)
    text = html_of(report(replace(BENCH.rows[0], explanation=found)))
    assert "Where the loss arises" not in text
    assert text.count("<td>exact") + text.count('"n">exact') >= 100
