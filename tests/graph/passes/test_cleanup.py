"""What each clean-up rule does, alone, and what all of them must leave alone."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from deploykit.graph.passes.cleanup import CLEAN_UP, CleanUpRule
from deploykit.graph.passes.order import optimize

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'
RULES = {rule.name: rule for rule in CLEAN_UP if isinstance(rule, CleanUpRule)}

FUNCTION = """<ir_version: 10, opset_import: ["" : 20, "local" : 1]>
g (float[2] x) => (float[2] y) { y = local.twice (x) }
<domain: "local", opset_import: ["" : 20]> twice (a) => (b) { b = Add (a, a) }"""

RESHAPE = """g (float[batch, 8, 1, 1] x) => (float[batch, 8] y) {
    s = Shape <end = 1> (x)
    k = Constant <value = int64[1] {8}> ()
    t = Concat <axis = 0> (s, k)
    y = Reshape (x, t)
}"""

BEFORE_AND_AFTER = {
    "inline_functions": (FUNCTION, ["twice"], ["Add"]),
    "fold_constants": (
        "g (float[2] x, float[2] a, float[2] c) => (float[2] y) { d = Add (a, c) y = Mul (x, d) }",
        ["Add", "Mul"],
        ["Mul"],
    ),
    "remove_unused": ("g (float[2] x) => (float[2] y) { d = Relu (x) y = Neg (x) }", ["Relu", "Neg"], ["Neg"]),
    "lift_constants": (
        "g (float[2] x) => (float[2] y) { c = Constant <value_floats = [1.0, 2.0]> () y = Mul (x, c) }",
        ["Constant", "Mul"],
        ["Mul"],
    ),
    "share_subexpressions": (
        "g (float[2] x) => (float[2] y) { a = Abs (x) b = Abs (x) y = Add (a, b) }",
        ["Abs", "Abs", "Add"],
        ["Abs", "Add"],
    ),
    "remove_identities": (
        "g (float[2] x) => (float[2] y) { a = Abs (x) b = Identity (a) y = Neg (b) }",
        ["Abs", "Identity", "Neg"],
        ["Abs", "Neg"],
    ),
}


def ops(model):
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("name", BEFORE_AND_AFTER)
def test_a_rule_alone(build, run, name):
    text, before, after = BEFORE_AND_AFTER[name]
    model = build(text if text.startswith("<") else HEADER + text)
    x = np.array([3.0, -2.0], np.float32)
    wanted = run(model, x=x)[0]
    assert ops(model) == before
    result = RULES[name](model)
    assert result.name == name
    assert result.rewritten
    assert ops(model) == after
    np.testing.assert_array_equal(run(model, x=x)[0], wanted)


def test_equal_small_initializers_are_stored_once(build):
    same = np.array([1.0, 2.0])
    text = "g (float[2] x, float[2] a, float[2] c) => (float[2] y) { d = Add (x, a) y = Mul (d, c) }"
    model = build(HEADER + text, values={"a": same, "c": same})
    assert RULES["share_initializers"](model).rewritten == ["c", "y"]
    assert list(model.graph.initializers) == ["a"]


def test_a_computed_reshape_becomes_a_constant_one_and_its_chain_goes(build, run):
    model = build(HEADER + RESHAPE)
    x = np.arange(24, dtype=np.float32).reshape(3, 8, 1, 1)
    optimize(model, passes=CLEAN_UP)
    assert ops(model) == ["Reshape"]
    assert model.graph[0].inputs[1].const_value.numpy().tolist() == [-1, 8]
    np.testing.assert_array_equal(run(model, x=x)[0], x.reshape(3, 8))


BIASED = (
    HEADER
    + """g (float[N, 2, 4, 4] x, float[2, {per_group}, 1, 1] w, float[2] b{more}) => (float y) {{
    c = {op} <group = {group}> (x, w, b)
    y = Mul (c, {times})
}}"""
)


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("group", [1, 2])
def test_a_bias_of_zeros_goes(build, run, op, group):
    text = BIASED.format(op=op, group=group, per_group=2 // group, more=", float s", times="s")
    model = build(text, values={"b": np.zeros(2)})
    x = np.random.default_rng(1).standard_normal((3, 2, 4, 4)).astype(np.float32)
    wanted = run(model, x=x)[0]
    assert RULES["drop_zero_biases"](model).rewritten == ["b", "c"]
    assert len(model.graph[0].inputs) == 2
    assert "b" not in model.graph.initializers
    np.testing.assert_array_equal(run(model, x=x)[0], wanted)


def test_a_bias_of_zeros_that_another_node_reads_stays_for_it(build):
    text = BIASED.format(op="Conv", group=1, per_group=2, more="", times="b")
    model = build(text.replace("4, 4]", "4, 2]"), values={"b": np.zeros(2)})
    RULES["drop_zero_biases"](model)
    assert len(model.graph[0].inputs) == 2
    assert "b" in model.graph.initializers


@pytest.mark.parametrize("free", [("x",), ("x", "b")], ids=["one is not zero", "the caller gives it"])
def test_another_bias_stays(build, free):
    text = BIASED.format(op="Conv", group=1, per_group=2, more=", float s", times="s")
    model = build(text, free=free, values={"b": np.array([0.0, 1e-30])})
    assert not RULES["drop_zero_biases"](model).rewritten
    assert len(model.graph[0].inputs) == 3


def test_an_import_that_nothing_uses_goes(build):
    model = build(
        '<ir_version: 10, opset_import: ["" : 20, "foreign" : 1]>g (float[2] x) => (float[2] y) { y = Neg (x) }'
    )
    RULES["remove_unused_opsets"](model)
    assert dict(model.opset_imports) == {"": 20}


def test_missing_shapes_and_types_are_inferred(build):
    model = build(HEADER + "g (float[batch, 3] x) => (float[batch, 3] y) { a = Neg (x) y = Relu (a) }")
    inner = model.graph[0].outputs[0]
    assert inner.shape is None
    optimize(model, passes=CLEAN_UP)
    assert str(inner.shape) == "[batch,3]"
    assert inner.dtype == ir.DataType.FLOAT


KEPT = {  # a type in which a weight is read, and what has not one value
    "QuantizeLinear": """g (float[1] x, float[2] a, float s) => (float[2] y)
        { q = QuantizeLinear (a, s) d = DequantizeLinear (q, s) y = Add (d, x) }""",
    "DequantizeLinear": """g (float[1] x, float[2] a, float s) => (float[2] y)
        { q = QuantizeLinear (a, s) d = DequantizeLinear (q, s) y = Add (d, x) }""",
    "RandomNormal": "g (float[1] x) => (float[2] y) { d = RandomNormal <shape = [2]> () y = Add (d, x) }",
}


@pytest.mark.parametrize("op", KEPT)
def test_constant_as_its_inputs_may_be_this_operator_stays(build, op):
    model = build(HEADER + KEPT[op])
    optimize(model, passes=CLEAN_UP)
    assert op in ops(model)


def test_every_rule_says_why_and_none_is_listed_twice():
    assert len(RULES) == len(CLEAN_UP) - 1  # and name_nodes
    assert all(rule.reason for rule in RULES.values())


def test_cleaning_twice_changes_nothing_more(build):
    model = build(HEADER + RESHAPE)
    optimize(model, passes=CLEAN_UP)
    once = ir.serde.serialize_model(model)
    optimize(model, passes=CLEAN_UP)
    assert ir.serde.serialize_model(model) == once
    onnx.checker.check_model(once, full_check=True)


@pytest.mark.parametrize(
    ("text", "outputs", "left"),
    [
        ("g (float[2] x) => (float[2] y) { a = Neg (x) y = Identity (a) }", ["y"], ["Neg"]),
        ("g (float[2] x) => (float[2] y) { a = Identity (x) y = Neg (a) }", ["y"], ["Neg"]),
        (
            "g (float[2] x) => (float[2] a, float[2] y) { a = Neg (x) y = Identity (a) }",
            ["a", "y"],
            ["Neg", "Identity"],
        ),
        ("g (float[2] x) => (float[2] y) { y = Identity (x) }", ["y"], ["Identity"]),
    ],
    ids=["before an output", "behind an input", "between two outputs", "from input to output"],
)
def test_identities_go_where_no_public_name_is_lost(text, outputs, left):
    model = ir.from_proto(onnx.parser.parse_model(HEADER + text))
    RULES["remove_identities"](model)
    assert [value.name for value in model.graph.outputs] == outputs
    assert [node.op_type for node in model.graph] == left
