"""Free sizes of a foreign graph: named, fixed, or kept within a range that the file carries."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.graph import check, notes_of, optimize, parse, serialize, set_input_sizes, tensor_specs
from deploykit.graph.sizes import RANGES, size_ranges
from deploykit.spec import SizeRange, parse_input_shape

HEAD = '<ir_version: 8, opset_import: ["" : 17]> g '
FLAT = """(float[N, 3, H, W] x) => (float[N, M] y) {
    s = Shape (x) zero = Constant <value_ints = [0]> () one = Constant <value_ints = [1]> ()
    n = Slice (s, zero, one) rest = Constant <value_ints = [-1]> () shape = Concat <axis = 0> (n, rest)
    y = Reshape (x, shape) }"""


def graph(text: str) -> ir.Model:
    return parse(onnx.parser.parse_model(HEAD + text))


def sized(text: str, *shapes: str) -> ir.Model:
    model = graph(text)
    set_input_sizes(model, [parse_input_shape(shape) for shape in shapes])
    return model


@pytest.mark.parametrize("shape", ["3,8,12", "x=batchx3x8x12", "batch,3,8,12"])
def test_fixed_sizes_are_inferred_through_to_the_outputs(shape):
    text = "(float[N, 3, H, W] x) => (float[N, M] y) { a = Relu (x) y = Flatten (a) }"
    inputs, outputs = tensor_specs(sized(text, shape))
    assert inputs[0].shape == ("N", 3, 8, 12)
    assert outputs[0].shape == ("N", 288)


def test_a_fixed_batch_makes_what_depends_on_shapes_alone_a_constant():
    model = sized(FLAT, "x=2x3x8x12")
    optimize(model)
    assert [node.op_type for node in model.graph] == ["Reshape"]
    assert tensor_specs(model)[1][0].shape == (2, 288)


def test_a_range_travels_with_the_file():
    model = sized(FLAT, "x=batchx3x[4:8:16]x12")
    again = parse(onnx.load_from_string(serialize(model)))
    for found in (model, again):
        (spec,), _ = tensor_specs(found)
        assert spec.shape == ("N", 3, "H", 12)
        assert spec.ranges == (("H", SizeRange(4, 8, 16)),)
        assert spec.at_batch(2, "maximum") == (2, 3, 16, 12)
    again.metadata_props[RANGES] = '{"H": [4, 2]}'
    with pytest.raises(UntrustedArtifact, match=r"metadata deploykit\.sizes is malformed"):
        tensor_specs(again)


def test_a_name_is_one_size_wherever_it_stands():
    text = "(float[N, 3, S, S] x, float[N, S] z) => (float[N, S] y) { y = Relu (z) }"
    inputs, outputs = tensor_specs(sized(text, "x=Nx3x8x8"))
    assert ([spec.shape for spec in inputs], outputs[0].shape) == ([("N", 3, 8, 8), ("N", 8)], ("N", 8))


TWICE = "(float[N, 3, S, S] x) => (float[N, 3, S, S] y) { y = Relu (x) }"


@pytest.mark.parametrize(
    ("text", "shapes", "inputs", "output"),
    [
        (TWICE, ["3,8,9"], [("N", 3, 8, 9)], ("N", 3, 8, 9)),
        (TWICE, ["x=2x3x8x9"], [(2, 3, 8, 9)], (2, 3, 8, 9)),
        (TWICE, ["x=Nx3x[4:8:16]x9"], [("N", 3, "x_2", 9)], ("N", 3, "x_2", 9)),
        ("(float[S, 3, S] x) => (float[S, 3, S] y) { y = Relu (x) }", ["3,8"], [("S", 3, 8)], ("S", 3, 8)),
        (
            "(float[N, S] x, float[N, S] z) => (float[N, T] y) { y = Concat <axis = 1> (x, z) }",
            ["x=Nx8", "z=Nx9"],
            [("N", 8), ("N", 9)],
            ("N", 17),
        ),
        ("(float[N, S] x, float[M, S] z) => (float[N, S] y) { y = Relu (x) }", ["x=3x8"], [(3, 8), ("M", 8)], (3, 8)),
    ],
)
def test_dimensions_of_one_name_with_several_sizes_are_told_apart(text, shapes, inputs, output):
    model = sized(text, *shapes)
    found, (made,) = tensor_specs(model)
    assert [spec.shape for spec in found] == inputs
    assert made.shape == output
    assert len(notes_of(model)) == (shapes != ["x=3x8"])
    check(model)


def test_what_is_told_apart_is_said_and_bears_no_name_of_the_file():
    model = sized("(float[N, S, S, x_1] x) => (float[N, S, S, x_1] y) { y = Relu (x) }", "x=Nx[1:2:4]x3x[2:4:8]")
    (spec,), _ = tensor_specs(model)
    assert spec.shape == ("N", "x_1_", 3, "x_1")
    assert spec.ranges == (("x_1_", SizeRange(1, 2, 4)), ("x_1", SizeRange(2, 4, 8)))
    assert notes_of(model) == ("size 'S' is [1:2:4] and 3: told apart by where it stands",)


@pytest.mark.parametrize("free", [-1, 0, None, "?", "None"])
def test_minus_one_nothing_and_no_name_are_free_too(free):
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [free, 3, free, 8])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [free, 3, free, 8])
    proto = onnx.helper.make_model(
        onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y]),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    model = parse(proto)
    assert tensor_specs(model)[0][0].shape == ("batch", 3, "x_2", 8)
    set_input_sizes(model, [parse_input_shape("3,4,8")])
    (inputs,), (outputs,) = tensor_specs(model)
    assert inputs.shape == ("batch", 3, 4, 8)
    assert outputs.shape[1:] == (3, 4, 8)
    assert isinstance(outputs.shape[0], str)


@pytest.mark.parametrize(
    ("text", "shape", "said"),
    [
        (FLAT, "x=batchx4x8x12", "its dimension 1 is 3 in the file, not 4; only sizes that are free can be set"),
        (FLAT, "x=batchx3x8", "has 3 sizes, input x is"),
        (FLAT, "z=1x3x8x12", "the graph has no input 'z'; it takes x"),
        (FLAT, "x=1x3x8x12:uint8", "input x is float32 in the file, not uint8"),
        ("(float[2, 3] x) => (float[2, 3] y) { y = Relu (x) }", "x=1x3", "its batch is 2 in the file, not 1"),
        ("(float[N] a, float[N] b) => (float[N] y) { y = Add (a, b) }", "3", "names no input, the graph takes a, b"),
    ],
)
def test_what_the_file_says_is_not_overruled(text, shape, said):
    with pytest.raises(UsageError) as caught:
        sized(text, shape)
    assert said in str(caught.value)


def test_the_sized_graph_computes_what_the_file_computes(run):
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 12)).astype(np.float32)
    np.testing.assert_array_equal(run(sized(FLAT, "3,8,12"), x=x)[0], run(graph(FLAT), x=x)[0])


@pytest.mark.parametrize("text", ["[" * 5000, '{"N": [1, 2, 1e400]}', '{"N": [1, 2]}', "null"])
def test_ranges_that_a_hostile_file_claims_are_malformed(text):
    model = graph("(float[N, 3] x) => (float[N, 3] y) { y = Relu (x) }")
    model.metadata_props[RANGES] = text
    with pytest.raises(UntrustedArtifact, match="is malformed"):
        size_ranges(model)
