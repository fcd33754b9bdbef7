"""Convolutions composed with a 1x1 neighbor: exact in double precision, and every reason to refuse, one by one."""

import itertools

import numpy as np
import pytest
from refusals import assert_refused

from deploykit.graph.passes.compose_convolutions import compose_convolutions
from deploykit.graph.rewrite import NAME_SCOPES

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'

PAIR = """g (double[N, 4, 9, 8] x, double[6, {first_in}, {first}] w, double[8, {second_in}, {second}] v{biases})
  => (double[N, 8, H, W] y) {{
    c = Conv <{first_attributes}> (x, w{a})
    y = Conv <{second_attributes}> (c, v{b})
}}"""

SMALL = """g (float[N, 2, 6, 6] x, float[3, 2, 1, 1] w, float[3] a, float[5, 3, 3, 3] v, float[5] b)
  => (float[N, 5, 4, 4] y) {
    c = Conv (x, w, a)
    y = Conv (c, v, b)
}"""

STRIDED, DILATED = "strides = [2, 3]", "dilations = [2, 1]"
# Kernel and attributes of the first and of the second, and whether the first may have a bias.
PAIRS = {
    "1x1, 3x3": ("1, 1", "", "3, 3", "", True),
    "strided 1x1, strided 3x3": ("1, 1", STRIDED, "3, 2", "strides = [1, 2]", True),
    "1x1, dilated 3x3": ("1, 1", "strides = [2, 1]", "3, 3", DILATED, True),
    "1x1, padded 3x3": ("1, 1", "", "3, 3", "pads = [1, 0, 2, 1]", False),
    "strided 1x1, padded, dilated 3x3": ("1, 1", STRIDED, "3, 2", f"pads = [1, 2, 2, 0], {DILATED}", False),
    "3x3, 1x1": ("3, 3", "", "1, 1", "", True),
    "padded, strided 3x3, strided 1x1": ("3, 2", f"pads = [1, 0, 2, 1], {STRIDED}", "1, 1", "strides = [2, 1]", True),
    "dilated 3x3, strided 1x1": ("3, 3", DILATED, "1, 1", STRIDED, True),
    "1x1, 1x1": ("1, 1", STRIDED, "1, 1", "strides = [2, 1]", True),
    "padded 1x1, 1x1": ("1, 1", "pads = [1, 1, 0, 2]", "1, 1", STRIDED, True),
    "1x1, padded 1x1": ("1, 1", STRIDED, "1, 1", "pads = [1, 1, 0, 2]", False),
    "VALID 1x1, VALID 3x3": ("1, 1", 'auto_pad = "VALID"', "3, 3", 'auto_pad = "VALID"', True),
    "padded 3x3, VALID 1x1": ("3, 3", "pads = [1, 1, 1, 1]", "1, 1", 'auto_pad = "VALID"', True),
    "dilated 1x1, 3x3": ("1, 1", DILATED, "3, 3", "", True),
}


def ops(model):
    return [node.op_type for node in model.graph]


def pair(case, *, group=1, first_bias=False, second_bias=False):
    first, first_attributes, second, second_attributes, _ = PAIRS[case]
    grouped = f"group = {group}"
    return HEADER + PAIR.format(
        first=first,
        second=second,
        first_in=4 // group,
        second_in=6 // group,
        first_attributes=", ".join(filter(None, [grouped, first_attributes])),
        second_attributes=", ".join(filter(None, [grouped, f"kernel_shape = [{second}]", second_attributes])),
        biases=", double[6] a" * first_bias + ", double[8] b" * second_bias,
        a=", a" * first_bias,
        b=", b" * second_bias,
    )


@pytest.mark.parametrize(
    ("case", "first_bias"),
    [case for case in itertools.product(PAIRS, [False, True]) if not case[1] or PAIRS[case[0]][4]],
)
@pytest.mark.parametrize("second_bias", [False, True])
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("size", [(9, 8), (10, 11)])
def test_two_become_one(build, run, relative_l2, case, first_bias, second_bias, group, size):
    text = pair(case, group=group, first_bias=first_bias, second_bias=second_bias)
    model = build(text.replace("9, 8]", f"{size[0]}, {size[1]}]"))
    x = np.random.default_rng(1).standard_normal((2, 4, *size))
    before = run(model, x=x)[0]
    result = compose_convolutions(model)
    assert ops(model) == ["Conv"]
    assert result.rewritten == ["y"]
    assert not result.skipped
    after = run(model, x=x)[0]
    assert after.shape == before.shape
    assert relative_l2(after, before) < 1e-12


@pytest.mark.parametrize("case", [case for case, (*_, may) in PAIRS.items() if not may])
def test_refuses_a_bias_behind_which_zeros_are_padded(build, case):
    result = compose_convolutions(build(pair(case, first_bias=True)))
    reason = "the second pads with zeros, which the bias of the first does not reach"
    assert [item.reason for item in result.skipped] == [reason]


def test_a_bias_of_zeros_may_be_padded(build, run, relative_l2):
    model = build(pair("1x1, padded 3x3", first_bias=True), values={"a": np.zeros(6)})
    x = np.random.default_rng(1).standard_normal((2, 4, 9, 8))
    before = run(model, x=x)[0]
    assert compose_convolutions(model).rewritten == ["y"]
    assert relative_l2(run(model, x=x)[0], before) < 1e-12
    assert len(model.graph[0].inputs) == 2


def test_a_chain_becomes_one(build, run, relative_l2):
    text = """g (double[N, 4, 9, 8] x, double[3, 4, 1, 1] w, double[5, 3, 3, 3] v, double[2, 5, 1, 1] u, double[2] b)
      => (double[N, 2, 7, 6] y) { c = Conv (x, w) d = Conv (c, v) y = Conv (d, u, b) }"""
    model = build(HEADER + text)
    x = np.random.default_rng(1).standard_normal((2, 4, 9, 8))
    before = run(model, x=x)[0]
    assert compose_convolutions(model).rewritten == ["d", "y"]
    assert ops(model) == ["Conv"]
    assert relative_l2(run(model, x=x)[0], before) < 1e-12


def test_along_one_axis(build, run, relative_l2):
    text = """g (double[N, 4, 9] x, double[3, 4, 1] w, double[3] a, double[5, 3, 3] v) => (double[N, 5, 7] y) {
      c = Conv (x, w, a) y = Conv (c, v) }"""
    model = build(HEADER + text)
    x = np.random.default_rng(1).standard_normal((2, 4, 9))
    before = run(model, x=x)[0]
    assert compose_convolutions(model).rewritten == ["y"]
    assert relative_l2(run(model, x=x)[0], before) < 1e-12


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_computes_in_float64_and_rounds_once_to_the_graphs_type(build, dtype):
    model = build(HEADER + SMALL.replace("float[", f"{np.dtype(dtype).name.replace('float32', 'float')}["))
    value = {name: tensor.const_value.numpy().astype(np.float64) for name, tensor in model.graph.initializers.items()}
    compose_convolutions(model)
    weight, bias = (operand.const_value.numpy() for operand in model.graph[0].inputs[1:])
    assert {weight.dtype, bias.dtype} == {np.dtype(dtype)}
    exact = np.einsum("omhw,mc->ochw", value["v"], value["w"][:, :, 0, 0])
    np.testing.assert_array_max_ulp(weight, exact.astype(dtype), maxulp=1)
    np.testing.assert_array_max_ulp(
        bias, (value["b"] + np.einsum("omhw,m->o", value["v"], value["a"])).astype(dtype), maxulp=1
    )


def test_the_second_keeps_its_name_and_scope_and_nothing_else_is_left(build):
    model = build(HEADER + SMALL)
    first, second = model.graph
    first.name, second.name = "reduce", "expand"
    second.metadata_props[NAME_SCOPES] = "['', 'block', 'block.expand', 'conv2d']"
    assert compose_convolutions(model).rewritten == ["expand"]
    assert [node.name for node in model.graph] == ["expand"]
    assert model.graph[0].metadata_props == {NAME_SCOPES: "['', 'block', 'block.expand', 'conv2d']"}
    assert list(model.graph.initializers) == ["v", "expand.bias"]
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_shared_weights_stay_for_their_other_readers(build, run, relative_l2):
    text = """g (double[N, 3, 6, 6] x, double[3, 3, 1, 1] w) => (double[N, 3, 6, 6] y, double[N, 3, 6, 6] z) {
      c = Conv (x, w) y = Conv (c, w) r = Relu (x) z = Conv (r, w) }"""
    model = build(HEADER + text)
    x = np.random.default_rng(1).standard_normal((2, 3, 6, 6))
    before = run(model, x=x)
    assert compose_convolutions(model).rewritten == ["y"]
    for got, wanted in zip(run(model, x=x), before, strict=True):
        assert relative_l2(got, wanted) < 1e-12


@pytest.mark.parametrize(
    "text",
    [
        "g (float[N, 2, 6, 6] x, float[3, 2, 3, 3] w, float[3, 3, 3, 3] v) => (float[N, 3, 2, 2] y) {"
        "c = Conv (x, w) y = Conv (c, v) }",
        "g (float[N, 2, 6, 6] x, float[3, 2, 1, 1] w, float[3, 3, 3, 3] v) => (float[N, 3, 4, 4] y) {"
        "c = Conv (x, w) r = Relu (c) y = Conv (r, v) }",
        "g (float[N, 2, 6, 6] x, float[2, 1, 3, 3] w, float[3, 2, 1, 1] v) => (float[N, 3, 4, 4] y) {"
        "c = Conv <group = 2> (x, w) y = Conv (c, v) }",
    ],
    ids=["two kernels of several taps", "an activation between", "depthwise, then 1x1"],
)
def test_is_no_site(build, text):
    model = build(HEADER + text)
    result = compose_convolutions(model)
    assert not result.rewritten
    assert not result.skipped


REFUSALS = {
    "read elsewhere": (
        SMALL.replace("4] y)", "4] y, float[N, 3, 6, 6] z)").replace("v, b)\n", "v, b)\n    z = Relu (c)\n"),
        "another node reads the intermediate output",
    ),
    "graph output": (
        SMALL.replace("4] y)", "4] y, float[N, 3, 6, 6] c)"),
        "the intermediate output is a graph output",
    ),
    "groups": (
        SMALL.replace("float[5, 3, 3, 3] v", "float[6, 1, 3, 3] v")
        .replace("float[5] b", "float[6] b")
        .replace("N, 5,", "N, 6,")
        .replace("Conv (c", "Conv <group = 3> (c"),
        "the first has 1 groups, the second 3",
    ),
    "auto_pad of the first": (
        SMALL.replace("Conv (x", 'Conv <auto_pad = "SAME_UPPER"> (x'),
        "the padding is placed by auto_pad, which depends on the size of the image",
    ),
    "auto_pad of the second": (
        SMALL.replace("Conv (c", 'Conv <auto_pad = "SAME_LOWER"> (c').replace("5, 4, 4", "5, 6, 6"),
        "the padding is placed by auto_pad, which depends on the size of the image",
    ),
    "a padded 1x1 before": (
        SMALL.replace("Conv (x", "Conv <pads = [1, 1, 1, 1]> (x").replace("5, 4, 4", "5, 6, 6"),
        "the 1x1 convolution pads",
    ),
    "a padded 1x1 behind": (
        SMALL.replace("[3, 2, 1, 1] w", "[3, 2, 3, 3] w")
        .replace("[5, 3, 3, 3] v", "[5, 3, 1, 1] v")
        .replace("Conv (c", "Conv <pads = [1, 1, 1, 1]> (c")
        .replace("5, 4, 4", "5, 6, 6"),
        "the 1x1 convolution pads",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refuses_by_structure(build, case):
    text, reason = REFUSALS[case]
    assert_refused(compose_convolutions, build(HEADER + text), reason)


@pytest.mark.parametrize(("name", "role"), [("w", "weight"), ("a", "bias"), ("v", "weight"), ("b", "bias")])
def test_refuses_what_the_caller_may_feed(build, name, role):
    result = compose_convolutions(build(HEADER + SMALL, free=("x", name)))
    assert [item.reason for item in result.skipped] == [f"the {role} {name!r} is not a constant"]


def test_refuses_what_does_not_fit_together(build):
    text = SMALL.replace("float[5, 3, 3, 3] v", "float[5, 4, 3, 3] v")
    result = compose_convolutions(build(HEADER + text))
    assert [item.reason for item in result.skipped] == ["the first makes 3 channels, the second reads 4"]


@pytest.mark.parametrize(
    ("values", "role"),
    [
        ({"w": np.full((3, 2, 1, 1), 1e30), "v": np.full((5, 3, 3, 3), 1e30)}, "weight"),
        ({"a": np.array([1, np.nan, 1])}, "bias"),
        ({"a": np.full(3, 1e30), "v": np.full((5, 3, 3, 3), 1e30)}, "bias"),
    ],
)
def test_refuses_what_is_not_finite_and_writes_nothing(build, values, role):
    model = build(HEADER + SMALL, values=values)
    before = set(model.graph.initializers)
    result = compose_convolutions(model)
    assert [item.reason for item in result.skipped] == [f"the folded {role} is not finite in float32"]
    assert set(model.graph.initializers) == before


def test_refuses_the_body_of_a_branch(build):
    text = """g (float[1, 2, 4, 4] x, bool k, float[3, 2, 1, 1] w, float[3, 3, 1, 1] v) => (float[1, 3, 4, 4] y) {
      c = Conv (x, w)
      y = If (k) <then_branch = t () => (float[1, 3, 4, 4] p) { p = Conv (c, v) },
                  else_branch = e () => (float[1, 3, 4, 4] q) { q = Relu (c) }>
    }"""
    result = compose_convolutions(build(HEADER + text, free=("x", "k")))
    assert [item.reason for item in result.skipped] == ["it lies in the body of a control-flow node"]
