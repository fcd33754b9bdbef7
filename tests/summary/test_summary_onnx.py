"""Summaries of ONNX graphs: against the module that they were exported from, and operators by hand."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from deploykit.errors import UsageError
from deploykit.spec import ModelSpec, parse_input_shape
from deploykit.summary.onnx_graph import of_onnx
from deploykit.workflow.summarize import summarize
from deploykit.zoo.registry import build_module, input_spec


def graph(body, *, image="N, 3, 16, 16", weights="", opset=20):
    """A graph of one image input; weights without a value become initializers of zeros."""
    declared = f"<{weights}>" if weights else ""
    text = f'<ir_version: 10, opset_import: ["": {opset}]> g (float[{image}] x) => (float y) {declared} {{{body}}}'
    model = onnx.parser.parse_model(text)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    for value in model.graph.value_info:
        shape = [size.dim_value for size in value.type.tensor_type.shape.dim]
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), value.name))
    return model


@pytest.mark.parametrize("dynamic", [True, False], ids=["free batch", "batches of 4"])
@pytest.mark.parametrize(
    "name",
    [
        "lenet5",
        "test_resnet",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("test_convnet", "test_mobilenet")),
    ],
)
def test_a_raw_export_has_the_layers_of_its_module(name, dynamic):
    spec = ModelSpec(name)
    images = torch.zeros(input_spec(spec).at_batch(4))
    free = ({0: torch.export.Dim("batch")},) if dynamic else None
    exported = torch.onnx.export(
        build_module(spec), (images,), dynamo=True, optimize=False, verbose=False, dynamic_shapes=free
    )
    found, expected = of_onnx(exported.model_proto), summarize(spec).layers
    assert (found.params, found.macs) == (expected.params, expected.macs)
    weighted = [[row for row in summary.rows if row.macs] for summary in (found, expected)]
    described = [
        [(row.name, row.output, row.params, row.macs, row.receptive_field, row.whole_image) for row in rows]
        for rows in weighted
    ]
    assert described[0] == described[1]
    assert [row.convolution for row in weighted[0]] == [row.convolution for row in weighted[1]]


def test_the_proto_is_left_alone():
    model = graph("y = Relu (x)")
    before = model.SerializeToString()
    of_onnx(model)
    assert model.SerializeToString() == before


@pytest.mark.parametrize(
    ("body", "weights", "output", "params", "macs"),
    [
        ("y = Conv <group=3> (x, w)", "float[6, 1, 3, 3] w", (6, 14, 14), 54, 6 * 196 * 9),
        ("y = ConvTranspose <strides=[2, 2]> (x, w, b)", "float[3, 5, 2, 2] w, float[5] b", (5, 32, 32), 65, 15360),
        ("f = Flatten (x) y = Gemm <transB=1> (f, w, b)", "float[4, 768] w, float[4] b", (4,), 3076, 3072),
        ("f = Flatten (x) m = MatMul (f, w) y = Add (m, b)", "float[768, 4] w, float[4] b", (4,), 3076, 3072),
    ],
)
def test_weighted_nodes_by_hand(body, weights, output, params, macs):
    found = of_onnx(graph(body, weights=weights))
    assert found.rows[-1].output == output
    assert (found.params, found.macs) == (params, macs)


@pytest.mark.parametrize(
    ("body", "pixels"),
    [
        ("y = MaxPool <kernel_shape=[3, 3], strides=[2, 2]> (x)", 3),
        ("a = AveragePool <kernel_shape=[3, 3]> (x) m = MaxPool <kernel_shape=[5, 5], pads=[1,1,1,1]> (x) "
         "y = Concat <axis=1> (a, m)", 5),
        ("y = MaxPool <kernel_shape=[3, 3], dilations=[2, 2]> (x)", 5),
        ("s = Slice (x, zero, sixteen, axis, two) y = MaxPool <kernel_shape=[1, 3]> (s)", (1, 3)),
        ("s = Slice (x, zero, sixteen, axis, two) y = MaxPool <kernel_shape=[3, 1]> (s)", (5, 1)),
        ("y = GlobalAveragePool (x)", 16),
        ("y = ReduceMean <keepdims=0> (x, maps)", 16),
        ("y = InstanceNormalization (x, b, b)", 16),
        ("t = Transpose <perm=[0, 2, 3, 1]> (x) y = LayerNormalization (t, b)", 1),
    ],
)  # fmt: skip
def test_receptive_fields_by_hand(body, pixels):
    constants = (
        "int64[1] zero = {0}, int64[1] sixteen = {16}, int64[1] axis = {2}, int64[1] two = {2}, "
        "int64[2] maps = {2, 3}, float[3] b"
    )
    found = of_onnx(graph(body, weights=constants)).rows[-1]
    assert found.receptive_field == (pixels if isinstance(pixels, tuple) else (pixels, pixels))
    assert found.whole_image == (pixels == 16)


def test_shapes_that_the_graph_computes_and_constants_are_no_rows():
    body = """
        s = Shape <start=0, end=1> (x)
        minus = Constant <value = int64[1] {-1}> ()
        shape = Concat <axis=0> (s, minus)
        y = Reshape (x, shape)
    """
    assert [row.kind for row in of_onnx(graph(body)).rows] == ["Reshape"]


def test_quantized_weights_are_parameters_and_scales_are_not():
    model = graph("d = DequantizeLinear <axis=0> (w, s) y = Conv (x, d)", weights="float[4] s")
    model.graph.initializer.append(numpy_helper.from_array(np.ones((4, 3, 1, 1), np.int8), "w"))
    found = of_onnx(model)
    assert (found.params, [row.kind for row in found.rows]) == (12, ["Conv"])


def test_an_initializer_that_two_nodes_read_counts_once_and_a_number_never():
    weights = "float[3, 3, 1, 1] w, float[1] half = {0.5}"
    found = of_onnx(graph("a = Conv (x, w) m = Mul (a, half) y = Conv (m, w)", weights=weights))
    assert [row.params for row in found.rows] == [9, 0, 0]
    assert found.macs == 2 * 256 * 9


def test_an_operator_that_is_not_known_has_no_field_and_neither_has_what_follows():
    found = of_onnx(graph("d = SpaceToDepth <blocksize=2> (x) y = Relu (d)"))
    assert [row.receptive_field for row in found.rows] == [None, None]


@pytest.mark.parametrize(("image", "said"), [("N, 3, H, W", "leaves H, W open"), ("N", "is not a batch of images")])
def test_inputs_that_are_no_images_of_one_size_are_refused(image, said):
    with pytest.raises(UsageError, match=said):
        of_onnx(graph("y = Relu (x)", image=image))


def test_several_inputs_are_walked_from_the_one_that_is_an_image():
    text = """<ir_version: 10, opset_import: ["": 20]> g (float[N, 8] b, float[N, 3, H, 16] a) => (float[N, 8] y) {
        c = Conv (a, w) p = GlobalAveragePool (c) f = Flatten (p) y = Add (f, b) }"""
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((8, 3, 3, 3), np.float32), "w"))
    found = of_onnx(proto, [parse_input_shape("a=batchx3x[8:16:32]x16")])
    assert found.image == (3, 16, 16)
    assert (found.rows[0].kind, found.rows[0].receptive_field) == ("Conv", (3, 3))
