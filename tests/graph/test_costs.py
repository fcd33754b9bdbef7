"""Multiply-accumulates of graphs whose sizes are free: those of the optimum, and of the batch that was asked."""

import onnx
import pytest

from deploykit.graph import parse, set_input_sizes, weighted_costs
from deploykit.spec import parse_input_shape

CONVOLUTION = """<ir_version: 8, opset_import: ["" : 17]>
agraph (float[N, 3, H, W] x) => (float[N, 8, A, B] y) <float[8, 3, 3, 3] w = {%s}> {
  half = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)
  y = Relu(half)
}
"""
FOLDED_BATCH = """<ir_version: 8, opset_import: ["" : 17]>
agraph (float[batch, 6, 5] x) => (float[rows, 2] y) <int64[2] shape = {-1, 5}, float[5, 2] w = {%s}> {
  rows = Reshape(x, shape)
  y = MatMul(rows, w)
}
"""


def graph_of(text: str, weights: int, shape: str = ""):
    model = parse(onnx.parser.parse_model(text % ", ".join(["0.5"] * weights)))
    set_input_sizes(model, [parse_input_shape(shape)] if shape else [])
    return model


@pytest.mark.parametrize("shape", ["x=batchx3x[16:32:64]x[8:20:40]", "x=batchx3x32x20", "x=batchx3x32x[8:20:40]"])
def test_sizes_in_a_range_count_at_their_optimum(shape):
    model = graph_of(CONVOLUTION, 8 * 27, shape)
    (cost,) = weighted_costs(model, batch=4).values()
    assert cost.macs == 4 * (16 * 10 * 8) * 27
    assert cost.params == 8 * 27
    (again,) = weighted_costs(model, batch=1).values()  # the graph itself was left alone
    assert again.macs == cost.macs // 4


def test_rows_that_hold_the_batch_are_as_many_as_it_gives():
    (cost,) = weighted_costs(graph_of(FOLDED_BATCH, 10), batch=7).values()
    assert cost.macs == 7 * 6 * 2 * 5
