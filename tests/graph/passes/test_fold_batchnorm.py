"""BatchNorm folding: every operator it knows in double precision, and every reason to refuse, one by one."""

import numpy as np
import pytest
from refusals import assert_refused

from deploykit.graph.passes.fold_batchnorm import fold_batchnorm
from deploykit.graph.rewrite import FOLDED_SCOPE, NAME_SCOPES

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'

CONV = """g (double[N, 4, 6, 5] x, double[8, {per_group}, 3, 3] w{bias},
   double[8] g, double[8] b, double[8] m, double[8] v)
  => (double[N, 8, H, W] y) {{
    c = Conv <kernel_shape = [3, 3], group = {group}> (x, w{use_bias})
    y = BatchNormalization <epsilon = 0.01> (c, g, b, m, v)
}}"""

CONV_TRANSPOSE = """g (double[N, 4, 5, 3] x, double[4, {per_group}, 3, 3] w{bias},
   double[8] g, double[8] b, double[8] m, double[8] v)
  => (double[N, 8, H, W] y) {{
    c = ConvTranspose <kernel_shape = [3, 3], strides = [2, 2], group = {group}> (x, w{use_bias})
    y = BatchNormalization <epsilon = 0.01> (c, g, b, m, v)
}}"""

GEMM = """g (double[3, 4] x, double{weight} w{bias}, double[6] g, double[6] b, double[6] m, double[6] v)
  => (double[3, 6] y) {{
    c = Gemm <transB = {trans}, alpha = {alpha}, beta = {beta}> (x, w{use_bias})
    y = BatchNormalization (c, g, b, m, v)
}}"""

PLAIN = """g (float[N, 2, 4, 4] x, float[3, 2, 1, 1] w, float[3] bias, float[3] g, float[3] b, float[3] m, float[3] v)
  => (float[N, 3, 4, 4] y) {
    c = Conv (x, w, bias)
    y = BatchNormalization (c, g, b, m, v)
}"""


def ops(model):
    return [node.op_type for node in model.graph]


def holds_in_double(model, run, relative_l2, shape, op):
    x = np.random.default_rng(1).standard_normal(shape)
    before = run(model, x=x)[0]
    result = fold_batchnorm(model)
    assert ops(model) == [op]
    assert result.rewritten == ["y"]
    assert not result.skipped
    assert relative_l2(run(model, x=x)[0], before) < 1e-12


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_folds_into_a_convolution(build, run, relative_l2, group, bias):
    text = CONV.format(
        group=group, per_group=4 // group, bias=", double[8] a" if bias else "", use_bias=", a" if bias else ""
    )
    holds_in_double(build(HEADER + text), run, relative_l2, (2, 4, 6, 5), "Conv")


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_folds_into_a_transposed_convolution_whose_output_channels_lie_on_axis_1(build, run, relative_l2, group, bias):
    text = CONV_TRANSPOSE.format(
        group=group, per_group=8 // group, bias=", double[8] a" if bias else "", use_bias=", a" if bias else ""
    )
    holds_in_double(build(HEADER + text), run, relative_l2, (2, 4, 5, 3), "ConvTranspose")


@pytest.mark.parametrize("addend", [None, "", "[1]", "[6]", "[1, 6]", "[3, 1]", "[3, 6]"])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 2.0), (2.0, 0.0)])
@pytest.mark.parametrize("trans", [0, 1])
def test_folds_into_a_matrix_product_with_any_alpha_beta_and_addend(
    build, run, relative_l2, trans, alpha, beta, addend
):
    text = GEMM.format(
        trans=trans,
        alpha=alpha,
        beta=beta,
        weight="[6, 4]" if trans else "[4, 6]",
        bias="" if addend is None else f", double{addend} a",
        use_bias="" if addend is None else ", a",
    )
    holds_in_double(build(HEADER + text), run, relative_l2, (3, 4), "Gemm")


def test_float32_weights_are_computed_in_float64_and_rounded_once(build):
    model = build(HEADER + PLAIN)
    value = {name: tensor.const_value.numpy().astype(np.float64) for name, tensor in model.graph.initializers.items()}
    scale = value["g"] / np.sqrt(value["v"] + np.float64(np.float32(1e-5)))
    fold_batchnorm(model)
    conv = model.graph[0]
    weight, bias = (operand.const_value.numpy() for operand in conv.inputs[1:])
    np.testing.assert_array_equal(weight, (value["w"] * scale[:, None, None, None]).astype(np.float32))
    np.testing.assert_array_equal(bias, (scale * value["bias"] + (value["b"] - scale * value["m"])).astype(np.float32))


def test_a_float16_graph_stays_float16(build):
    model = build(HEADER + PLAIN.replace("float[", "float16["))
    assert fold_batchnorm(model).rewritten == ["y"]
    assert {value.const_value.dtype.name for value in model.graph[0].inputs[1:]} == {"FLOAT16"}


def test_the_folded_parameters_replace_the_old_ones(build):
    model = build(HEADER + PLAIN)
    model.graph[0].name = "stem"
    fold_batchnorm(model)
    assert list(model.graph.initializers) == ["w", "stem.bias"]


def test_a_graph_output_keeps_its_name_and_other_values_take_the_convolutions(build):
    text = PLAIN.replace("y = Batch", "n = Batch").replace("v)\n}", "v)\n    y = Relu (n)\n}")
    inside, outside = build(HEADER + text), build(HEADER + PLAIN)
    fold_batchnorm(inside)
    fold_batchnorm(outside)
    assert [node.outputs[0].name for node in inside.graph] == ["c", "y"]
    assert [value.name for value in outside.graph.outputs] == ["y"]
    assert outside.graph[0].outputs[0] is outside.graph.outputs[0]


def test_the_convolution_keeps_its_scope_and_records_the_batchnorms(build):
    model = build(HEADER + PLAIN)
    conv, norm = model.graph
    conv.metadata_props[NAME_SCOPES] = "['', 'layer1', 'layer1.conv', 'conv2d']"
    norm.metadata_props[NAME_SCOPES] = "['', 'layer1', 'layer1.bn', 'batch_norm']"
    fold_batchnorm(model)
    assert conv.metadata_props[FOLDED_SCOPE] == "layer1.bn"
    assert conv.metadata_props[NAME_SCOPES] == "['', 'layer1', 'layer1.conv', 'conv2d']"


SHARED = """g (double[N, 2, 4, 4] x, double[3, 2, 1, 1] w, double[3] g, double[3] b, double[3] m, double[3] v,
   double[3] g2, double[3] b2) => (double[N, 3, 4, 4] y, double[N, 3, 4, 4] z, double[N, 3, 4, 4] plain) {
    c = Conv (x, w)
    y = BatchNormalization (c, g, b, m, v)
    d = Conv (x, w)
    z = BatchNormalization (d, g2, b2, m, v)
    plain = Conv (x, w)
}"""


def test_a_shared_weight_is_duplicated_and_its_other_reader_keeps_the_old_one(build, run, relative_l2):
    model = build(HEADER + SHARED)
    x = np.random.default_rng(1).standard_normal((2, 2, 4, 4))
    before = run(model, x=x)
    assert fold_batchnorm(model).rewritten == ["y", "z"]
    assert ops(model) == ["Conv"] * 3
    assert len({node.inputs[1].name for node in model.graph}) == 3
    for got, wanted in zip(run(model, x=x), before, strict=True):
        assert relative_l2(got, wanted) < 1e-12


REFUSALS = {
    "batch statistics": (
        PLAIN.replace("BatchNormalization (", "BatchNormalization <training_mode = 1> ("),
        "it normalizes with the statistics of the batch (training mode)",
    ),
    "no producer": (
        "g (float[N, 3, 4, 4] x, float[3] g, float[3] b, float[3] m, float[3] v) => (float[N, 3, 4, 4] y) {"
        "y = BatchNormalization (x, g, b, m, v) }",
        "its input is not the output of a node",
    ),
    "another operator": (
        PLAIN.replace("Conv (x, w, bias)", "Relu (k)\n k = Conv (x, w, bias)").replace(
            "c = Relu (k)\n k = Conv (x, w, bias)", "k = Conv (x, w, bias)\n c = Relu (k)"
        ),
        "its input is made by a Relu, not by a Conv, ConvTranspose or Gemm",
    ),
    "a MatMul": (
        "g (float[N, 4] x, float[4, 3] w, float[3] g, float[3] b, float[3] m, float[3] v) => (float[N, 3] y) {"
        "c = MatMul (x, w) y = BatchNormalization (c, g, b, m, v) }",
        "its input is made by a MatMul, not by a Conv, ConvTranspose or Gemm",
    ),
    "read elsewhere": (
        PLAIN.replace("(float[N, 3, 4, 4] y)", "(float[N, 3, 4, 4] y, float[N, 3, 4, 4] z)").replace(
            "v)\n}", "v)\n    z = Relu (c)\n}"
        ),
        "another node reads the unnormalized output",
    ),
    "graph output": (
        PLAIN.replace("(float[N, 3, 4, 4] y)", "(float[N, 3, 4, 4] y, float[N, 3, 4, 4] c)"),
        "the unnormalized output is a graph output",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refuses_by_structure(build, case):
    text, reason = REFUSALS[case]
    assert_refused(fold_batchnorm, build(HEADER + text), reason)


@pytest.mark.parametrize(
    ("name", "role"),
    [("w", "weight"), ("bias", "bias"), ("g", "gamma"), ("b", "beta"), ("m", "mean"), ("v", "variance")],
)
def test_refuses_what_the_caller_may_feed(build, name, role):
    result = fold_batchnorm(build(HEADER + PLAIN, free=("x", name)))
    assert [item.reason for item in result.skipped] == [f"the {role} {name!r} is not a constant"]


IN_A_BRANCH = """g (float[1, 2, 4, 4] x, bool k, float[3, 2, 1, 1] w, float[3] g, float[3] b, float[3] m, float[3] v)
  => (float[1, 3, 4, 4] y) {
    c = Conv (x, w)
    y = If (k) <then_branch = t () => (float[1, 3, 4, 4] p) { p = BatchNormalization (c, g, b, m, v) },
                else_branch = e () => (float[1, 3, 4, 4] q) { q = Relu (c) }>
}"""


def test_refuses_the_body_of_a_branch(build):
    result = fold_batchnorm(build(HEADER + IN_A_BRANCH, free=("x", "k")))
    assert [item.reason for item in result.skipped] == ["it lies in the body of a control-flow node"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"v": [1, -1, 1]}, "the variance plus epsilon is not positive in every channel"),
        ({"v": [1, np.nan, 1]}, "the variance plus epsilon is not positive in every channel"),
        ({"g": [1, np.inf, 1]}, "the folded weight is not finite in float32"),
        ({"m": [1, np.inf, 1]}, "the folded bias is not finite in float32"),
        ({"g": [1e30, 1, 1], "w": np.full((3, 2, 1, 1), 1e30)}, "the folded weight is not finite in float32"),
    ],
)
def test_refuses_what_is_not_finite_and_writes_nothing(build, values, reason):
    model = build(HEADER + PLAIN, values={name: np.asarray(array) for name, array in values.items()})
    before = set(model.graph.initializers)
    result = fold_batchnorm(model)
    assert [item.reason for item in result.skipped] == [reason]
    assert set(model.graph.initializers) == before


def test_refuses_a_float16_weight_that_folding_lifts_out_of_range(build):
    values = {"v": np.full(3, 1e-6), "w": np.full((3, 2, 1, 1), 6e4), "g": np.ones(3)}
    model = build(HEADER + PLAIN.replace("float[", "float16["), values=values)
    assert [item.reason for item in fold_batchnorm(model).skipped] == ["the folded weight is not finite in float16"]


def test_refuses_another_number_of_channels(build):
    text = PLAIN
    for name in "gbmv":
        text = text.replace(f"float[3] {name},", f"float[1] {name},").replace(f"float[3] {name})", f"float[1] {name})")
    model = build(HEADER + text)
    assert [item.reason for item in fold_batchnorm(model).skipped] == ["it has 1 channels, its neighbor 3"]
