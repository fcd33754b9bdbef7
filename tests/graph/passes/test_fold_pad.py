"""Pads go into the windows behind them where the outcome is the same to the bit, and nowhere else."""

import numpy as np
import pytest

from deploykit.graph.passes.fold_pad import fold_pad

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'
LOWEST = np.finfo(np.float64).min


def graph(reader, *, pad="Pad (a, p)", constants="", before="a = Relu (x)", output="double y", tail=""):
    return f"""{HEADER}g (double[N, 4, 6, 5] x, int64[8] p, double[8, 4, 3, 3] w{constants}) => ({output}) {{
        {before}
        b = {pad}
        y = {reader}
        {tail}
    }}"""


PADS = [0, 0, 1, 0, 0, 0, 2, 1]  # one row above, two below, one column on the right
CONV = "Conv (b, w)"
MAXIMUM = "MaxPool <kernel_shape = [3, 3]> (b)"
MEAN = "AveragePool <kernel_shape = [3, 3], strides = [2, 2]> (b)"
VALUED = {"pad": "Pad (a, p, v)", "constants": ", double v"}


def prepared(build, infer, text, free=("x",), **values):
    arrays = {"p": np.asarray(PADS), **{name: np.asarray(array) for name, array in values.items()}}
    return infer(build(text, free=free, values=arrays))


FOLDED = {
    "convolution": (graph(CONV), {}, [1, 0, 2, 1]),
    "padded convolution": (graph("Conv <pads = [1, 1, 1, 1]> (b, w)"), {}, [2, 1, 3, 2]),
    "strided, dilated convolution": (
        graph("Conv <pads = [0, 1, 1, 0], strides = [2, 1], dilations = [2, 1], auto_pad = \"NOTSET\"> (b, w)"),
        {},
        [1, 1, 3, 1],
    ),
    "grouped convolution": (graph("Conv <group = 2> (b, u)", constants=", double[4, 2, 3, 3] u"), {}, [1, 0, 2, 1]),
    "zero, spelt out": (graph(CONV, **VALUED), {"v": 0.0}, [1, 0, 2, 1]),
    "some axes": (
        graph(CONV, pad="Pad (a, q, , i)", constants=", int64[4] q, int64[2] i"),
        {"q": [1, 0, 2, 1], "i": [2, -1]},
        [1, 0, 2, 1],
    ),
    "axes in another order": (
        graph(CONV, pad="Pad (a, q, , i)", constants=", int64[4] q, int64[2] i"),
        {"q": [0, 1, 1, 2], "i": [3, 2]},
        [1, 0, 2, 1],
    ),
    "mean without padding": (graph(MEAN), {}, [1, 0, 2, 1]),
    "mean that leaves out no padding": (
        graph("AveragePool <kernel_shape = [3, 3], pads = [0, 0, 0, 0], count_include_pad = 0> (b)"),
        {},
        [1, 0, 2, 1],
    ),
    "mean that counts its padding": (
        graph("AveragePool <kernel_shape = [4, 3], pads = [1, 1, 1, 1], count_include_pad = 1> (b)"),
        {},
        [2, 1, 3, 2],
    ),
    "maximum of what is never negative": (graph(MAXIMUM), {}, [1, 0, 2, 1]),
    "maximum of a sigmoid": (graph(MAXIMUM, before="a = Sigmoid (x)"), {}, [1, 0, 2, 1]),
    "maximum of a clip from 0": (
        graph(MAXIMUM, before="a = Clip (x, l, h)", constants=", double l, double h"),
        {"l": 0.0, "h": 6.0},
        [1, 0, 2, 1],
    ),
    "maximum, padded below it": (graph(MAXIMUM, **VALUED), {"v": -1.0}, [1, 0, 2, 1]),
    "maximum beside infinity": (graph(MAXIMUM, before="a = Neg (x)", **VALUED), {"v": -np.inf}, [1, 0, 2, 1]),
    "maximum beside the lowest": (graph(MAXIMUM, before="a = Neg (x)", **VALUED), {"v": LOWEST}, [1, 0, 2, 1]),
    "padded maximum": (graph("MaxPool <kernel_shape = [4, 3], pads = [1, 0, 1, 1]> (b)"), {}, [2, 0, 3, 2]),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDED)
def test_folds_and_keeps_the_result(build, infer, run, case):
    text, values, pads = FOLDED[case]
    model = prepared(build, infer, text, **values)
    x = np.random.default_rng(1).standard_normal((2, 4, 6, 5))
    before = run(model, x=x)[0]
    result = fold_pad(model)
    reader = model.graph[-1]
    assert result.rewritten == ["b"]
    assert not result.skipped
    assert [node.op_type for node in model.graph][1:] == [reader.op_type]
    assert list(reader.attributes.get_ints("pads")) == pads
    assert not {"q", "i", "v"} & set(model.graph.initializers)
    np.testing.assert_allclose(run(model, x=x)[0], before, rtol=1e-13, atol=1e-13)


def test_a_pad_goes_into_all_its_readers(build, infer, run):
    text = graph(CONV, output="double y, double z", tail=f"z = {MEAN}")
    model = prepared(build, infer, text)
    x = np.random.default_rng(1).standard_normal((2, 4, 6, 5))
    before = run(model, x=x)
    assert fold_pad(model).rewritten == ["b"]
    assert [node.op_type for node in model.graph] == ["Relu", "Conv", "AveragePool"]
    for got, wanted in zip(run(model, x=x), before, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-13, atol=1e-13)


def test_the_images_themselves_may_be_padded(build, infer, run):
    model = prepared(build, infer, graph(CONV).replace("a = Relu (x)", "").replace("(a, p)", "(x, p)"))
    x = np.random.default_rng(1).standard_normal((2, 4, 6, 5))
    before = run(model, x=x)[0]
    assert fold_pad(model).rewritten == ["b"]
    assert list(model.graph.initializers) == ["w"]
    np.testing.assert_allclose(run(model, x=x)[0], before, rtol=1e-13, atol=1e-13)


def test_unsigned_numbers_are_never_negative(build, infer):
    text = f"""{HEADER}g (uint8[N, 4, 6, 5] x, int64[8] p) => (uint8 y) {{
        b = Pad (x, p) y = MaxPool <kernel_shape = [3, 3]> (b) }}"""
    assert fold_pad(infer(build(text, values={"p": np.asarray(PADS)}))).rewritten == ["b"]


def test_the_convolution_keeps_its_name_and_the_pads_constants_stay_for_another_reader(build, infer):
    model = prepared(build, infer, graph(CONV, output="double y, double z", tail="c = Neg (a) z = Pad (c, p)"))
    model.graph[2].name = "stem.conv"
    assert fold_pad(model).rewritten == ["b"]
    assert [node.name for node in model.graph if node.op_type == "Conv"] == ["stem.conv"]
    assert "p" in model.graph.initializers


TOO_HIGH = "it pads with {}, which may be more than the maximum of a window"
WHOLE = "the {} after it would pad by a whole kernel or more"
REFUSALS = {
    "reflected": (graph(CONV, pad="Pad <mode = \"reflect\"> (a, p)"), {}, "it pads in mode reflect"),
    "cropped": (graph(CONV), {"p": [0, 0, 1, 0, 0, 0, -1, 1]}, "it crops: an amount is negative"),
    "channels": (
        graph("Conv (b, u)", constants=", double[8, 5, 3, 3] u"),
        {"p": [0, 1, 1, 0, 0, 0, 0, 0]},
        "it pads the batch or the channels",
    ),
    "batch": (graph(CONV), {"p": [0, 0, 1, 0, 1, 0, 0, 0]}, "it pads the batch or the channels"),
    "graph output": (
        graph(CONV, output="double y, double[N, 4, H, W] b"),
        {},
        "the padded tensor is a graph output",
    ),
    "another reader": (
        graph(CONV, output="double y, double z", tail="z = Neg (b)"),
        {},
        "it is read by a Neg, not as the image of a Conv, AveragePool or MaxPool",
    ),
    "a transposed convolution": (
        graph("ConvTranspose (b, u)", constants=", double[4, 8, 3, 3] u"),
        {},
        "it is read by a ConvTranspose, not as the image of a Conv, AveragePool or MaxPool",
    ),
    "a weight": (
        graph("Conv (x, b)", before="", pad="Pad (u, p)", constants=", double[8, 4, 1, 1] u"),
        {"p": [0, 0, 1, 1, 0, 0, 1, 1]},
        "it is read by a Conv, not as the image of a Conv, AveragePool or MaxPool",
    ),
    "automatic": (
        graph("Conv <auto_pad = \"SAME_UPPER\"> (b, w)"),
        {},
        "the Conv after it places its padding by auto_pad",
    ),
    "automatic, of none": (
        graph("MaxPool <kernel_shape = [3, 3], auto_pad = \"VALID\"> (b)"),
        {},
        "the MaxPool after it places its padding by auto_pad",
    ),
    "rounded up": (
        graph("AveragePool <kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1> (b)"),
        {},
        "the AveragePool after it rounds its windows up (ceil_mode)",
    ),
    "a whole kernel": (graph("MaxPool <kernel_shape = [2, 2]> (b)"), {}, WHOLE.format("MaxPool")),
    "a whole kernel in all": (
        graph("AveragePool <kernel_shape = [3, 3], pads = [0, 0, 1, 0], count_include_pad = 1> (b)"),
        {},
        WHOLE.format("AveragePool"),
    ),
    "a one for a convolution": (graph(CONV, **VALUED), {"v": 1.0}, "it pads with 1, the Conv after it with 0"),
    "not a number": (graph(CONV, **VALUED), {"v": np.nan}, "it pads with nan, the Conv after it with 0"),
    "a one for a mean": (graph(MEAN, **VALUED), {"v": 1.0}, "it pads with 1, the AveragePool after it with 0"),
    "padding that is not counted": (
        graph("AveragePool <kernel_shape = [4, 4], pads = [1, 1, 1, 1]> (b)"),
        {},
        "the AveragePool after it leaves its own padding out of the count",
    ),
    "maximum of anything": (graph(MAXIMUM, before="a = Neg (x)"), {}, TOO_HIGH.format(0)),
    "maximum of images": (graph(MAXIMUM, before="", pad="Pad (x, p)"), {}, TOO_HIGH.format(0)),
    "maximum beside a one": (graph(MAXIMUM, **VALUED), {"v": 1.0}, TOO_HIGH.format(1)),
    "maximum of a clip from below 0": (
        graph(MAXIMUM, before="a = Clip (x, l)", constants=", double l"),
        {"l": -1.0},
        TOO_HIGH.format(0),
    ),
    "maximum of a clip from anywhere": (graph(MAXIMUM, before="a = Clip (x)"), {}, TOO_HIGH.format(0)),
    "dilated maximum": (
        graph("MaxPool <kernel_shape = [3, 3], dilations = [2, 1]> (b)"),
        {},
        "the MaxPool after it is dilated",
    ),
    "indices": (
        graph(MAXIMUM, output="double y, int64 i").replace("y = Max", "y, i = Max"),
        {},
        "the indices of the MaxPool after it are read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refuses(build, infer, case):
    text, values, reason = REFUSALS[case]
    model = prepared(build, infer, text, **values)
    before = [(node.op_type, dict(node.attributes)) for node in model.graph]
    result = fold_pad(model)
    assert [item.reason for item in result.skipped] == [reason]
    assert not result.rewritten
    assert [(node.op_type, dict(node.attributes)) for node in model.graph] == before


@pytest.mark.parametrize(("name", "role"), [("p", "amounts"), ("v", "value"), ("i", "axes")])
def test_refuses_what_the_caller_may_feed(build, infer, name, role):
    text = graph(CONV, pad="Pad (a, p, v, i)", constants=", double v, int64[4] i")
    model = prepared(build, infer, text, free=("x", name), v=0.0, i=[0, 1, 2, 3])
    assert [item.reason for item in fold_pad(model).skipped] == [f"'{name}', its {role}, is not a constant"]


def test_refuses_without_a_shape(build):
    model = build(graph(CONV), values={"p": np.asarray(PADS)})
    assert [item.reason for item in fold_pad(model).skipped] == ["the shape of what it pads is not known"]


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ("q = Pad (x, p) r = Conv (q, w)", "it lies in the body of a control-flow node"),
        ("r = Conv (b, w)", "a reader lies in the body of a control-flow node"),
    ],
)
def test_refuses_the_body_of_a_branch(build, infer, then, reason):
    text = f"""{HEADER}g (float[1, 4, 6, 5] x, bool k, int64[8] p, float[8, 4, 3, 3] w) => (float y) {{
        {"b = Pad (x, p)" if "b" in then else ""}
        y = If (k) <then_branch = t () => (float r) {{ {then} }}, else_branch = e () => (float s) {{ s = Relu (x) }}>
    }}"""
    model = infer(build(text, free=("x", "k"), values={"p": np.asarray(PADS)}))
    assert [item.reason for item in fold_pad(model).skipped] == [reason]
