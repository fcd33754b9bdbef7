"""ONNX Runtime's own quantizer as a baseline: quiet, traceless, and met within 1 dB."""

import logging
import tempfile

import numpy as np
import onnx
import pytest

from deploykit.errors import UsageError
from deploykit.precision.int8.baseline import quantize_static
from deploykit.precision.int8.quantize import quantize
from deploykit.spec import ORT_CPU

NETWORK = """
g (float[N, 3, 16, 16] x) => (float[N, 10] y)
  <float[16, 3, 3, 3] w1, float[16] b1, float[16, 16, 3, 3] w2, float[16] b2, float[10, 16] w3, float[10] b3> {
    a = Conv <pads=[1, 1, 1, 1]> (x, w1, b1)
    r = Relu (a)
    b = Conv <pads=[1, 1, 1, 1]> (r, w2, b2)
    s = Add (b, r)
    t = Relu (s)
    p = GlobalAveragePool (t)
    f = Flatten (p)
    y = Gemm <transB=1> (f, w3, b3)
}
"""


def output(content, x):
    import onnxruntime

    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def sqnr(found, reference):
    return 20 * np.log10(np.linalg.norm(reference) / np.linalg.norm(found - reference))


def test_our_placement_reaches_it_within_1_db(build, run, calibrated, images):
    model, x, unseen = build(NETWORK), images(16, 3, 16, 16), images(8, 3, 16, 16, seed=1)
    (reference,) = run(model, x=unseen)
    baseline = sqnr(output(quantize_static(model, [{"x": part} for part in np.split(x, 4)]), unseen), reference)
    quantize(model, calibrated(model, x), ORT_CPU)
    assert sqnr(run(model, x=unseen)[0], reference) > baseline - 1
    assert 20 < baseline < 60


@pytest.mark.parametrize(("symmetric", "dtype"), [(False, "uint8"), (True, "int8")])
def test_activations_are_of_the_type_asked_for(build, images, symmetric, dtype):
    proto = onnx.load_from_string(quantize_static(build(NETWORK), [{"x": images(4, 3, 16, 16)}], symmetric=symmetric))
    zeros = {init.name: onnx.numpy_helper.to_array(init) for init in proto.graph.initializer}
    found = [zeros[node.input[2]] for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    assert {zero.dtype.name for zero in found} == {dtype}
    assert any(zero.any() for zero in found) is not symmetric


def test_says_nothing_and_leaves_nothing(build, images, capfd, caplog, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = build(NETWORK)
    with caplog.at_level(logging.INFO):
        quantize_static(model, [{"x": images(4, 3, 16, 16)}])
        logging.getLogger("mine").warning("still heard")
    assert capfd.readouterr() == ("", "")
    assert [record.message for record in caplog.records] == ["still heard"]
    assert list(tmp_path.iterdir()) == []


def test_refuses_no_images(build):
    with pytest.raises(UsageError, match="there are no calibration images"):
        quantize_static(build(NETWORK), [])
