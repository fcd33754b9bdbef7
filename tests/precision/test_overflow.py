"""What float16 cannot hold is found on images, and what is named as the cure has been tried."""

import numpy as np
import pytest

from deploykit.precision.emulate import emulate_rounding, find_overflow
from deploykit.precision.float16 import to_float16
from deploykit.precision.overflow import LISTED, overflow

NORM = """g (float[N, 4] x) => (float[N, 4] y) <float[4] w, float two, int64[1] last, float eps, float[4] v> {
    a = Mul (x, w)
    p = Pow (a, two)
    m = ReduceMean (p, last)
    e = Add (m, eps)
    r = Sqrt (e)
    d = Div (a, r)
    y = Mul (d, v)
}"""
CONSTANTS = {"two": np.array(2, np.float32), "last": np.array([1])}


def norm(build, *, scale, eps):
    weights = {"w": np.full(4, scale, np.float32), "eps": np.array(eps, np.float32)}
    return build(NORM, **CONSTANTS, **weights)


def overflows(model, keep, x):
    typed = model.clone()
    to_float16(typed, keep=keep)
    return find_overflow(emulate_rounding(typed), {"x": x})


def test_a_square_and_what_reads_it_stay_float32(build, images):
    model = norm(build, scale=400, eps=1e-6)
    x = images(3, 4)
    found = overflow(model, [{"x": x}])
    assert (found.first.node, found.first.op_type, found.first.output) == ("pow1", "Pow", "p")
    assert found.keep == ("pow1", "reducemean2", "add3", "sqrt4")
    assert overflows(model, found.keep, x) is None


def test_an_epsilon_that_becomes_zero_keeps_what_divides_by_it(build, images):
    """0 / sqrt(0 + 1e-9): the epsilon is 0 in float16, the quotient NaN."""
    model = norm(build, scale=1, eps=1e-9)
    x = np.vstack([images(2, 4), np.zeros((1, 4), np.float32)])
    found = overflow(model, [{"x": x}])
    assert found.first.op_type == "Div"
    assert "add3" in found.keep
    assert overflows(model, found.keep, x) is None


def test_nothing_is_found_where_nothing_overflows_and_the_graph_is_left_alone(build, images):
    model = norm(build, scale=1, eps=1e-6)
    names = [node.name for node in model.graph]
    assert overflow(model, [{"x": images(3, 4)}]) is None
    assert [node.name for node in model.graph] == names
    assert model.graph.initializers["w"].dtype.name == "FLOAT"


def test_what_is_named_already_is_no_overflow(build, images):
    model = norm(build, scale=400, eps=1e-6)
    assert overflow(model, [{"x": images(3, 4)}], keep=("pow1", "reducemean2", "add3", "sqrt4")) is None
    part = overflow(model, [{"x": images(3, 4)}], keep=("pow1",))
    assert part is not None
    assert overflows(model, ("pow1", *part.keep), images(3, 4)) is None


def test_any_of_the_images_may_overflow(build, images):
    model = norm(build, scale=1, eps=1e-6)
    assert overflow(model, [{"x": images(1, 4)}, {"x": 1000 * images(1, 4)}]).first.op_type == "Pow"


def test_an_input_beyond_float16_keeps_its_readers(build):
    model = build(
        "g (float[N, 4] x) => (float[N, 4] y) <float[4] w> { y = Mul (x, w) }", w=np.full(4, 1e-6, np.float32)
    )
    x = np.full((1, 4), 1e6, np.float32)
    found = overflow(model, [{"x": x}])
    assert (found.first.layer, found.keep) == ("the input", ("mul0",))
    assert overflows(model, found.keep, x) is None


def test_an_infinity_that_float32_has_as_well_is_not_float16s(build):
    text = """g (float[N, 4] x, bool[N, 4] m) => (float[N, 4] y) <float f> {
        s = Where (m, f, x)
        y = Softmax (s)
    }"""
    model = build(text, f=np.array(-np.inf, np.float32))
    feed = {"x": np.ones((1, 4), np.float32), "m": np.array([[True, False, False, True]])}
    assert overflow(model, [feed]) is None


def test_many_nodes_share_patterns(build, images):
    blocks = "".join(f"[b{n}_p] p{n} = Mul (x, w) [b{n}_q] q{n} = Mul (p{n}, u) " for n in range(LISTED))
    total = "s = Sum (" + ", ".join(f"q{n}" for n in range(LISTED)) + ")"
    model = build(
        f"g (float[N, 4] x) => (float[N, 4] s) <float[4] w, float[4] u> {{ {blocks} {total} }}",
        w=np.full(4, 1e4, np.float32),
        u=np.full(4, 1e-4, np.float32),
    )
    x = 100 * np.abs(images(2, 4)) + 10
    found = overflow(model, [{"x": x}])
    assert found.keep == ("b*_p", "b*_q")
    assert overflows(model, found.keep, x) is None


@pytest.mark.parametrize("value", [65519.0, 65520.0])
def test_the_border_is_where_float16_rounds_to_infinity(build, value):
    model = build("g (float[N, 4] x) => (float[N, 4] y) <float[4] z> { y = Add (x, z) }", z=np.zeros(4, np.float32))
    assert (overflow(model, [{"x": np.full((1, 4), value, np.float32)}]) is None) == (value < 65520)
