"""Which layers INT8 takes, what the others become, and that a reason stands by each that is left."""

import numpy as np
import onnx_ir as ir
import pytest

from deploykit.errors import UnknownName, UnsupportedGraph
from deploykit.precision.calibrate.collect import collect
from deploykit.precision.int8.lint import lint
from deploykit.precision.int8.quantize import quantize
from deploykit.spec import (
    ORT_CPU,
    TENSORRT,
    Precision,
    QuantizationPolicy,
)

NETWORK = """
g (float[N, 8, 8, 8] x) => (float[N, 10] y)
  <float[16, 8, 3, 3] w1, float[16, 1, 3, 3] w2, float[32, 16, 1, 1] w3, float[32, 4, 3, 3] w4, float[10, 32] w5> {
    [stem] a = Conv <pads = [1, 1, 1, 1]> (x, w1)
    ra = Relu (a)
    [dw] b = Conv <group = 16, pads = [1, 1, 1, 1]> (ra, w2)
    rb = Relu (b)
    [pw] c = Conv (rb, w3)
    rc = Relu (c)
    [grouped] d = Conv <group = 8, pads = [1, 1, 1, 1]> (rc, w4)
    p = GlobalAveragePool (d)
    f = Flatten (p)
    [fc] y = Gemm <transB = 1> (f, w5)
}
"""
NAMES = {"stem", "dw", "pw", "grouped", "fc"}


@pytest.fixture
def model(build):
    return build(NETWORK)


@pytest.fixture
def table(model, images):
    return collect(model, [{"x": images(4, 8, 8, 8)}], graph_digest="a" * 64, data_digest="b" * 64)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("all", set()),
        ("no-pointwise", {"pw"}),
        ("no-depthwise", {"dw"}),
        ("no-spatial", {"stem", "grouped"}),
        ("no-dense", {"fc"}),
        ("no-first", {"stem"}),
        ("no-last", {"fc"}),
        ("no-first,no-last,no-depthwise", {"stem", "fc", "dw"}),
        ("min-channels=9", {"stem", "grouped"}),  # depthwise is exempt
        ("no-spatial,no-depthwise,no-dense", NAMES - {"pw"}),
    ],
)
@pytest.mark.parametrize("placement", [TENSORRT, ORT_CPU], ids=lambda placement: placement.name)
def test_each_term_leaves_its_layers_with_a_reason(model, table, text, left, placement):
    report = quantize(model, table, placement, QuantizationPolicy.parse(text))
    assert set(report.quantized) == NAMES - left
    assert {item.node for item in report.excluded} == left
    for item in report.excluded:
        assert item.reason.removeprefix("excluded by the policy: ") in text
    assert lint(model, placement, excluded=left) == []
    assert lint(model, placement) == [] if not left else lint(model, placement) != []


def test_no_pair_stands_where_no_integer_layer_reads(model, table):
    quantize(model, table, TENSORRT, QuantizationPolicy.parse("no-spatial,no-depthwise,no-dense"))
    quantized = [node.inputs[0].name for node in model.graph if node.op_type == "QuantizeLinear"]
    assert quantized == ["rb"]


def test_named_layers_are_left_and_a_wrong_name_is_an_error(model, table):
    policy = QuantizationPolicy.parse("all", exclude=("pw", "fc"))
    report = quantize(model.clone(), table, TENSORRT, policy)
    assert [(item.node, item.reason) for item in report.excluded] == [
        ("pw", "excluded by --int8-exclude"),
        ("fc", "excluded by --int8-exclude"),
    ]
    with pytest.raises(UnknownName, match="unknown layer with weights 'stam'; did you mean stem"):
        quantize(model, table, TENSORRT, QuantizationPolicy.parse("all", exclude=("stam",)))


def test_the_rest_is_float16_scales_too(model, table, run, images):
    x = images(3, 8, 8, 8)
    (exact,) = run(model, x=x)
    report = quantize(model, table, TENSORRT, QuantizationPolicy.parse("rest=fp16,no-first"))
    assert lint(model, TENSORRT, excluded={item.node for item in report.excluded}) == []
    nodes = {node.name: node for node in model.graph}
    assert nodes["stem"].outputs[0].dtype == nodes["pw"].outputs[0].dtype == ir.DataType.FLOAT16
    for node in model.graph:
        if node.op_type == "DequantizeLinear":
            assert node.inputs[1].dtype == node.outputs[0].dtype == ir.DataType.FLOAT16
    assert [value.dtype for value in (*model.graph.inputs, *model.graph.outputs)] == [ir.DataType.FLOAT] * 2
    (got,) = run(model, x=x)
    assert np.linalg.norm(got - exact) < 0.05 * np.linalg.norm(exact)


def test_integer_kernels_have_no_float16_beside_them(model, table):
    with pytest.raises(UnsupportedGraph, match="no float16 beside int8"):
        quantize(model, table, ORT_CPU, QuantizationPolicy.parse("rest=fp16"))


@pytest.mark.parametrize(
    "text",
    ["all", "plan", "no-pointwise,no-first,rest=fp16", "no-depthwise,no-spatial,no-dense,no-last,min-channels=16"],
)
def test_a_policy_is_what_it_is_written_as(text):
    policy = QuantizationPolicy.parse(text)
    assert QuantizationPolicy.parse(str(policy)) == policy
    assert policy.auto == (text == "plan")


@pytest.mark.parametrize("term", ["no-pointwis", "rest=int8", "min-channels=x", "pointwise"])
def test_an_unknown_term_is_refused(term):
    with pytest.raises(UnknownName, match="term of an INT8 policy"):
        QuantizationPolicy.parse(term)


def test_the_default_is_everything_in_float32():
    assert QuantizationPolicy.parse("all") == QuantizationPolicy()
    assert QuantizationPolicy().rest is Precision.FP32
