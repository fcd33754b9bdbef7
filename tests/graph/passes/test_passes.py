"""The pass runner: its ledger, and a verifier that names whoever broke the graph."""

from itertools import pairwise

import onnx_ir as ir
import pytest

from deploykit.errors import DeploykitError, UsageError
from deploykit.graph import CNN_PASSES, FUSIONS, optimize
from deploykit.graph.passes.order import cnn_passes, fusion_passes
from deploykit.graph.rewrite import NAME_SCOPES, PassResult
from deploykit.spec import COST_BASED_FUSIONS, SAFE_FUSIONS, Fusions

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'
TEXT = """g (float[batch, 2, 4, 4] x, float[2, 2, 1, 1] w, float[2] s, float[2] b, float[2] m, float[2] v)
  => (float[batch, 2, 4, 4] y) {
    c = Conv (x, w)
    n = BatchNormalization (c, s, b, m, v)
    r = Relu (n)
    a = Add (r, x)
    y = BatchNormalization (a, s, b, m, v)
}"""


def test_the_ledger_accounts_for_every_pass(build):
    ledger = optimize(build(HEADER + TEXT))
    assert len(ledger.passes) == len(CNN_PASSES)
    assert [record.name for record in ledger.passes][-1 - len(SAFE_FUSIONS) :] == ["name_nodes", *SAFE_FUSIONS]
    assert (ledger.nodes_before, ledger.nodes_after) == (5, 4)
    record = ledger["fold_batchnorm"]
    assert record.rewritten == ("n",)
    assert [item.node for item in record.skipped] == ["y"]
    assert (record.nodes_before, record.nodes_after) == (5, 4)
    assert record.seconds > 0
    assert all(before.nodes_after == after.nodes_before for before, after in pairwise(ledger.passes))
    with pytest.raises(KeyError):
        ledger["no_such_pass"]


def test_every_fusion_that_can_be_asked_for_exists_and_runs_in_the_order_of_the_specification():
    assert tuple(FUSIONS) == (*SAFE_FUSIONS, *COST_BASED_FUSIONS)
    assert all(name == fusion.name for name, fusion in FUSIONS.items())
    named = Fusions.parse("dilate_pointwise,fold_pad,merge_siblings")
    assert [graph_pass.func.name for graph_pass in fusion_passes(named)] == [
        "fold_pad",
        "merge_siblings",
        "dilate_pointwise",
    ]


def drop_relu(model):
    relu = next(node for node in model.graph if node.op_type == "Relu")
    model.graph.remove(relu)


def read_what_comes_later(model):
    nodes = list(model.graph)
    nodes[0].replace_input_with(0, nodes[2].outputs[0])


def rename_the_output(model):
    model.graph.outputs[0].name = "z"


def retype_the_output(model):
    model.graph.outputs[0].type = ir.TensorType(ir.DataType.FLOAT16)


def forget_data(model):
    model.graph.initializers["w"].const_value = None


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (drop_relu, "reads 'r' before anything makes it"),
        (read_what_comes_later, "reads 'r' before anything makes it"),
        (rename_the_output, "inputs or outputs changed"),
        (retype_the_output, "inputs or outputs changed"),
        (forget_data, "initializer 'w' has no data"),
    ],
)
def test_the_verifier_names_the_pass_that_broke_the_graph(build, damage, complaint):
    def innocent(model):
        return PassResult("innocent")

    def vandal(model):
        damage(model)
        return PassResult("vandal")

    with pytest.raises(DeploykitError, match=f"graph pass vandal broke the graph: .*{complaint}"):
        optimize(build(HEADER + TEXT), passes=(innocent, vandal))


@pytest.mark.parametrize("damage", [drop_relu, read_what_comes_later, forget_data])
def test_no_pass_is_blamed_for_a_graph_that_was_broken_before(build, damage):
    model = build(HEADER + TEXT)
    damage(model)
    with pytest.raises(DeploykitError, match=r"^the graph is broken before any pass has seen it: "):
        optimize(model)


def test_a_nameless_node_is_a_breach(build):
    def vandal(model):
        model.graph[0].name = ""
        return PassResult("vandal")

    with pytest.raises(DeploykitError, match="graph pass vandal left a Conv"):
        optimize(build(HEADER + TEXT), passes=(*CNN_PASSES, vandal))


def test_an_error_inside_a_pass_is_one_line_with_its_name(build):
    def clumsy(model):
        raise RuntimeError("first line\nsecond line")

    with pytest.raises(DeploykitError, match=r"^graph pass clumsy failed: RuntimeError: first line second line$"):
        optimize(build(HEADER + TEXT), passes=(clumsy,))


def test_deploykits_own_errors_pass_through(build):
    def strict(model):
        raise UsageError("as it was")

    with pytest.raises(UsageError, match=r"^as it was$"):
        optimize(build(HEADER + TEXT), passes=(strict,))


def test_names_are_the_modules_unique_and_stable(build):
    model = build(HEADER + TEXT)
    scopes = ["['', 'l', 'l.conv', 'conv2d']", "['', 'l', 'l.bn', 'bn']", "['', 'l', 'relu_1']", "['', 'add_3']", None]
    for node, scope in zip(model.graph, scopes, strict=True):
        node.name = "same"
        if scope:
            node.metadata_props[NAME_SCOPES] = scope
    ledger = optimize(model)
    assert [node.name for node in model.graph] == ["l.conv", "l/Relu", "add_3", "same"]
    assert [item.node for item in ledger["fold_batchnorm"].skipped] == ["same"]
    optimize(model)
    assert [node.name for node in model.graph] == ["l.conv", "l/Relu", "add_3", "same"]


def test_nodes_without_scope_keep_distinct_names_and_others_get_them(build):
    model = build(HEADER + "g (float[2] x) => (float[2] y) { a = Neg (x) b = Abs (a) c = Exp (b) y = Log (c) }")
    for node, name in zip(model.graph, ["twin", "twin", "", "own"], strict=True):
        node.name = name
    optimize(model)
    assert [node.name for node in model.graph] == ["twin", "twin_1", "c", "own"]


def test_auto_is_refused_until_it_is_decided():
    with pytest.raises(UsageError, match="auto is not decided yet"):
        cnn_passes(Fusions.parse("auto"))
