"""A 1x1 convolution before its AveragePool: exact in double precision, and every reason to refuse, one by one."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from deploykit.graph.passes.exchange_pool import exchange_pool
from deploykit.graph.rewrite import NAME_SCOPES

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'

PAIR = """g (double[N, 6, 9, 8] x, double[3, {read}, 1, 1] w{bias}) => (double[N, 3, H, W] z) {{
    c = AveragePool <kernel_shape = [3, 2]{pool}> (x)
    y = Conv <kernel_shape = [1, 1]{conv}> (c, w{b})
    z = Relu (y)
}}"""

SMALL = """g (float[N, 4, 6, 6] x, float[3, 4, 1, 1] w, float[3] b) => (float[N, 3, 6, 6] y) {
    c = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x)
    y = Conv (c, w, b)
}"""

# The pooling's attributes, and whether a bias passes it.
POOLS = {
    "plain": ("", True),
    "strided": (", strides = [2, 3]", True),
    "dilated": (", dilations = [2, 3]", True),
    "padded, not counted": (", pads = [2, 1, 1, 0]", True),
    "SAME, not counted": (', auto_pad = "SAME_UPPER", strides = [2, 2]', True),
    "VALID, counted": (', auto_pad = "VALID", count_include_pad = 1', True),
    "counted, but not padded": (", count_include_pad = 1", True),
    "padded, counted": (", pads = [2, 1, 1, 0], count_include_pad = 1", False),
    "SAME, counted": (', auto_pad = "SAME_LOWER", count_include_pad = 1', False),
    "padded, dilated": (", pads = [2, 1, 1, 0], dilations = [2, 2]", False),
    "ceil_mode": (", strides = [2, 3], ceil_mode = 1", False),
}


def ops(model):
    return [node.op_type for node in model.graph]


def pair(case, *, bias, group=1, conv=""):
    return HEADER + PAIR.format(
        pool=POOLS[case][0],
        read=6 // group,
        conv=f", group = {group}{conv}",
        bias=", double[3] b" * bias,
        b=", b" * bias,
    )


@pytest.mark.parametrize(("case", "bias"), [(case, bias) for case in POOLS for bias in (False, True)])
@pytest.mark.parametrize("group", [1, 3])
def test_they_change_places_and_the_relu_stays_behind(build, run, infer, relative_l2, case, bias, group):
    behind = ["Add"] if bias and not POOLS[case][1] else []
    model = infer(build(pair(case, bias=bias, group=group)))
    x = np.random.default_rng(1).standard_normal((2, 6, 9, 8))
    before = run(model, x=x)[0]
    result = exchange_pool(model)
    assert ops(model) == ["Conv", "AveragePool", *behind, "Relu"]
    assert len(model.graph[0].inputs) == 2 + (bias and not behind)
    assert result.rewritten == ["y"]
    assert not result.skipped
    after = run(model, x=x)[0]
    assert after.shape == before.shape
    assert relative_l2(after, before) < 1e-12
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    assert model.graph[0].outputs[0].shape[1:] == (3, 9, 8)


def test_a_bias_is_added_behind_where_a_whole_window_may_be_padding(build):
    text = SMALL.replace("[1, 1, 1, 1]>", "[1, 1, 1, 3]>").replace("3, 6, 6]", "3, 6, 8]")
    model = build(HEADER + text)
    assert exchange_pool(model).rewritten == ["y"]
    assert ops(model) == ["Conv", "AveragePool", "Add"]


@pytest.mark.parametrize("dtype", ["float16", "float"])
def test_the_bias_behind_is_the_same_numbers_in_the_graphs_type(build, dtype):
    text = SMALL.replace("pads", "count_include_pad = 1, pads").replace("float[", f"{dtype}[")
    model = build(HEADER + text)
    model.graph[1].name = "block.conv"
    model.graph[1].metadata_props[NAME_SCOPES] = "['', 'block', 'block.conv', 'conv2d']"
    bias = model.graph.initializers["b"].const_value.numpy()
    assert exchange_pool(model).rewritten == ["block.conv"]
    added = model.graph[2]
    moved = added.inputs[1].const_value.numpy()
    assert moved.dtype == bias.dtype
    np.testing.assert_array_equal(moved, bias.reshape(1, 3, 1, 1))
    assert added.name == "block.conv/Add"
    assert added.metadata_props == model.graph[0].metadata_props
    assert list(model.graph.initializers) == ["w", "block.conv.bias"]
    assert [node.outputs[0].name for node in model.graph] == ["c", "y_unbiased", "y"]


def test_a_bias_of_zeros_passes_everywhere(build):
    model = build(pair("padded, counted", bias=True), values={"b": np.zeros(3)})
    assert exchange_pool(model).rewritten == ["y"]
    assert ops(model) == ["Conv", "AveragePool", "Relu"]


def test_both_keep_name_and_scope_and_the_result_its_name(build):
    model = build(HEADER + SMALL)
    pool, conv = model.graph
    pool.name, conv.name = "block/AveragePool", "block.conv"
    pool.metadata_props[NAME_SCOPES] = "['', 'block', 'avg_pool2d']"
    conv.metadata_props[NAME_SCOPES] = "['', 'block', 'block.conv', 'conv2d']"
    parameters = dict(model.graph.initializers)
    assert exchange_pool(model).rewritten == ["block.conv"]
    assert [(node.name, node.outputs[0].name) for node in model.graph] == [
        ("block.conv", "c"),
        ("block/AveragePool", "y"),
    ]
    assert list(model.graph) == [conv, pool]
    assert "block.conv" in conv.metadata_props[NAME_SCOPES]
    assert "avg_pool2d" in pool.metadata_props[NAME_SCOPES]
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert dict(model.graph.initializers) == parameters


@pytest.mark.parametrize(
    "text",
    [
        SMALL.replace("AveragePool", "MaxPool"),
        SMALL.replace("[3, 4, 1, 1] w", "[3, 4, 3, 3] w").replace("3, 6, 6]", "3, 4, 4]"),
    ],
    ids=["a MaxPool", "a 3x3"],
)
def test_is_no_site(build, text):
    result = exchange_pool(build(HEADER + text))
    assert not result.rewritten
    assert not result.skipped


REFUSALS = {
    "read elsewhere": (
        SMALL.replace("6] y)", "6] y, float[N, 4, 6, 6] z)").replace("w, b)\n", "w, b)\n    z = Relu (c)\n"),
        "another node reads the pooled output",
    ),
    "graph output": (
        SMALL.replace("6] y)", "6] y, float[N, 4, 6, 6] c)"),
        "the pooled output is a graph output",
    ),
    "strides": (
        SMALL.replace("Conv (c", "Conv <strides = [2, 2]> (c").replace("3, 6, 6]", "3, 3, 3]"),
        "the convolution has strides or pads",
    ),
    "pads": (
        SMALL.replace("Conv (c", "Conv <pads = [1, 1, 1, 1]> (c").replace("3, 6, 6]", "3, 8, 8]"),
        "the convolution has strides or pads",
    ),
    "no fewer channels": (
        SMALL.replace("float[3, 4, 1, 1]", "float[4, 4, 1, 1]").replace("[3] b", "[4] b").replace("N, 3,", "N, 4,"),
        "it would pool 4 channels instead of 4",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refuses_by_structure(build, case):
    text, reason = REFUSALS[case]
    model = build(HEADER + text)
    result = exchange_pool(model)
    assert [item.reason for item in result.skipped] == [reason]
    assert not result.rewritten
    assert ops(model)[:2] == ["AveragePool", "Conv"]


@pytest.mark.parametrize(("name", "role"), [("w", "weight"), ("b", "bias")])
def test_refuses_what_the_caller_may_feed(build, name, role):
    result = exchange_pool(build(HEADER + SMALL, free=("x", name)))
    assert [item.reason for item in result.skipped] == [f"the {role} {name!r} is not a constant"]


def test_refuses_the_body_of_a_branch(build):
    text = """g (float[1, 2, 4, 4] x, bool k, float[1, 2, 1, 1] w) => (float[1, 1, 4, 4] y) {
      c = AveragePool <kernel_shape = [1, 1]> (x)
      y = If (k) <then_branch = t () => (float[1, 1, 4, 4] p) { p = Conv (c, w) },
                  else_branch = e () => (float[1, 1, 4, 4] q) { q = Conv (x, w) }>
    }"""
    result = exchange_pool(build(HEADER + text, free=("x", "k")))
    assert [item.reason for item in result.skipped] == ["it lies in the body of a control-flow node"] * 2
