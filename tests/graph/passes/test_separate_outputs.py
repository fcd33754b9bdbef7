"""Outputs that are inputs, weights, or one another: each gets a node of its own and the graph computes the same."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from deploykit.graph import check, optimize, parse, serialize
from deploykit.graph.passes.separate_outputs import separate_outputs


def graph_of(body: str, outputs: list[str]) -> ir.Model:
    """`body` over the input x [n, 2] and the weight w [2]; `outputs` may repeat."""
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g (float[n, 2] x) => (float[n, 2] y) {body}'
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([3, 4], np.float32), "w"))
    shapes = {"w": [2]}
    del proto.graph.output[:]
    proto.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes.get(name, ["n", 2])) for name in outputs
    )
    return ir.from_proto(proto)


def run(model: ir.Model) -> dict[str, list[list[float]]]:
    session = onnxruntime.InferenceSession(serialize(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return {
        name: found.tolist()
        for name, found in zip(names, session.run(names, {"x": np.ones((1, 2), np.float32)}), strict=True)
    }


def test_an_input_a_weight_and_a_value_listed_twice_are_outputs_of_their_own():
    model = graph_of("{ y = Add(x, w) }", ["y", "x", "w", "y"])
    separate_outputs(model)
    check(model)
    assert run(model) == {"y": [[4, 5]], "x_1": [[1, 1]], "w": [3, 4], "y_1": [[4, 5]]}


def test_optimizing_keeps_them_apart():
    model = graph_of("{ y = Add(x, w) z = Add(x, w) v = Add(w, w) u = Identity(x) t = Identity(x) }", list("yzvut"))
    for value in model.graph.outputs:
        if value.name == "v":
            value.shape = ir.Shape([2])
    optimize(model)
    check(model)
    assert run(model) == {"y": [[4, 5]], "z": [[4, 5]], "v": [6, 8], "u": [[1, 1]], "t": [[1, 1]]}


def test_a_file_that_lists_a_value_twice_is_parsed_to_one_that_does_not():
    proto = ir.to_proto(graph_of("{ y = Add(x, w) }", ["y", "y"]))
    assert [value.name for value in parse(proto).graph.outputs] == ["y", "y_1"]


def test_a_graph_that_needs_nothing_is_left_alone():
    model = graph_of("{ y = Add(x, w) }", ["y"])
    before = serialize(model)
    separate_outputs(model)
    assert serialize(model) == before
