"""A residual block whose additions ride in the convolution in FP16, and in a kernel of its own in INT8."""

import json

import pytest

from deploykit.codec import encode
from deploykit.errors import UsageError
from deploykit.plan.diff import KernelCount, diff
from deploykit.spec import Precision

WEIGHTED = {"conv1": "Conv", "conv2": "Conv", "fc": "Gemm"}
N = 2 * 8 * 4 * 4  # elements of every tensor but the classifier's, batch 2


@pytest.fixture
def half(make_layer, make_plan):
    return make_plan(
        make_layer("cast", "kgen", [("x", "Float", 8, 4, 4)], [("h", "Half", 8, 4, 4)], nodes=["x/cast"]),
        make_layer("c1", "correlation", [("h", "Half", 8, 4, 4)], [("a", "Half", 8, 4, 4)], nodes=["conv1", "relu1"]),
        make_layer("c2", "correlation", [("a", "Half", 8, 4, 4)], [("b", "Half", 8, 4, 4)], nodes=["conv2", "add"]),
        make_layer("move", "kgen", [("b", "Half", 8, 4, 4)], [("m", "Half", 8, 4, 4, "Linear")]),
        make_layer("fc", "gemm", [("m", "Half", 128)], [("y", "Half", 10)], nodes=["fc"]),
        make_layer("s", "signal", [], []),
        weighted=WEIGHTED,
        weights_bytes=1000,
        activation_bytes=400,
    )


@pytest.fixture
def int8(make_layer, make_plan):
    return make_plan(
        make_layer("q0", "kgen", [("x", "Float", 8, 4, 4)], [("h", "Int8", 8, 4, 4)], nodes=["x/quantize"]),
        make_layer("c1", "correlation", [("h", "Int8", 8, 4, 4)], [("a", "Float", 8, 4, 4)], nodes=["conv1"]),
        make_layer("q1", "kgen", [("a", "Float", 8, 4, 4)], [("p", "Int8", 8, 4, 4)], nodes=["conv1", "relu1", "q"]),
        make_layer("c2", "correlation", [("p", "Int8", 8, 4, 4)], [("b", "Float", 8, 4, 4)], nodes=["conv2"]),
        make_layer(
            "q2",
            "kgen",
            [("p", "Int8", 8, 4, 4), ("b", "Float", 8, 4, 4)],
            [("r", "Half", 8, 4, 4)],
            nodes=["conv2", "add"],
        ),
        make_layer("move", "kgen", [("r", "Half", 8, 4, 4)], [("m", "Half", 8, 4, 4, "Linear")]),
        make_layer("fc", "gemm", [("m", "Half", 128)], [("y", "Half", 10)], nodes=["fc"]),
        precision=Precision.INT8,
        weighted=WEIGHTED,
        weights_bytes=500,
    )


def test_totals_and_their_ratios(half, int8):
    found = diff(half, int8)
    assert (found.a.precision, found.b.precision, found.batch) == ("fp16", "int8", 2)
    assert (found.a.kernels, found.b.kernels) == (5, 7)
    tail = 4 * N + 2 * (N + 20)  # the move, then the classifier with 10 outputs for each of 2 images
    assert found.a.bytes_moved == 6 * N + 4 * N + 4 * N + tail
    assert found.b.bytes_moved == 5 * N + 5 * N + 5 * N + 5 * N + 7 * N + tail
    assert found.ratios == {
        "kernels": 7 / 5,
        "bytes_moved": found.b.bytes_moved / found.a.bytes_moved,
        "weights_bytes": 0.5,  # activation memory is known of one plan only, MACs of none
    }


def test_kernels_by_kind_and_type(half, int8):
    assert diff(half, int8).kinds == (
        KernelCount("correlation", "Half", 2, 0),
        KernelCount("correlation", "Int8", 0, 2),
        KernelCount("gemm", "Half", 1, 1),
        KernelCount("kgen", "Float", 1, 2),
        KernelCount("kgen", "Half", 1, 1),
        KernelCount("kgen", "Int8", 0, 1),
    )


def test_layers_are_matched_by_the_nodes_they_carry_and_sorted_by_bytes(half, int8):
    found = diff(half, int8)
    second, first, border = found.changed
    assert second.nodes == ("conv2", "add")
    assert ([each.name for each in second.a], [each.name for each in second.b]) == (["c2"], ["c2", "q2"])
    assert (second.bytes_a, second.bytes_b, second.bytes_difference) == (4 * N, 12 * N, 8 * N)
    assert second.fused_differently
    assert second.retyped == {"conv2": ("Half", "Int8"), "add": ("Half", "Float")}  # added in Float, whatever comes in
    assert first.nodes == ("conv1", "relu1")
    assert first.bytes_difference == 6 * N
    assert (border.nodes, border.a[0].name, border.b[0].name, border.bytes_difference) == ((), "cast", "q0", -N)
    assert found.shared_nodes == 5
    assert found.same == 2  # the classifier, and the move that carries no node


def test_layers_without_a_shared_node_are_matched_by_kind_and_shapes(half, int8, make_layer, make_plan):
    found = diff(half, int8)
    assert (found.only_a, found.only_b) == ((), ())
    extra = make_layer("extra", "kgen", [("x", "Half", 8, 4, 4)], [("y", "Half", 8, 4, 4)])
    (alone,) = diff(make_plan(extra), make_plan(extra, extra)).only_b
    assert ([layer.name for layer in alone.b], alone.a, alone.bytes_difference) == (["extra"], (), 4 * N)


def test_a_plan_is_equal_to_itself(half):
    found = diff(half, half)
    assert (found.changed, found.only_a, found.only_b) == ((), (), ())
    assert found.same == 5
    assert set(found.ratios.values()) == {1.0}


def test_the_same_nodes_in_other_layers_are_fused_differently(make_layer, make_plan):
    conv, relu, both = (
        make_layer(name, "correlation", [("x", "Half", 8, 4, 4)], [("y", "Half", 8, 4, 4)], nodes=nodes)
        for name, nodes in (("c", ["conv"]), ("r", ["relu"]), ("cr", ["conv", "relu"]))
    )
    (group,) = diff(make_plan(conv, relu), make_plan(both)).changed
    assert (group.fused_differently, group.retyped, group.bytes_difference) == (True, {}, -4 * N)
    (group,) = diff(make_plan(conv, relu), make_plan(conv, both)).changed
    assert group.fused_differently


def test_plans_of_different_networks_share_nothing(half, make_layer, make_plan):
    other = make_plan(make_layer("z", "gemm", [("x", "Half", 7)], [("y", "Half", 3)], nodes=["other"]))
    found = diff(half, other)
    assert (found.shared_nodes, found.changed) == (0, ())
    assert [group.a[0].name for group in found.only_a] == ["cast", "c1", "c2", "move", "fc"]
    assert [(group.nodes, group.bytes_difference) for group in found.only_b] == [(("other",), 2 * 2 * 10)]


def test_plans_for_different_batches_are_refused(half, make_plan):
    with pytest.raises(UsageError, match="batch 2, the other for 8"):
        diff(half, make_plan(batch=8))


def test_an_empty_plan_has_no_ratio(make_plan):
    assert diff(make_plan(), make_plan()).ratios == {}


def test_it_goes_into_json(half, int8):
    found = json.loads(json.dumps(encode(diff(half, int8))))
    assert found["changed"][0]["retyped"]["conv2"] == ["Half", "Int8"]
    assert found["b"]["activation_bytes"] is None
