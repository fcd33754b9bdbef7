"""Scales and shifts behind a convolution: exact in double precision, and every reason to refuse, one by one."""

import numpy as np
import pytest
from refusals import assert_refused

from deploykit.graph.passes.fold_scale import fold_scale
from deploykit.graph.rewrite import FOLDED_SCOPE, NAME_SCOPES

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'

CONV = """g (double[N, 4, 6, 5] x, double[8, {per_group}, 3, 3] w{bias}, double{shape} v) => (double[N, 8, H, W] y) {{
    c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = {group}> (x, w{use_bias})
    y = {call}
}}"""

CONV_TRANSPOSE = """g (double[N, 4, 5, 3] x, double[4, {per_group}, 3, 3] w{bias}, double{shape} v)
  => (double[N, 8, H, W] y) {{
    c = ConvTranspose <kernel_shape = [3, 3], strides = [2, 2], group = {group}> (x, w{use_bias})
    y = {call}
}}"""

GEMM = """g (double[3, 4] x, double{weight} w{bias}, double{shape} v) => (double[3, 6] y) {{
    c = Gemm <transB = {trans}, alpha = {alpha}, beta = {beta}> (x, w{use_bias})
    y = {call}
}}"""

PLAIN = """g (float[N, 2, 4, 4] x, float[3, 2, 1, 1] w, float[3] b, float[3, 1, 1] s) => (float[N, 3, 4, 4] y) {
    c = Conv (x, w, b)
    y = Mul (c, s)
}"""

CALLS = ["Mul (c, v)", "Mul (v, c)", "Div (c, v)", "Add (c, v)", "Add (v, c)", "Sub (c, v)", "Sub (v, c)"]


def ops(model):
    return [node.op_type for node in model.graph]


def holds_in_double(model, run, relative_l2, shape, op):
    x = np.random.default_rng(1).standard_normal(shape)
    before = run(model, x=x)[0]
    result = fold_scale(model)
    assert ops(model) == [op]
    assert result.rewritten == ["y"]
    assert not result.skipped
    assert relative_l2(run(model, x=x)[0], before) < 1e-12


def operand(bias):
    return {"bias": ", double[8] a" if bias else "", "use_bias": ", a" if bias else ""}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("shape", ["", "[1]", "[1, 1, 1, 1]", "[8, 1, 1]", "[1, 8, 1, 1]"])
@pytest.mark.parametrize("bias", [False, True])
def test_folds_every_operator_with_every_broadcast(build, run, relative_l2, bias, shape, call):
    text = CONV.format(group=1, per_group=4, shape=shape, call=call, **operand(bias))
    holds_in_double(build(HEADER + text), run, relative_l2, (2, 4, 6, 5), "Conv")


@pytest.mark.parametrize("call", ["Mul (c, v)", "Sub (v, c)"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_folds_into_grouped_convolutions(build, run, relative_l2, group, bias, call):
    text = CONV.format(group=group, per_group=4 // group, shape="[8, 1, 1]", call=call, **operand(bias))
    holds_in_double(build(HEADER + text), run, relative_l2, (2, 4, 6, 5), "Conv")


@pytest.mark.parametrize("call", ["Div (c, v)", "Sub (v, c)"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_folds_into_a_transposed_convolution(build, run, relative_l2, group, bias, call):
    text = CONV_TRANSPOSE.format(group=group, per_group=8 // group, shape="[8, 1, 1]", call=call, **operand(bias))
    holds_in_double(build(HEADER + text), run, relative_l2, (2, 4, 5, 3), "ConvTranspose")


@pytest.mark.parametrize("call", ["Mul (c, v)", "Add (v, c)"])
@pytest.mark.parametrize("shape", ["", "[6]", "[1, 6]"])
@pytest.mark.parametrize("addend", [None, "", "[6]", "[3, 1]", "[3, 6]"])
@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 2.0), (2.0, 0.0)])
@pytest.mark.parametrize("trans", [0, 1])
def test_folds_into_a_matrix_product(build, run, relative_l2, trans, alpha, beta, addend, shape, call):
    text = GEMM.format(
        trans=trans,
        alpha=alpha,
        beta=beta,
        weight="[6, 4]" if trans else "[4, 6]",
        bias="" if addend is None else f", double{addend} a",
        use_bias="" if addend is None else ", a",
        shape=shape,
        call=call,
    )
    holds_in_double(build(HEADER + text), run, relative_l2, (3, 4), "Gemm")


def test_a_shift_that_cancels_gemms_scalar_addend_is_not_lost(build, run, relative_l2):
    text = GEMM.format(
        trans=0, alpha=1.0, beta=1.0, weight="[4, 6]", bias=", double a", use_bias=", a", shape="", call="Sub (c, v)"
    )
    model = build(HEADER + text, values={"a": np.float64(5), "v": np.float64(5)})
    holds_in_double(model, run, relative_l2, (3, 4), "Gemm")


def test_a_chain_folds_link_by_link(build, run, relative_l2):
    text = """g (double[N, 4, 6, 5] x, double[8, 4, 3, 3] w, double[8, 1, 1] v, double s, double t)
      => (double[N, 8, H, W] y) { c = Conv (x, w) d = Mul (c, s) e = Add (d, v) f = Div (e, v) y = Sub (t, f) }"""
    model = build(HEADER + text)
    x = np.random.default_rng(1).standard_normal((2, 4, 6, 5))
    before = run(model, x=x)[0]
    assert fold_scale(model).rewritten == ["d", "e", "f", "y"]
    assert ops(model) == ["Conv"]
    assert relative_l2(run(model, x=x)[0], before) < 1e-12


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_computes_in_float64_and_rounds_once_to_the_graphs_type(build, dtype):
    model = build(HEADER + PLAIN.replace("float[", f"{np.dtype(dtype).name.replace('float32', 'float')}["))
    value = {name: tensor.const_value.numpy().astype(np.float64) for name, tensor in model.graph.initializers.items()}
    fold_scale(model)
    weight, bias = (operand.const_value.numpy() for operand in model.graph[0].inputs[1:])
    assert weight.dtype == bias.dtype == dtype
    np.testing.assert_array_equal(weight, (value["w"] * value["s"][..., None]).astype(dtype))
    np.testing.assert_array_equal(bias, (value["b"] * value["s"].ravel()).astype(dtype))


def test_a_scale_invents_no_bias_and_a_shift_leaves_the_weight(build):
    scaled = build(HEADER + PLAIN.replace(", w, b)", ", w)"))
    shifted = build(HEADER + PLAIN.replace("Mul", "Add"))
    weight = shifted.graph.initializers["w"]
    fold_scale(scaled)
    fold_scale(shifted)
    assert len(scaled.graph[0].inputs) == 2
    assert shifted.graph[0].inputs[1] is weight
    assert list(shifted.graph.initializers) == ["w", "Conv.bias"]


def test_shared_constants_stay_as_the_other_reader_knows_them(build, run, relative_l2):
    text = """g (double[N, 2, 4, 4] x, double[3, 2, 1, 1] w, double[3] b, double s)
      => (double[N, 3, 4, 4] y, double[N, 3, 4, 4] z, double[N, 3, 4, 4] plain) {
        c = Conv (x, w, b) y = Mul (c, s) d = Conv (x, w, b) z = Add (d, s) plain = Conv (x, w, b)
    }"""
    model = build(HEADER + text)
    x = np.random.default_rng(1).standard_normal((2, 2, 4, 4))
    before = run(model, x=x)
    assert fold_scale(model).rewritten == ["y", "z"]
    for got, wanted in zip(run(model, x=x), before, strict=True):
        assert relative_l2(got, wanted) < 1e-12


def test_the_convolution_keeps_its_name_and_scope_and_records_whose_output_it_computes(build):
    model = build(HEADER + PLAIN)
    conv, scale = model.graph
    conv.name = "block.conv"
    conv.metadata_props[NAME_SCOPES] = "['', 'block', 'block.conv', 'conv2d']"
    scale.metadata_props[NAME_SCOPES] = "['', 'block', 'mul']"
    fold_scale(model)
    assert conv.name == "block.conv"
    assert conv.metadata_props[NAME_SCOPES] == "['', 'block', 'block.conv', 'conv2d']"
    assert conv.metadata_props[FOLDED_SCOPE] == "block"
    assert list(model.graph.initializers) == ["w", "block.conv.bias"]


NOT_PER_CHANNEL = "a constant of shape {} is neither a scalar nor one number per channel"


@pytest.mark.parametrize("op", ["Mul", "Add"])
@pytest.mark.parametrize("shape", [[3], [4], [4, 1], [1, 4, 4], [3, 4, 4], [2, 1, 1, 1], [2, 3, 1, 1], [1, 1, 3, 1, 1]])
def test_refuses_a_constant_along_another_axis_even_of_as_many_numbers_as_channels(build, shape, op):
    """The image is 3 wide, as many as there are channels: [3] lies along the width all the same."""
    text = f"""g (float[2, 2, 4, {shape[-1] if shape[-1] > 1 else 4}] x, float[3, 2, 1, 1] w, float{shape} s)
      => (float y) {{ c = Conv (x, w) y = {op} (c, s) }}"""
    model = build(HEADER + text)
    result = fold_scale(model)
    assert [item.reason for item in result.skipped] == [NOT_PER_CHANNEL.format(shape)]
    assert ops(model) == ["Conv", op]


@pytest.mark.parametrize("shape", [[3, 1], [3, 6], [1, 1, 6]])
def test_refuses_rows_behind_a_matrix_product(build, shape):
    text = f"g (float[3, 4] x, float[4, 6] w, float{shape} s) => (float y) {{ c = Gemm (x, w) y = Mul (c, s) }}"
    assert [item.reason for item in fold_scale(build(HEADER + text)).skipped] == [NOT_PER_CHANNEL.format(shape)]


def test_refuses_a_constant_that_multiplies_the_channels(build):
    text = (
        "g (float[2, 2, 4, 4] x, float[1, 2, 1, 1] w, float[3, 1, 1] s) => (float y) { c = Conv (x, w) y = Add (c, s) }"
    )
    assert [item.reason for item in fold_scale(build(HEADER + text)).skipped] == [NOT_PER_CHANNEL.format([3, 1, 1])]


REFUSALS = {
    "read elsewhere": (
        PLAIN.replace("(float[N, 3, 4, 4] y)", "(float[N, 3, 4, 4] y, float[N, 3, 4, 4] z)").replace(
            "s)\n}", "s)\n    z = Relu (c)\n}"
        ),
        "another node reads the unscaled output",
    ),
    "graph output": (
        PLAIN.replace("(float[N, 3, 4, 4] y)", "(float[N, 3, 4, 4] y, float[N, 3, 4, 4] c)"),
        "the unscaled output is a graph output",
    ),
    "constant divided by it": (
        PLAIN.replace("Mul (c, s)", "Div (s, c)"),
        "it divides a constant by the value, which is not linear",
    ),
    "integers": (
        "g (int32[2, 4] x, int32[4, 3] w, int32 s) => (int32[2, 3] y) { c = Gemm (x, w) y = Mul (c, s) }",
        "the weight is int32, which would round what is folded into it",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refuses_by_structure(build, case):
    text, reason = REFUSALS[case]
    assert_refused(fold_scale, build(HEADER + text), reason)


@pytest.mark.parametrize(("name", "role"), [("w", "weight"), ("b", "bias")])
def test_refuses_what_the_caller_may_feed(build, name, role):
    result = fold_scale(build(HEADER + PLAIN, free=("x", name)))
    assert [item.reason for item in result.skipped] == [f"the {role} {name!r} is not a constant"]


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("c = Conv (x, w, b)", "d = Conv (x, w, b)\n c = Relu (d)"),
        PLAIN.replace("Mul (c, s)", "Mul (c, c)"),
        PLAIN.replace("c = Conv (x, w, b)", "d = Conv (x, w, b)\n c = Relu (x)").replace("Mul (c, s)", "Mul (d, c)"),
    ],
)
def test_other_arithmetic_is_not_the_pattern(build, text):
    result = fold_scale(build(HEADER + text))
    assert not result.skipped
    assert not result.rewritten


def test_a_scale_that_the_caller_may_feed_is_not_the_pattern(build):
    result = fold_scale(build(HEADER + PLAIN, free=("x", "s")))
    assert not result.skipped
    assert not result.rewritten


def test_refuses_the_body_of_a_branch(build):
    text = """g (float[1, 2, 4, 4] x, bool k, float[3, 2, 1, 1] w, float s) => (float[1, 3, 4, 4] y) {
        c = Conv (x, w)
        y = If (k) <then_branch = t () => (float[1, 3, 4, 4] p) { p = Mul (c, s) },
                    else_branch = e () => (float[1, 3, 4, 4] q) { q = Relu (c) }>
    }"""
    result = fold_scale(build(HEADER + text, free=("x", "k")))
    assert [item.reason for item in result.skipped] == ["it lies in the body of a control-flow node"]


@pytest.mark.parametrize(
    ("op", "values", "reason"),
    [
        ("Mul", {"s": [1, np.inf, 1]}, "the folded weight is not finite in float32"),
        ("Mul", {"s": [1, np.nan, 1]}, "the folded weight is not finite in float32"),
        ("Add", {"s": [1, np.inf, 1]}, "the folded bias is not finite in float32"),
        ("Div", {"s": [1, 0, 1]}, "it divides by zero"),
        ("Mul", {"s": [1e30] * 3, "w": np.full((3, 2, 1, 1), 1e30)}, "the folded weight is not finite in float32"),
    ],
)
def test_refuses_what_is_not_finite_and_writes_nothing(build, op, values, reason):
    arrays = {
        name: np.asarray(array).reshape((3, 1, 1) if name == "s" else (3, 2, 1, 1)) for name, array in values.items()
    }
    model = build(HEADER + PLAIN.replace("Mul", op), values=arrays)
    before = set(model.graph.initializers)
    assert [item.reason for item in fold_scale(model).skipped] == [reason]
    assert set(model.graph.initializers) == before
