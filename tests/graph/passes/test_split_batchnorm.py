"""A BatchNorm behind a Concat: split where every part folds, left alone everywhere else."""

import numpy as np
import pytest
from refusals import assert_refused

from deploykit.graph.passes.fold_batchnorm import fold_batchnorm
from deploykit.graph.passes.order import optimize
from deploykit.graph.passes.split_batchnorm import split_batchnorm
from deploykit.graph.rewrite import FOLDED_SCOPE, NAME_SCOPES

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'
BRANCHES = """p = Conv <group = 2> (x, w1, b1)
    q = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w2)
    r = ConvTranspose <group = 2> (x, w3)"""


def graph(*, branches=BRANCHES, joined="p, q, r", axis=1, kind="double", norm="", output="", tail="", more=""):
    return f"""{HEADER}g ({kind}[N, 4, 6, 5] x, {kind}[4, 2, 1, 1] w1, {kind}[4] b1, {kind}[3, 4, 3, 3] w2,
       {kind}[4, 1, 1, 1] w3, {kind}[9] g, {kind}[9] b, {kind}[9] m, {kind}[9] v{more}) => ({kind} y{output}) {{
        {branches}
        c = Concat <axis = {axis}> ({joined})
        y = BatchNormalization <epsilon = 0.01{norm}> (c, g, b, m, v)
        {tail}
    }}"""


def ops(model):
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("axis", [1, -3])
def test_splits_and_then_folds(build, run, relative_l2, axis):
    model = build(graph(axis=axis))
    x = np.random.default_rng(1).standard_normal((2, 4, 6, 5))
    before = run(model, x=x)[0]
    result = split_batchnorm(model)
    assert result.rewritten == ["y"]
    assert not result.skipped
    assert sorted(ops(model)) == ["BatchNormalization"] * 3 + ["Concat", "Conv", "Conv", "ConvTranspose"]
    assert model.graph.outputs[0].producer().op_type == "Concat"
    assert not {"g", "b", "m", "v"} & set(model.graph.initializers)
    np.testing.assert_array_equal(run(model, x=x)[0], before)

    assert fold_batchnorm(model).rewritten == ["y_0", "y_1", "y_2"]
    assert ops(model) == ["Conv", "Conv", "ConvTranspose", "Concat"]
    assert relative_l2(run(model, x=x)[0], before) < 1e-12


def test_splits_behind_matrix_products(build, run, relative_l2):
    text = f"""{HEADER}g (double[3, 4] x, double[4, 2] w1, double[5, 4] w2, double[7] g, double[7] b, double[7] m,
       double[7] v) => (double y) {{
        p = Gemm (x, w1) q = Gemm <transB = 1> (x, w2) c = Concat <axis = 1> (p, q)
        y = BatchNormalization (c, g, b, m, v) }}"""
    model = build(text)
    x = np.random.default_rng(1).standard_normal((3, 4))
    before = run(model, x=x)[0]
    assert split_batchnorm(model).rewritten == ["y"]
    fold_batchnorm(model)
    assert ops(model) == ["Gemm", "Gemm", "Concat"]
    assert relative_l2(run(model, x=x)[0], before) < 1e-12


def test_the_parts_bear_the_batchnorms_name_and_scope_and_clash_with_no_other(build):
    model = build(graph(tail="z = Neg (y)", output=", double z"))
    norm = next(node for node in model.graph if node.op_type == "BatchNormalization")
    model.graph[-1].name = "block.bn_1"
    norm.name = "block.bn"
    norm.metadata_props[NAME_SCOPES] = "['', 'block', 'block.bn', 'batch_norm']"
    split_batchnorm(model)
    parts = [node for node in model.graph if node.op_type == "BatchNormalization"]
    assert [part.name for part in parts] == ["block.bn_0", "block.bn_1_1", "block.bn_2"]
    assert {part.metadata_props[NAME_SCOPES] for part in parts} == {"['', 'block', 'block.bn', 'batch_norm']"}
    fold_batchnorm(model)
    scopes = [node.metadata_props.get(FOLDED_SCOPE) for node in model.graph]
    assert scopes == ["block.bn"] * 3 + [None, None]


def test_the_passes_split_and_fold_in_one_go(build):
    model = build(graph(kind="float"))
    ledger = optimize(model)
    assert ledger["split_batchnorm"].rewritten == ("y",)
    assert ledger["fold_batchnorm"].rewritten == ("y_0", "y_1", "y_2")
    assert "BatchNormalization" not in ops(model)


REFUSALS = {
    "read elsewhere": (graph(tail="z = Neg (c)", output=", double z"), "another node reads the unnormalized output"),
    "graph output": (graph(output=", double[N, 9, 6, 5] c"), "the unnormalized output is a graph output"),
    "rows joined": (
        graph(axis=2, branches="p = Conv (x, u) q = Conv (x, u)", joined="p, q", more=", double[9, 4, 1, 1] u"),
        "the Concat before it does not join channels",
    ),
    "an image": (
        graph(branches="p = Conv (x, w2)", joined="x, p"),
        "a branch of the Concat before it is not the output of a node",
    ),
    "another operator": (
        graph(branches=BRANCHES.replace("q = Conv", "s = Conv") + " q = Relu (s)"),
        "a branch is made by a Relu, not by a Conv, ConvTranspose or Gemm",
    ),
    "a branch read elsewhere": (
        graph(tail="z = Neg (q)", output=", double z"),
        "another node reads the branch's output",
    ),
    "a branch twice": (graph(joined="p, p"), "another node reads the branch's output"),
    "a branch as graph output": (graph(output=", double[N, 3, 6, 5] q"), "the branch's output is a graph output"),
    "batch statistics": (
        graph(norm=", training_mode = 1"),
        "it normalizes with the statistics of the batch (training mode)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refuses_by_structure(build, case):
    text, reason = REFUSALS[case]
    assert_refused(split_batchnorm, build(text), reason)


@pytest.mark.parametrize(
    ("name", "role"),
    [("w2", "weight"), ("b1", "bias"), ("g", "gamma"), ("b", "beta"), ("m", "mean"), ("v", "variance")],
)
def test_refuses_what_the_caller_may_feed(build, name, role):
    result = split_batchnorm(build(graph(), free=("x", name)))
    assert [item.reason for item in result.skipped] == [f"the {role} {name!r} is not a constant"]


def test_refuses_another_number_of_channels(build):
    model = build(graph(joined="p, q", branches=BRANCHES.partition("r =")[0]))
    assert [item.reason for item in split_batchnorm(model).skipped] == ["it has 9 channels, its neighbor 7"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"v": [1] * 8 + [-1]}, "the variance plus epsilon is not positive in every channel"),
        ({"g": [1] * 4 + [np.inf] * 5}, "of q the folded weight is not finite in float64"),
    ],
)
def test_refuses_where_one_part_could_not_be_folded(build, values, reason):
    model = build(graph(), values={name: np.asarray(array) for name, array in values.items()})
    assert [item.reason for item in split_batchnorm(model).skipped] == [reason]
    assert ops(model).count("BatchNormalization") == 1


def test_a_batchnorm_behind_something_else_is_not_the_pattern(build):
    text = f"""{HEADER}g (float[1, 3, 4, 4] x, float[3] g, float[3] b, float[3] m, float[3] v) => (float y) {{
        c = Relu (x) y = BatchNormalization (c, g, b, m, v) }}"""
    result = split_batchnorm(build(text))
    assert not result.skipped
    assert not result.rewritten


def test_refuses_the_body_of_a_branch(build):
    text = f"""{HEADER}g (float[1, 2, 4, 4] x, bool k, float[2, 2, 1, 1] w, float[4] g, float[4] b, float[4] m,
       float[4] v) => (float[1, 4, 4, 4] y) {{
        c = Conv (x, w) d = Conv (x, w) j = Concat <axis = 1> (c, d)
        y = If (k) <then_branch = t () => (float p) {{ p = BatchNormalization (j, g, b, m, v) }},
                    else_branch = e () => (float q) {{ q = Relu (j) }}>
    }}"""
    result = split_batchnorm(build(text, free=("x", "k")))
    assert [item.reason for item in result.skipped] == ["it lies in the body of a control-flow node"]
