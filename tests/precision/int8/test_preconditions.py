"""What no precision transform touches: each is refused by name, and the graph is still as it was."""

import onnx
import onnx_ir as ir
import pytest

from deploykit.errors import UnsupportedGraph
from deploykit.precision.calibrate.collect import collect
from deploykit.precision.float16 import to_float16

BRANCHES = """g (float[N, 4] x, bool b) => (float[N, 4] y) { y = If (b) <
    then_branch = one () => (float[N, 4] o) { o = Relu (x) },
    else_branch = other () => (float[N, 4] o) { o = Neg (x) }> }"""

REFUSED = {
    "control flow": (BRANCHES, "If node 'only' holds a subgraph; build in fp32"),
    "float16": (
        "g (float16[N, 4] x) => (float16[N, 4] y) { y = Relu (x) }",
        "'y' is float16: the graph is not float32 throughout",
    ),
    "bfloat16": (
        "g (bfloat16[N, 4] x) => (bfloat16[N, 4] y) { y = Relu (x) }",
        "'y' is bfloat16: the graph is not float32",
    ),
    "float64": (
        "g (double[N, 4] x, double[4, 2] w) => (double[N, 2] y) { y = MatMul (x, w) }",
        "MatMul only computes in float64; export the network in float32",
    ),
    "quantized": (
        "g (float[N, 4] x, float s, int8 z) => (int8[N, 4] y) { y = QuantizeLinear (x, s, z) }",
        "QuantizeLinear node 'only': the graph is quantized already",
    ),
    "of unknown type": (
        "g (float[N, 4] x) => (float[N, 4] y) { s = acme.Swoosh (x) y = Neg (s) }",
        "the type of 's', which acme.Swoosh makes, is unknown",
    ),
    "a sequence": (
        "g (float[N, 4] x) => (float[N, 4] y) <seq(float[N, 4]) s> { "
        "s = SequenceConstruct (x, x) y = ConcatFromSequence <axis = 0> (s) }",
        "'s', made by only, is a sequence or an optional, not a tensor",
    ),
}
TYPED_FURTHER = [REFUSED[name][0] for name in ("float16", "quantized")]  # float16 takes what is typed in part


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_in_one_line_and_left_alone(text, said):
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20, "acme" : 1]> {text}')
    proto.graph.node[0].name = "only"
    model = ir.from_proto(proto)
    before = ir.to_proto(model).SerializeToString()
    with pytest.raises(UnsupportedGraph) as caught:
        collect(model, [], graph_digest="a" * 64, data_digest="b" * 64)
    assert said in str(caught.value)
    assert ir.to_proto(model).SerializeToString() == before
    if text in TYPED_FURTHER:
        assert to_float16(model).elements == 0 or "int8" in text
        return
    with pytest.raises(UnsupportedGraph) as caught:
        to_float16(model)
    assert said in str(caught.value)
    assert {node.op_type for node in model.graph} == {node.op_type for node in proto.graph.node}
