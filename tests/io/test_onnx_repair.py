"""What ONNX Runtime opens is opened: strays from the standard are put right, said, and change no result."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploykit.errors import UntrustedArtifact
from deploykit.graph import check, notes_of, optimize, parse, serialize, tensor_specs
from deploykit.io.loader import read_onnx
from deploykit.io.onnx_repair import repaired

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'
TEXT = "g (float[2, 4] x) => (float[2, 4] y) <float[4] w = {1, 2, 3, 4}> { a = Add (x, w) b = Neg (a) y = Relu (b) }"
X = np.linspace(-3, 3, 8, dtype=np.float32).reshape(2, 4)


def model(text=TEXT):
    return onnx.parser.parse_model(HEADER + text)


def run(content):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, {"x": X})[0]


def reverse_nodes(proto):
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes[::-1])


def repeat_an_initializer(proto):
    proto.graph.initializer.append(numpy_helper.from_array(np.full(4, 0.5, np.float32), "w"))


def claim(axis, size):
    def damage(proto):
        proto.graph.output[0].type.tensor_type.shape.dim[axis].dim_value = size

    return damage


def claim_a_rank(proto):
    proto.graph.output[0].type.tensor_type.shape.dim.add(dim_value=1)


def lie_about_an_inner_value(proto):
    proto.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [7, 7]))


def free_batch(proto):
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1


def no_shape(proto):
    proto.graph.output[0].type.tensor_type.ClearField("shape")


def no_type(proto):
    proto.graph.output[0].ClearField("type")


def old_ir(proto):
    proto.ir_version = 3


def no_graph_name(proto):
    proto.graph.name = ""


def sparse_weight(proto):
    del proto.graph.initializer[:]
    values, at = helper.make_tensor("w", TensorProto.FLOAT, [2], [5, 6]), helper.make_tensor("i", 7, [2], [0, 3])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, at, [4]))


def microsofts_operator(proto):
    proto.graph.node[2].op_type, proto.graph.node[2].domain = "Gelu", "com.microsoft"


# by the note, empty where nothing has to be said
DAMAGE = {
    "its nodes were not in the order in which they run": reverse_nodes,
    "initializer 'w' is given twice; the last one counts": repeat_an_initializer,
    "output 'y' is declared as [2,9], but has the shape [2,4]": claim(1, 9),
    "output 'y' is declared as [2,4,1], but has the shape [2,4]": claim_a_rank,
    "size -1 of input 'x' counts as free": free_batch,
    "the shape of output 'y' is not declared and was inferred": no_shape,
    "the shape of output 'y' is not declared and was inferred ": no_type,
    "": lie_about_an_inner_value,
    " ": old_ir,
    "its graph has no name": no_graph_name,
    "its sparse initializers are written out": sparse_weight,
    "it uses operators of com.microsoft without importing any version of them": microsofts_operator,
}


@pytest.mark.parametrize("note", DAMAGE)
def test_what_onnx_runtime_opens_is_taken_with_the_difference_noted(tmp_path, note):
    proto = model()
    DAMAGE[note](proto)
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    wanted = run(path.read_bytes())
    found = parse(read_onnx(path))
    assert note.strip() in notes_of(found) if note.strip() else not notes_of(found)
    optimize(found)
    check(found)
    np.testing.assert_allclose(run(serialize(found)), wanted, rtol=1e-6)
    assert path.read_bytes() == proto.SerializeToString()


@pytest.mark.parametrize("size", [-1, 0])
def test_a_batch_of_minus_one_or_none_is_free(size):
    proto = model()
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = size
    (spec,), (output,) = tensor_specs(parse(proto))
    assert spec.shape == output.shape == ("batch", 4)


def test_names_of_nodes_that_repeat_are_told_apart_in_bodies_too():
    proto = model("""g (float[2, 4] x, bool c) => (float[2, 4] y) {
        a = Abs (x)
        y = If (c) <then_branch = one () => (float[2, 4] t) { t = Neg (a) },
                    else_branch = two () => (float[2, 4] e) { e = Exp (a) }> }""")
    for node in (proto.graph.node[0], *(attribute.g.node[0] for attribute in proto.graph.node[1].attribute)):
        node.name = "same"
    fixed, notes = repaired(proto)
    assert notes == ("3 nodes are called 'same'; all but the first were renamed",)
    assert sorted(n.name for n in (fixed.graph.node[0], *(a.g.node[0] for a in fixed.graph.node[1].attribute))) == [
        "same",
        "same_1",
        "same_2",
    ]


def test_a_node_runs_behind_what_its_bodies_read():
    proto = model("""g (float[2, 4] x, bool c) => (float[2, 4] y) {
        a = Abs (x)
        y = If (c) <then_branch = one () => (float[2, 4] t) { t = Neg (a) },
                    else_branch = two () => (float[2, 4] e) { e = Exp (a) }> }""")
    reverse_nodes(proto)
    fixed, _ = repaired(proto)
    assert [node.op_type for node in fixed.graph.node] == ["Abs", "If"]


def test_a_file_to_the_letter_is_handed_back_as_it_is():
    proto = model()
    assert repaired(proto) == (proto, ())
    assert repaired(proto)[0] is proto


def test_a_circle_is_refused():
    proto = model()
    proto.graph.node[0].input[1] = "b"
    with pytest.raises(UntrustedArtifact, match="runs in a circle"):
        parse(proto)


@pytest.mark.parametrize("at", [[0, 4], [-1, 0]])
def test_a_sparse_value_outside_its_shape_is_refused(at):
    proto = model()
    sparse_weight(proto)
    proto.graph.sparse_initializer[0].indices.CopyFrom(helper.make_tensor("i", 7, [2], at))
    with pytest.raises(UntrustedArtifact, match="positions outside its shape"):
        parse(proto)


def test_local_functions_are_inlined_before_they_are_judged():
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[2, 4] x) => (float[2, 4] y) { y = local.Scaled <by = 3.0> (x) }
        <domain: "local", opset_import: ["" : 12]> Scaled <by> (a) => (b) {
            k = Constant <value_float: float = @by> () s = Constant <value_ints = [-1]> ()
            m = Mul (a, k) q = Squeeze <axes = [0]> (m2) m2 = Unsqueeze <axes = [0]> (m) b = Identity (q) }
        <domain: "local", opset_import: ["" : 17]> Unused (a) => (b) { b = SplitToSequence (a) }""")
    function = proto.functions[0]
    nodes = sorted(function.node, key=lambda node: node.op_type == "Squeeze" or node.op_type == "Identity")
    del function.node[:]
    function.node.extend(nodes)
    found = parse(proto)
    assert not found.functions
    optimize(found)
    check(found)
    np.testing.assert_array_equal(run(serialize(found)), 3 * X)
