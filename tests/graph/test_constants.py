"""A small graph stays small: the folding budget is asked before anything is computed."""

import tracemalloc

import numpy as np
import onnx
import pytest

from deploykit.graph import optimise, parse, serialise
from deploykit.graph.constants import MAX_GROWTH_BYTES, MAX_TENSOR_ELEMENTS

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'
LARGE = "int64[2] {50000, 50000}"

BOMBS = {
    "Expand": f"s = Constant <value = {LARGE}> () c = Constant <value = float {{1.0}}> () d = Expand (c, s)",
    "ConstantOfShape": f"s = Constant <value = {LARGE}> () d = ConstantOfShape (s)",
    "Tile": f"s = Constant <value = {LARGE}> () c = Constant <value = float[1, 1] {{1.0}}> () d = Tile (c, s)",
    "Range": """a = Constant <value = float {0.0}> () b = Constant <value = float {2.5e9}> ()
        c = Constant <value = float {1.0}> () d = Range (a, b, c)""",
    "a claimed shape": f"s = Constant <value = {LARGE}> () c = Constant <value = float {{1.0}}> () d = Expand (c, s)",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_folding_bomb_stays_small(kind):
    claim = "<float[1, 1] d>" if kind == "a claimed shape" else ""
    proto = onnx.parser.parse_model(
        f"{HEADER} g (float[1, 1] x) => (float y) {claim}"
        f"{{ {BOMBS[kind]} m = ReduceMax <keepdims = 0> (d) y = Mul (m, x) }}"
    )
    tracemalloc.start()
    model = parse(proto)
    optimise(model)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(serialise(model)) < 10_000
    assert peak < 32 << 20


def test_a_bomb_that_is_a_graph_output_stays_small():
    proto = onnx.parser.parse_model(
        f"{HEADER} g (float[1, 1] x) => (float[1, 1] d, float[1, 1] y) {{ {BOMBS['Expand']} y = Neg (x) }}"
    )
    model = parse(proto)
    optimise(model)
    assert len(serialise(model)) < 10_000


def test_tensors_of_allowed_size_cannot_add_up_beyond_the_budget():
    side = int(MAX_TENSOR_ELEMENTS**0.5)
    each = 4 * side * side
    count = MAX_GROWTH_BYTES // each + 4
    body = "".join(
        f"c{i} = Constant <value = float {{{i}.0}}> () d{i} = Expand (c{i}, s) z{i} = Mul (x, d{i}) "
        for i in range(count)
    )
    ends = ", ".join(f"float[{side}, {side}] z{i}" for i in range(count))
    model = parse(
        onnx.parser.parse_model(
            f"{HEADER} g (float[1, 1] x) => ({ends}) {{ s = Constant <value = int64[2] {{{side}, {side}}}> () {body} }}"
        )
    )
    optimise(model)
    left = sum(node.op_type == "Expand" for node in model.graph)
    stored = sum(value.const_value.nbytes for value in model.graph.initializers.values())
    assert left >= 4
    assert 0.9 * MAX_GROWTH_BYTES < stored <= MAX_GROWTH_BYTES + 10_000


def test_a_weight_of_sensible_size_is_folded(build):
    model = build(
        HEADER + "g (float[1, 512, 4, 4] x, float v) => (float[1, 512, 4, 4] y) {"
        "s = Constant <value = int64[4] {512, 512, 3, 3}> () w = ConstantOfShape <value = float[1] {0.5}> (s)"
        "y = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w) }"
    )
    optimise(model)
    assert [node.op_type for node in model.graph] == ["Conv"]
    assert model.graph[0].inputs[1].const_value.numpy().shape == (512, 512, 3, 3)


def test_a_transposed_weight_costs_nothing_whatever_its_size(build):
    """fc.weight of a VGG has 102 million elements; moving it about makes the graph no larger."""
    side = 2100
    assert side * side > MAX_TENSOR_ELEMENTS
    signature = f"g (float[1, {side}] x, float[{side}, {side}] w) => (float[1, {side}] y)"
    text = f"{signature} {{ t = Transpose (w) y = MatMul (x, t) }}"
    weight = np.zeros((side, side), np.float32)
    weight[0, 1] = 1
    model = build(HEADER + text, values={"w": weight})
    optimise(model)
    assert [node.op_type for node in model.graph] == ["MatMul"]
    assert model.graph[0].inputs[1].const_value.numpy()[1, 0] == 1
