"""What is said of a plan: every figure in a line is computed by hand beside it."""

from dataclasses import replace

import pytest

from deploykit.codec import encode
from deploykit.plan.diagnosis import diagnose, not_measured
from deploykit.plan.gpus import Gpu
from deploykit.spec import Precision, Target

N = 2 * 8 * 4 * 4  # elements of a tensor, batch 2
WEIGHTED = {"conv1": "Conv", "conv2": "Conv"}
ROUND = Gpu(
    name="round",
    target=Target(8, 9),
    fp32_tflops=10,
    fp16_tflops=40,
    int8_tops=80,
    bandwidth_gbs=1,
    approximate=("int8_tops",),
)


@pytest.fixture
def half(make_layer, make_plan):
    """2 kernels, 2 x 4N bytes; a million multiply-accumulates each."""

    def make(macs=1_000_000, **plan):
        return make_plan(
            make_layer(
                "c1", "correlation", [("x", "Half", 8, 4, 4)], [("a", "Half", 8, 4, 4)], nodes=["conv1"], macs=macs
            ),
            make_layer(
                "c2", "correlation", [("a", "Half", 8, 4, 4)], [("b", "Half", 8, 4, 4)], nodes=["conv2"], macs=macs
            ),
            weighted=WEIGHTED,
            **plan,
        )

    return make


@pytest.fixture
def int8(make_layer, make_plan):
    """4 kernels of 5N bytes each, two of which requantize; `channels` is what they fill 8 channels up to."""

    def make(macs=1_000_000, channels=8, **plan):
        def requantize(name, read, written):
            return make_layer(
                name, "kgen", [(read, "Float", 8, 4, 4)], [(written, "Int8", channels, 4, 4)], nodes=[f"{name}/q"]
            )

        def conv(name, read, written, node):
            return make_layer(
                name,
                "correlation",
                [(read, "Int8", 8, 4, 4)],
                [(written, "Float", 8, 4, 4)],
                nodes=[node],
                macs=macs,
            )

        return make_plan(
            requantize("q1", "x", "p"),
            conv("c1", "p", "a", "conv1"),
            requantize("q2", "a", "r"),
            conv("c2", "r", "b", "conv2"),
            **{"precision": Precision.INT8, "weighted": WEIGHTED} | plan,
        )

    return make


def lines(found):
    return {line.topic: (line.level, line.text) for line in found}


def test_int8_that_moves_more_than_fp16(int8, half):
    found = diagnose(int8(), others=[half()])
    assert found[0].topic == "bytes"
    assert lines(found)["bytes"] == (
        "warning",
        "on tensorrt-rtx 1.7.1 INT8 moves 2.50 times the bytes of FP16 (kernels: 4 against 2): requantization is a "
        "kernel of its own (2 kernels of 0.0 MB, 50% of its bytes); prefer FP16 there, unless the network is "
        "compute bound. Full TensorRT was not measured.",
    )
    assert "requantize" not in lines(found)  # said already


def test_the_roofline_backs_the_advice_and_is_named_a_bound(int8, half):
    text = lines(diagnose(int8(), others=[half()], gpu=ROUND))["bytes"][1]
    # 4 * 5N bytes and 2 * 4N bytes at 1 GB/s; N = 256
    assert "prefer FP16 there (the lower bound on round is 5.1 us against 2 us)" in text


def test_where_arithmetic_binds_int8_may_still_be_the_better_one(int8, half):
    text = lines(diagnose(int8(macs=10**9), others=[half(macs=10**9)], gpu=ROUND))["bytes"][1]
    # 2e9 FLOP a kernel: 50 us each at 40 TFLOP/s; 25 us each at 80 TOP/s and 2 * 5N bytes
    assert "yet the lower bound on round is 53 us against 100 us" in text
    assert "measure both there" in text
    assert "prefer" not in text


def test_without_macs_the_advice_rests_on_bytes(int8, half):
    text = lines(diagnose(int8(macs=0), others=[half()], gpu=ROUND))["bytes"][1]
    assert "prefer FP16 there, unless the network is compute bound" in text
    assert "lower bound" not in text


def test_int8_that_moves_less_is_fine(int8, half):
    assert lines(diagnose(half(), others=[half(precision=Precision.FP32)]))["bytes"][0] == "warning"  # as many bytes
    slim = replace(int8(), layers=int8().layers[1:2])
    assert lines(diagnose(slim, others=[half()]))["bytes"] == (
        "ok",
        "on tensorrt-rtx 1.7.1 INT8 moves 0.62 times the bytes of FP16 (kernels: 1 against 2). "
        "Full TensorRT was not measured.",
    )


def test_full_tensorrt_is_not_said_to_be_unmeasured_of_itself(int8, half):
    assert not_measured("tensorrt 10.13") == ""
    found = diagnose(int8(compiler="tensorrt 10.13"), others=[half(compiler="tensorrt 10.13")])
    assert "Full TensorRT" not in " ".join(line.text for line in found)


@pytest.mark.parametrize("other", [{"compiler": "tensorrt 10.13"}, {"batch": 8}])
def test_plans_of_another_compiler_or_batch_are_not_compared(int8, half, other):
    assert "bytes" not in lines(diagnose(int8(), others=[half(**other)]))


def test_fp16_is_the_reference_of_int8_where_there_is_one(int8, half):
    single = half(precision=Precision.FP32)
    assert "the bytes of FP16" in lines(diagnose(int8(), others=[single, half()]))["bytes"][1]
    assert "the bytes of FP32" in lines(diagnose(int8(), others=[single]))["bytes"][1]
    assert "bytes" not in lines(diagnose(half(), others=[int8()]))


def test_alone_the_requantization_is_said(int8):
    assert lines(diagnose(int8()))["requantize"] == (
        "warning",
        "on tensorrt-rtx 1.7.1 2 kernels of 0.0 MB for requantization, 50% of the bytes, "
        "including operators fused into them, such as ReLU",
    )


def test_padded_channels_are_a_warning(int8):
    level, text = lines(diagnose(int8(channels=32)))["padding"]
    assert (level, "2 kernels" in text, "4-fold" in text) == ("warning", True, True)
    assert "padding" not in lines(diagnose(int8(channels=10)))


def test_a_plan_as_asked_is_fine(half):
    (only,) = diagnose(half())
    assert (only.level, only.text) == (
        "ok",
        "every layer with weights (2) computes in Half; 100% of the bytes are of that type",
    )


def test_nodes_in_another_type_come_first_with_their_reason(half):
    found = diagnose(half(precision=Precision.FP32), reasons={"conv1": "asked for"})
    assert found[0].level == "warning"
    assert found[0].text == (
        "2 of 2 layers with weights do not compute in Float: conv1 in Half (asked for), "
        "conv2 in Half (the graph gives it Half, from conv1)"
    )


def test_a_long_list_is_cut_and_counted(make_plan):
    text = lines(diagnose(make_plan(weighted={f"n{index}": "Conv" for index in range(5)})))["unclaimed"][1]
    assert text.startswith("5 layers with weights are not matched to a kernel: n0 (")
    assert text.endswith(" and 2 more")


def test_a_graph_without_products(make_plan):
    assert lines(diagnose(make_plan()))["precision"][0] == "note"


def test_casts_and_layout_changes(half, make_layer, make_plan):
    cast = make_layer(
        "__myl_Cast_myl0_0", "kgen", [("i", "Float", 8, 4, 4)], [("x", "Half", 8, 4, 4)], nodes=["i/cast"]
    )
    turn = make_layer("__myl_Tran_myl0_3", "kgen", [("b", "Half", 8, 4, 4)], [("t", "Half", 8, 4, 4, "Linear")])
    found = lines(diagnose(make_plan(cast, *half().layers, turn, weighted=WEIGHTED)))
    # 6N + 4N + 4N + 4N bytes
    assert (
        found["cast"][1]
        == "on tensorrt-rtx 1.7.1 1 kernel of 0.0 MB for casts at the network's border, 33% of the bytes"
    )
    assert (
        found["layout"][1]
        == "on tensorrt-rtx 1.7.1 1 kernel of 0.0 MB for layout changes and copies alone, 22% of the bytes"
    )
    assert "78% of the bytes" in found["precision"][1]  # all but what the cast reads, 4 of 18 N
    within = make_plan(cast, *half().layers, weighted=WEIGHTED)
    before = make_layer("relu", "kgen", [("z", "Float", 8, 4, 4)], [("i", "Float", 8, 4, 4)], nodes=["relu"])
    assert "border" not in lines(diagnose(make_plan(before, *within.layers, weighted=WEIGHTED)))["cast"][1]


def test_streams_are_noted(half, make_layer, make_plan):
    signals = [make_layer(f"s{index}", kind, [], []) for index, kind in enumerate(("signal", "wait", "wait"))]
    found = lines(diagnose(make_plan(*half().layers, *signals, weighted=WEIGHTED)))
    assert found["streams"] == (
        "note",
        "on tensorrt-rtx 1.7.1 3 signals and waits keep branches on several streams in step",
    )


def test_the_roofline_says_what_binds_that_it_is_a_bound_and_which_figures_are_approximate(half):
    assert lines(diagnose(half(), gpu=ROUND))["roofline"] == (
        "note",
        "memory bound on round: memory bound kernels make up 100% of the lower bound of 2 us for batch 2 "
        "(a roofline: every tensor crosses the memory bus, kernels follow each other, nothing was measured; "
        "approximate int8_tops)",
    )
    assert lines(diagnose(half(macs=10**9), gpu=ROUND))["roofline"][1].startswith(
        "compute bound on round: compute bound kernels make up 100% of the lower bound of 100 us"
    )


def test_a_roofline_from_bytes_alone_says_so(half):
    text = lines(diagnose(half(macs=0), gpu=ROUND))["roofline"][1]
    assert text == "round: 2 us from bytes alone, a lower bound, for the plan's MACs are not known"


def test_a_type_without_a_peak_is_doubted(half):
    bare = Gpu(name="bare", target=Target(7, 0), fp32_tflops=10, bandwidth_gbs=1)
    assert (
        "no peak rate known for 2 convolutions or matrix products" in lines(diagnose(half(), gpu=bare))["roofline"][1]
    )


def test_it_goes_into_json(half):
    assert encode(diagnose(half())[0])["topic"] == "precision"
