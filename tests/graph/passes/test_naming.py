"""No name breaks anything, whoever gave it: the user, the exporter or a pass."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from deploykit.export import export_module
from deploykit.graph import check, optimize, parse, separate_names
from deploykit.graph.passes.naming import LONGEST_NAME
from deploykit.graph.rewrite import PassResult, new_initializer
from deploykit.ort_session import compute, open_session
from deploykit.precision.float16 import to_float16
from deploykit.spec import TensorSpec

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'
IMAGES = TensorSpec("images", ("batch", 3, 8, 8), "float32")
TWO_STEPS = "g (float[2] x) => (float[2] y) { a = Neg (x) b = Abs (a) y = Relu (b) }"


class Centred(nn.Module):
    """A buffer and a convolution under names of the caller's choice."""

    def __init__(self, buffer: str, conv: str) -> None:
        super().__init__()
        self.names = buffer, conv
        self.register_buffer(buffer, torch.full((1, 3, 1, 1), 0.5))
        self.add_module(conv, nn.Conv2d(3, 4, 3))

    def forward(self, x):
        buffer, conv = self.names
        return getattr(self, conv)(x - getattr(self, buffer)).relu().mean((2, 3))


def computed(model, feed):
    session = open_session(model, optimize=False)
    return compute(session, [value.name for value in model.graph.outputs], feed)


# What the exporter, the command line and our own passes call things, and what nobody should.
@pytest.mark.parametrize(
    ("buffer", "conv"),
    [
        ("mean", "conv"),
        ("images", "relu"),
        ("logits", "images_scale"),
        ("conv2d", "logits"),
        ("val_0", "images"),
        ("w" * 300, "mean"),
        ("ü [", "a, b"),
    ],
)
def test_a_buffer_and_a_module_of_any_name(buffer, conv):
    torch.manual_seed(0)
    module = Centred(buffer, conv).eval()
    model = export_module(module, IMAGES)
    optimize(model)
    check(model)
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(computed(model, {"images": images})["logits"], wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["y_float16", "images_float16", "c_scale", "c", "float16", "c/cast"])
def test_a_value_with_the_name_of_one_that_typing_makes(name):
    text = f"""g (float[2, 3] images) => (float[2, 4] y, float[2, 4] c_scale) {{
        w = Constant <value = float[3, 4] {{{", ".join("1" * 12)}}}> ()
        c = MatMul (images, w) "{name}" = Relu (c) y = Neg ("{name}") c_scale = Abs ("{name}") }}"""
    model = parse_quoted(text, name)
    optimize(model)
    to_float16(model, keep_io=True)
    separate_names(model)
    check(model)
    found = computed(model, {"images": np.ones((2, 3), np.float32)})
    np.testing.assert_array_equal(found["y"], np.full((2, 4), -3))
    np.testing.assert_array_equal(found["c_scale"], np.full((2, 4), 3))


def parse_quoted(text, name):
    """The text graph in which an inner value is called `name`, whatever characters that has."""
    import onnx

    proto = onnx.parser.parse_model(HEADER + text.replace(f'"{name}"', "a_value_in_between"))
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [name + "_" if found == name else found for found in names]
            names[:] = [name if found == "a_value_in_between" else found for found in names]
    return parse(proto)


def test_inputs_and_outputs_keep_their_names_and_the_first_of_others():
    model = ir.from_onnx_text(HEADER + TWO_STEPS)
    for node in model.graph:
        node.name = "twice"
    first, second, _ = model.graph
    first.outputs[0].name = second.outputs[0].name = "y"
    new_initializer(model.graph, "x", np.zeros(2, np.float32))
    assert separate_names(model) == 5
    assert [value.name for node in model.graph for value in node.outputs] == ["y_1", "y_2", "y"]
    assert list(model.graph.initializers) == ["x_1"]
    assert model.graph.inputs[0].name == "x"
    assert [node.name for node in model.graph] == ["twice", "twice_1", "twice_2"]
    assert separate_names(model) == 0


def test_an_initializer_may_move_to_a_name_that_a_later_one_has():
    model = ir.from_onnx_text(HEADER + TWO_STEPS)
    values = [
        new_initializer(model.graph, name, np.full(2, size, np.float32)) for size, name in enumerate(("x", "x_1"))
    ]
    separate_names(model)
    assert [(value.name, value.const_value.numpy()[0]) for value in values] == [("x_1", 0), ("x_1_", 1)]
    assert set(model.graph.initializers) == {"x_1", "x_1_"}


def test_a_body_shares_no_name_with_anything_outside():
    text = """g (float[2] x, bool c) => (float[2] y) {
        a = Neg (x)
        y = If (c) <then_branch = one () => (float[2] y) { a = Abs (x) y = Relu (a) },
                    else_branch = two () => (float[2] y) { y = Exp (a) }> }"""
    model = ir.from_onnx_text(HEADER + text)
    separate_names(model)
    check(model)
    names = [value.name for node in model.graph.all_nodes() for value in node.outputs]
    assert len(set(names)) == len(names) == 5
    x = np.array([-1, 2], np.float32)
    np.testing.assert_array_equal(computed(model, {"x": x, "c": np.array(True)})["y"], [1, 2])
    np.testing.assert_allclose(computed(model, {"x": x, "c": np.array(False)})["y"], np.exp(-x), rtol=1e-6)


@pytest.mark.parametrize("name", ["a [b]", "tab\there", "zwölf", "comma, {brace}", "n" * 5000, 'quo"te'])
def test_names_that_a_build_log_cannot_carry_are_written_plainly(name):
    model = ir.from_onnx_text(HEADER + TWO_STEPS)
    model.graph[0].name = model.graph[0].outputs[0].name = name
    optimize(model)
    for found in (model.graph[0].name, model.graph[0].outputs[0].name):
        assert found
        assert len(found) <= LONGEST_NAME
        assert found.isascii()
        assert not set(found) & set(" \t,[]{}|\"'")


def test_a_pass_may_repeat_a_name():
    def repeat(model):
        model.graph[1].outputs[0].name = "a"
        return PassResult("repeat")

    model = ir.from_onnx_text(HEADER + TWO_STEPS)
    for index, node in enumerate(model.graph):
        node.name = f"n{index}"
    optimize(model, passes=(repeat,))
    assert [node.outputs[0].name for node in model.graph] == ["a", "a_1", "y"]
