"""Equalization changes no number that comes out, and evens out what lies between."""

import numpy as np
import pytest

from deploykit.precision.repair.equalize import equalize

TWO = """g (float[n, 4, 9, 9] x) => (float[n, 5, 9, 9] y)
    <float[6, 4, 3, 3] w1, float[6] b1, float[5, 6, 1, 1] w2, float[5] b2>
    { a = Conv<pads=[1,1,1,1]>(x, w1, b1)  r = Relu(a)  y = Conv(r, w2, b2) }"""
DEPTHWISE = """g (float[n, 4, 9, 9] x) => (float[n, 3] y)
    <float[6, 4, 1, 1] w1, float[6] b1, float[6, 1, 3, 3] w2, float[6] b2, float[7, 6, 1, 1] w3, float[7] b3,
     float[3, 7] w4, float[3] b4, float zero, float six>
    { a = Conv(x, w1, b1)  c = Clip(a, zero, six)  d = Conv<group=6, pads=[1,1,1,1]>(c, w2, b2)  e = Clip(d, zero, six)
      f = Conv(e, w3, b3)  g = Relu(f)  h = GlobalAveragePool(g)  i = Flatten(h)  y = Gemm<transB=1>(i, w4, b4) }"""
LIMITS = {"zero": np.float32(0), "six": np.float32(6)}


def largest(run, model, name, x):
    """Of each channel of a value."""
    copy = model.clone()
    values = {value.name: value for node in copy.graph for value in node.outputs}
    copy.graph.outputs.append(values[name])
    return np.abs(run(copy, x=x)[-1]).max(axis=(0, 2, 3))


@pytest.mark.parametrize("opset", [13, 17, 20])
def test_a_planted_channel_is_evened_out_and_nothing_else_changes(build, run, images, opset):
    model = build(TWO)
    weight, bias, reader = (model.graph.initializers[name].const_value.numpy().copy() for name in ("w1", "b1", "w2"))
    weight[2] *= 1000
    bias[2] *= 1000
    reader[:, 2] /= 1000
    model = build(TWO, w1=weight, b1=bias, w2=reader)
    model.opset_imports[""] = opset
    x = images(4, 4, 9, 9)
    before = run(model, x=x)[0]
    uneven = largest(run, model, "r", x)
    report = equalize(model, [{"x": x[:2]}, {"x": x[2:]}])
    assert (report.pairs, report.skipped) == (("conv0 -> conv2",), ())
    assert report.largest_factor >= 256
    np.testing.assert_array_equal(run(model, x=x)[0], before)  # powers of two round nothing
    even = largest(run, model, "r", x)
    assert uneven.max() / np.median(uneven) > 100
    assert even.max() / np.median(even) < 10


def test_a_stack_with_relu6_computes_the_same(build, run, images):
    scale = np.array([1, 30, 0.1, 1, 0.01, 5], np.float32)[:, None, None, None]
    base = build(DEPTHWISE, **LIMITS)
    weight = base.graph.initializers["w1"].const_value.numpy() * scale
    model = build(DEPTHWISE, w1=weight, **LIMITS)
    x = 3 * images(6, 4, 9, 9)
    before, uneven = run(model, x=x)[0], largest(run, model, "c", x)
    assert uneven.max() == 6  # some channel is cut off, so the bound matters
    report = equalize(model, [{"x": x}])
    assert report.pairs[0] == "conv0 -> conv2"
    assert [node.op_type for node in model.graph][:3] == ["Conv", "Relu", "Min"]
    np.testing.assert_allclose(run(model, x=x)[0], before, rtol=0, atol=2e-6 * np.abs(before).max())
    alive = uneven > 0
    even, uneven = largest(run, model, "c", x)[alive], uneven[alive]
    assert even.min() / even.max() > 0.35 > uneven.min() / uneven.max()


def test_a_relu6_whose_channels_are_even_stays(build, images):
    model = build(DEPTHWISE, **LIMITS)
    x = images(2, 4, 9, 9)
    report = equalize(model, [{"x": x}])
    even = [item.node for item in report.skipped if item.reason == "its channels are even enough"]
    clips = [node for node in model.graph if node.op_type == "Clip"]
    assert len(clips) + len([name for name in report.pairs if name.startswith(("conv0", "conv2"))]) == 2
    assert len(even) >= len(clips)


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        ("r = Relu(a)  y = Conv(r, w2, b2)  z = Relu(r)", "another node reads the unscaled output"),
        ("r = Sigmoid(a)  y = Conv(r, w2, b2)  z = Relu(y)", "Sigmoid follows, which does not commute"),
        ("r = Clip(a, one, six)  y = Conv(r, w2, b2)  z = Relu(y)", "bounds are not 0 and a positive constant"),
        ("r = Relu(a)  y = Conv(r, w, b2)  z = Relu(y)", "the weight 'w' is not a constant"),
    ],
)
def test_what_does_not_commute_is_left(build, run, images, tail, reason):
    text = f"""g (float[n, 4, 9, 9] x, float[5, 6, 1, 1] w) => (float[n, 5, 9, 9] y, float[n, k, 9, 9] z)
        <float[6, 4, 1, 1] w1, float[6] b1, float[5, 6, 1, 1] w2, float[5] b2, float one, float six>
        {{ a = Conv(x, w1, b1)  {tail} }}"""
    model = build(text, one=np.float32(1), six=np.float32(6))
    feed = {"x": images(2, 4, 9, 9), "w": images(5, 6, 1, 1)}
    before = run(model, **feed)
    report = equalize(model, [feed])
    assert report.pairs == ()
    assert reason in report.skipped[0].reason
    for ours, theirs in zip(run(model, **feed), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_channels_that_are_always_zero_keep_their_weights(build, run, images):
    base = build(TWO)
    weight, bias = (base.graph.initializers[name].const_value.numpy().copy() for name in ("w1", "b1"))
    weight[1], bias[1] = 0, -1  # ReLU leaves nothing of it
    weight[3] *= 100
    model = build(TWO, w1=weight, b1=bias)
    x = images(2, 4, 9, 9)
    before = run(model, x=x)[0]
    assert equalize(model, [{"x": x}]).pairs
    np.testing.assert_array_equal(run(model, x=x)[0], before)
    changed = next(iter(model.graph)).inputs[1].const_value.numpy()
    np.testing.assert_array_equal(changed[1], weight[1])
