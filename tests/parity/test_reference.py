"""The two references agree: the module in float64, and its graph raised to double."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from deploykit.errors import ExecutionFailed
from deploykit.parity import distance, graph_reference, joined, module_reference

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 3, 8, 8] x) => (float[N, 4] y) <float[4, 3, 3, 3] w, float[4] b> {
    c = Conv <pads = [1, 1, 1, 1]> (x, w, b)
    r = Relu (c)
    p = GlobalAveragePool (r)
    y = Flatten (p)
}
"""


def _twins() -> tuple[nn.Module, ir.Model]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    proto = onnx.parser.parse_model(TEXT)
    for name, tensor in (("w", module[0].weight), ("b", module[0].bias)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(tensor.detach().numpy(), name))
    return module, ir.from_proto(proto)


def test_graph_and_module_give_the_same_float64_outputs():
    module, model = _twins()
    feed = np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype(np.float32)
    graph = graph_reference(model, [{"x": feed[:4]}, {"x": feed[4:]}])
    eager = module_reference(module, [{"x": feed}], ("y",))
    assert graph.exact["y"].dtype == np.float64
    assert eager.exact["y"].dtype == np.float64
    assert distance(graph.exact["y"], eager.exact["y"]).relative_l2 < 1e-14
    for reference in (graph, eager):
        assert 1e-9 < distance(reference.float32["y"], reference.exact["y"]).relative_l2 < 1e-6


def test_runs_do_not_change_the_reference_of_independent_images():
    module, _ = _twins()
    feed = np.random.default_rng(1).normal(size=(9, 3, 8, 8)).astype(np.float32)
    whole = module_reference(module, [{"x": feed}], ("y",)).exact["y"]
    alone = module_reference(module, [{"x": feed[8:]}], ("y",)).exact["y"]
    np.testing.assert_allclose(whole[8:], alone, rtol=1e-13)


def _graph(text: str, **weights: np.ndarray) -> ir.Model:
    imports = ', "com.microsoft" : 1' if "com.microsoft" in text else ""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20{imports}]> {text}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    return ir.from_proto(proto)


def test_a_float16_graph_is_computed_in_double_with_its_own_weights():
    weight = np.array([1 / 3, 1e-3], np.float16)
    text = """g (float16[N, 2] x) => (float16[N, 2] y) <float16[2] w> {
        p = Mul (x, w) q = Cast <to = 10> (p) y = Mul (q, w) }"""
    x = np.array([[1.5, 2.0], [0.1, 3.0]], np.float16)
    found = graph_reference(_graph(text, w=weight), [{"x": x}])
    np.testing.assert_array_equal(found.exact["y"], x.astype(np.float64) * weight.astype(np.float64) ** 2)
    assert found.float32["y"].dtype == np.float16


def test_branches_and_loops_are_raised_to_double_too():
    text = """g (float[N, 2] x) => (float[N, 2] y) <float[2] w> {
        m = ReduceMax <keepdims = 0> (x) z = Constant <value = float {0.0}> () c = Greater (m, z)
        b = If (c) <then_branch = one () => (float[N, 2] o) { k = Constant <value = float {0.1}> () o = Mul (x, k) },
                    else_branch = other () => (float[N, 2] o) { o = Mul (x, w) }>
        n = Constant <value = int64 {2}> () t = Constant <value = bool {1}> ()
        y = Loop (n, t, b) <body = again (int64 i, bool go, float[N, 2] h) => (bool on, float[N, 2] r) {
            on = Identity (go) r = Mul (h, w) }> }"""
    w, x = np.array([1 / 3, 1 / 7], np.float32), np.array([[1.0, 2.0]], np.float32)
    exact = w.astype(np.float64)
    found = graph_reference(_graph(text, w=w), [{"x": x}, {"x": -x}]).exact["y"]
    wanted = [x[0] * np.float64(np.float32(0.1)) * exact**2, -x[0] * exact**3]
    np.testing.assert_allclose(found, wanted, rtol=1e-15)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("y = com.microsoft.Gelu (x)", "is a com.microsoft.Gelu, none of ONNX's operators"),
        ("n = RandomNormalLike (x) y = Add (x, n)", "is a RandomNormalLike that draws random numbers"),
        (
            "r = Constant <value = float {0.5}> () t = Constant <value = bool {1}> () y = Dropout (x, r, t)",
            "is a Dropout that draws random numbers",
        ),
    ],
)
def test_what_has_no_float64_value_is_one_line(text, said):
    with pytest.raises(ExecutionFailed, match=said):
        graph_reference(
            _graph(f"g (float[N, 2] x) => (float[N, 2] y) {{ {text} }}"), [{"x": np.ones((1, 2), np.float32)}]
        )


def test_a_dropout_that_is_off_is_no_random_number():
    text = (
        "g (float[N, 2] x, bool t) => (float[N, 2] y) { r = Constant <value = float {0.5}> () y = Dropout (x, r, t) }"
    )
    x = np.ones((1, 2), np.float32)
    model = _graph(text, t=np.array(False))
    np.testing.assert_array_equal(graph_reference(model, [{"x": x}]).exact["y"], x)


def test_an_operator_that_fails_in_the_evaluator_is_one_line():
    text = "g (float[N, 2] x) => (float[N, 2] y) { s = Constant <value = int64[1] {5}> () y = Reshape (x, s) }"
    with pytest.raises(ExecutionFailed) as caught:
        graph_reference(_graph(text), [{"x": np.ones((1, 2), np.float32)}])
    assert "\n" not in str(caught.value)


def test_outputs_of_several_runs_are_joined_or_refused():
    parts = [{"a": np.ones((2, 3)), "b": np.float32(1)}, {"a": np.zeros((1, 3)), "b": np.float32(2)}]
    found = joined(parts)
    assert found["a"].shape == (3, 3)
    assert found["b"].tolist() == [1, 2]
    with pytest.raises(ExecutionFailed, match=r"output a has another shape for other inputs, \[2, 3\] and \[2, 4\]"):
        joined([{"a": np.ones((2, 3))}, {"a": np.ones((2, 4))}])


def test_runs_are_joined_along_the_batch_wherever_it_stands():
    runs = [
        {"rows": np.full((n, 2), n), "time_major": np.full((5, n, 2), n), "whole": np.array([n, n]), "one": np.array(n)}
        for n in (1, 3)
    ]
    found = joined(runs, {"rows": 0, "time_major": 1, "whole": None, "one": None})
    assert {name: array.shape for name, array in found.items()} == {
        "rows": (4, 2),
        "time_major": (4, 5, 2),
        "whole": (2, 2),
        "one": (2,),
    }
    assert found["time_major"][:, 0, 0].tolist() == [1, 3, 3, 3]


class HandsOutMore(nn.Module):
    def forward(self, x):
        return {"time_major": x.flatten(2).permute(2, 0, 1), "none": None, "total": x.sum()}


def test_a_module_s_outputs_are_flattened_and_joined_images_first():
    feed = np.random.default_rng(0).normal(size=(3, 2, 2, 2)).astype(np.float32)
    axes = {"time_major": 1, "total": None}
    exact = module_reference(
        HandsOutMore().eval(), [{"x": feed[:2]}, {"x": feed[2:]}], ("time_major", "total"), axes=axes
    ).exact
    np.testing.assert_allclose(exact["time_major"], feed.reshape(3, 2, 4).transpose(0, 2, 1))
    np.testing.assert_allclose(exact["total"], [feed[:2].sum(dtype=float), feed[2:].sum(dtype=float)])
