"""Nodes that change nothing go; those that look like it and change something stay."""

import numpy as np
import pytest

from deploykit.graph.passes.remove_no_ops import remove_no_ops

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'


def graph(call, *, shape="[N, 4, 6, 5]", constants=""):
    return f"""{HEADER}g (float{shape} x{constants}) => (float y) {{
        a = Relu (x)
        b = {call}
        y = Neg (b)
    }}"""


def array(*numbers):
    return np.asarray(numbers)


GONE = {
    "dropout": (graph("Dropout (a)"), {}),
    "dropout, said to infer": (
        graph("Dropout (a, r, t)", constants=", float r, bool t"),
        {"t": np.bool_(0)},
    ),
    "reshape by copies": (graph("Reshape (a, s)", constants=", int64[4] s"), {"s": array(0, 0, 0, 0)}),
    "reshape by sizes": (graph("Reshape (a, s)", constants=", int64[4] s"), {"s": array(-1, 4, 6, 5)}),
    "reshape, the rest is the last": (graph("Reshape (a, s)", constants=", int64[4] s"), {"s": array(0, 4, 6, -1)}),
    "flatten of a matrix": (graph("Flatten (a)", shape="[N, 4]"), {}),
    "flatten of a matrix, counted from behind": (graph("Flatten <axis = -1> (a)", shape="[N, 4]"), {}),
    "squeeze of no axes": (graph("Squeeze (a, s)", constants=", int64[0] s"), {}),
    "squeeze where nothing is 1": (graph("Squeeze (a)", shape="[2, 4, 6, 5]"), {}),
    "unsqueeze of no axes": (graph("Unsqueeze (a, s)", constants=", int64[0] s"), {}),
    "transpose in order": (graph("Transpose <perm = [0, 1, 2, 3]> (a)"), {}),
    "transpose of a vector": (graph("Transpose (a)", shape="[7]"), {}),
    "expand to ones": (graph("Expand (a, s)", constants=", int64[4] s"), {"s": array(1, 4, 1, 5)}),
    "expand to fewer axes": (graph("Expand (a, s)", constants=", int64[2] s"), {"s": array(6, 1)}),
    "cast to itself": (graph("Cast <to = 1> (a)"), {}),
    "pad of nothing": (graph('Pad <mode = "reflect"> (a, s)', constants=", int64[8] s"), {"s": np.zeros(8)}),
    "concat of one": (graph("Concat <axis = 1> (a)"), {}),
    "times 1": (graph("Mul (a, s)", constants=", float s"), {"s": np.float32(1)}),
    "1 times": (graph("Mul (s, a)", constants=", float[4, 1, 1] s"), {"s": np.ones((4, 1, 1))}),
    "divided by 1": (graph("Div (a, s)", constants=", float[1] s"), {"s": np.ones(1)}),
    "plus 0": (graph("Add (a, s)", constants=", float[6, 5] s"), {"s": np.zeros((6, 5))}),
    "0 plus": (graph("Add (s, a)", constants=", float s"), {"s": np.float32(0)}),
    "minus 0": (graph("Sub (a, s)", constants=", float[1, 1, 1, 1] s"), {"s": np.zeros((1, 1, 1, 1))}),
    "maximum of one pixel": (graph("MaxPool <kernel_shape = [1, 1]> (a)"), {}),
    "mean of one pixel": (
        graph("AveragePool <kernel_shape = [1, 1], strides = [1, 1], pads = [0, 0, 0, 0]> (a)"),
        {},
    ),
}

STAYS = {
    "reshape that swaps sizes": (graph("Reshape (a, s)", constants=", int64[4] s"), {"s": array(0, 6, 4, 5)}),
    "reshape that joins": (graph("Reshape (a, s)", constants=", int64[3] s"), {"s": array(0, 24, 5)}),
    "reshape that adds an axis": (graph("Reshape (a, s)", constants=", int64[5] s"), {"s": array(0, 4, 6, 5, 1)}),
    "reshape of one batch only": (graph("Reshape (a, s)", constants=", int64[4] s"), {"s": array(2, 4, 6, 5)}),
    "reshape with two sizes moved": (graph("Reshape (a, s)", constants=", int64[4] s"), {"s": array(-1, 4, 5, 6)}),
    "reshape to nothing": (
        graph("Reshape <allowzero = 1> (a, s)", shape="[0, 4]", constants=", int64[2] s"),
        {"s": array(0, 7)},
    ),
    "flatten of an image": (graph("Flatten (a)"), {}),
    "flatten into one row": (graph("Flatten <axis = 0> (a)", shape="[N, 4]"), {}),
    "squeeze of an axis": (graph("Squeeze (a, s)", shape="[N, 1]", constants=", int64[1] s"), {"s": array(1)}),
    "squeeze of what may be 1": (graph("Squeeze (a)"), {}),
    "squeeze of a 1": (graph("Squeeze (a)", shape="[1, 4]"), {}),
    "unsqueeze": (graph("Unsqueeze (a, s)", constants=", int64[1] s"), {"s": array(0)}),
    "transpose": (graph("Transpose <perm = [0, 2, 1, 3]> (a)"), {}),
    "transpose of equal sizes": (graph("Transpose (a)", shape="[4, 4]"), {}),
    "expand of a 1": (graph("Expand (a, s)", shape="[1, 4]", constants=", int64[2] s"), {"s": array(3, 4)}),
    "expand of what may be 1": (graph("Expand (a, s)", constants=", int64[4] s"), {"s": array(2, 4, 6, 5)}),
    "expand to more axes": (graph("Expand (a, s)", constants=", int64[5] s"), {"s": np.ones(5)}),
    "cast to float16": (graph("Cast <to = 10> (a)"), {}),
    "pad": (graph("Pad (a, s)", constants=", int64[8] s"), {"s": array(0, 0, 0, 0, 0, 0, 0, 1)}),
    "pad and crop": (graph("Pad (a, s)", constants=", int64[8] s"), {"s": array(0, 0, 0, 1, 0, 0, 0, -1)}),
    "concat of two": (graph("Concat <axis = 1> (a, a)"), {}),
    "times nearly 1": (graph("Mul (a, s)", constants=", float s"), {"s": np.float32(1 + 1e-6)}),
    "times 1 but once": (graph("Mul (a, s)", constants=", float[5] s"), {"s": array(1, 1, 1, 2, 1)}),
    "1 divided by it": (graph("Div (s, a)", constants=", float s"), {"s": np.float32(1)}),
    "0 minus it": (graph("Sub (s, a)", constants=", float s"), {"s": np.float32(0)}),
    "plus zeros of more rows": (
        graph("Add (a, s)", shape="[1, 4]", constants=", float[3, 4] s"),
        {"s": np.zeros((3, 4))},
    ),
    "plus zeros of what may be more images": (
        graph("Add (a, s)", constants=", float[2, 1, 1, 1] s"),
        {"s": np.zeros((2, 1, 1, 1))},
    ),
    "times ones of more axes": (graph("Mul (a, s)", constants=", float[1, 1, 1, 1, 1] s"), {"s": np.ones([1] * 5)}),
    "maximum of two pixels": (graph("MaxPool <kernel_shape = [1, 2]> (a)"), {}),
    "every other pixel": (graph("MaxPool <kernel_shape = [1, 1], strides = [2, 1]> (a)"), {}),
    "mean of one pixel, padded": (
        graph("AveragePool <kernel_shape = [1, 1], pads = [0, 0, 0, 1], count_include_pad = 1> (a)"),
        {},
    ),
}  # fmt: skip


def feed(model):
    sizes = [size if isinstance(size, int) else 2 for size in model.graph.inputs[0].shape]
    return np.random.default_rng(1).standard_normal(sizes).astype(np.float32)


@pytest.mark.parametrize("case", GONE)
def test_what_changes_nothing_goes(build, infer, run, case):
    text, values = GONE[case]
    model = infer(build(text, values=values))
    x = feed(model)
    before = run(model, x=x)[0]
    result = remove_no_ops(model)
    assert [node.op_type for node in model.graph] == ["Relu", "Neg"]
    assert result.rewritten == ["b"]
    assert not result.skipped
    assert not model.graph.initializers
    np.testing.assert_array_equal(run(model, x=x)[0], before)


@pytest.mark.parametrize("case", STAYS)
def test_what_changes_something_stays(build, infer, case):
    text, values = STAYS[case]
    model = infer(build(text, values=values))
    result = remove_no_ops(model)
    assert not result.rewritten
    assert not result.skipped
    assert len(model.graph) == 3


@pytest.mark.parametrize("name", ["Reshape", "Expand"])
def test_a_shape_that_the_caller_may_feed_stays(build, infer, name):
    model = infer(build(graph(f"{name} (a, s)", constants=", int64[4] s"), free=("x", "s")))
    assert not remove_no_ops(model).rewritten


def test_without_a_shape_only_scalars_are_known_to_change_nothing(build):
    values = {"s": np.ones((4, 1, 1)), "t": np.float32(1)}
    text = f"""{HEADER}g (float[N, 4, 6, 5] x, float[4, 1, 1] s, float t) => (float y) {{
        a = Relu (x) b = Mul (a, s) c = Mul (b, t) y = Neg (c) }}"""
    assert remove_no_ops(build(text, values=values)).rewritten == ["c"]


def test_a_chain_goes_link_by_link_and_the_graph_output_keeps_its_name(build, infer):
    text = f"""{HEADER}g (float[N, 4] x) => (float[N, 4] y) {{
        a = Relu (x) b = Dropout (a) c = Flatten (b) y = Cast <to = 1> (c) }}"""
    model = infer(build(text))
    assert remove_no_ops(model).rewritten == ["b", "c", "y"]
    assert [(node.op_type, node.outputs[0].name) for node in model.graph] == [("Relu", "y")]
    assert model.graph.outputs[0] is model.graph[0].outputs[0]


BOTH_PUBLIC = "it hands a graph input, an initializer or a graph output on to a graph output"
REFUSALS = {
    "training": (
        graph("Dropout (a, r, t)", constants=", float r, bool t"),
        {"values": {"t": np.bool_(1)}},
        "it may be in training mode",
    ),
    "training as the caller likes": (
        graph("Dropout (a, r, t)", constants=", float r, bool t"),
        {"free": ("x", "t")},
        "it may be in training mode",
    ),
    "mask read": (
        HEADER + "g (float[N, 4] x) => (float[N, 4] y, bool[N, 4] z) { a = Relu (x) y, m = Dropout (a) z = Not (m) }",
        {},
        "its mask is read",
    ),
    "mask an output": (
        HEADER + "g (float[N, 4] x) => (float[N, 4] y, bool[N, 4] m) { a = Relu (x) y, m = Dropout (a) }",
        {},
        "its mask is read",
    ),
    "indices read": (
        HEADER
        + "g (float[N, 4, 6, 5] x) => (float y, int64 i) { a = Relu (x) y, i = MaxPool <kernel_shape = [1, 1]> (a) }",
        {},
        "its indices are read",
    ),
    "input to output": (HEADER + "g (float[N, 4] x) => (float[N, 4] y) { y = Dropout (x) }", {}, BOTH_PUBLIC),
    "weight to output": (HEADER + "g (float[N, 4] x, float[4] w) => (float[4] y) { y = Dropout (w) }", {}, BOTH_PUBLIC),
    "output to output": (
        HEADER + "g (float[N, 4] x) => (float[N, 4] a, float[N, 4] y) { a = Relu (x) y = Dropout (a) }",
        {},
        BOTH_PUBLIC,
    ),
    "body": (
        HEADER
        + """g (float[4] x, bool k) => (float[4] y) {
            y = If (k) <then_branch = t () => (float[4] p) { p = Dropout (x) },
                        else_branch = e () => (float[4] q) { q = Relu (x) }> }""",
        {"free": ("x", "k")},
        "it lies in the body of a control-flow node",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refuses(build, infer, case):
    text, options, reason = REFUSALS[case]
    model = infer(build(text, **options))
    before = [node.op_type for node in model.graph]
    result = remove_no_ops(model)
    assert [item.reason for item in result.skipped] == [reason]
    assert not result.rewritten
    assert [node.op_type for node in model.graph] == before


def test_an_output_may_go_on_into_the_graph(build, infer):
    text = HEADER + "g (float[N, 4] x) => (float[N, 4] a, float[N, 4] y) { a = Relu (x) b = Dropout (a) y = Neg (b) }"
    model = infer(build(text))
    assert remove_no_ops(model).rewritten == ["b"]
    assert [value.name for value in model.graph.outputs] == ["a", "y"]
