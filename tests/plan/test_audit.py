"""What converts and what does not, kernel by kernel as TensorRT-RTX 1.7.1 names them, and the golden INT8 log whole."""

import json
from pathlib import Path

import pytest

from deploykit.codec import encode
from deploykit.plan.audit import UNCLAIMED, audit
from deploykit.plan.rtx_log import read_log
from deploykit.spec import Precision

GOLDEN = (Path(__file__).parent / "golden_int8.log").read_text()
ELEMENTS = 8 * 32 * 16 * 16


@pytest.fixture
def golden():
    return read_log(
        GOLDEN,
        compiler="tensorrt-rtx 1.7.1",
        precision=Precision.INT8,
        batch=8,
        targets=("sm_89",),
        engine_bytes=480_324,
    )


@pytest.fixture
def convs(make_layer):
    """conv1 reads the input `x` in `first`, conv2 what conv1 wrote, in Half."""

    def make(first="Half"):
        return (
            make_layer(
                "conv1_myl0_1", "correlation", [("x", first, 8, 4, 4)], [("a", "Half", 8, 4, 4)], nodes=["conv1"]
            ),
            make_layer(
                "conv2_myl0_2", "correlation", [("a", "Half", 8, 4, 4)], [("b", "Half", 8, 4, 4)], nodes=["conv2"]
            ),
        )

    return make


def the_conversion(make_layer, make_plan, name, inputs, outputs, nodes=(), **layer):
    """The one conversion in a plan of a quantized convolution and the kernel asked about, None where it is none."""
    conv = make_layer("conv_myl0_1", "correlation", [("q", "Int8", 8, 4, 4)], [("f", "Float", 8, 4, 4)], nodes=["conv"])
    asked = make_layer(name, layer.pop("kind", "kgen"), inputs, outputs, nodes=nodes, **layer)
    found = audit(make_plan(conv, asked, precision=Precision.INT8, weighted={"conv": "Conv"})).conversions
    return found[0] if found else None


def test_the_golden_log(golden):
    found = audit(golden)
    first, second = found.nodes
    assert (first.name, first.op, first.wanted, first.dtype, first.layer) == (
        "conv1",
        "Conv",
        "Int8",
        "Float",
        "conv1_myl0_2",
    )
    assert first.reason == "the graph gives it Float, from its input x"  # past the transpose before it
    assert (second.dtype, second.reason, second.as_wanted) == ("Int8", "", True)
    assert found.other_type == (first,)
    assert found.unclaimed == ()
    assert [(each.what, each.bytes_moved) for each in found.conversions] == [
        ("reformat", 8 * ELEMENTS),
        ("requantize", 4 * ELEMENTS + 4 + ELEMENTS),
        ("reformat", 8 * ELEMENTS),
    ]
    assert found.conversion_bytes == 21 * ELEMENTS + 4
    assert found.conversion_share == found.conversion_bytes / golden.bytes_moved
    assert found.of_kind("reformat") == (found.conversions[0], found.conversions[2])
    constants = 4 * 32 * 32 * 9 + 4 + 4 + 4 + 3 * 4 * 32
    assert found.bytes_by_type == {"Float": 4 * ELEMENTS * 8 + constants, "Int8": 2 * ELEMENTS + 32 * 32 * 9}
    assert sum(found.bytes_by_type.values()) == golden.bytes_moved


def test_the_typing_reports_reason_stands_before_the_derived_one(golden):
    found = audit(golden, {"conv1": "it is left out of the quantization by name", "conv2": "not asked for"})
    assert [node.reason for node in found.nodes] == ["it is left out of the quantization by name", ""]


def test_all_as_asked(convs, make_plan):
    found = audit(make_plan(*convs(), weighted={"conv1": "Conv", "conv2": "Conv"}))
    assert all(node.as_wanted for node in found.nodes)
    assert (found.other_type, found.unclaimed, found.conversions, found.conversion_share) == ((), (), (), 0.0)


def test_another_type_is_traced_to_the_nodes_that_wrote_it(convs, make_layer, make_plan):
    clip = make_layer("__myl_Clip_myl0_0", "kgen", [("i", "Float", 8, 4, 4)], [("x", "Float", 8, 4, 4)], nodes=["clip"])
    plan = make_plan(clip, *convs("Float"), weighted={"conv1": "Conv", "conv2": "Conv"})
    (other,) = audit(plan).other_type
    assert (other.name, other.dtype, other.reason) == ("conv1", "Float", "the graph gives it Float, from clip")


def test_a_dequantization_before_a_convolution_is_named(convs, make_layer, make_plan):
    widen = make_layer(
        "__myl_CastMul_myl0_0", "kgen", [("i", "Int8", 8, 4, 4)], [("x", "Float", 8, 4, 4)], nodes=["dq"]
    )
    plan = make_plan(widen, *convs("Float"), precision=Precision.INT8, weighted={"conv1": "Conv"})
    (other,) = audit(plan).other_type
    assert other.reason == "__myl_CastMul_myl0_0 widens Int8 to Float before it"


def test_a_node_that_no_layer_claims(convs, make_layer, make_plan):
    pointwise = make_layer(
        "__myl_Mul_myl0_3", "kgen", [("b", "Half", 8, 4, 4)], [("c", "Half", 8, 4, 4)], nodes=["scale"]
    )
    plan = make_plan(*convs(), pointwise, weighted={"conv1": "Conv", "gone": "Gemm", "scale": "Conv"})
    gone, scale = audit(plan).unclaimed
    assert (gone.dtype, gone.layer, gone.reason) == (None, None, UNCLAIMED)
    assert scale.reason == "only generated pointwise code carries its name: __myl_Mul_myl0_3"
    assert audit(plan, {"gone": "folded"}).unclaimed[0].reason == "folded"


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "nodes", "what", "widening"),
    [
        # ResNet-50, INT8: conv1's result on its way to conv2
        ("__myl_MulAddReluMulMinMaxRounCast_myl0_3", "Float 8", "Int8 8", ["conv", "relu"], "requantize", 1),
        # a residual addition rides along: Int8 and Float come in
        ("__myl_CastMulMulAddAddReluMulMinMaxRounCast_myl0_17", "Int8 8, Float 8", "Int8 8", ["add"], "requantize", 1),
        # MobileNet, INT8: a depthwise convolution's channels filled up to four
        ("__myl_MulMinMaxRounCastReshRepl_myl0_4", "Float 8", "Int8 32", ["q"], "requantize", 4),
        # a tensor quantized with two scales at once is not padded
        ("__myl_MulMinMaxRounCastMulMinMaxRounCast_myl0_4", "Float 8", "Int8 8, Int8 8", ["q"], "requantize", 1),
        # scale and bias of a quantized product, left in Float
        ("__myl_MulAdd_myl0_106", "Float 8", "Float 8", ["conv"], "requantize", 1),
        ("__myl_CastReplConc_myl0_1", "Float 3", "Half 4", ["images/cast", "relu"], "cast", 4 / 3),
        ("__myl_Tran_myl0_72", "Half 8", "Half 8 Linear", [], "reformat", 1),
        ("__myl_ConcTran_myl0_107", "Half 8, Half 8", "Half 16 Linear", ["concat"], "reformat", 1),
        ("__myl_Move_myl0_36", "Half 8", "Half 8", [], "copy", 1),
        ("__myl_Relu_myl0_10", "Half 8", "Half 8", ["relu"], None, None),
        ("__myl_MulTran_myl0_10", "Half 8", "Half 8 Linear", ["mul"], None, None),
        ("__myl_MulCast_myl0_10", "Half 8", "Float 8", ["mul"], None, None),
        ("__myl_AddReluMeanMulMinMaxRounCast_myl0_55", "Float 8", "Int8 1", ["mean"], None, None),
    ],
)
def test_what_a_kernel_converts(make_layer, make_plan, name, inputs, outputs, nodes, what, widening):
    def described(text, prefix):
        parts = [each.split() for each in text.split(", ")]
        return [
            (f"{prefix}{index}", dtype, int(channels), 4, 4, *layout)
            for index, (dtype, channels, *layout) in enumerate(parts)
        ]

    found = the_conversion(make_layer, make_plan, name, described(inputs, "i"), described(outputs, "o"), nodes)
    assert (found and found.what) == what
    if found:
        assert found.widening == pytest.approx(widening)
        assert (found.layer, found.nodes) == (name, tuple(nodes))


def test_a_convolution_and_bookkeeping_convert_nothing(make_layer, make_plan):
    half, single = [("i", "Half", 8, 4, 4)], [("o", "Float", 8, 4, 4)]
    assert the_conversion(make_layer, make_plan, "c", half, single, ["c"], kind="correlation") is None
    assert the_conversion(make_layer, make_plan, "__myl_Fc_myl0_3", half, single, kind="kgen", macs=10) is None
    assert the_conversion(make_layer, make_plan, "s", [], [], kind="signal") is None


def test_a_plan_that_moves_nothing_has_no_share(make_plan):
    assert audit(make_plan()).conversion_share == 0


def test_it_goes_into_json(golden):
    found = json.loads(json.dumps(encode(audit(golden))))
    assert found["precision"] == "int8"
    assert [node["as_wanted"] for node in found["nodes"]] == [False, True]
    assert found["conversions"][1]["nodes"] == ["q"]


def test_an_lstm_computes_in_the_type_of_its_gates_though_its_answer_is_moved_in_int8(make_layer, make_plan):
    gates = make_layer(
        "__myl_AddSigmTanhMulRounCast_myl0_1", "kgen", [("g", "Float", 8, 24)], [("q", "Int8", 8, 24)], nodes=["rnn"]
    )
    moved = make_layer("__myl_ConcTran_myl0_2", "kgen", [("q", "Int8", 8, 24)], [("m", "Int8", 24, 8)], nodes=["rnn"])
    plan = make_plan(gates, moved, precision=Precision.INT8, weighted={"rnn": "LSTM"})
    (node,) = audit(plan, {"rnn": "no integer kernel"}).nodes
    assert (node.dtype, node.layer, node.reason) == ("Float", gates.name, "no integer kernel")
    (unknown,) = audit(make_plan(moved, precision=Precision.INT8, weighted={"rnn": "LSTM"})).nodes
    assert unknown.dtype is None
