"""Which nodes stay float32 in a float16 graph: by name, by operator, and by what ONNX can say in float16."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from deploykit.errors import Float16Overflow, UnknownName, UsageError
from deploykit.graph.rewrite import NAME_SCOPES
from deploykit.precision.emulate import emulate_rounding
from deploykit.precision.float16 import to_float16

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
NORM = """g (float[N, 4] x) => (float[N, 4] y) <float[4] w, float two, int64[1] last, float eps> {
    a = Mul (x, w)
    p = Pow (a, two)
    m = ReduceMean (p, last)
    e = Add (m, eps)
    r = Sqrt (e)
    y = Div (a, r)
}"""
CONSTANTS = {
    "two": np.array(2, np.float32),
    "last": np.array([1]),
    "eps": np.array(1e-6, np.float32),
    "w": np.full(4, 400, np.float32),
}
NAMES = ["mul0", "pow1", "reducemean2", "add3", "sqrt4", "div5"]


@pytest.fixture
def norm(build):
    model = build(NORM, **CONSTANTS)
    for node in list(model.graph)[1:]:
        node.metadata_props[NAME_SCOPES] = "['', 'body', 'body.n', 'call']"
    return model


def types(model):
    return {value.name: value.dtype for node in model.graph for value in node.outputs}


def kept(report):
    return [item.node for item in report.float32]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["pow1"], ["pow1"]),
        (["op=pow", "add3"], ["pow1", "add3"]),
        (["op=Reduce*"], ["reducemean2"]),
        (["*[0-2]"], NAMES[:3]),
        (["body.n"], NAMES[1:]),
        (["body"], NAMES[1:]),
        (["body.*"], NAMES[1:]),
    ],
)
def test_a_node_a_module_a_glob_or_an_operator(norm, asked, found):
    report = to_float16(norm, keep=asked)
    assert kept(report) == found
    assert report.half_nodes == len(NAMES) - len(found)
    assert report.float32[0].reason == f"--keep-fp32 {asked[0]}"


def test_one_cast_where_the_types_meet_and_none_between_nodes_that_stay(norm):
    to_float16(norm, keep=["pow1", "reducemean2"])
    assert [node.op_type for node in norm.graph] == [
        *("Cast", "Mul", "Cast", "Pow", "ReduceMean", "Cast", "Add", "Sqrt", "Div", "Cast"),
    ]
    found = types(norm)
    assert [found[name] for name in ("a", "a_float32", "p", "m", "m_float16", "e")] == [
        *(HALF, FLOAT, FLOAT, FLOAT, HALF, HALF)
    ]
    onnx.checker.check_model(ir.to_proto(norm), full_check=True)


def test_what_overflows_in_float16_is_right_when_it_stays(norm, run, images):
    x = images(3, 4)
    (exact,) = run(norm, x=x)
    whole, part = norm.clone(), norm.clone()
    to_float16(whole)
    to_float16(part, keep=["body.n"])
    assert np.abs(run(emulate_rounding(whole), x=x)[0]).max() < 0.1  # divided by infinity
    np.testing.assert_allclose(run(emulate_rounding(part), x=x)[0], exact, rtol=2e-3)


def test_what_stays_and_what_does_not_share_a_constant(build):
    model = build("g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) <float[4] w> { y = Mul (x, w) z = Add (x, w) }")
    to_float16(model, keep=["add1"])
    by_name = {node.op_type: node for node in model.graph}
    assert [value.dtype for value in by_name["Mul"].inputs] == [HALF, HALF]
    assert [value.dtype for value in by_name["Add"].inputs] == [FLOAT, FLOAT]
    assert [value.dtype for value in model.graph.outputs] == [FLOAT, FLOAT]


def test_outputs_are_half_where_that_is_asked_for_whatever_computes_them(build):
    model = build(NORM, **CONSTANTS)
    to_float16(model, keep=["div5"], keep_io=False)
    assert [value.dtype for value in (*model.graph.inputs, *model.graph.outputs)] == [HALF, HALF]
    assert model.graph.outputs[0].name == "y"
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_names_of_casts_do_not_meet_names_of_the_network(build):
    model = build("""g (float[N, 4] x, float[N, 4] x_float16) => (float[N, 4] y) {
        y_float16 = Add (x, x_float16)
        y = Relu (y_float16)
    }""")
    to_float16(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ("pow2", UnknownName, "unknown node or module of this network 'pow2'; did you mean pow1"),
        ("op=Powr", UnknownName, "unknown operator of this network 'Powr'; did you mean Pow?"),
        ("body.m*", UnknownName, "unknown node or module of this network 'body.m*'"),
    ],
)
def test_a_name_that_fits_nothing_is_refused_with_what_is_near(norm, asked, error, said):
    with pytest.raises(error) as caught:
        to_float16(norm, keep=[asked])
    assert said in str(caught.value)
    assert set(types(norm).values()) == {FLOAT}


def test_a_node_of_integers_cannot_stay_float32(build):
    model = build("g (float[N, 4] x) => (int64[2] y, float[N, 4] z) { s = Shape (x) y = Abs (s) z = Relu (x) }")
    with pytest.raises(UsageError, match="--keep-fp32 op=Abs: abs1 does not compute in float32"):
        to_float16(model, keep=["op=Abs"])


@pytest.mark.parametrize(
    ("text", "op", "reason"),
    [
        (
            """g (float[1, 6, 4] b, float[1, 1, 6] s) => (int64[K, 3] y, float[1, 6, 4] z) {
                y = NonMaxSuppression (b, s)
                z = Relu (b)
            }""",
            "NonMaxSuppression",
            "ONNX lets NonMaxSuppression read float32 alone",
        ),
        (
            "g (float[N, 4] x) => (float[N, 4] y) { r = RandomNormalLike (x) y = Add (x, r) }",
            "RandomNormalLike",
            "RandomNormalLike would draw other random numbers in float16",
        ),
        (
            "g (float[4] x, float a, float b, float c) => (float[4] y) { r = Range (a, b, c) y = Add (x, r) }",
            "Range",
            "ONNX gives Range no float16 result",
        ),
    ],
)
def test_what_has_no_float16_form_stays_by_itself(build, text, op, reason):
    model = build(text)
    report = to_float16(model)
    assert [item.reason for item in report.float32] == [reason]
    (node,) = (node for node in model.graph if node.op_type == op)
    assert {value.dtype for value in node.inputs} <= {FLOAT}
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


MASKED = """g (float[1, 2, 4] x, bool[1, 1, 4] m) => (float[1, 2, 4] y) <float f> {{
    {how}
    y = Softmax <axis = -1> (s)
}}"""
ADDED = "k = Cast <to = 1> (m) t = Mul (k, f) s = Add (x, t)"
CHOSEN = "s = Where (m, f, x)"


@pytest.mark.parametrize("fill", [-1e9, np.finfo(np.float32).min], ids=["1e9", "lowest"])
@pytest.mark.parametrize(("how", "stored"), [(CHOSEN, "-65504"), (ADDED, "-32752")], ids=["chosen", "added"])
def test_a_mask_is_clamped_and_the_answer_is_the_same(build, run, images, how, stored, fill):
    model = build(MASKED.format(how=how), f=np.array(fill, np.float32))
    x = images(1, 2, 4).astype(np.float16).astype(np.float32)
    for mask in ([[[True, False, True, False]]], [[[True] * 4]]):
        typed = model.clone()
        (exact,) = run(typed, x=x, m=np.array(mask))
        (note,) = to_float16(typed).clamped
        assert (note.exact, note.stored) == (pytest.approx(fill), stored)
        (found,) = run(emulate_rounding(typed), x=x, m=np.array(mask))
        np.testing.assert_allclose(found, exact, atol=2e-3)


def test_an_infinite_mask_stays_infinite(build):
    model = build(MASKED.format(how=CHOSEN), f=np.array(-np.inf, np.float32))
    assert to_float16(model).clamped == ()
    assert np.isneginf(model.graph.initializers["f"].const_value.numpy())


@pytest.mark.parametrize(
    "text",
    [
        "g (float[N, 4] x) => (float[N, 4] y) <float f> { y = Add (x, f) }",
        "g (float[N, 4] x) => (float[N, 4] y, float[N, 4] s) <float f> { s = Add (x, f) y = Softmax (s) }",
        "g (float[N, 4] x) => (float[N, 4] y) <float f> { s = Mul (x, f) y = Softmax (s) }",
        "g (float[N, 4] x) => (float[N, 4] y) <float f> { s = Add (x, f) t = Exp (s) y = Softmax (t) }",
    ],
    ids=["no reader", "seen by the caller", "a factor", "another reader"],
)
def test_a_constant_that_is_no_mask_overflows_and_the_cure_is_named(build, text):
    model = build(text, f=np.array(-1e9, np.float32))
    with pytest.raises(Float16Overflow) as caught:
        to_float16(model)
    reader = model.graph[0].name
    assert str(caught.value) == (
        f"{reader}: -1e+09 in 'f' is beyond float16's largest value, 65504; add --keep-fp32 '{reader}'"
    )
    to_float16(model, keep=[reader])
    assert model.graph.initializers["f"].dtype == FLOAT


@pytest.mark.parametrize("op", ["Max", "Min", "Less"])
def test_a_bound_that_no_number_reaches_becomes_infinite(build, op):
    result = "bool" if op == "Less" else "float"
    model = build(
        f"g (float[N, 4] x) => ({result}[N, 4] y) <float f> {{ y = {op} (x, f) }}", f=np.array(1e30, np.float32)
    )
    (note,) = to_float16(model).clamped
    assert (note.value, note.stored) == ("f", "inf")
    assert np.isposinf(model.graph.initializers["f"].const_value.numpy())


def test_what_fills_a_tensor_is_rounded_with_the_same_care(build):
    text = """g (float[N, 4] x) => (float[N, 4] y) {
        s = Shape (x)
        f = ConstantOfShape <value = float[1] {-1000000000.0}> (s)
        y = Add (x, f)
    }"""
    with pytest.raises(Float16Overflow, match="add --keep-fp32 'add2'"):
        to_float16(build(text))


MEETING = """g (float[N, 3, 4, 4] x, int64[N, 3, 4, 4] k)
    => (float[N, 3, 8, 8] y, float[N, 3, 1, 1] z, int64[N, 3, 4, 1] i)
    <float[3, 3, 1, 1] w, float[3] b, float[4] s, float half, int64[2] axes, int64[1] one> {
    f = Cast <to = 1> (k)
    a = Conv (x, w, b)
    c = Add (a, f)
    p = Pow (c, half)
    d = Concat <axis = 1> (p, a)
    m = ReduceMean (d, axes)
    u, v = Split <axis = 1, num_outputs = 2> (m)
    z = Mul (u, v)
    y = Resize (c, , s)
    t, i = TopK (c, one)
}"""


@pytest.mark.parametrize("seed", range(8))
def test_whatever_stays_the_graph_is_valid_and_near_the_float32_one(build, run, images, seed):
    model = build(
        MEETING,
        s=np.array([1, 1, 2, 2], np.float32),
        half=np.array(2, np.float32),
        axes=np.array([2, 3]),
        one=np.array([1]),
    )
    random = np.random.default_rng(seed)
    keep = [node.name for node in model.graph if random.random() < 0.4]
    feed = {"x": images(2, 3, 4, 4), "k": random.integers(0, 5, (2, 3, 4, 4))}
    exact = run(model, **feed)
    report = to_float16(model, keep=keep, keep_io=bool(seed % 2))
    assert set(kept(report)) == set(keep)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    if not seed % 2:
        feed["x"] = feed["x"].astype(np.float16)
    for found, wanted in zip(run(emulate_rounding(model), **feed)[:2], exact, strict=False):
        np.testing.assert_allclose(found.astype(np.float32), wanted, rtol=0.02, atol=0.02)
