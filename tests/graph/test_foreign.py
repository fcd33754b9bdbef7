"""Graphs from other people's files: real old ones, and ones that lie."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from deploykit.errors import DeploykitError, ExportFailed, UntrustedArtifact
from deploykit.graph import check, optimize, parse, serialize, tensor_specs

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'


def infer(content, feed):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, feed)[0]


@pytest.mark.parametrize(
    ("name", "folded", "operators"),
    [
        ("squeezenet", 0, "Concat Conv GlobalAveragePool MaxPool Relu Softmax"),
        ("shufflenet", 49, "AveragePool Concat Conv Gemm MaxPool Relu Reshape Softmax Sum Transpose"),
        ("densenet121", 59, "Add AveragePool BatchNormalization Concat Conv GlobalAveragePool MaxPool Mul Relu"),
    ],
)
def test_an_opset_9_file_is_brought_up_and_computes_the_same(name, folded, operators):
    path = LIGHT / f"light_{name}.onnx"
    model = parse(onnx.load(path))
    ledger = optimize(model)
    check(model)
    content = serialize(model)
    (spec,), _ = tensor_specs(model)
    assert spec.shape == (1, 3, 224, 224)
    assert len(ledger["fold_batchnorm"].rewritten) == folded
    assert " ".join(sorted({node.op_type for node in model.graph})) == operators
    images = np.random.default_rng(0).standard_normal(spec.shape).astype(np.float32)
    wanted = infer(path.read_bytes(), {spec.name: images})
    np.testing.assert_allclose(infer(content, {spec.name: images}), wanted, rtol=1e-4)


def test_weights_beyond_the_folding_budget_stay_computed():
    model = parse(onnx.load(LIGHT / "light_bvlc_alexnet.onnx"))
    optimize(model)
    assert sum(node.op_type == "ConstantOfShape" for node in model.graph) == 2  # fc6 and fc7
    assert len(serialize(model)) < 32 << 20


def test_parsing_does_not_touch_what_it_was_given():
    proto = onnx.load(LIGHT / "light_squeezenet.onnx")
    before = proto.SerializeToString()
    optimize(parse(proto))
    assert proto.SerializeToString() == before


def test_an_overridable_default_becomes_a_constant():
    proto = onnx.parser.parse_model(HEADER + "g (float[2] x, float[2] w) => (float[2] y) { y = Mul (x, w) }")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(2, np.float32), "w"))
    assert [spec.name for spec in tensor_specs(parse(proto))[0]] == ["x"]


def test_a_wrong_claim_about_a_shape_is_not_believed_but_a_dimensions_name_is():
    text = """g (float[batch, 4, 1] x) => (float[batch, 4] y, int64[2] z) <float[batch, 4] r, float[7, 4] n> {
        k = Constant <value = int64[2] {-1, 4}> () r = Reshape (x, k) n = Neg (r) y = Neg (n) z = Shape (n) }"""
    model = parse(onnx.parser.parse_model(HEADER + text))
    shapes = {value.name: str(value.shape) for node in model.graph for value in node.outputs}
    assert shapes["r"] == "[batch,4]"
    assert "7" not in shapes["n"]
    optimize(model)
    assert "Shape" in [node.op_type for node in model.graph]


def test_of_an_unknown_operator_the_type_is_believed_and_the_shape_is_not():
    text = """<ir_version: 10, opset_import: ["" : 20, "acme" : 1]>
        g (float[batch, 4] x) => (float[batch, 4] y) <float[batch, 7] s, int64[3] n> {
        s = acme.Swoosh (x) y = Neg (s) n = acme.Count (y) }"""
    model = parse(onnx.parser.parse_model(text))
    swoosh = model.graph[0].outputs[0]
    assert (swoosh.dtype.name, swoosh.shape) == ("FLOAT", None)
    check(model)
    optimize(model)
    check(model)


def test_an_old_operator_without_a_converter_is_named():
    proto = onnx.parser.parse_model(
        '<ir_version: 3, opset_import: ["" : 7]>g (float[1, 1, 2, 2] x) => (float[1, 1, 4, 4] y)'
        '{ y = Upsample <mode = "nearest", scales = [1.0, 1.0, 2.0, 2.0]> (x) }'
    )
    proto.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ExportFailed, match="cannot convert opset 7") as caught:
        parse(proto)
    assert caught.value.message.endswith("it has no operator NoSuchOperator")
    assert "opset 17 or newer" in caught.value.hint


def test_an_opset_of_the_future_is_refused():
    proto = onnx.parser.parse_model(HEADER + "g (float[2] x) => (float[2] y) { y = Neg (x) }")
    proto.opset_import[0].version = 999
    with pytest.raises(ExportFailed, match="opset 999"):
        parse(proto)


def test_no_opset_at_all_is_refused():
    proto = onnx.parser.parse_model(HEADER + "g (float[2] x) => (float[2] y) { y = Neg (x) }")
    del proto.opset_import[:]
    with pytest.raises(UntrustedArtifact, match="imports no version"):
        parse(proto)


def functions(levels):
    calls = "\n".join(
        f'<domain: "l", opset_import: ["" : 20, "l" : 1]> f{i} (a) => (b) {{ c = l.f{i + 1} (a) b = l.f{i + 1} (c) }}'
        for i in range(levels)
    )
    last = f'<domain: "l", opset_import: ["" : 20, "l" : 1]> f{levels} (a) => (b) {{ b = Neg (a) }}'
    header = '<ir_version: 10, opset_import: ["" : 20, "l" : 1]>'
    return f"{header}g (float[2] x) => (float[2] y) {{ y = l.f0 (x) }}\n{calls}\n{last}"


def test_functions_that_stand_for_a_billion_nodes_are_refused_uninlined():
    with pytest.raises(UntrustedArtifact, match="expands to 1073741824 nodes"):
        parse(onnx.parser.parse_model(functions(30)))


def test_functions_of_sensible_depth_are_inlined():
    model = parse(onnx.parser.parse_model(functions(3)))
    optimize(model)
    assert [node.op_type for node in model.graph] == ["Neg"] * 8


def test_functions_that_call_themselves_are_refused():
    text = functions(2).replace("{ b = Neg (a) }", "{ b = l.f0 (a) }")
    with pytest.raises(UntrustedArtifact, match="call themselves"):
        parse(onnx.parser.parse_model(text))


def test_sequences_are_refused_with_the_way_out():
    text = """g (float[4, 2] x) => (float[2, 2] y) {
        k = Constant <value = int64 {2}> () i = Constant <value = int64 {0}> ()
        s = SplitToSequence (x, k) y = SequenceAt (s, i) }"""
    with pytest.raises(ExportFailed, match="SplitToSequence") as caught:
        parse(onnx.parser.parse_model(HEADER + text))
    assert "optimize=True" in caught.value.hint


def test_other_sequences_keep_their_type():
    text = """g (float[N, 2] x) => (float[N, 6] y) {
        a = Relu (x) s = SequenceConstruct (x, a) n = Neg (x) t = SequenceInsert (s, n)
        y = ConcatFromSequence <axis = 1> (t) }"""
    model = parse(onnx.parser.parse_model(HEADER + text))
    optimize(model)
    again = parse(onnx.load_model_from_string(serialize(model)))
    x = np.array([[1, -2]], np.float32)
    np.testing.assert_array_equal(infer(serialize(again), {"x": x}), [[1, -2, 1, 0, -1, 2]])


def test_data_that_was_not_loaded_is_refused():
    proto = onnx.parser.parse_model(HEADER + "g (float[2] x) => (float[2] y) { y = Mul (x, w) }")
    weight = proto.graph.initializer.add(name="w", data_type=1, dims=[2], data_location=1)
    weight.external_data.add(key="location", value="../secret")
    with pytest.raises(UntrustedArtifact, match="not loaded"):
        parse(proto)


def test_an_initializer_shorter_than_it_claims_is_one_line():
    proto = onnx.parser.parse_model(HEADER + "g (float[2] x) => (float[2] y) { a = Add (w, w) y = Mul (x, a) }")
    proto.graph.initializer.add(name="w", data_type=1, dims=[2], raw_data=b"\0\0")
    with pytest.raises(DeploykitError) as caught:
        optimize(parse(proto))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dead", ["d = com.microsoft.Swish (x)", "s = SplitToSequence (x)", "r = RandomNormalLike (x)"])
def test_what_nothing_reads_is_no_part_of_the_graph(dead):
    header = '<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>'
    model = parse(onnx.parser.parse_model(f"{header} g (float[4] x) => (float[4] y) {{ {dead} y = Neg (x) }}"))
    assert [node.op_type for node in model.graph] == ["Neg"]


def test_functions_may_be_of_another_opset_than_the_graph():
    text = """<ir_version: 10, opset_import: ["" : 20, "l" : 1]> g (float[2, 3] x) => (float[2, 1] y) { y = l.f (x) }
        <domain: "l", opset_import: ["" : 12]> f (a) => (c) { b = ReduceSum <axes = [1]> (a) c = Relu (b) }"""
    model = parse(onnx.parser.parse_model(text))
    optimize(model)
    check(model)
    x = np.array([[1, 2, 3], [-4, 1, 1]], np.float32)
    np.testing.assert_array_equal(infer(serialize(model), {"x": x}), [[6], [0]])
