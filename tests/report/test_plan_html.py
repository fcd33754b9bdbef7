"""The page of a compiled plan: whole, harmless, and true to the figures it is made from."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from deploykit.plan.audit import Audit, AuditedNode
from deploykit.plan.diagnosis import Diagnosis
from deploykit.plan.diff import GroupDiff, KernelCount, LayerSide, PlanDiff, Totals
from deploykit.plan.gpus import Gpu
from deploykit.plan.model import EnginePlan
from deploykit.plan.roofline import LayerTime, Roofline
from deploykit.plan.summary import PlanSummary
from deploykit.report.plan_html import plan_html
from deploykit.report.plan_svg import kernel_graph, roofline_plot
from deploykit.results.inspection import ConversionGroup, Inspection, Kernel, KernelGroup
from deploykit.spec import Precision, Target

VOID = {"meta", "br"}
HOSTILE = "\"><script>alert(1)</script>\x1b[31m\u202e&'" + "n" * 10_000


def layer(name, inputs, outputs, *, kind="correlation", reads="Half", moved=1_000_000, macs=0, us=None):
    return Kernel(
        name=name,
        kind=kind,
        reads=reads,
        writes="Half",
        format="NHWC",
        inputs=inputs,
        outputs=outputs,
        bytes_moved=moved,
        macs=macs,
        nodes=(f"{name}.node",),
        modules=(name,),
        tactic="",
        us=us,
        binds="memory" if us else None,
        intensity=2 * macs / moved if us else None,
    )


LAYERS = (
    layer("cast", ("x",), ("x16",), kind="kgen", reads="Float", us=2.0),
    layer("left", ("x16",), ("joined",), macs=400_000_000, us=4.0),
    layer("right", ("x16",), ("joined",), reads="Int8", moved=500_000, macs=100_000_000, us=3.0),
    layer("head", ("joined",), ("y",), moved=3_000_000, macs=900_000_000, us=9.0),
)
GPU = Gpu(name="card", target=Target(8, 9), fp32_tflops=50.0, bandwidth_gbs=1000.0, approximate=("int8_tops",))
ROOFLINE = Roofline(
    gpu=GPU,
    tf32=False,
    batch=8,
    layers=tuple(
        LayerTime(each.name, each.kind, each.reads, each.macs, each.bytes_moved, 0.0, each.us) for each in LAYERS
    ),
    has_macs=True,
    ridges={"Half": 100.0, "Int8": 200.0},
)
PLAN = EnginePlan(
    compiler="compiler 1.0",
    source="build log (format v1)",
    precision=Precision.FP16,
    batch=8,
    targets=("sm_89",),
    layers=(),
)
FOUND = Inspection(
    plan=PLAN,
    title="net, fp16",
    weights=None,
    weights_digest=None,
    weights_notes=(),
    calibration=None,
    compiler="compiler 1.0",
    source="build log (format v1)",
    precision="fp16",
    batch=8,
    targets=("sm_89",),
    summary=PlanSummary(
        kernels=4,
        kinds={},
        batch=8,
        bytes_moved=5_500_000,
        engine_bytes=1_000_000,
        weights_bytes=700_000,
        activation_bytes=None,
        scratch_bytes=0,
        weighted_nodes=3,
        weighted_matched=3,
        weighted_reads={},
        other_precision={},
        unmatched=(),
    ),
    kernels_by_type=(KernelGroup("correlation", "Half", 2, 4_000_000),),
    conversions_by_kind=(ConversionGroup("cast", 1, 1_000_000, "cast"),),
    layers=LAYERS,
    audit=Audit(
        precision=Precision.FP16,
        wanted="Half",
        nodes=(
            AuditedNode("a", "Conv", "Half", "Half", "left", ""),
            AuditedNode("b", "Conv", "Half", "Float", "head", "the graph gives it Float"),
        ),
        conversions=(),
        bytes_moved=5_500_000,
    ),
    roofline=ROOFLINE,
    diagnoses=(Diagnosis("warning", "bytes", "moves 2 times the bytes"),),
    beside=None,
    diff=None,
)


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
    assert plan_html(FOUND) == text


def test_figures_stand_on_the_page():
    said = " ".join(Page(plan_html(FOUND)).text)
    for part in (
        "net, fp16",
        "5.5 MB per batch (computed)",
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
    for bounds in (None, replace(ROOFLINE, has_macs=False)):
        assert Page(plan_html(replace(FOUND, roofline=bounds))).tags.count("svg") == 1
    unbounded = tuple(replace(each, us=None, binds=None, intensity=None) for each in LAYERS)
    assert "us at least" not in plan_html(replace(FOUND, roofline=None, layers=unbounded))


def test_a_comparison_is_shown_where_there_is_one():
    assert "this plan being b" not in plan_html(FOUND)
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
    said = " ".join(Page(plan_html(replace(FOUND, beside="net, fp32", diff=compared))).text)
    assert "Beside net, fp32 (a), this plan being b" in said
    assert "2.000" in said
    assert "-2.00" in said
    assert "Only in a" in said
    assert "Only in b" not in said
