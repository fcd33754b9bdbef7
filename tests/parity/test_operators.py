"""The reference evaluator's convolutions and poolings, in double, against ONNX Runtime's in float32."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from deploykit.ort_session import open_session
from deploykit.parity.operators import OPERATORS

HEADER = '<ir_version: 10, opset_import: ["" : 20]> '
IMAGE = (2, 4, 9, 11)


@pytest.mark.parametrize(
    ("operator", "shape", "weight"),
    [
        ("Conv", IMAGE, (6, 4, 3, 3)),
        ("Conv <pads = [1, 0, 2, 3], strides = [2, 3]>", IMAGE, (6, 4, 3, 3)),
        ("Conv <dilations = [2, 1], group = 2, pads = [2, 1, 2, 1]>", IMAGE, (6, 2, 3, 3)),
        ('Conv <auto_pad = "SAME_UPPER", strides = [2, 2]>', IMAGE, (6, 4, 4, 3)),
        ('Conv <auto_pad = "SAME_LOWER", strides = [2, 2]>', IMAGE, (6, 4, 4, 3)),
        ('Conv <auto_pad = "VALID", strides = [2, 2]>', IMAGE, (6, 4, 4, 3)),
        ("Conv <strides = [2]>", (2, 4, 9), (6, 4, 3)),
        ("Conv <pads = [1, 1, 1, 0, 0, 0]>", (1, 2, 4, 5, 6), (3, 2, 2, 2, 2)),
        ("Conv <group = 4, pads = [1, 1, 1, 1]>", IMAGE, (4, 1, 3, 3)),
        ("Conv <group = 4, pads = [2, 0, 1, 4], strides = [2, 1], dilations = [2, 1]>", IMAGE, (4, 1, 3, 5)),
        ("Conv <group = 4>", (2, 4, 200, 201), (4, 1, 3, 2)),
        ("Conv <group = 4>", IMAGE, (8, 1, 3, 3)),
        ("Conv <group = 4, strides = [2]>", (2, 4, 9), (4, 1, 3)),
        ("ConvTranspose", IMAGE, (4, 6, 3, 3)),
        ("ConvTranspose <group = 2, strides = [2, 3], pads = [1, 0, 2, 1]>", IMAGE, (4, 3, 3, 4)),
        ("ConvTranspose <strides = [2, 2], output_padding = [1, 0], dilations = [2, 1]>", IMAGE, (4, 6, 3, 3)),
        ('ConvTranspose <auto_pad = "SAME_UPPER", strides = [2, 2]>', IMAGE, (4, 6, 3, 3)),
        ("ConvTranspose <output_shape = [18, 22], strides = [2, 2]>", IMAGE, (4, 6, 3, 3)),
        ("MaxPool <kernel_shape = [3, 2], strides = [2, 2], pads = [1, 0, 0, 1]>", IMAGE, None),
        ("MaxPool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1>", (2, 4, 10, 12), None),
        ("MaxPool <kernel_shape = [2, 2], strides = [3, 3], pads = [0, 0, 1, 1], ceil_mode = 1>", IMAGE, None),
        ("MaxPool <kernel_shape = [3, 3], dilations = [2, 2]>", IMAGE, None),
        ('MaxPool <kernel_shape = [3, 3], strides = [2, 2], auto_pad = "SAME_LOWER">', IMAGE, None),
        ("AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>", IMAGE, None),
        ("AveragePool <kernel_shape = [3, 3], pads = [1, 0, 2, 1], count_include_pad = 1>", IMAGE, None),
        ("AveragePool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1>", (2, 4, 10, 12), None),
        (
            "AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 0, 0], ceil_mode = 1, "
            "count_include_pad = 1>",
            (2, 4, 9, 11),
            None,
        ),
        ("AveragePool <kernel_shape = [3], strides = [2]>", (2, 4, 9), None),
    ],
    ids=lambda value: str(value),
)
def test_they_compute_what_onnx_runtime_computes(operator, shape, weight):
    given = ""
    random = np.random.default_rng(3)
    feed = {"x": random.standard_normal(shape).astype(np.float32)}
    if weight is not None:
        channels = weight[1] * (2 if "group" in operator else 1) if "Transpose" in operator else weight[0]
        feed |= {"w": random.standard_normal(weight).astype(np.float32)}
        feed |= {"b": random.standard_normal(channels).astype(np.float32)}
        given = ", w, b"
    inputs = ", ".join(f"float{list(array.shape)} {name}" for name, array in feed.items())
    free = ", ".join(f"n{axis}" for axis in range(len(shape)))
    text = f"g ({inputs}) => (float[{free}] y) {{ y = {operator} (x{given}) }}"
    model = onnx.parser.parse_model(HEADER + text)
    (exact,) = ReferenceEvaluator(model, new_ops=list(OPERATORS)).run(
        None, {name: array.astype(np.float64) for name, array in feed.items()}
    )
    (wanted,) = open_session(ir.from_proto(model), threads=1).run(None, feed)
    assert exact.dtype == np.float64
    np.testing.assert_allclose(exact, wanted, rtol=1e-5, atol=1e-5)


def test_integers_are_pooled_as_integers():
    text = """g (uint8[1, 1, 4, 4] x) => (uint8[1, 1, 2, 2] y) {
        y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) }"""
    x = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    (found,) = ReferenceEvaluator(onnx.parser.parse_model(HEADER + text), new_ops=list(OPERATORS)).run(None, {"x": x})
    assert found.dtype == np.uint8
    assert found.tolist() == [[[[5, 7], [13, 15]]]]
