"""Convolutions in groups merged with the 1x1 behind them: exact in double, and every reason to refuse, one by one."""

import itertools

import numpy as np
import pytest

from deploykit.graph.passes.merge_depthwise_pointwise import merge_depthwise_pointwise
from deploykit.graph.rewrite import NAME_SCOPES

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'

PAIR = """g (double[N, 4, 9, 8] x, double[{made}, {read}, 3, 2] w{biases}, double[5, {made}, 1, 1] v)
  => (double[N, 5, H, W] y) {{
    c = Conv <group = {group}{attributes}> (x, w{a})
    y = Conv <kernel_shape = [1, 1]{strides}> (c, v{b})
}}"""

SMALL = """g (float[N, 3, 6, 6] x, float[3, 1, 3, 3] w, float[3] a, float[5, 3, 1, 1] v, float[5] b)
  => (float[N, 5, 6, 6] y) {
    c = Conv <group = 3, pads = [1, 1, 1, 1]> (x, w, a)
    y = Conv (c, v, b)
}"""

GROUPS = {"depthwise": (4, 4), "multiplier 2": (4, 8), "two groups": (2, 6)}  # groups, channels between
WINDOWS = {
    "plain": "",
    "padded": ", pads = [1, 0, 2, 1]",
    "strided": ", pads = [1, 1, 1, 1], strides = [2, 1]",
    "dilated": ", dilations = [2, 3], pads = [2, 3, 2, 3]",
}


def ops(model):
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("first_bias", "second_bias"), list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("strides", ["", ", strides = [2, 3]"])
def test_two_become_one_without_groups(build, run, relative_l2, groups, window, first_bias, second_bias, strides):
    group, made = GROUPS[groups]
    text = PAIR.format(
        group=group,
        made=made,
        read=4 // group,
        attributes=WINDOWS[window],
        strides=strides,
        biases=f", double[{made}] a" * first_bias + ", double[5] b" * second_bias,
        a=", a" * first_bias,
        b=", b" * second_bias,
    )
    model = build(HEADER + text)
    x = np.random.default_rng(1).standard_normal((2, 4, 9, 8))
    before = run(model, x=x)[0]
    result = merge_depthwise_pointwise(model)
    assert ops(model) == ["Conv"]
    assert result.rewritten == ["y"]
    assert not result.skipped
    assert model.graph[0].inputs[1].shape == (5, 4, 3, 2)
    assert model.graph[0].attributes.get_int("group", 1) == 1
    after = run(model, x=x)[0]
    assert after.shape == before.shape
    assert relative_l2(after, before) < 1e-12


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_computes_in_float64_and_rounds_once_to_the_graphs_type(build, dtype):
    model = build(HEADER + SMALL.replace("float[", f"{np.dtype(dtype).name.replace('float32', 'float')}["))
    value = {name: tensor.const_value.numpy().astype(np.float64) for name, tensor in model.graph.initializers.items()}
    merge_depthwise_pointwise(model)
    weight, bias = (operand.const_value.numpy() for operand in model.graph[0].inputs[1:])
    np.testing.assert_array_equal(weight, (value["v"] * value["w"][:, 0][None]).astype(dtype))
    exact = value["b"] + value["v"][:, :, 0, 0] @ value["a"]
    np.testing.assert_array_max_ulp(bias, exact.astype(dtype), maxulp=1)


def test_the_1x1_keeps_its_name_and_scope_and_nothing_else_is_left(build):
    model = build(HEADER + SMALL)
    for node, name in zip(model.graph, ["block.depthwise", "block.pointwise"], strict=True):
        node.name = name
        node.metadata_props[NAME_SCOPES] = f"['', 'block', '{name}', 'conv2d']"
    assert merge_depthwise_pointwise(model).rewritten == ["block.pointwise"]
    assert [node.name for node in model.graph] == ["block.pointwise"]
    assert model.graph[0].metadata_props == {NAME_SCOPES: "['', 'block', 'block.pointwise', 'conv2d']"}
    assert list(model.graph.initializers) == ["v", "block.pointwise.bias"]
    assert [value.name for value in model.graph.outputs] == ["y"]


@pytest.mark.parametrize(
    "text",
    [
        SMALL.replace("c = Conv", "d = Conv").replace("    y =", "    c = Relu (d)\n    y ="),
        SMALL.replace("group = 3, ", "").replace("float[3, 1, 3, 3]", "float[3, 3, 3, 3]"),
        SMALL.replace("[5, 3, 1, 1] v", "[5, 3, 3, 3] v").replace("Conv (c", "Conv <pads = [1, 1, 1, 1]> (c"),
        SMALL.replace("[5, 3, 1, 1] v", "[6, 1, 1, 1] v")
        .replace("Conv (c", "Conv <group = 3> (c")
        .replace("[5] b", "[6] b")
        .replace("N, 5", "N, 6"),
    ],
    ids=["an activation between", "no groups", "several taps behind", "groups behind too"],
)
def test_is_no_site(build, text):
    model = build(HEADER + text)
    result = merge_depthwise_pointwise(model)
    assert not result.rewritten
    assert not result.skipped


REFUSALS = {
    "read elsewhere": (
        SMALL.replace("6] y)", "6] y, float[N, 3, 6, 6] z)").replace("v, b)\n", "v, b)\n    z = Relu (c)\n"),
        "another node reads the intermediate output",
    ),
    "graph output": (
        SMALL.replace("6] y)", "6] y, float[N, 3, 6, 6] c)"),
        "the intermediate output is a graph output",
    ),
    "auto_pad": (
        SMALL.replace("pads = [1, 1, 1, 1]", 'auto_pad = "SAME_UPPER"'),
        "the padding is placed by auto_pad, which depends on the size of the image",
    ),
    "a padded 1x1": (
        SMALL.replace("Conv (c", "Conv <pads = [1, 1, 1, 1]> (c").replace("5, 6, 6", "5, 8, 8"),
        "the 1x1 convolution pads",
    ),
    "another number of channels": (
        SMALL.replace("float[5, 3, 1, 1] v", "float[5, 4, 1, 1] v"),
        "the first makes 3 channels, the second reads 4",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refuses_by_structure(build, case):
    text, reason = REFUSALS[case]
    model = build(HEADER + text)
    result = merge_depthwise_pointwise(model)
    assert [item.reason for item in result.skipped] == [reason]
    assert not result.rewritten
    assert ops(model)[:2] == ["Conv", "Conv"]


@pytest.mark.parametrize(("name", "role"), [("w", "weight"), ("a", "bias"), ("v", "weight"), ("b", "bias")])
def test_refuses_what_the_caller_may_feed(build, name, role):
    result = merge_depthwise_pointwise(build(HEADER + SMALL, free=("x", name)))
    assert [item.reason for item in result.skipped] == [f"the {role} {name!r} is not a constant"]


def test_refuses_a_float16_weight_that_merging_lifts_out_of_range(build):
    values = {"w": np.full((3, 1, 3, 3), 6e3), "v": np.full((5, 3, 1, 1), 6e3)}
    model = build(HEADER + SMALL.replace("float[", "float16["), values=values)
    before = set(model.graph.initializers)
    result = merge_depthwise_pointwise(model)
    assert [item.reason for item in result.skipped] == ["the folded weight is not finite in float16"]
    assert set(model.graph.initializers) == before


def test_refuses_the_body_of_a_branch(build):
    text = """g (float[1, 2, 4, 4] x, bool k, float[2, 1, 1, 1] w, float[2, 2, 1, 1] v) => (float[1, 2, 4, 4] y) {
      c = Conv <group = 2> (x, w)
      y = If (k) <then_branch = t () => (float[1, 2, 4, 4] p) { p = Conv (c, v) },
                  else_branch = e () => (float[1, 2, 4, 4] q) { q = Relu (c) }>
    }"""
    result = merge_depthwise_pointwise(build(HEADER + text, free=("x", "k")))
    assert [item.reason for item in result.skipped] == ["it lies in the body of a control-flow node"]
