"""Layers of the network in place of a typed graph's own, in float32."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from deploykit import graph
from deploykit.errors import UnknownName, UsageError
from deploykit.ort_session import compute, open_session
from deploykit.precision.float16 import to_float16
from deploykit.precision.graft import graft

NETWORK = """<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y)
    <float[4, 3, 3, 3] u, float[4] c, float[4, 4, 3, 3] v, float half = {0.5}> {
    [shift] n = Sub (x, half)
    [one] a = Conv <pads = [1, 1, 1, 1]> (n, u, c)
    [act] r = Relu (a)
    [two] y = Conv <pads = [1, 1, 1, 1]> (r, v)
}"""
FEED = {"x": np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)}


def network(text=NETWORK, scale=1.0) -> ir.Model:
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    for info in list(model.graph.value_info):
        shape = [size.dim_value for size in info.type.tensor_type.shape.dim]
        array = random.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array * np.float32(scale), info.name))
    del model.graph.value_info[:]
    return graph.parse(model)


def answer(model):
    return compute(open_session(model, optimize=False), ["y"], FEED)["y"]


def test_every_layer_grafted_is_the_network():
    typed = network(scale=3.0)
    assert graft(typed, network(), keep=["one", "two"]) == ["one", "two"]
    np.testing.assert_array_equal(answer(typed), answer(network()))
    assert [node.op_type for node in typed.graph] == ["Sub", "Conv", "Relu", "Conv"]


def test_a_float16_graph_casts_around_the_layer_and_keeps_its_types():
    typed = network()
    to_float16(typed, keep_io=False)
    before = [(value.name, value.dtype) for value in (*typed.graph.inputs, *typed.graph.outputs)]
    graft(typed, network(), nodes=["two"])
    assert [(value.name, value.dtype) for value in (*typed.graph.inputs, *typed.graph.outputs)] == before
    (two,) = [node for node in typed.graph if node.op_type == "Conv" and node.outputs[0].dtype == ir.DataType.FLOAT]
    assert two.inputs[1].const_value.dtype == ir.DataType.FLOAT
    graph.check(typed)


def test_what_the_graph_lacks_in_front_of_a_layer_comes_with_it():
    text = NETWORK.replace("[shift] n = Sub (x, half)", "").replace("(n, u, c)", "(x, u, c)")
    typed = network(text.replace(", float half = {0.5}", ""))
    assert not np.allclose(answer(typed), answer(network()))
    graft(typed, network(), keep=["one"])
    np.testing.assert_array_equal(answer(typed), answer(network()))


def test_what_cannot_be_grafted_is_refused():
    with pytest.raises(UnknownName, match="did you mean"):
        graft(network(), network(), keep=["tow"])
    renamed = network(NETWORK.replace("r = Relu", "q = Relu").replace("(r, v)", "(q, v)"))
    with pytest.raises(UsageError, match="act: the graph has no value r to be replaced"):
        graft(renamed, network(), keep=["act"])
