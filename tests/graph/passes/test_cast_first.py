"""A Cast of bytes goes in front of what only moves them."""

import numpy as np
import pytest

from deploykit.graph.passes.cast_first import cast_bytes_first

FRAME = '<ir_version: 10, opset_import: ["" : 20]> g (uint8[N, 4, 6, 3] x) => ({out}) {{ {body} }}'
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("body", "after"),
    [
        ("t = Transpose <perm = [0, 3, 1, 2]> (x) f = Cast <to = 1> (t) y = Relu (f)", ["Cast", "Transpose", "Relu"]),
        ("a = Identity (x) t = Transpose <perm = [0, 3, 1, 2]> (a) f = Cast <to = 1> (t) y = Relu (f)",
         ["Cast", "Identity", "Transpose", "Relu"]),
        ("f = Cast <to = 1> (x) y = Transpose <perm = [0, 3, 1, 2]> (f)", ["Cast", "Transpose"]),
        ("t = Transpose <perm = [0, 3, 1, 2]> (x) f = Cast <to = 1> (t) g = Cast <to = 1> (t) y = Add (f, g)",
         ["Transpose", "Cast", "Cast", "Add"]),
        ("t = Transpose <perm = [0, 3, 1, 2]> (x) y = Cast <to = 1> (t)", ["Transpose", "Cast"]),
    ],
    ids=["transposed", "two moves", "already first", "read twice", "handed out"],
)  # fmt: skip
def test_bytes_are_cast_before_they_are_moved(build, run, body, after):
    text = FRAME.format(out="float[N, 3, 4, 6] y", body=body)
    before, model = build(text), build(text)
    cast_bytes_first(model)
    assert [node.op_type for node in model.graph] == after
    np.testing.assert_array_equal(run(model, x=PIXELS)[0], run(before, x=PIXELS)[0])
