"""Scales and shifts in front of a convolution: exact in double precision, and every reason to refuse, one by one."""

import numpy as np
import pytest
from refusals import assert_refused

from deploykit.graph.passes.fold_affine_forward import fold_affine_forward
from deploykit.graph.passes.order import optimize
from deploykit.graph.rewrite import FOLDED_SCOPE

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'
PARAMETERS = "double[4] g, double[4] b, double[4] m, double[4] v"


def graph(front, back, *, constants, kind="double", shape="[N, 4, 6, 5]", output="", tail=""):
    text = f"""{HEADER}g (double{shape} x, {constants}) => (double y{output}) {{
        {front}
        y = {back}
        {tail}
    }}"""
    return text.replace("double", kind)


def ops(model):
    return [node.op_type for node in model.graph]


def holds_in_double(model, run, relative_l2, left, shape=(2, 4, 6, 5), rewritten=("a",)):
    x = np.random.default_rng(1).standard_normal(shape)
    before = run(model, x=x)
    result = fold_affine_forward(model)
    assert ops(model) == left
    assert result.rewritten == list(rewritten)
    assert not result.skipped
    for got, wanted in zip(run(model, x=x), before, strict=True):
        assert relative_l2(got, wanted) < 1e-12


CALLS = ["Mul (x, v)", "Mul (v, x)", "Div (x, v)", "Add (x, v)", "Add (v, x)", "Sub (x, v)", "Sub (v, x)"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("of", ["", "[1]", "[4, 1, 1]", "[1, 4, 1, 1]"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_arithmetic_goes_into_the_convolution_behind_it(build, run, relative_l2, group, bias, of, call):
    constants = f"double[8, {4 // group}, 3, 3] w, double[8] c, double{of} v"
    back = f"Conv <group = {group}, strides = [2, 1], dilations = [1, 2]> (a, w{', c' if bias else ''})"
    holds_in_double(build(graph(f"a = {call}", back, constants=constants)), run, relative_l2, ["Conv"])


@pytest.mark.parametrize("group", [1, 2])
def test_a_batchnorm_goes_into_the_convolution_behind_it(build, run, relative_l2, group):
    front = "a = BatchNormalization <epsilon = 0.01> (x, g, b, m, v)"
    text = graph(front, f"Conv <group = {group}> (a, w)", constants=f"double[6, {4 // group}, 3, 3] w, {PARAMETERS}")
    holds_in_double(build(text), run, relative_l2, ["Conv"])


@pytest.mark.parametrize("front", ["a = BatchNormalization (x, g, b, m, v)", "a = Sub (g, x)", "a = Div (x, v)"])
@pytest.mark.parametrize("addend", ["", ", c"])
@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 2.0), (2.0, 0.0)])
@pytest.mark.parametrize("trans", [0, 1])
def test_goes_into_a_matrix_product(build, run, relative_l2, trans, alpha, beta, addend, front):
    constants = f"double{'[6, 4]' if trans else '[4, 6]'} w, double[3, 1] c, {PARAMETERS}"
    back = f"Gemm <transB = {trans}, alpha = {alpha}, beta = {beta}> (a, w{addend})"
    text = graph(front, back, constants=constants, shape="[3, 4]")
    holds_in_double(build(text), run, relative_l2, ["Gemm"], shape=(3, 4))


PREPROCESSING = "d = Sub (x, m) a = Div (d, s)"
STATISTICS = "double[8, 4, 3, 3] w, double[4, 1, 1] m, double s"


def test_mean_and_deviation_of_the_images_go_into_the_first_convolution(build, run, relative_l2):
    text = graph(PREPROCESSING, "Conv (a, w)", constants=STATISTICS)
    holds_in_double(build(text), run, relative_l2, ["Conv"], rewritten=("d",))


def test_before_padding_the_division_goes_and_the_subtraction_stays(build, infer, run, relative_l2):
    model = infer(build(graph(PREPROCESSING, "Conv <pads = [1, 1, 1, 1]> (a, w)", constants=STATISTICS)))
    x = np.random.default_rng(1).standard_normal((2, 4, 6, 5))
    before = run(model, x=x)[0]
    result = fold_affine_forward(model)
    assert ops(model) == ["Sub", "Conv"]
    assert result.rewritten == ["a"]
    assert [(item.node, item.reason) for item in result.skipped] == [("d", BORDER)]
    assert relative_l2(run(model, x=x)[0], before) < 1e-12


@pytest.mark.parametrize("padding", ["pads = [1, 0, 2, 1]", "auto_pad = \"SAME_UPPER\""])  # fmt: skip
def test_a_pure_scale_passes_padding(build, run, relative_l2, padding):
    front = "d = Add (x, z) a = Mul (d, m)"
    text = graph(front, f"Conv <{padding}> (a, w)", constants="double[8, 4, 3, 3] w, double[4, 1, 1] m, double z")
    holds_in_double(build(text, values={"z": np.zeros(())}), run, relative_l2, ["Conv"], rewritten=("d",))


def test_padding_of_nothing_is_none(build, run, relative_l2):
    back = 'Conv <pads = [0, 0, 0, 0], auto_pad = "VALID"> (a, w)'
    holds_in_double(
        build(graph("a = Add (x, m)", back, constants="double[8, 4, 3, 3] w, double m")), run, relative_l2, ["Conv"]
    )


def test_goes_into_every_reader_and_the_input_may_have_others(build, run, relative_l2):
    constants = "double[8, 4, 3, 3] w, double[3, 4, 1, 1] u, double[4, 1, 1] m"
    tail = "z = Conv (a, u) p = Neg (x)"
    text = graph("a = Sub (x, m)", "Conv (a, w)", constants=constants, output=", double z, double p", tail=tail)
    holds_in_double(build(text), run, relative_l2, ["Conv", "Conv", "Neg"])


def test_shared_weights_stay_as_the_other_reader_knows_them(build, run, relative_l2):
    constants = "double[8, 4, 3, 3] w, double[8] c, double[4, 1, 1] m"
    tail = "z = Conv (x, w, c)"
    text = graph("a = Sub (m, x)", "Conv (a, w, c)", constants=constants, output=", double z", tail=tail)
    holds_in_double(build(text), run, relative_l2, ["Conv", "Conv"])


def test_the_convolution_keeps_its_name_and_computes_what_it_computed(build):
    model = build(graph("a = Mul (x, m)", "Conv (a, w)", constants="double[8, 4, 3, 3] w, double[4, 1, 1] m"))
    model.graph[1].name = "stem"
    fold_affine_forward(model)
    assert model.graph[0].name == "stem"
    assert FOLDED_SCOPE not in model.graph[0].metadata_props
    assert list(model.graph.initializers) == ["w"]
    assert len(model.graph[0].inputs) == 2


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_computes_in_float64_and_rounds_once_to_the_graphs_type(build, dtype):
    constants = "double[8, 4, 3, 3] w, double[8] c, double[4, 1, 1] m, double[4, 1, 1] s"
    kind = np.dtype(dtype).name.replace("float32", "float")
    model = build(graph("d = Sub (x, m) a = Div (d, s)", "Conv (a, w, c)", constants=constants, kind=kind))
    value = {name: tensor.const_value.numpy().astype(np.float64) for name, tensor in model.graph.initializers.items()}
    assert fold_affine_forward(model).rewritten == ["d"]
    weight, bias = (operand.const_value.numpy() for operand in model.graph[0].inputs[1:])
    assert weight.dtype == bias.dtype == dtype
    scale, shift = 1 / value["s"], -value["m"] / value["s"]
    np.testing.assert_array_max_ulp(weight, (value["w"] * scale).astype(dtype), maxulp=1)
    wanted = value["c"] + np.einsum("mckl,c->m", value["w"], shift.ravel())
    np.testing.assert_array_max_ulp(bias, wanted.astype(dtype), maxulp=1)


BORDER = "the Conv after it pads with zeros, which the shift does not reach"
WEIGHT = "double[8, 4, 3, 3] w"
SHIFT = f"{WEIGHT}, double[4, 1, 1] m"
REFUSALS = {
    "shift before padding": (graph("a = Add (x, m)", "Conv <pads = [0, 0, 0, 1]> (a, w)", constants=SHIFT), BORDER),
    "shift before automatic padding": (
        graph("a = Add (x, m)", "Conv <auto_pad = \"SAME_LOWER\"> (a, w)", constants=SHIFT),
        BORDER,
    ),
    "batchnorm before padding": (
        graph(
            "a = BatchNormalization (x, g, b, m, v)",
            "Conv <pads = [1, 1, 1, 1]> (a, w)",
            constants=f"{WEIGHT}, {PARAMETERS}",
        ),
        BORDER,
    ),
    "graph output": (
        graph("a = Mul (x, m)", "Conv (a, w)", constants=SHIFT, output=", double[N, 4, 6, 5] a"),
        "the result is a graph output",
    ),
    "another reader": (
        graph("a = Mul (x, m)", "Conv (a, w)", constants=SHIFT, output=", double z", tail="z = Neg (a)"),
        "a Neg reads the result too",
    ),
    "a transposed convolution as well": (
        graph("a = Mul (x, m)", "Conv (a, w)", constants=f"{SHIFT}, double[4, 2, 1, 1] u", output=", double z",
              tail="z = ConvTranspose (a, u)"),
        "a ConvTranspose reads the result too",
    ),
    "a reader that pads": (
        graph("a = Add (x, m)", "Conv (a, w)", constants=SHIFT, output=", double z",
              tail="z = Conv <pads = [1, 1, 1, 1]> (a, w)"),
        BORDER,
    ),
    "its own weight": (
        graph("a = Mul (x, m)", "Conv (a, a)", constants="double[4, 1, 1] m", shape="[4, 4, 3, 3]"),
        "the weight 'a' is not a constant",
    ),
    "transposed": (
        graph("a = Mul (x, m)", "Gemm <transA = 1> (a, w)", constants="double[3, 6] w, double m", shape="[3, 4]"),
        "the Gemm after it reads it transposed",
    ),
    "along the width": (
        graph("a = Mul (x, m)", "Conv (a, w)", constants=f"{WEIGHT}, double[4] m", shape="[N, 4, 6, 4]"),
        "a constant of shape [4] is neither a scalar nor one number per channel",
    ),
    "spatial": (
        graph("a = Add (x, m)", "Conv (a, w)", constants=f"{WEIGHT}, double[6, 5] m"),
        "a constant of shape [6, 5] is neither a scalar nor one number per channel",
    ),
    "one number per image": (
        graph("a = Add (x, m)", "Conv (a, w)", constants=f"{WEIGHT}, double[2, 1, 1, 1] m"),
        "a constant of shape [2, 1, 1, 1] is neither a scalar nor one number per channel",
    ),
    "a grey image made colorful": (
        graph("a = Mul (x, m)", "Conv (a, w)", constants=SHIFT, shape="[N, 1, 6, 5]"),
        "a constant of shape [4, 1, 1] is neither a scalar nor one number per channel",
    ),
    "another axis": (
        graph("a = Mul (x, m)", "Conv (a, w)", constants=f"{WEIGHT}, double[1, 4, 1, 1] m", shape="[4, 6, 5]"),
        "a constant of shape [1, 4, 1, 1] is neither a scalar nor one number per channel",
    ),
    "unknown channels": (
        graph("a = Mul (x, m)", "Conv (a, w)", constants=SHIFT, shape="[N, C, 6, 5]"),
        "the shape of its input is not known",
    ),
    "constant divided by it": (
        graph("a = Div (m, x)", "Conv (a, w)", constants=SHIFT),
        "it divides a constant by the value, which is not linear",
    ),
    "batch statistics": (
        graph("a = BatchNormalization <training_mode = 1> (x, g, b, m, v)", "Conv (a, w)",
              constants=f"{WEIGHT}, {PARAMETERS}"),
        "it normalizes with the statistics of the batch (training mode)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refuses_by_structure(build, case):
    text, reason = REFUSALS[case]
    assert_refused(fold_affine_forward, build(text), reason)


def test_refuses_integers(build):
    text = graph("a = Mul (x, m)", "Gemm (a, w)", constants="int32[4, 6] w, int32 m", shape="[3, 4]", kind="int32")
    result = fold_affine_forward(build(text))
    assert [item.reason for item in result.skipped] == ["the weight is int32, which would round what is folded into it"]


@pytest.mark.parametrize(
    ("name", "role"), [("w", "weight"), ("c", "bias"), ("g", "gamma"), ("b", "beta"), ("m", "mean"), ("v", "variance")]
)
def test_refuses_what_the_caller_may_feed(build, name, role):
    front = "a = BatchNormalization (x, g, b, m, v)"
    text = graph(front, "Conv (a, w, c)", constants=f"{WEIGHT}, double[8] c, {PARAMETERS}")
    result = fold_affine_forward(build(text, free=("x", name)))
    assert [item.reason for item in result.skipped] == [f"the {role} {name!r} is not a constant"]


@pytest.mark.parametrize(
    ("call", "value", "reason"),
    [
        ("Mul", np.inf, "the folded weight is not finite in float16"),
        ("Add", np.inf, "the folded bias is not finite in float16"),
        ("Mul", 6e4, "the folded weight is not finite in float16"),
        ("Add", 6e4, "the folded bias is not finite in float16"),
        ("Div", 0.0, "it divides by zero"),
    ],
)
def test_refuses_what_is_not_finite_and_writes_nothing(build, call, value, reason):
    text = graph(f"a = {call} (x, m)", "Conv (a, w)", constants=SHIFT, kind="float16")
    model = build(text, values={"m": np.full((4, 1, 1), value), "w": np.full((8, 4, 3, 3), 2.0)})
    before = list(model.graph.initializers)
    assert [item.reason for item in fold_affine_forward(model).skipped] == [reason]
    assert list(model.graph.initializers) == before


@pytest.mark.parametrize(
    ("front", "back", "constants"),
    [
        ("d = Mul (x, m) a = Relu (d)", "Conv (a, w)", SHIFT),
        ("a = Add (x, x)", "Conv (a, w)", WEIGHT),
        ("a = Mul (x, m)", "ConvTranspose (a, u)", "double[4, 2, 1, 1] u, double[4, 1, 1] m"),
        ("a = Mul (x, m)", "Conv (x, a)", "double[4, 4, 1, 1] m"),
    ],
)
def test_other_neighbors_are_not_the_pattern(build, front, back, constants):
    result = fold_affine_forward(build(graph(front, back, constants=constants, shape="[4, 4, 3, 3]")))
    assert not result.skipped
    assert not result.rewritten


def test_a_link_that_the_caller_may_feed_ends_the_chain(build):
    model = build(graph(PREPROCESSING, "Conv (a, w)", constants=STATISTICS), free=("x", "s"))
    result = fold_affine_forward(model)
    assert not result.rewritten
    assert not result.skipped
    assert ops(model) == ["Sub", "Div", "Conv"]


@pytest.mark.parametrize(
    ("outside", "inside", "reason"),
    [
        ("", "a = Mul (x, m) r = Conv (a, w)", "it lies in the body of a control-flow node"),
        ("a = Mul (x, m)", "r = Conv (a, w)", "a reader lies in the body of a control-flow node"),
        ("a = Mul (x, m)", "b = Mul (a, m) r = Conv (b, w)", "it lies in the body of a control-flow node"),
    ],
)
def test_refuses_the_body_of_a_branch(build, outside, inside, reason):
    text = f"""{HEADER}g (float[1, 4, 6, 5] x, bool k, float[8, 4, 3, 3] w, float m) => (float y) {{
        {outside}
        y = If (k) <then_branch = t () => (float r) {{ {inside} }}, else_branch = e () => (float s) {{ s = Relu (x) }}>
    }}"""
    result = fold_affine_forward(build(text, free=("x", "k")))
    assert [item.reason for item in result.skipped] == [reason]


def test_preprocessing_before_a_whole_network_is_gone_after_the_passes(build):
    text = graph(PREPROCESSING, "Conv (a, w)", constants=STATISTICS, kind="float")
    model = build(text)
    ledger = optimize(model)
    assert ledger["fold_affine_forward"].rewritten == ("d",)
    assert ops(model) == ["Conv"]
