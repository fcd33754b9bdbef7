"""Boxes in pixels beside scores: eight bits for both leave nothing of the scores, so they have scales of their own."""

import numpy as np

from deploykit.precision.int8.quantize import quantize
from deploykit.precision.int8.unlike import are_unlike
from deploykit.spec import ORT_CPU

DETECTOR = """g (float[N, 3, 8, 8] x) => (float[N, 6, 8, 8] y)
    <float[4, 3, 1, 1] wb, float[2, 3, 1, 1] ws, float side> {
    b = Conv (x, wb)
    t = Sigmoid (b)
    p = Mul (t, side)
    c = Conv (x, ws)
    s = Sigmoid (c)
    y = Concat <axis = 1> (p, s)
}"""


def test_scores_beside_boxes_keep_their_values(build, run, calibrated, images):
    model = build(DETECTOR, side=np.array(640, np.float32))
    x = images(4, 3, 8, 8)
    (exact,) = run(model, x=x)
    report = quantize(model, calibrated(model, x), ORT_CPU)
    (found,) = run(model, x=x, optimize=True)
    scores, wanted = found[:, 4:], exact[:, 4:]
    assert len(np.unique(scores)) > 64
    assert np.linalg.norm(scores - wanted) < 0.02 * np.linalg.norm(wanted)
    assert len(report.quantized) == 2
    (left,) = report.floats
    assert left.node == "y"
    assert left.reason.startswith("its parts reach 6")
    assert left.reason.endswith("too unlike for one scale of eight bits")


def test_boxes_of_one_size_with_their_scores_share_a_scale(build, calibrated, images):
    model = build(DETECTOR, side=np.array(2, np.float32))
    report = quantize(model, calibrated(model, images(4, 3, 8, 8)), ORT_CPU)
    assert report.floats == ()


def test_what_is_always_zero_is_like_anything():
    assert not are_unlike([0.0, 5.0])
    assert not are_unlike([])
    assert not are_unlike([1.0, 8.0])
    assert are_unlike([1.0, 8.1])
