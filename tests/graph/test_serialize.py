"""The bytes of a graph: what protobuf would have written, the same each time, and never more than 2 GB."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from deploykit.errors import DeploykitError, UntrustedArtifact
from deploykit.graph import check, graph_digest, serialize, tensor_specs, weights_with_nan
from deploykit.spec import TensorSpec

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'
TEXT = "g (float[batch, 40] x, float[40, 300] w, float[3] small) => (float[batch, 300] y) { y = MatMul (x, w) }"


@pytest.mark.parametrize("kind", ["float", "float16", "double", "bfloat16", "int4", "float8e4m3fn"])
def test_the_bytes_say_what_protobufs_own_would(build, kind):
    model = build(HEADER + TEXT.replace("float[40", f"{kind}[40").replace("MatMul (x, w)", "Identity (x)"))
    ours = onnx.load_from_string(serialize(model))
    theirs = ir.serde.serialize_model(model)
    for tensor in theirs.graph.initializer:
        (same,) = (found for found in ours.graph.initializer if found.name == tensor.name)
        assert same == tensor
    assert len(ours.graph.initializer) == len(theirs.graph.initializer)
    for proto in (ours, theirs):
        del proto.graph.initializer[:], proto.graph.value_info[:]
    assert ours == theirs


def test_serializing_changes_neither_the_model_nor_the_second_answer(build):
    model = build(HEADER + TEXT)
    order = list(model.graph.initializers)
    content = serialize(model)
    assert list(model.graph.initializers) == order
    assert model.graph.initializers["w"].const_value is not None
    assert serialize(model) == content
    assert len(graph_digest(content)) == 64
    assert graph_digest(content) != graph_digest(content + b" ")
    onnx.checker.check_model(content, full_check=True)


def test_weights_of_2_gb_are_refused_before_they_are_copied():
    class Vast(ir.LazyTensor):
        nbytes = 2**31

    def never():
        raise AssertionError("evaluated")

    model = ir.serde.deserialize_model(
        onnx.parser.parse_model(HEADER + "g (float[2] x) => (float[2] y) { y = Neg (x) }")
    )
    tensor = Vast(never, dtype=ir.DataType.FLOAT, shape=ir.Shape([2**29]), name="w")
    model.graph.register_initializer(ir.Value(name="w", const_value=tensor))
    with pytest.raises(DeploykitError, match=r"2\.00 GiB") as caught:
        serialize(model)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("operator", ["Unheard (x, w)", "MatMul (x)", "Conv <pads=[1]> (x, w)"])
def test_check_maps_every_complaint(operator):
    text = HEADER + TEXT.replace("MatMul (x, w)", operator)
    with pytest.raises(UntrustedArtifact, match=r"not a valid ONNX graph: .") as caught:
        check(ir.serde.deserialize_model(onnx.parser.parse_model(text)))
    assert "\n" not in str(caught.value)


def test_check_infers_shapes(build):
    model = build(HEADER + TEXT)
    check(model)
    model.graph.outputs[0].shape = ir.Shape(["batch", 7])
    with pytest.raises(UntrustedArtifact, match="not a valid ONNX graph"):
        check(model)


def test_specs_name_every_free_dimension(build):
    model = build(HEADER + TEXT)
    model.graph.outputs[0].shape = ir.Shape([None, None])
    assert tensor_specs(model) == (
        (TensorSpec("x", ("batch", 40), "float32"),),
        (TensorSpec("y", ("batch", "y_1"), "float32"),),
    )


def test_an_output_of_unknown_shape_is_refused(build):
    model = build(HEADER + TEXT)
    model.graph.outputs[0].shape = None
    with pytest.raises(UntrustedArtifact, match="'y' is unknown"):
        tensor_specs(model)


def test_data_that_lies_transposed_is_written_row_by_row(build):
    model = build(HEADER + TEXT)
    array = np.arange(600, dtype=np.float32).reshape(20, 30).T
    model.graph.initializers["w"].const_value = ir.Tensor(array, name="w")
    (found,) = (t for t in onnx.load_from_string(serialize(model)).graph.initializer if t.name == "w")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(found), array)


@pytest.mark.parametrize("kind", ["float", "float16", "double", "bfloat16"])
def test_weights_that_hold_nan_are_named_and_infinity_is_none(build, kind):
    model = build(HEADER + TEXT.replace("float[", f"{kind}["))
    assert weights_with_nan(model) == ()
    weight = model.graph.initializers["w"]
    array = weight.const_value.numpy().copy()
    array[0, :2] = np.nan
    array[1, 0] = np.inf
    weight.const_value = ir.Tensor(array, dtype=weight.const_value.dtype, name="w")
    (said,) = weights_with_nan(model)
    assert said.startswith("w holds NaN (2 of 12000 numbers)")
