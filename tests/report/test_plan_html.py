"""The page of a compiled plan: whole, harmless, and true to the figures it is made from."""

import copy
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from deploykit.report.plan_html import plan_html
from deploykit.report.plan_svg import kernel_graph, roofline_plot

VOID = {"meta", "br"}
HOSTILE = "\"><script>alert(1)</script>\x1b[31m\u202e&'" + "n" * 10_000


def layer(name, inputs, outputs, *, kind="correlation", reads="Half", moved=1_000_000, macs=0, us=None):
    bound = {"us": us, "binds": "memory" if us else None, "intensity": 2 * macs / moved if us else None}
    return {
        "name": name,
        "kind": kind,
        "reads": reads,
        "writes": "Half",
        "format": "NHWC",
        "inputs": inputs,
        "outputs": outputs,
        "bytes_moved": moved,
        "macs": macs,
        "nodes": [f"{name}.node"],
        "modules": [name],
        "tactic": "",
        **bound,
    }


LAYERS = [
    layer("cast", ["x"], ["x16"], kind="kgen", reads="Float", us=2.0),
    layer("left", ["x16"], ["joined"], macs=400_000_000, us=4.0),
    layer("right", ["x16"], ["joined"], reads="Int8", moved=500_000, macs=100_000_000, us=3.0),
    layer("head", ["joined"], ["y"], moved=3_000_000, macs=900_000_000, us=9.0),
]
ROOFLINE = {
    "gpu": {"name": "card", "bandwidth_gbs": 1000.0, "approximate": ["int8_tops"]},
    "lower_bound_us": 18.0,
    "memory_bound_us": 18.0,
    "has_macs": True,
    "assumes": "nothing was measured",
    "ridges_flop_per_byte": {"Half": 100.0, "Int8": 200.0},
    "layers": LAYERS,
}
FOUND = {
    "title": "net, fp16",
    "compiler": "compiler 1.0",
    "source": "build log (format v1)",
    "precision": "fp16",
    "batch": 8,
    "targets": ["sm_89"],
    "summary": {
        "kernels": 4,
        "mb_moved": 5.5,
        "bytes_moved": 5_500_000,
        "engine_mb": 1.0,
        "weights_bytes": 700_000,
        "activation_bytes": None,
        "scratch_bytes": 0,
        "weighted_nodes": 3,
        "weighted_accounted": 3,
    },
    "kernels_by_type": [{"kind": "correlation", "reads": "Half", "kernels": 2, "bytes_moved": 4_000_000}],
    "conversions_by_kind": [{"what": "cast", "kernels": 1, "bytes_moved": 1_000_000, "largest": "cast"}],
    "layers": LAYERS,
    "audit": {
        "wanted": "Half",
        "nodes": [
            {"name": "a", "op": "Conv", "dtype": "Half", "as_wanted": True, "reason": ""},
            {"name": "b", "op": "Conv", "dtype": "Float", "as_wanted": False, "reason": "the graph gives it Float"},
        ],
    },
    "roofline": ROOFLINE,
    "diagnoses": [{"level": "warning", "topic": "bytes", "text": "moves 2 times the bytes"}],
    "beside": None,
    "diff": None,
}


class Page(HTMLParser):
    """Tags that are open, and everything that was met."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def drawn(svg):
    return ElementTree.fromstring(svg)


def of_class(root, name):
    return [each for each in root.iter() if name in each.get("class", "").split()]


def test_the_page_is_well_formed_self_contained_and_the_same_each_time():
    text = plan_html(FOUND)
    page = Page(text)
    assert page.open == []
    assert page.tags.count("svg") == 2
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not re.search(r"(?:href|src)=|url\(|@import", text)
    assert any(name == "content" and value.startswith("default-src 'none'") for name, value in page.attributes)
    assert plan_html(copy.deepcopy(FOUND)) == text


def test_figures_stand_on_the_page():
    said = " ".join(Page(plan_html(FOUND)).text)
    for part in (
        "net, fp16",
        "5.5 a batch",
        "1 of 2 convolutions",
        "the graph gives it Float",
        "moves 2 times the bytes",
    ):
        assert part in said
    assert "Approximate figures: int8_tops." in said
    assert "Half: 2 kernels" in said


@pytest.mark.parametrize("place", ["title", "compiler", "layer", "node", "reason", "tensor"])
def test_foreign_text_is_harmless(place):
    found = copy.deepcopy(FOUND)
    match place:
        case "layer":
            found["layers"][1]["name"] = HOSTILE
        case "node":
            found["layers"][1]["nodes"] = [HOSTILE]
        case "reason":
            found["audit"]["nodes"][1]["reason"] = HOSTILE
        case "tensor":
            found["layers"][1]["outputs"] = found["layers"][3]["inputs"] = [HOSTILE]
        case _:
            found[place] = HOSTILE
    text = plan_html(found)
    page = Page(text)
    assert page.open == []
    assert set(page.tags) == set(Page(plan_html(FOUND)).tags)
    assert not {"\x1b", "\u202e"} & set(text)
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        shown = [each.text or "" for each in drawn(svg).iter() if each.tag.endswith("}text")]
        assert max(map(len, shown)) < 60


def test_every_kernel_is_a_box_in_the_row_of_its_longest_path():
    root = drawn(kernel_graph(LAYERS))
    boxes = of_class(root, "kernel")
    rows = [float(box.find("{*}rect").get("y")) for box in boxes]
    assert [box.get("class") for box in boxes] == ["kernel t-float", "kernel t-half", "kernel t-int8", "kernel t-half"]
    assert rows[0] < rows[1] == rows[2] < rows[3]
    assert len(of_class(root, "edge")) == 4  # both branches write one tensor, and the head reads it
    bars = [float(bar.get("width")) for bar in of_class(root, "bar")]
    assert bars == pytest.approx([190 / 3, 190 / 3, 190 / 6, 190], abs=0.1)


def test_points_lie_on_the_roof():
    root = drawn(roofline_plot(ROOFLINE))
    roofs = of_class(root, "roof")
    assert [roof.find("{*}text").text for roof in roofs] == ["Half 100", "Int8 200"]
    points = {point.find("{*}title").text.split("\n")[0]: point for point in root.findall(".//{*}circle")}
    assert set(points) == {"left", "right", "head"}  # a kernel without products has no place there
    assert float(points["head"].get("r")) > float(points["left"].get("r")) > float(points["right"].get("r"))
    assert float(points["head"].get("cx")) < float(points["left"].get("cx"))  # 600 against 800 FLOP a byte


def test_without_macs_or_a_gpu_there_is_no_roofline():
    for change in ({"roofline": None}, {"roofline": {**ROOFLINE, "has_macs": False}}):
        assert Page(plan_html({**FOUND, **change})).tags.count("svg") == 1
    unbounded = [{**each, "us": None, "binds": None, "intensity": None} for each in LAYERS]
    assert "us at least" not in plan_html({**FOUND, "roofline": None, "layers": unbounded})


def test_a_comparison_is_shown_where_there_is_one():
    assert "this plan being b" not in plan_html(FOUND)
    side = {"kernels": 4, "bytes_moved": 10, "engine_bytes": 1, "weights_bytes": 1, "activation_bytes": None}
    group = {
        "nodes": ["left.node"],
        "a": [{"kind": "gemm", "reads": "Half", "bytes_moved": 2_000_000, "name": "g"}],
        "b": [],
        "bytes_difference": -2_000_000,
        "retyped": {},
        "fused_differently": True,
    }
    compared = {
        "a": {**side, "scratch_bytes": 5},
        "b": {**side, "kernels": 8, "scratch_bytes": None},
        "ratios": {"kernels": 2.0},
        "kinds": [{"kind": "gemm", "reads": "Half", "a": 1, "b": 0}],
        "changed": [],
        "only_a": [group],
        "only_b": [],
    }
    said = " ".join(Page(plan_html({**FOUND, "beside": "net, fp32", "diff": compared})).text)
    assert "Beside net, fp32 (a), this plan being b" in said
    assert "2.000" in said
    assert "-2.00" in said
    assert "In a alone" in said
    assert "In b alone" not in said
