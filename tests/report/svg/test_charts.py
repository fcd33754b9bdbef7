"""Charts as values drawn: what is there stands where it belongs, what is missing is said and not drawn as zero."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from deploykit.report.svg.bars import Bar, interval_bars
from deploykit.report.svg.curves import Curve, CurvePoint, Limit, curves
from deploykit.report.svg.distributions import Samples, distributions
from deploykit.report.svg.dots import Dot, DotRow, dot_rows
from deploykit.report.svg.roofline import Roof, RoofPoint, roofline
from deploykit.report.svg.scales import Axis
from deploykit.report.svg.scatter import Point, scatter

SPEED = Axis("speed-up", "times as fast as a")
TIME = Axis("time of a run", "ms")
WIDTHS = (340.0, 520.0, 880.0)


def drawn(svg):
    return ElementTree.fromstring(svg)


def of_class(root, name):
    return [each for each in root.iter() if name in each.get("class", "").split()]


def texts(root):
    return [each.text for each in root.iter() if each.tag.endswith("}text")]


BARS = (
    Bar("torch fp32", "fp32", 1.0, 1.0, 1.0, "1"),
    Bar("ort int8", "int8", 6.45, 6.33, 6.58, "6.45 [6.33, 6.58]"),
    Bar("trt int8", "int8", None, None, None, "", "built, not timed"),
)
POINTS = (
    Point("ort fp32", "fp32", "square", 102.4, 76.1, 74.2, 78.0, "76.10 % top-1, 102.40 MB"),
    Point("ort fp16", "fp16", "square", 100.0, 76.1, 74.2, 78.0, "76.10 % top-1, 100.00 MB"),
    Point("ort int8", "int8", "square", 25.9, 74.9, None, None, "74.90 % top-1, 25.90 MB"),
)
CURVES = (
    Curve("ort fp32", "fp32", "square", [CurvePoint(1, 17.2, 16.5, 17.9), CurvePoint(8, 18.3), CurvePoint(32, 19.0)]),
    Curve("ort int8", "int8", "square", [CurvePoint(1, 45.9), CurvePoint(8, 53.0), CurvePoint(32, 58.5)]),
)
SAMPLES = (
    Samples("ort fp32", "fp32", [20.0] * 50 + [21.0] * 20 + [80.0], 20.0, "20.00 [19.90, 20.10]"),
    Samples("trt fp16", "fp16", [], None, "", "built, not timed"),
)
LOSSES = [Dot("total", "diamond", 0.24), Dot("backend loss", "square", 0.0, -8)]
DOTS = (
    DotRow("ort int8", "int8", LOSSES, 0.48, "12.4 dB fail"),
    DotRow("torch int8", "int8", [], None, "", "unavailable, not compared"),
)
CHARTS = {
    "bars": lambda **of: interval_bars(BARS, axis=SPEED, reference=1.0, **of),
    "scatter": lambda **of: scatter(POINTS, x=Axis("file", "MB"), y=Axis("top-1", "%"), **of),
    "curves": lambda **of: curves(CURVES, x=Axis("batch", "images"), y=Axis("throughput", "images/s"), log=True, **of),
    "distributions": lambda **of: distributions(SAMPLES, axis=TIME, **of),
    "dots": lambda **of: dot_rows(DOTS, axis=Axis("distance", "relative L2"), limited="allowed", **of),
    "roofline": lambda **of: roofline(
        [Roof("fp32", "fp32", 0.5), Roof("int8", "int8", 2.0)],
        [RoofPoint("ort fp32", "fp32", "square", 40.0, 0.3, 1.0, "60 % of the roof", shown=True)],
        bandwidth=0.02, x=Axis("intensity", "FLOP per byte"), y=Axis("rate", "TFLOP/s"), **of,
    ),
}  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", CHARTS)
def test_a_chart_has_units_a_name_and_the_same_in_words_and_nothing_outside(kind, width):
    root = drawn(CHARTS[kind](title="The name", width=width))
    assert root.get("aria-label") == "The name"
    assert root.get("role") == "img"
    said = root.find("{*}desc").text
    assert "(" in said.partition(". ")[0]  # an axis with its unit, then the rows
    assert "ort " in said
    assert len(of_class(root, "mid")) >= 3  # two ticks and the axis' name with its unit
    assert any(re.search(r"\(.+\)", each) for each in texts(root))
    high = float(root.get("height"))
    for each in root.iter():
        for name, most in (("x", width), ("cx", width), ("y", high), ("cy", high)):
            assert -1 <= float(each.get(name, 0)) <= most + 1, ElementTree.tostring(each)
        for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", each.get("d", "")):
            assert -1 <= float(x) <= width + 1
            assert -1 <= float(y) <= high + 1


def test_bars_begin_at_zero_and_a_missing_one_is_said():
    root = drawn(CHARTS["bars"](title="t", width=880.0))
    first, second = of_class(root, "bar")
    assert float(second.get("x")) == float(first.get("x"))
    assert float(second.get("width")) / float(first.get("width")) == pytest.approx(6.45, abs=0.05)
    assert len(of_class(root, "interval")) == 6  # a line and two caps each
    assert "built, not timed" in texts(root)
    assert "trt int8: built, not timed" in root.find("{*}desc").text


def test_a_loss_below_zero_is_a_bar_to_the_left():
    bars = [Bar("a", "fp16", -1.0, -1.5, -0.5, "-1.00"), Bar("b", "int8", 2.0, 1.0, 3.0, "+2.00")]
    root = drawn(interval_bars(bars, axis=Axis("drop", "points"), title="t", width=880.0, reference=0.0))
    left, right = of_class(root, "bar")
    assert float(left.get("x")) + float(left.get("width")) == pytest.approx(float(right.get("x")), abs=0.2)


def test_every_sample_is_in_the_histogram():
    root = drawn(CHARTS["distributions"](title="t", width=880.0))
    (row,) = of_class(root, "samples")
    heights = sorted(float(each) for each in re.findall(r"v-([\d.]+)", row.get("d")))
    assert len(heights) == 3  # two bins around 20 ms, and the one sample far out
    assert heights[0] == 2.0
    assert heights[-1] > heights[-2] > heights[0]
    assert len(of_class(root, "median")) == 1
    assert "71 samples from 20 to 80" in root.find("{*}desc").text


def test_a_loss_of_nothing_stands_at_the_edge_and_the_limit_is_drawn():
    root = drawn(CHARTS["dots"](title="t", width=880.0))
    square = next(each for each in of_class(root, "dot") if each.tag.endswith("}rect"))
    edge = float(square.get("x")) + float(square.get("width")) / 2
    grid = [each.get("d") for each in of_class(root, "grid")]
    assert f"M{edge:.1f} 17.0L" in " ".join(grid)
    assert len(of_class(root, "limit")) == 2  # in its lane and in the key
    assert "unavailable, not compared" in texts(root)


def test_names_of_neighbors_do_not_meet():
    root = drawn(CHARTS["scatter"](title="t", width=520.0))
    at = {each.text: float(each.get("y")) for each in root.iter() if each.text in ("ort fp32", "ort fp16")}
    assert abs(at["ort fp32"] - at["ort fp16"]) >= 14


def test_ticks_of_a_sweep_stand_at_its_batches():
    root = drawn(CHARTS["curves"](title="t", width=880.0))
    assert [each.text for each in of_class(root, "mid")][:3] == ["1", "8", "32"]


def test_a_noted_point_is_named_and_the_limit_too():
    points = [CurvePoint(place, 40.0, said=f"layer {place}", noted=place == 60) for place in range(1, 101)]
    root = drawn(
        curves([Curve("SQNR", "fp16", "circle", points)], x=Axis("layer", "place"), y=Axis("SQNR", "dB"), title="t",
               width=880.0, limit=Limit(20.0, "at least 20 dB"))
    )  # fmt: skip
    assert {"layer 60", "at least 20 dB"} <= set(texts(root))
    assert "layer 59" not in texts(root)
    assert len(of_class(root, "dot")) == 1


def test_the_roof_is_the_lower_of_bandwidth_and_peak():
    root = drawn(CHARTS["roofline"](title="t", width=880.0))
    low, high = (each.get("d") for each in of_class(root, "roof"))
    (x1, y1), (x2, y2) = (map(float, re.search(r"L([\d.]+) ([\d.]+)H", each).groups()) for each in (low, high))
    assert x1 < x2
    assert y1 > y2
    assert [each.text for each in of_class(root, "of")] == ["fp32 0.5", "int8 2"]
