"""A graph that normalizes its input is noticed, and what it does is told."""

import numpy as np
import pytest

from deploykit.graph.normalization import own_normalization

FRAME = """<ir_version: 8, opset_import: ["" : 17]>
g ({kind}[N, {shape}] x, float[3, 1, 1] m, float[3, 1, 1] d, float[1] w, float[1] h, float[3] g, float[3] b,
   float[3] mu, float[3] var, float[4, 3, 1, 1] k) => (float[N, C, H, W] y) {{ {body} }}"""
VALUES = {
    "m": np.array([123.675, 116.28, 103.53]).reshape(3, 1, 1),
    "d": np.array([58.395, 57.12, 57.375]).reshape(3, 1, 1),
    "w": np.array([1 / 255]),
    "h": np.array([0.5]),
    "g": np.ones(3),
    "b": np.zeros(3),
    "mu": np.array([0.485, 0.456, 0.406]),
    "var": np.array([0.229, 0.224, 0.225]) ** 2 - 1e-5,
}


def said(build, body: str, *, kind: str = "float", shape: str = "3, 8, 8") -> str:
    return own_normalization(build(FRAME.format(kind=kind, shape=shape, body=body), values=VALUES))


@pytest.mark.parametrize(
    ("body", "does", "suggests"),
    [
        ("a = Sub (x, m) c = Div (a, d) y = Conv (c, k)",
         "subtracts 123.675/116.28/103.53 and divides by 58.395/57.12/57.375", "bytes"),
        ("a = Mul (x, w) y = Conv (a, k)", "divides by 255", "bytes"),
        ("a = Sub (x, h) c = Div (a, h) y = Conv (c, k)", "subtracts 0.5 and divides by 0.5", "unit"),
        ("a = BatchNormalization <epsilon = 1e-5> (x, g, b, mu, var) y = Conv (a, k)",
         "subtracts 0.485/0.456/0.406 and divides by 0.229/0.224/0.225", "unit"),
        ("a = Neg (x) c = Mul (a, w) y = Conv (c, k)", "", ""),
        ("n = Shape (x) a = Mul (x, w) y = Conv (a, k)", "divides by 255", "bytes"),
        ("y = Conv (x, k)", "", ""),
        ("a = Sub (h, x) y = Conv (a, k)", "subtracts 0.5 and divides by -1", "unit"),
        ("a = Sub (x, x) y = Conv (a, k)", "", ""),
        ("a = Mul (x, w) c = Relu (x) s = Add (a, c) y = Conv (s, k)", "", ""),
    ],
    ids=["mean and deviation", "a factor", "halves", "BatchNormalization", "other work first", "a shape too", "nothing",
         "turned round", "no constant", "two readers"],
)  # fmt: skip
def test_what_stands_on_the_input_is_told(build, body, does, suggests):
    found = said(build, body)
    if not does:
        assert found == ""
        return
    assert f"the graph {does} itself" in found
    assert found.endswith(f"--preprocess {suggests} is likely right")


def test_casts_and_transposes_in_front_are_passed(build):
    body = "f = Cast <to = 1> (x) t = Transpose <perm = [0, 3, 1, 2]> (f) a = Sub (t, m) y = Conv (a, k)"
    assert "subtracts 123.675/116.28/103.53 itself" in said(build, body, kind="uint8", shape="8, 8, 3")
