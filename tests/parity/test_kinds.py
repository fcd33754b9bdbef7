"""What the graph says of its outputs, and what then counts as the same."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from deploykit.codec import encode
from deploykit.parity import Limits, Reference, judge, output_kinds
from deploykit.parity.kinds import Kind
from deploykit.parity.reference import joined
from deploykit.parity.sets import same_items, same_values
from deploykit.spec import Precision

RNG = np.random.default_rng(5)


def kinds(body, outputs, inputs="float[N, 50, 4] boxes, float[N, 50] scores"):
    text = f'<ir_version: 10, opset_import: ["" : 20]> g ({inputs}) => ({outputs}) {{ {body} }}'
    return dict(output_kinds(ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))))


def test_indices_of_a_ranking_are_a_set_and_its_sorted_values_are_not():
    body = "k = Constant <value = int64[1] {5}> () top, index = TopK (scores, k)"
    assert kinds(body, "float[N, 5] top, int64[N, 5] index") == {"index": Kind("ranked", 1)}
    body = body.replace("TopK (", "TopK <sorted = 0> (")
    assert kinds(body, "float[N, 5] top, int64[N, 5] index")["top"] == Kind("ranked", 1)


def test_boxes_that_a_ranking_picked_are_a_set_of_rows():
    body = """k = Constant <value = int64[1] {5}> () top, index = TopK (scores, k)
        a = Constant <value = int64[1] {2}> () i = Unsqueeze (index, a) s = Constant <value = int64[3] {1, 1, 4}> ()
        j = Expand (i, s)        picked = GatherElements <axis = 1> (boxes, j)"""
    assert kinds(body, "float[N, 5, 4] picked") == {"picked": Kind("ranked", 1)}


def test_what_a_selection_picked_has_a_size_of_its_own():
    body = """t = Constant <value = float {0.5}> () more = Greater (scores, t) found = NonZero (more)
        rows = Transpose <perm = [1, 0]> (found)"""
    assert kinds(body, "int64[2, K] found, int64[K, 2] rows") == {
        "found": Kind("selected", 1),
        "rows": Kind("selected", 0),
    }


def test_an_output_that_reads_no_input_is_fixed():
    body = "anchors = Constant <value = float[3] {1.0, 2.0, 3.0}> () y = Relu (scores)"
    assert kinds(body, "float[3] anchors, float[N, 50] y") == {"anchors": Kind("fixed")}


def test_layers_behind_a_ranking_compute_numbers_again():
    body = """k = Constant <value = int64[1] {5}> () top, index = TopK (scores, k)
        real = Cast <to = 1> (index) y = ReduceSum (real)"""
    assert kinds(body, "float[1, 1] y") == {}


def test_sets_do_not_ask_for_an_order():
    exact = np.array([[3, 1, 2], [7, 8, 9]])
    assert same_values(exact[:, ::-1], exact).wrong == 4
    assert same_items(exact[:, ::-1], exact, Kind("ranked", 1), 0.1).wrong == 0
    assert same_items(exact[::-1], exact, Kind("ranked", 1), 0.1).wrong == 6


def test_rows_of_real_numbers_match_the_nearest_that_is_free():
    exact = RNG.normal(size=(2, 30, 4))
    order = RNG.permutation(30)
    near = exact[:, order] + 0.01 * RNG.normal(size=exact.shape)
    assert same_items(near, exact, Kind("ranked", 1), 0.1).wrong == 0
    far = near.copy()
    far[0, :3] += 5
    assert same_items(far, exact, Kind("ranked", 1), 0.1).wrong == 3
    twice = np.repeat(exact[:, :1], 30, axis=1)
    assert same_items(twice, exact, Kind("ranked", 1), 0.1).wrong == 58


def selections(*runs):
    return joined([{"boxes": np.array(run).reshape(-1, 3)} for run in runs], keep_apart={"boxes"})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (selections([[0, 0, 4], [0, 0, 1]], [[0, 1, 2]]), "pass"),
        (selections([[0, 0, 1]], [[0, 1, 2]]), "fail"),
        (selections([[0, 1, 2]], [[0, 0, 1], [0, 0, 4]]), "fail"),
    ],
)
def test_selections_are_compared_run_by_run(found, expected):
    exact = selections([[0, 0, 1], [0, 0, 4]], [[0, 1, 2]])
    limits = Limits(Precision.FP32, random_weights=False)
    kinds = {"boxes": Kind("selected", 0)}
    result = judge(found, None, Reference(exact, exact, "test"), limits, kinds=kinds)
    assert result.verdict == expected
    assert result.worst.kind == "selected"


@pytest.mark.parametrize(
    ("precision", "wrong", "expected"),
    [
        (Precision.FP32, 4, "pass"),
        (Precision.FP32, 5, "fail"),
        (Precision.FP16, 41, "pass"),
        (Precision.FP16, 42, "fail"),
        (Precision.INT8, 410, "pass"),
        (Precision.INT8, 411, "fail"),
    ],
)
def test_whole_numbers_are_held_to_a_share_of_agreement(precision, wrong, expected):
    exact = RNG.integers(0, 20, size=(4, 32, 32))
    found = exact.copy()
    found.reshape(-1)[:wrong] += 100
    limits = Limits(precision, random_weights=False)
    result = judge({"map": found}, None, Reference({"map": exact}, {"map": exact}, "test"), limits)
    assert result.verdict == expected
    assert result.worst.agreement.wrong == wrong
    assert encode(result)["agreement"]["share"] == pytest.approx(1 - wrong / 4096)


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("of", [12, 1000])
def test_whole_numbers_that_float32_itself_gets_wrong_judge_nothing(precision, of):
    exact = np.arange(of)
    float32 = np.where(exact < of * 3 // 4, exact + 1, exact)
    found = judge({"y": exact + 1}, {"y": exact + 1}, Reference({"y": exact}, {"y": float32}, ""), limits_of(precision))
    assert found.verdict == "inconclusive"
    assert "float32 itself agrees with float64 in 25.0 % only" in found.reason


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("wrong", [0, 1, 15])
def test_no_floor_lets_most_whole_numbers_be_wrong(precision, wrong):
    exact = np.arange(1000)
    float32 = np.where(exact < wrong, -1, exact)
    found = judge({"y": exact + 1}, {"y": exact + 1}, Reference({"y": exact}, {"y": float32}, ""), limits_of(precision))
    assert found.verdict == "fail"


def limits_of(precision):
    return Limits(precision, random_weights=False)
