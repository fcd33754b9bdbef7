"""Where the pairs go: one text graph per rule of each placement."""

import numpy as np
import pytest

from deploykit.host import saturates_u8s8
from deploykit.precision.calibrate.ranges import Range
from deploykit.precision.calibrate.table import CalibrationTable
from deploykit.precision.int8.quantize import quantize
from deploykit.precision.int8.sites import activation_sites, calibrated_values
from deploykit.precision.int8.unlike import unlike_values
from deploykit.precision.int8.weighted import weighted_ops
from deploykit.spec import (
    ORT_CPU,
    ORT_CPU_7BIT,
    TENSORRT,
    Placement,
)

WEIGHTS = "<float[4, 4, 1, 1] w1, float[4, 4, 1, 1] w2, float[4, 4, 1, 1] w3, float[4, 1, 1] v>"


def graph(build, body):
    """Nodes over x (N, 4, 6, 6), the last one making y; w1-w3 are 1x1 convolutions, v one number per channel."""
    return build(f"g (float[N, 4, 6, 6] x) => (float[N, C, H, W] y) {WEIGHTS} {{ {body} }}")


def found_sites(model, placement, **sizes):
    """Sites where every value reaches from -1 to 1, but for those whose largest magnitude is in `sizes`."""
    ops, _ = weighted_ops(model, placement)
    found = {
        str(value.name): Range(-size, size) for value in calibrated_values(model) for size in [sizes.get(value.name, 1)]
    }
    table = CalibrationTable("a" * 64, "b" * 64, "minmax", 1, found)
    unlike = unlike_values(model, [op.node for op in ops], table)
    return activation_sites(model, ops, placement, table, unlike)


def sites(model, placement):
    """Value -> who reads it dequantized."""
    found = found_sites(model, placement)
    return {site.value.name: [f"{node.outputs[0].name}.{index}" for node, index in site.uses] for site in found}


def ranges(model, placement, **sizes):
    return {site.value.name: site.ranges for site in found_sites(model, placement, **sizes)}


def test_tensorrt_quantizes_inputs_of_weighted_operators_only(build):
    model = graph(build, "a = Conv (x, w1) r = Relu (a) b = Conv (r, w2) y = Sigmoid (b)")
    assert sites(model, TENSORRT) == {"x": ["a.0"], "r": ["b.0"]}


def test_an_activation_with_several_readers_has_one_pair(build):
    model = graph(build, "a = Conv (x, w1) b = Conv (x, w2) c = Sigmoid (x) d = Mul (a, b) y = Mul (c, d)")
    assert sites(model, TENSORRT) == {"x": ["a.0", "b.0"]}
    assert sorted(sites(model, ORT_CPU)["x"]) == ["a.0", "b.0", "c.0"]


IDENTITY = "a = Conv (x, w1) r = Relu (a) b = Conv (r, w2) s = Add ({}) y = Relu (s)"
PROJECTION = "a = Conv (x, w1) r = Relu (a) b = Conv (r, w2) p = Conv (x, w3) s = Add ({}) y = Relu (s)"


@pytest.mark.parametrize(("operands", "index"), [("b, x", 1), ("x, b", 0)])
def test_the_identity_shortcut_is_quantized_and_the_main_branch_is_not(build, operands, index):
    model = graph(build, IDENTITY.format(operands))
    assert sites(model, TENSORRT) == {"x": ["a.0", f"s.{index}"], "r": ["b.0"]}


@pytest.mark.parametrize(("operands", "index"), [("b, p", 1), ("p, b", 0)])
def test_of_two_convolutions_the_shorter_path_is_the_shortcut(build, operands, index):
    model = graph(build, PROJECTION.format(operands))
    assert sites(model, TENSORRT) == {"x": ["a.0", "p.0"], "r": ["b.0"], "p": [f"s.{index}"]}


def test_of_two_equal_paths_the_second_operand_is_the_shortcut(build):
    model = graph(build, "a = Conv (x, w1) b = Conv (x, w2) y = Add (a, b)")
    assert sites(model, TENSORRT)["b"] == ["y.1"]


def test_a_lateral_convolution_fuses_though_its_path_is_shorter(build):
    model = graph(build, "a = Conv (x, w1) r = Relu (a) b = Conv (r, w2) u = Relu (b) l = Conv (x, w3) y = Add (l, u)")
    assert sites(model, TENSORRT)["u"] == ["y.1"]


@pytest.mark.parametrize("addition", ["Add (b, v)", "Add (b, b)"])
def test_an_addition_without_a_shortcut_stays_float(build, addition):
    model = graph(build, f"a = Conv (x, w1) b = Conv (a, w2) y = {addition}")
    assert sites(model, TENSORRT) == {"x": ["a.0"], "a": ["b.0"]}


def test_an_addition_with_nothing_to_fuse_stays_float(build):
    model = graph(build, "a = Conv (x, w1) r = Relu (a) t = Tanh (x) y = Add (r, t)")
    assert sites(model, TENSORRT) == {"x": ["a.0"]}


def test_the_residual_rule_is_the_placements_choice(build):
    plain = Placement("plain", symmetric=True, int32_bias=False, quantize_outputs=False, residual_branch_only=False)
    assert sites(graph(build, IDENTITY.format("b, x")), plain) == {"x": ["a.0"], "r": ["b.0"]}


CONCAT = "a = Conv (x, w1) r = Relu (a) k = Concat <axis=2> (r, x) b = Conv (k, w2) y = Sigmoid (b)"


def test_concat_shares_one_range_with_its_inputs(build):
    model = graph(build, CONCAT)
    united = ("k", "r", "x")
    assert ranges(model, TENSORRT) == {"x": united, "r": united, "k": united}
    assert sites(model, TENSORRT) == {"x": ["a.0", "k.1"], "r": ["k.0"], "k": ["b.0"]}
    assert ranges(model, ORT_CPU)["x"] == ("x",)


def test_a_concat_that_no_weighted_operator_reads_stays_float(build):
    model = graph(build, "a = Conv (x, w1) k = Concat <axis=2> (a, x) y = Sigmoid (k)")
    assert sites(model, TENSORRT) == {"x": ["a.0"]}


POOL = "a = Conv (x, w1) r = Relu (a) p = {} <kernel_shape=[2, 2]> (r) b = Conv (p, w2) y = Sigmoid (b)"


@pytest.mark.parametrize(("pool", "taken"), [("MaxPool", "r"), ("AveragePool", "p")])
def test_a_pooling_in_front_of_a_weighted_operator_reads_integers(build, pool, taken):
    model = graph(build, POOL.format(pool))
    assert sites(model, TENSORRT) == {"x": ["a.0"], "r": ["p.0"], "p": ["b.0"]}
    assert ranges(model, TENSORRT)["p"] == (taken,)


def test_passing_through_goes_on_upstream(build):
    body = "a = Conv (x, w1) k = Concat <axis=2> (a, x) m = MaxPool <kernel_shape=[2, 2]> (k) y = Conv (m, w2)"
    found = sites(graph(build, body), TENSORRT)
    assert found == {"x": ["a.0", "k.1"], "a": ["k.0"], "k": ["m.0"], "m": ["y.0"]}


def test_a_pooled_branch_of_a_concat_keeps_its_input_s_range(build):
    body = """m = MaxPool <kernel_shape=[1, 1]> (x) a = Conv (x, w1) r = Relu (a) k = Concat <axis=2> (r, m)
        y = Conv (k, w2)"""
    united = ("k", "r")
    assert ranges(graph(build, body), TENSORRT) == {"x": ("x",), "m": ("x",), "r": united, "k": united}


def test_nested_concats_share_one_range(build):
    body = "k = Concat <axis=2> (x, x) a = Conv (k, w1) l = Concat <axis=2> (k, a) y = Conv (l, w2)"
    united = ("a", "k", "l", "x")
    assert ranges(graph(build, f"z = Conv (x, w3) {body}"), TENSORRT) == dict.fromkeys(united, united)


def test_a_shared_range_is_the_union(build, table_of):
    model = graph(build, CONCAT)
    site = found_sites(model, TENSORRT)[0]
    found = site.range(table_of(x=(-3, 1), r=(0, 1), k=(-1, 2)))
    assert (found.lo, found.hi) == (-3, 2)


@pytest.mark.parametrize("operator", ["Conv (x, w1)", "Add (x, x)"])
def test_integer_kernels_absorb_a_following_relu(build, operator):
    model = graph(build, f"a = {operator} r = Relu (a) y = Conv (r, w2)")
    assert set(sites(model, ORT_CPU)) == {"x", "r", "y"}
    assert "a" not in {value.name for value in calibrated_values(model)}


def test_a_clip_with_constant_bounds_is_absorbed_too(build):
    text = "g (float[N, 4, 6, 6] x) => (float[N, 4, 6, 6] y) <float[4, 4, 1, 1] w, float lo, float hi>"
    model = build(f"{text} {{ a = Conv (x, w) y = Clip (a, lo, hi) }}")
    assert set(sites(model, ORT_CPU)) == {"x", "y"}


def test_a_relu_is_not_absorbed_when_its_input_is_read_elsewhere(build):
    model = graph(build, "a = Conv (x, w1) r = Relu (a) y = Add (a, r)")
    assert set(sites(model, ORT_CPU)) == {"x", "a", "r", "y"}


def test_movers_take_their_input_range(build):
    body = "a = Conv (x, w1) r = Relu (a) m = MaxPool <kernel_shape=[2, 2]> (r) t = Transpose (m) y = Conv (m, w2)"
    model = build(f"g (float[N, 4, 6, 6] x) => (float[N, 4, 5, 5] y, float[5, 5, 4, N] t) {WEIGHTS} {{ {body} }}")
    found = ranges(model, ORT_CPU)
    assert (found["m"], found["t"]) == (("r",), ("r",))
    assert ranges(model, TENSORRT) == {"x": ("x",), "r": ("r",), "m": ("r",)}


def test_a_mover_in_front_of_an_integer_kernel_runs_on_integers(build):
    text = "g (float[N, 4, 6, 6] x) => (float[N, 4] y) <float[4, 4] w, int64[2] axes>"
    body = "p = ReduceMean (x, axes) f = Flatten (p) y = MatMul (f, w)"
    model = build(f"{text} {{ {body} }}", axes=np.array([2, 3]))
    assert sites(model, ORT_CPU) == {"p": ["f.0"], "f": ["y.0"], "y": []}
    assert ranges(model, ORT_CPU)["f"] == ("p",)


def test_float_operators_read_no_pair_of_their_own(build):
    model = graph(build, "a = Conv (x, w1) t = Tanh (a) u = Tanh (t) b = Conv (u, w2) y = Tanh (b)")
    assert set(sites(model, ORT_CPU)) == {"x", "a", "u", "b"}


def test_a_constant_operand_keeps_an_addition_in_float(build):
    model = graph(build, "t = Tanh (x) y = Add (t, v)")
    assert sites(model, ORT_CPU) == {}


def test_every_site_of_every_placement_is_calibrated(build):
    for body in (IDENTITY.format("b, x"), PROJECTION.format("p, b"), CONCAT, POOL.format("MaxPool")):
        model = graph(build, body)
        known = {value.name for value in calibrated_values(model)}
        for placement in (TENSORRT, ORT_CPU):
            assert {name for names in ranges(model, placement).values() for name in names} <= known


def test_branches_of_unlike_size_keep_ranges_of_their_own(build):
    alike, unlike = {"x": 1, "r": 8, "k": 8}, {"x": 1, "r": 9, "k": 9}
    assert ranges(graph(build, CONCAT), TENSORRT, **alike)["x"] == ("k", "r", "x")
    found = ranges(graph(build, CONCAT), TENSORRT, **unlike)
    assert (found["x"], found["r"], found["k"]) == (("x",), ("r",), ("k",))


HEAD = "a = Conv (x, w1) b = Conv (x, w2) s = Sigmoid (b) k = Concat <axis=1> (a, s)"


@pytest.mark.parametrize(
    "tail", ["y = Identity (k)", "y = Transpose <perm=[0,2,3,1]> (k)", "y = Concat <axis=1> (k, s)"]
)
def test_an_answer_that_joins_unlike_values_is_not_quantized_and_its_parts_are(build, tail):
    model = graph(build, f"{HEAD} {tail}")
    assert {"k", "y"} <= set(sites(model, ORT_CPU))
    found = {site.value.name for site in found_sites(model, ORT_CPU, a=640, k=640, y=640)}
    assert found == {"x", "a", "b", "s"}


def test_unlike_values_that_a_weighted_operator_reads_are_quantized(build):
    body = "a = Conv (x, w1) b = Conv (x, w2) k = Concat <axis=2> (a, b) y = Conv (k, w3)"
    assert "k" in {site.value.name for site in found_sites(graph(build, body), ORT_CPU, a=640, k=640)}


def test_an_answer_whose_channels_are_unlike_is_not_quantized(build):
    weight = np.ones((4, 4, 1, 1), np.float32)
    weights = f"{WEIGHTS[:-1]}, int64[3] s>"
    text = f"g (float[N, 4, 6, 6] x) => (float[N, 4, 36] y) {weights} {{ a = Conv (x, w1) y = Reshape (a, s) }}"
    shape = np.array([0, 4, -1])
    assert {site.value.name for site in found_sites(build(text, w1=weight, s=shape), ORT_CPU)} == {"x", "a", "y"}
    weight[2:] = 1 / 64
    assert {site.value.name for site in found_sites(build(text, w1=weight, s=shape), ORT_CPU)} == {"x"}


@pytest.mark.parametrize(
    ("attributes", "quantized"),
    [
        ("", True),
        (", ceil_mode=1", True),
        (", count_include_pad=1", True),
        (", ceil_mode=1, count_include_pad=1", False),
        (", dilations=[2, 2]", False),
    ],
)
def test_an_average_pooling_has_pairs_where_the_integer_kernel_agrees(
    build, run, images, calibrated, attributes, quantized
):
    body = f"a = Conv (x, w1) p = AveragePool <kernel_shape=[3, 3], strides=[2, 2]{attributes}> (a) y = Relu (p)"
    model = graph(build, body)
    placement = ORT_CPU_7BIT if saturates_u8s8() else ORT_CPU
    assert ("y" in sites(model, placement)) == quantized
    x = images(2, 4, 6, 6)
    quantize(model, calibrated(model, x), placement)
    (literal,), (by_kernels,) = run(model, x=x), run(model, x=x, optimize=True)
    np.testing.assert_allclose(by_kernels, literal, atol=1e-5)
