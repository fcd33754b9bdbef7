"""Convolutions alike on one image as one and a Split: exact in double, and every reason to refuse, one by one."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from deploykit.graph.passes.merge_siblings import merge_siblings
from deploykit.graph.rewrite import NAME_SCOPES

HEADER = '<ir_version: 10, opset_import: ["" : {opset}]>\n'

BRANCHES = """g (double[N, 4, 9, 8] x, double[3, 4, {kernel}] w, double[3] a, double[2, 4, {kernel}] v, double[2] b,
  double[5, 4, 3, 3] u) => (double[N, 3, H, W] p, double[N, 2, H, W] q, double[N, 5, J, K] o) {{
    c = Conv <{attributes}> (x, w{a})
    {early}
    o = Conv (x, u)
    d = Conv <{attributes}> (x, v{b})
    {late}
}}"""
TAILS = {
    "convolutions": ("p = Sigmoid (c)", "q = Tanh (d)"),
    "Relus": ("r = Relu (c)\n p = Tanh (r)", "s = Relu (d)\n q = Tanh (s)"),
    "a Relu alone": ("p = Relu (c)", "q = Tanh (d)"),
    "a convolution read twice": ("r = Relu (c)\n p = Add (r, c)", "q = Relu (d)"),
}

SMALL = """g (float[N, 2, 6, 6] x, float[3, 2, 1, 1] w, float[3] a, float[5, 2, 1, 1] v, float[5] b)
  => (float[N, 3, 6, 6] y, float[N, 5, 6, 6] z) {
    y = Conv (x, w, a)
    z = Conv (x, v, b)
}"""

FORMS = {
    "1x1": ("1, 1", "group = 1"),
    "strided 1x1": ("1, 1", "strides = [2, 3]"),
    "padded, dilated 3x3": ("3, 3", "pads = [1, 2, 0, 1], dilations = [2, 1]"),
    "SAME 3x3": ("3, 3", 'auto_pad = "SAME_UPPER", strides = [2, 2]'),
}


def ops(model):
    return [node.op_type for node in model.graph]


def branches(*, form="1x1", tail="convolutions", biases=("a", "b"), opset=20):
    kernel, attributes = FORMS[form]
    a, b = (f", {name}" if name in biases else "" for name in "ab")
    early, late = TAILS[tail]
    text = BRANCHES.format(kernel=kernel, attributes=attributes, a=a, b=b, early=early, late=late)
    return HEADER.format(opset=opset) + text


def holds_in_double(model, run, relative_l2, infer):
    x = np.random.default_rng(1).standard_normal((2, 4, 9, 8))
    before = run(model, x=x)
    infer(model)
    result = merge_siblings(model)
    assert len(result.rewritten) == 1
    assert not result.skipped
    after = run(model, x=x)
    for got, wanted in zip(after, before, strict=True):
        assert got.shape == wanted.shape
        assert relative_l2(got, wanted) < 1e-12
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("biases", ["", "a", "b", "ab"])
def test_siblings_become_one(build, run, relative_l2, infer, form, biases):
    model = build(branches(form=form, biases=biases))
    holds_in_double(model, run, relative_l2, infer)
    assert ops(model) == ["Conv", "Split", "Sigmoid", "Conv", "Tanh"]
    assert model.graph[0].inputs[1].shape[0] == 5
    assert len([value for value in model.graph[0].inputs[2:] if value is not None]) == bool(biases)


@pytest.mark.parametrize("opset", [17, 18, 20])
def test_the_split_is_valid_at_every_opset_that_passes_see(build, run, relative_l2, infer, opset):
    holds_in_double(build(branches(opset=opset)), run, relative_l2, infer)


@pytest.mark.parametrize(
    ("tail", "wanted"),
    [
        ("Relus", ["Conv", "Relu", "Split", "Tanh", "Conv", "Tanh"]),
        ("a Relu alone", ["Conv", "Split", "Relu", "Conv", "Tanh"]),
        ("a convolution read twice", ["Conv", "Split", "Relu", "Add", "Conv", "Relu"]),
    ],
)
def test_one_relu_serves_where_all_have_one(build, run, relative_l2, infer, tail, wanted):
    model = build(branches(tail=tail))
    holds_in_double(model, run, relative_l2, infer)
    assert ops(model) == wanted


def test_the_first_relu_may_come_late(build, run, relative_l2, infer):
    text = branches(tail="Relus").replace("r = Relu (c)\n p = Tanh (r)", "")
    model = build(text.replace("q = Tanh (s)", "q = Tanh (s)\n r = Relu (c)\n p = Tanh (r)"))
    holds_in_double(model, run, relative_l2, infer)
    assert ops(model) == ["Conv", "Relu", "Split", "Conv", "Tanh", "Tanh"]


def test_the_other_form_on_the_same_image_is_a_site_of_its_own(build, run, relative_l2, infer):
    text = """g (double[N, 4, 9, 8] x, double[3, 4, 1, 1] w, double[2, 4, 3, 3] v)
      => (double[N, 3, 9, 8] p, double[N, 2, 7, 6] q, double[N, 3, 9, 8] r, double[N, 2, 7, 6] s) {
        p = Conv (x, w) q = Conv (x, v) r = Conv (x, w) s = Conv (x, v) }"""
    model = infer(build(HEADER.format(opset=20) + text))
    x = np.random.default_rng(1).standard_normal((2, 4, 9, 8))
    before = run(model, x=x)
    assert merge_siblings(model).rewritten == ["p", "q"]
    assert ops(model) == ["Conv", "Split"] * 2
    for got, wanted in zip(run(model, x=x), before, strict=True):
        assert relative_l2(got, wanted) < 1e-12


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_parameters_are_joined_bit_for_bit_in_the_graphs_type(build, dtype):
    kind = np.dtype(dtype).name.replace("float32", "float")
    model = build(HEADER.format(opset=20) + SMALL.replace("float[", f"{kind}["))
    value = {name: tensor.const_value.numpy() for name, tensor in model.graph.initializers.items()}
    merge_siblings(model)
    weight, bias = (operand.const_value.numpy() for operand in model.graph[0].inputs[1:])
    np.testing.assert_array_equal(weight, np.concatenate([value["w"], value["v"]]))
    np.testing.assert_array_equal(bias, np.concatenate([value["a"], value["b"]]))
    assert {weight.dtype, bias.dtype} == {np.dtype(dtype)}


def test_the_first_keeps_name_and_scope_and_the_results_keep_theirs(build):
    model = build(HEADER.format(opset=20) + SMALL)
    scopes = "['', 'block', 'block.one', 'conv2d']"
    for node, name in zip(model.graph, ["block.one", "block.two"], strict=True):
        node.name = name
    model.graph[0].metadata_props[NAME_SCOPES] = scopes
    assert merge_siblings(model).rewritten == ["block.one"]
    assert [(node.name, node.metadata_props) for node in model.graph] == [
        ("block.one", {NAME_SCOPES: scopes}),
        ("block.one/Split", {NAME_SCOPES: scopes}),
    ]
    assert [value.name for value in model.graph[1].outputs] == ["y", "z"]
    assert [value.name for value in model.graph.outputs] == ["y", "z"]
    assert list(model.graph.initializers) == ["w", "block.one.bias", "block.one/Split.sizes"]


def test_a_site_left_out_leaves_all_of_them(build):
    model = build(HEADER.format(opset=20) + SMALL)
    assert not merge_siblings(model, without=("y",)).rewritten
    assert ops(model) == ["Conv", "Conv"]


@pytest.mark.parametrize(
    "text",
    [
        SMALL.replace("Conv (x, v", "Conv <strides = [2, 2]> (x, v").replace("5, 6, 6", "5, 3, 3"),
        SMALL.replace("5, 2, 1, 1]", "5, 2, 3, 3]").replace("5, 6, 6", "5, 4, 4"),
        SMALL.replace("Conv (x, v", "Conv <pads = [1, 1, 1, 1]> (x, v").replace("5, 6, 6", "5, 8, 8"),
        SMALL.replace("(x, v", "(k, v").replace("  y =", "  k = Relu (x)\n    y ="),
        "g (float[N, 2, 6, 6] x, float[2, 1, 1, 1] w) => (float[N, 2, 6, 6] y, float[N, 2, 6, 6] z) {"
        "y = Conv <group = 2> (x, w) z = Conv <group = 2> (x, w) }",
    ],
    ids=["strides", "kernel", "padding", "another image", "groups"],
)
def test_is_no_site(build, text):
    result = merge_siblings(build(HEADER.format(opset=20) + text))
    assert not result.rewritten
    assert not result.skipped


@pytest.mark.parametrize(
    ("name", "said"),
    [("w", "of y the weight"), ("a", "of y the bias"), ("v", "of z the weight"), ("b", "of z the bias")],
)
def test_refuses_what_the_caller_may_feed(build, name, said):
    model = build(HEADER.format(opset=20) + SMALL, free=("x", name))
    assert [item.reason for item in merge_siblings(model).skipped] == [f"{said} {name!r} is not a constant"]
    assert ops(model) == ["Conv", "Conv"]


@pytest.mark.parametrize(("name", "shape", "role"), [("v", (5, 2, 1, 1), "weight"), ("b", (5,), "bias")])
def test_refuses_what_is_not_finite(build, name, shape, role):
    model = build(HEADER.format(opset=20) + SMALL, values={name: np.full(shape, np.nan)})
    reasons = [item.reason for item in merge_siblings(model).skipped]
    assert reasons == [f"the folded {role} is not finite in float32"]


def test_refuses_the_body_of_a_branch(build):
    text = """g (float[1, 2, 4, 4] x, bool k, float[2, 2, 1, 1] w) => (float[1, 2, 4, 4] y, float[1, 2, 4, 4] z) {
      z = Conv (x, w)
      y = If (k) <then_branch = t () => (float[1, 2, 4, 4] p) { p = Conv (x, w) },
                  else_branch = e () => (float[1, 2, 4, 4] q) { q = Relu (x) }>
    }"""
    model = build(HEADER.format(opset=20) + text, free=("x", "k"))
    result = merge_siblings(model)
    assert [item.reason for item in result.skipped] == ["it lies in the body of a control-flow node"]
    assert ops(model) == ["Conv", "If"]
