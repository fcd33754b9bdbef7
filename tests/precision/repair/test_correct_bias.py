"""Bias correction takes mean errors out, for either placement, and never makes the output worse."""

from dataclasses import replace

import numpy as np
import pytest

from deploykit.precision.int8.quantize import quantize
from deploykit.precision.repair.correct_bias import correct_biases
from deploykit.spec import (
    ORT_CPU,
    TENSORRT,
)

NETWORK = """g (float[n, 4, 8, 8] x) => (float[n, 5] y)
    <float[8, 4, 3, 3] w1, float[8] b1, float[8, 1, 3, 3] w2, float[6, 8, 1, 1] w3, float[6] b3, float[5, 6] w4,
     float[5] b4>
    { a = Conv(x, w1, b1)  r = Relu(a)  d = Conv<group=8>(r, w2)  s = Relu(d)  p = Conv(s, w3, b3)
      t = Relu(p)  m = GlobalAveragePool(t)  f = Flatten(m)  y = Gemm<transB=1>(f, w4, b4) }"""
PLACEMENTS = pytest.mark.parametrize("placement", [TENSORRT, ORT_CPU], ids=lambda placement: placement.name)


def value_of(run, model, name, **feed):
    copy = model.clone()
    values = {value.name: value for node in copy.graph for value in node.outputs}
    copy.graph.outputs.append(values[name])
    return run(copy, **feed)[-1]


def coarsely(table, placement):
    """A quantizer with weights of four bits, whose rounding shifts means by much: its inputs are positive."""
    return lambda graph: quantize(graph, table, replace(placement, weight_limit=7))


@pytest.mark.parametrize("opset", [13, 17, 20])
@PLACEMENTS
def test_means_of_every_layer_are_right_again(build, run, calibrated, images, placement, opset):
    model = build(NETWORK)
    model.opset_imports[""] = opset
    x = np.abs(images(16, 4, 8, 8))
    typed = coarsely(calibrated(model, x), placement)
    exact = model.clone()
    report = correct_biases(model, typed, lambda: [{"x": x[:5]}, {"x": x[5:]}])
    assert report.kept
    assert set(report.corrected) == {"conv0", "conv2", "conv4", "gemm8"}
    assert report.error_after < 0.5 * report.error_before
    ours, theirs = model.clone(), exact.clone()
    typed(ours)
    typed(theirs)
    want = value_of(run, exact, "a", x=x).mean(axis=(0, 2, 3))
    before = np.abs(value_of(run, theirs, "a", x=x).mean(axis=(0, 2, 3)) - want).max()
    after = np.abs(value_of(run, ours, "a", x=x).mean(axis=(0, 2, 3)) - want).max()
    assert after < 0.05 * before  # the first layer reads the images themselves, so nothing else shifts it


@PLACEMENTS
def test_unseen_images_gain_too(build, run, calibrated, images, placement):
    model = build(NETWORK)
    seen, unseen = np.abs(images(32, 4, 8, 8)), np.abs(images(32, 4, 8, 8, seed=1))
    typed = coarsely(calibrated(model, seen), placement)
    exact, plain = model.clone(), model.clone()
    correct_biases(model, typed, lambda: [{"x": seen}])
    typed(model)
    typed(plain)
    want = run(exact, x=unseen)[0]
    errors = [np.square(run(graph, x=unseen)[0] - want).mean() for graph in (model, plain)]
    assert errors[0] < 0.6 * errors[1]


def test_a_correction_that_does_not_help_is_not_kept(build, run, calibrated, images):
    """With batches that are not what the errors are judged by, the means are of other images."""
    model = build(NETWORK)
    x = images(4, 4, 8, 8)
    table = calibrated(model, x)
    calls = []

    def feeds():
        calls.append(None)
        return [{"x": 50 * x}] if len(calls) == 1 else [{"x": x}]

    weights = {name: value.const_value.numpy().copy() for name, value in model.graph.initializers.items()}
    report = correct_biases(model, lambda graph: quantize(graph, table, TENSORRT), feeds)
    assert (report.kept, report.corrected) == (False, ())
    assert report.error_after > report.error_before
    for name, array in weights.items():
        np.testing.assert_array_equal(model.graph.initializers[name].const_value.numpy(), array)


def test_a_product_without_a_bias_is_left(build, calibrated, images):
    model = build("g (float[n, 6] x) => (float[n, 4] y) <float[6, 4] w> { y = MatMul(x, w) }")
    x = images(8, 6)
    table = calibrated(model, x)
    report = correct_biases(model, lambda graph: quantize(graph, table, TENSORRT), lambda: [{"x": x}])
    assert report.corrected == ()
    assert report.skipped[0].reason == "a MatMul has no bias"
