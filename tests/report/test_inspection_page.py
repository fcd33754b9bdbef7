"""The page of a compiled plan: whole, harmless, and true to the figures it is made from."""

import re
from dataclasses import replace

import pytest
from frozen import HOSTILE
from frozen_plan import FOUND, LAYERS, ROOFLINE
from pages import Page, drawn, of_class

from deploykit.plan.diff import GroupDiff, KernelCount, LayerSide, PlanDiff, Totals
from deploykit.report.html import html_of
from deploykit.report.svg.kernel_graph import kernel_graph


def test_the_page_is_well_formed_self_contained_and_the_same_each_time():
    text = html_of(FOUND)
    page = Page(text)
    assert page.open == []
    assert page.tags.count("svg") == 3  # the graph, and the roofline for a page and for a phone
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not re.search(r"(?:href|src)=|url\(|@import", text)
    assert any(name == "content" and value.startswith("default-src 'none'") for name, value in page.attributes)
    assert html_of(FOUND) == text


def test_figures_stand_on_the_page():
    said = " ".join(Page(html_of(FOUND)).text)
    for part in (
        "net, fp16",
        "5.5 MB for a batch of 8 (computed)",
        "1 of 2 layers with weights",
        "the graph gives it Float",
        "moves 2 times the bytes",
    ):
        assert part in said
    assert "Approximate figures: int8_tops." in said
    assert "Half: 2 kernels" in said


@pytest.mark.parametrize("place", ["title", "compiler", "layer", "node", "reason", "tensor"])
def test_foreign_text_is_harmless(place):
    cast, left, right, head = LAYERS
    match place:
        case "layer":
            found = replace(FOUND, layers=(cast, replace(left, name=HOSTILE), right, head))
        case "node":
            found = replace(FOUND, layers=(cast, replace(left, nodes=(HOSTILE,)), right, head))
        case "reason":
            first, second = FOUND.audit.nodes
            found = replace(FOUND, audit=replace(FOUND.audit, nodes=(first, replace(second, reason=HOSTILE))))
        case "tensor":
            ends = replace(left, outputs=(HOSTILE,)), replace(head, inputs=(HOSTILE,))
            found = replace(FOUND, layers=(cast, ends[0], right, ends[1]))
        case _:
            found = replace(FOUND, **{place: HOSTILE})
    text = html_of(found)
    page = Page(text)
    assert page.open == []
    assert set(page.tags) == set(Page(html_of(FOUND)).tags)
    assert not {"\x1b", "\u202e"} & set(text)
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        shown = [each.text or "" for each in drawn(svg).iter() if each.tag.endswith("}text")]
        assert max(map(len, shown), default=0) < 90


def test_every_kernel_is_a_box_in_the_row_of_its_longest_path():
    root = drawn(kernel_graph(LAYERS))
    boxes = of_class(root, "kernel")
    rows = [float(box.find("{*}rect").get("y")) for box in boxes]
    assert [box.get("class") for box in boxes] == ["kernel fp32", "kernel fp16", "kernel int8", "kernel fp16"]
    assert rows[0] < rows[1] == rows[2] < rows[3]
    assert len(of_class(root, "edge")) == 4  # both branches write one tensor, and the head reads it
    bars = [float(bar.get("width")) for bar in of_class(root, "bytes")]
    assert bars == pytest.approx([196 / 3, 196 / 3, 196 / 6, 196], abs=0.1)


def test_points_lie_on_the_roof():
    root = drawn(re.findall(r"<svg.*?</svg>", html_of(FOUND), re.DOTALL)[1])
    assert [each.text for each in of_class(root, "of")] == ["Half 100", "Int8 200"]
    points = {point.find("{*}title").text.split("\n")[0]: point for point in root.findall(".//{*}circle")}
    assert set(points) == {"left", "right", "head"}  # a kernel without products has no place there
    assert float(points["head"].get("r")) > float(points["left"].get("r")) > float(points["right"].get("r"))
    assert float(points["head"].get("cx")) < float(points["left"].get("cx"))  # 600 against 800 FLOP a byte


def test_without_macs_or_a_gpu_there_is_no_roofline():
    for bounds in (None, replace(ROOFLINE, has_macs=False)):
        assert Page(html_of(replace(FOUND, roofline=bounds))).tags.count("svg") == 1
    unbounded = tuple(replace(each, us=None, binds=None, intensity=None) for each in LAYERS)
    assert "us at least" not in html_of(replace(FOUND, roofline=None, layers=unbounded))


def test_a_comparison_is_shown_where_there_is_one():
    assert "this plan being b" not in html_of(FOUND)
    side = Totals(
        compiler="compiler 1.0",
        precision="fp16",
        kernels=4,
        bytes_moved=10,
        macs=0,
        engine_bytes=1,
        weights_bytes=1,
        activation_bytes=None,
        scratch_bytes=5,
    )
    group = GroupDiff(
        nodes=("left.node",),
        a=(LayerSide("g", "gemm", "Half", 2_000_000),),
        b=(),
        retyped={},
        fused_differently=True,
    )
    compared = PlanDiff(
        a=side,
        b=replace(side, kernels=8, scratch_bytes=None),
        batch=8,
        ratios={"kernels": 2.0},
        kinds=(KernelCount("gemm", "Half", 1, 0),),
        changed=(),
        only_a=(group,),
        only_b=(),
        shared_nodes=0,
        same=0,
    )
    said = " ".join(Page(html_of(replace(FOUND, beside="net, fp32", diff=compared))).text)
    assert "Beside net, fp32 (a), this plan being b" in said
    assert "2.000" in said
    assert "-2.00" in said
    assert "Only in a" in said
    assert "Only in b" not in said
