"""What a layer's weights are beside the network's, in words."""

import numpy as np
import onnx_ir as ir
import pytest

from deploykit.parity.constants import unlike_constants, unlike_operators, unlike_scale

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.standard_normal((6, 4, 3, 3)).astype(np.float32)
BIAS = RANDOM.standard_normal(6).astype(np.float32)


def stored(array):
    return ir.Value(name="c", const_value=ir.Tensor(array))


def convolution(weight, bias=None):
    operands = [ir.Value(name="x"), weight if isinstance(weight, ir.Value) else stored(weight)]
    return ir.node("Conv", [*operands, *([stored(bias)] if bias is not None else [])], num_outputs=1)


def dequantized(array, scale, axis=0):
    node = ir.node("DequantizeLinear", [stored(array), stored(scale)], {"axis": axis}, num_outputs=1)
    return node.outputs[0]


SCALE = (np.abs(WEIGHT).max(axis=(1, 2, 3)) / 127).astype(np.float32)
INTEGERS = np.round(WEIGHT / SCALE[:, None, None, None]).astype(np.int8)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (convolution(WEIGHT, BIAS), ""),
        (convolution(WEIGHT.astype(np.float16), BIAS.astype(np.float16)), ""),
        (convolution(dequantized(INTEGERS, SCALE), BIAS), ""),
        (convolution(dequantized(INTEGERS, 2 * SCALE), BIAS), "its weight is 2 times the network's"),
        (convolution(1.05 * WEIGHT, BIAS), "its weight is 1.05 times the network's"),
        (convolution(WEIGHT), "its bias is missing"),
        (convolution(WEIGHT, BIAS[::-1]), "its bias is 1."),
        (convolution(WEIGHT[:, ::-1], BIAS), "its weight has its input channels in reverse order (BGR for RGB)"),
        (convolution(WEIGHT.swapaxes(2, 3), BIAS), "its weight is transposed: axes 2 and 3"),
        (convolution(WEIGHT.swapaxes(0, 1), BIAS), "its weight is transposed: axes 0 and 1"),
        (convolution(WEIGHT[:4], BIAS), "its weight has the shape [4, 4, 3, 3], the network's [6, 4, 3, 3]"),
        (convolution(RANDOM.standard_normal(WEIGHT.shape), BIAS), "its weight is 1."),
    ],
)
def test_the_difference_is_named(theirs, said):
    found = unlike_constants(convolution(WEIGHT, BIAS), theirs)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_operators_that_only_one_of_two_ways_has():
    assert unlike_operators(["Conv", "Cast"], ["QuantizeLinear", "DequantizeLinear", "Conv"]) == ""
    assert unlike_operators(["Sub", "Div", "Conv"], ["Conv"]) == (
        "the network computes Sub, Div there, and this graph does not"
    )
    assert unlike_operators(["Conv"], ["Conv", "Relu"]) == "this graph computes Relu there, and the network does not"


@pytest.mark.parametrize(
    ("step", "said"),
    [(2 / 127, ""), (0.4 / 127, ""), (0.001 / 127, "end far below its 2"), (0.5, "too coarse for values up to 2")],
)
def test_steps_that_do_not_fit_the_values(step, said):
    seen = dequantized(np.zeros(1, np.int8), np.array(step, np.float32))
    node = ir.node("Conv", [seen, stored(WEIGHT)], num_outputs=1)
    found = unlike_scale(node, 2.0)
    assert said in found
    assert bool(found) == bool(said)
