"""Bodies of If, Loop and Scan come through every pass as they were, and the graph computes the same."""

import numpy as np
import onnx
import onnxruntime
import pytest

from deploykit.graph import check, optimize, parse, serialize

HEADER = '<ir_version: 8, opset_import: ["" : {opset}]>\n'
NORM = "float[4] s, float[4] t, float[4] m, float[4] v"
IMAGES = "float[N, 4, 8, 8]"

# Both branches use the names `a` and `y0`, as exporters write them, and hold a BatchNorm that looks foldable.
CONV_IN_BRANCHES = f"""g ({IMAGES} x, float[4, 4, 3, 3] w, float[4] b, {NORM}) => ({IMAGES} y) {{
    largest = ReduceMax <keepdims = 0> (x) bound = Constant <value = float {{100.0}}> () c = Greater (largest, bound)
    y = If (c) <
      then_branch = one () => ({IMAGES} y0) {{
        a = Conv <pads = [1, 1, 1, 1]> (x, w, b) i = Identity (a) y0 = BatchNormalization (i, s, t, m, v) }},
      else_branch = other () => ({IMAGES} y0) {{
        a = Conv <pads = [1, 1, 1, 1]> (x, w) n = BatchNormalization (a, s, t, m, v) y0 = Relu (n) }}> }}"""

# A branch hands out the unnormalized output of an outer convolution, through an Identity that must stay.
OUTER_VALUE_HANDED_OUT = f"""g ({IMAGES} x, float[4, 4, 3, 3] w, float[4] b, {NORM}) => ({IMAGES} y) {{
    a = Conv <pads = [1, 1, 1, 1]> (x, w, b) q = BatchNormalization (a, s, t, m, v)
    largest = ReduceMax <keepdims = 0> (x) bound = Constant <value = float {{100.0}}> () c = Greater (largest, bound)
    y = If (c) <
      then_branch = one () => ({IMAGES} y0) {{ y0 = Identity (a) }},
      else_branch = other () => ({IMAGES} y0) {{
        k = Constant <value = float {{2.0}}> () k2 = Add (k, k) y0 = Mul (q, k2) }}> }}"""

CONSTANT_CONDITION = f"""g ({IMAGES} x) => ({IMAGES} y, {IMAGES} z) {{
    c = Constant <value = bool {{1}}> () a = Relu (x)
    y = If (c) <then_branch = one () => ({IMAGES} o) {{ k = Neg (a) o = Identity (k) }},
                else_branch = other () => ({IMAGES} o) {{ o = Abs (a) }}>
    z = If (c) <then_branch = one () => ({IMAGES} o) {{ k = Sigmoid (a) o = Identity (k) }},
                else_branch = other () => ({IMAGES} o) {{ o = Abs (a) }}> }}"""

LOOP = f"""g ({IMAGES} x, float[4, 4, 3, 3] w) => ({IMAGES} y) {{
    n = Constant <value = int64 {{3}}> () c = Constant <value = bool {{1}}> ()
    y = Loop (n, c, x) <body = again (int64 i, bool go, {IMAGES} h) => (bool on, {IMAGES} r) {{
        on = Identity (go) a = Conv <pads = [1, 1, 1, 1]> (h, w) r = Relu (a) }}> }}"""

SCAN = f"""g ({IMAGES} x, float[4, 8, 8] z) => (float[4, 8, 8] last, {IMAGES} y) {{
    last, y = Scan <num_scan_inputs = 1, body = step (float[4, 8, 8] sum, float[4, 8, 8] image)
        => (float[4, 8, 8] more, float[4, 8, 8] r) {{ more = Add (sum, image) r = Relu (more) }}> (z, x) }}"""

GRAPHS = {
    "convolutions in branches": CONV_IN_BRANCHES,
    "an outer value handed out": OUTER_VALUE_HANDED_OUT,
    "a loop": LOOP,
    "a scan": SCAN,
}


def model_of(text: str, opset: int) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(HEADER.format(opset=opset) + text)
    random = np.random.default_rng(0)
    for value in list(proto.graph.input)[1:]:
        array = random.standard_normal([size.dim_value for size in value.type.tensor_type.shape.dim]) / 3
        array = np.abs(array) + 0.5 if value.name == "v" else array
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), value.name))
    return proto


def infer(content: bytes, x: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})


def bodies(proto: onnx.ModelProto) -> list[list[str]]:
    found = [attribute.g for node in proto.graph.node for attribute in node.attribute if attribute.HasField("g")]
    return [[node.op_type for node in body.node] for body in found]


@pytest.mark.parametrize("opset", [11, 17, 20])
@pytest.mark.parametrize("text", GRAPHS.values(), ids=GRAPHS)
def test_bodies_are_kept_and_compute_the_same(text, opset):
    proto = model_of(text, opset)
    model = parse(proto)
    optimize(model)
    check(model)
    content = serialize(model)
    assert bodies(onnx.load_model_from_string(content)) == bodies(proto)
    images = np.random.default_rng(1).standard_normal((2, 4, 8, 8)).astype(np.float32)
    for x in (images, 1000 * images):  # one for each branch
        for got, wanted in zip(infer(content, x), infer(proto.SerializeToString(), x), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_every_rule_says_that_it_leaves_bodies_alone():
    model = parse(model_of(CONV_IN_BRANCHES, 20))
    ledger = optimize(model)
    for name in ("fold_constants", "remove_unused", "lift_constants", "remove_identities"):
        assert [item.reason for item in ledger[name].skipped] == [
            "its then_branch is left as it is",
            "its else_branch is left as it is",
        ]
    assert len(ledger["fold_batchnorm"].skipped) == 2
    assert all("control-flow" in item.reason for item in ledger["fold_batchnorm"].skipped)


def test_a_convolution_that_a_body_reads_is_not_folded():
    ledger = optimize(parse(model_of(OUTER_VALUE_HANDED_OUT, 20)))
    assert [item.reason for item in ledger["fold_batchnorm"].skipped] == ["another node reads the unnormalized output"]


@pytest.mark.parametrize("opset", [11, 17, 20])
def test_the_branch_of_a_constant_condition_takes_the_ifs_place(opset):
    proto = model_of(CONSTANT_CONDITION, opset)
    model = parse(proto)
    optimize(model)
    check(model)
    assert "If" not in {node.op_type for node in model.graph}
    assert [value.name for value in model.graph.outputs] == ["y", "z"]
    images = np.random.default_rng(1).standard_normal((2, 4, 8, 8)).astype(np.float32)
    for got, wanted in zip(infer(serialize(model), images), infer(proto.SerializeToString(), images), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


NESTED = f"""g ({IMAGES} x, float[4, 4, 1, 1] w) => ({IMAGES} y) {{
    s = Shape <start = 1, end = 2> (x) four = Constant <value = int64[1] {{4}}> () c = Equal (s, four)
    y = If (c) <
      then_branch = outer () => ({IMAGES} o) <float[4, 4, 1, 1] w = {{{", ".join("0.5" for _ in range(16))}}}> {{
        five = Constant <value = int64[1] {{5}}> () d = Equal (s, five) a = Conv (x, w)
        o = If (d) <then_branch = inner () => ({IMAGES} r) {{ r = Neg (a) }},
                    else_branch = other () => ({IMAGES} r) {{ r = Identity (x) }}> }},
      else_branch = rest () => ({IMAGES} o) {{ o = Conv (x, w) }}> }}"""


def test_nested_conditions_are_decided_and_an_outer_value_is_handed_out():
    proto = model_of(NESTED, 20)
    model = parse(proto)
    optimize(model)
    check(model)
    assert [node.op_type for node in model.graph] == ["Identity"]
    x = np.random.default_rng(1).standard_normal((2, 4, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(infer(serialize(model), x)[0], x)


def test_a_condition_that_a_caller_gives_is_not_decided():
    text = f"""g ({IMAGES} x) => ({IMAGES} y) {{
        m = ReduceMax <keepdims = 0> (x) z = Constant <value = float {{0.0}}> () c = Greater (m, z)
        y = If (c) <then_branch = one () => ({IMAGES} o) {{ o = Neg (x) }},
                    else_branch = two () => ({IMAGES} o) {{ o = Abs (x) }}> }}"""
    model = parse(model_of(text, 20))
    assert not optimize(model)["decide_branches"].rewritten
    assert "If" in [node.op_type for node in model.graph]
