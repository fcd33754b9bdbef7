"""What must hold for every fusion on any graph: random small networks with its pattern and others around it.

Each network is a chain of motifs. A motif is the pattern that one fusion looks for, with random groups, strides,
dilations, padding, missing biases, shared weights and second readers, so that preconditions hold in some and not in
others.
"""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from math import ceil

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from onnx.helper import (
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_tensor_value_info,
    np_dtype_to_tensor_dtype,
)
from onnx.numpy_helper import from_array, to_array
from onnx.reference import ReferenceEvaluator

from deploykit.graph import CNN_PASSES, FUSIONS, check, cnn_passes, optimize
from deploykit.graph.passes.cleanup import CLEAN_UP
from deploykit.graph.rewrite import node_name
from deploykit.parity.operators import OPERATORS
from deploykit.spec import Fusions

IMAGE = (4, 7, 6)  # channels, height, width
MOST_CHANNELS = 24  # of a value that more is built on
ULPS = 4
EXAMPLES = pytest.mark.parametrize("examples", [12, pytest.param(100, marks=pytest.mark.full)])
BOUNDED = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def one_thread():
    """On images this small, threads of PyTorch wait for each other longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass
class Sketch:
    """A network in the making: nodes in order, constants in double, and each value's channels, height and width."""

    draw: st.DrawFn
    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: dict[str, tuple[int, int, int]] = field(default_factory=lambda: {"x": IMAGE})

    def any_of(self, *choices):
        return self.draw(st.sampled_from(choices))

    def sometimes(self):
        return self.draw(st.booleans())

    def source(self):
        """A value to go on from, preferably the last."""
        return self.any_of(*[name for name, shape in self.shapes.items() if shape[0] <= MOST_CHANNELS][::-1])

    def node(self, op, inputs, shape, **attributes):
        name = f"n{len(self.nodes)}"
        self.nodes.append(make_node(op, inputs, [name], name=name, **attributes))
        self.shapes[name] = shape
        return name

    def constant(self, array, prefix="k"):
        name = f"{prefix}{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def numbers(self, *shape):
        """Of both signs, none near 0, so that all may be divided by."""
        return self.constant(self.rng.uniform(0.5, 2, shape) * self.rng.choice([-1, 1], shape))

    def weight(self, *shape):
        """Sometimes one that another convolution has."""
        alike = [name for name, array in self.constants.items() if name.startswith("w") and array.shape == shape]
        if alike and self.sometimes():
            return alike[0]
        return self.constant(self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])), "w")


def window(sketch, shape, *, taps=None, pools=False, pads=True):
    """Attributes of a convolution or pooling on an image of this shape, and the height and width that it makes."""
    kernel, strides, dilations, before, after, sizes = [], [], [], [], [], []
    for size in shape[1:]:
        count = taps or sketch.any_of(1, 2, 3)
        apart = sketch.any_of(1, 1, 1, 2) if pools else sketch.any_of(1, 1, 2)
        count = count if apart * (count - 1) < size else 1
        most = count - 1 if pools else 2
        around = [sketch.any_of(*range(most + 1)) if pads and sketch.sometimes() else 0 for _ in range(2)]
        step = sketch.any_of(1, 1, 2)
        kernel.append(count)
        strides.append(step)
        dilations.append(apart)
        before.append(around[0])
        after.append(around[1])
        sizes.append((size + sum(around) - apart * (count - 1) - 1) // step + 1)
    form = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": [*before, *after]}
    if pads and not pools and not sketch.draw(st.integers(0, 5)):
        sizes = [ceil(size / step) for size, step in zip(shape[1:], strides, strict=True)]
        form = {"kernel_shape": kernel, "strides": strides, "auto_pad": "SAME_UPPER"}
    return form, tuple(sizes)


def conv(sketch, source, *, taps=None, group=None, made=None, form=None):
    channels, *_ = shape = sketch.shapes[source]
    attributes, sizes = form or window(sketch, shape, taps=taps)
    group = group or sketch.any_of(1, 1, channels, 2 if channels % 2 == 0 else 1)
    made = made or group * sketch.any_of(*range(1, 1 + max(1, 6 // group)))
    inputs = [source, sketch.weight(made, channels // group, *attributes["kernel_shape"])]
    if sketch.sometimes():
        inputs.append(sketch.constant(sketch.rng.standard_normal(made)))
    return sketch.node("Conv", inputs, (made, *sizes), group=group, **attributes)


def pointwise(sketch, source, *, plain=4, **given):
    """A 1x1 convolution: `plain` of six without strides, and one of six with padding too."""
    unstrided = {"kernel_shape": [1, 1]}, sketch.shapes[source][1:]
    strided = window(sketch, sketch.shapes[source], taps=1, pads=False)
    form = sketch.any_of(*[unstrided] * plain, *[strided] * (5 - plain), None)
    return conv(sketch, source, taps=1, group=1, form=form, **given)


def average_pool(sketch, source):
    channels, *sides = sketch.shapes[source]
    form, sizes = window(sketch, (channels, *sides), pools=True)
    counted = int(sketch.sometimes())
    return sketch.node("AveragePool", [source], (channels, *sizes), count_include_pad=counted, **form)


def max_pool(sketch, source):
    channels, *sides = sketch.shapes[source]
    form, sizes = window(sketch, (channels, *sides), pools=True)
    return sketch.node("MaxPool", [source], (channels, *sizes), **form)


def relu(sketch, source):
    return sketch.node("Relu", [source], sketch.shapes[source])


def batchnorm(sketch, source):
    channels, *_ = shape = sketch.shapes[source]
    gamma, beta, mean = (sketch.numbers(channels) for _ in range(3))
    variance = sketch.constant(sketch.rng.uniform(0.5, 2, channels))
    return sketch.node("BatchNormalization", [source, gamma, beta, mean, variance], shape, epsilon=1e-3)


def arithmetic(sketch, source):
    channels, _, width = shape = sketch.shapes[source]
    number = sketch.numbers(*sketch.any_of((channels, 1, 1), (), (1, channels, 1, 1), (1, 1, width)))
    op = sketch.any_of("Mul", "Add", "Sub", "Div")
    backwards = op != "Div" and sketch.sometimes()
    return sketch.node(op, [number, source] if backwards else [source, number], shape)


def addition(sketch, source):
    """A residual where another value has this shape."""
    shape = sketch.shapes[source]
    other = sketch.any_of(*[name for name, found in sketch.shapes.items() if found == shape])
    return sketch.node("Add", [source, other], shape)


def concat(sketch, *parts):
    channels = sum(sketch.shapes[part][0] for part in parts)
    return sketch.node("Concat", parts, (channels, *sketch.shapes[parts[0]][1:]), axis=1)


def no_op(sketch, source):
    shape = sketch.shapes[source]
    op, *operands = sketch.any_of(
        ("Dropout",),
        ("Mul", np.ones(())),
        ("Sub", np.zeros((shape[0], 1, 1))),
        ("Reshape", np.zeros(4, np.int64)),
        ("Pad", np.zeros(8, np.int64)),
        ("Concat",),
    )
    attributes = {"axis": 1} if op == "Concat" else {}
    return sketch.node(op, [source, *map(sketch.constant, operands)], shape, **attributes)


def padded(sketch, source):
    """Pads of every mode before windows of every kind."""
    channels, *sides = sketch.shapes[source]
    amounts = [sketch.any_of(0, 1, 2) for _ in range(4)]
    operands = [source, sketch.constant(np.array([0, 0, *amounts[:2], 0, 0, *amounts[2:]], np.int64))]
    mode = sketch.any_of("constant", "constant", "constant", "edge")
    if mode == "constant" and sketch.sometimes():
        operands.append(sketch.constant(np.float64(sketch.any_of(0.0, -1.0))))
    sizes = [side + before + after for side, before, after in zip(sides, amounts[:2], amounts[2:], strict=True)]
    return sketch.any_of(conv, average_pool, max_pool)(
        sketch, sketch.node("Pad", operands, (channels, *sizes), mode=mode)
    )


def branches(sketch, source, *, most=2):
    """Convolutions on one image, mostly of one form."""
    form = window(sketch, sketch.shapes[source])
    group = sketch.any_of(1, 1, 1, sketch.shapes[source][0])
    return [conv(sketch, source, form=form, group=group) for _ in range(sketch.any_of(*range(2, most + 1)))]


def split(sketch, source):
    return batchnorm(sketch, concat(sketch, *branches(sketch, source)))


def siblings(sketch, source):
    found = branches(sketch, source, most=3)
    found = [relu(sketch, part) for part in found] if sketch.sometimes() else found
    return concat(sketch, *found) if sketch.sometimes() else found[-1]


def behind(second, first, sketch, source):
    return second(sketch, first(sketch, source))


def composition(sketch, source):
    dense = partial(conv, taps=sketch.any_of(2, 3, None), group=sketch.any_of(1, 1, None))
    strided = partial(pointwise, plain=0)
    first, second = sketch.any_of((strided, dense), (dense, pointwise), (pointwise, dense))
    return second(sketch, first(sketch, source))


def depthwise_pointwise(sketch, source):
    return pointwise(sketch, conv(sketch, source, group=sketch.shapes[source][0]))


def pooled_projection(sketch, source):
    fewer = max(1, sketch.shapes[source][0] - 1)
    return pointwise(sketch, average_pool(sketch, source), made=fewer)


def wide_pointwise(sketch, source):
    wide = conv(sketch, concat(sketch, *branches(sketch, source)), taps=1, group=1, made=256)
    return pointwise(sketch, wide, made=2)


MOTIFS = {
    "remove_no_ops": no_op,
    "fold_pad": padded,
    "split_batchnorm": split,
    "fold_batchnorm": partial(behind, batchnorm, conv),
    "fold_scale": partial(behind, arithmetic, conv),
    "fold_affine_forward": partial(behind, conv, arithmetic),
    "compose_convolutions": composition,
    "merge_depthwise_pointwise": depthwise_pointwise,
    "exchange_pool": pooled_projection,
    "merge_siblings": siblings,
    "dilate_pointwise": wide_pointwise,
}
OTHERS = (relu, addition, max_pool, average_pool, conv, batchnorm, *MOTIFS.values())


@st.composite
def networks(draw, motif):
    """A network in double with `motif` in it, up to three times; its constants are float32 numbers too."""
    sketch = Sketch(draw, np.random.default_rng(draw(st.integers(0, 2**16))))
    for part in [motif, sketch.any_of(*OTHERS), motif, motif][: draw(st.integers(1, 4))]:
        part(sketch, sketch.source())
    read = {name for node in sketch.nodes for name in node.input}
    made = [node.output[0] for node in sketch.nodes]
    shown = [name for name in made if name not in read]
    if draw(st.integers(0, 3)) == 0:
        shown += {sketch.any_of(*made)} - set(shown)
    constants = {
        name: array if array.dtype == np.int64 else array.astype(np.float32).astype(np.float64)
        for name, array in sketch.constants.items()
    }
    double = onnx.TensorProto.DOUBLE
    graph = make_graph(
        sketch.nodes,
        "network",
        [make_tensor_value_info("x", double, ["batch", *IMAGE])],
        [make_tensor_value_info(name, double, ["batch", *sketch.shapes[name]]) for name in shown],
        [from_array(array, name) for name, array in constants.items()],
    )
    return make_model(graph, ir_version=10, opset_imports=[make_opsetid("", 20)])


def in_type(proto, dtype):
    """The same network with every real tensor in another type."""
    changed = onnx.ModelProto.FromString(proto.SerializeToString())
    kind = np_dtype_to_tensor_dtype(np.dtype(dtype))
    for tensor in changed.graph.initializer:
        if tensor.data_type != onnx.TensorProto.INT64:
            tensor.CopyFrom(from_array(to_array(tensor).astype(dtype), tensor.name))
    for value in (*changed.graph.input, *changed.graph.output, *changed.graph.value_info):
        if value.type.tensor_type.elem_type != onnx.TensorProto.INT64:
            value.type.tensor_type.elem_type = kind
    return changed


def in_double(proto, images):
    return ReferenceEvaluator(proto, new_ops=OPERATORS).run(None, {"x": images})


def constants_of(model):
    return {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}


def types_of(model):
    values = [value for node in model.graph for value in node.outputs]
    found = {value.dtype for value in (*values, *model.graph.inputs, *model.graph.initializers.values())}
    return found - {ir.DataType.INT64}


def test_every_fusion_has_its_motif():
    assert set(MOTIFS) == set(FUSIONS)


@EXAMPLES
@pytest.mark.parametrize("name", FUSIONS)
def test_no_fusion_changes_what_a_network_computes(name, examples):
    answers = Counter()

    @settings(BOUNDED, max_examples=examples)
    @given(networks(MOTIFS[name]))
    def holds(proto):
        images = np.random.default_rng(0).standard_normal((2, *IMAGE))
        before = in_double(proto, images)
        model = ir.serde.deserialize_model(proto)
        ledger = optimize(model, passes=cnn_passes(Fusions(tuple(FUSIONS))))
        answers["rewritten"] += bool(ledger[name].rewritten)
        answers["left"] += not ledger[name].rewritten
        check(model)
        after = ir.serde.serialize_model(model)
        assert types_of(model) == {ir.DataType.DOUBLE}
        for wanted, got in zip(before, in_double(after, images), strict=True):
            assert got.shape == wanted.shape
            assert np.linalg.norm(got - wanted) <= 1e-12 * np.linalg.norm(wanted)

    holds()
    assert answers["rewritten"], "no network had a site"


@EXAMPLES
@pytest.mark.parametrize("name", FUSIONS)
def test_float32_constants_are_rounded_from_the_exact_fold_or_nothing_is_done(name, examples):
    answers = Counter()

    @settings(BOUNDED, max_examples=examples)
    @given(networks(MOTIFS[name]))
    def holds(proto):
        single = ir.serde.deserialize_model(in_type(proto, np.float32))
        optimize(single, passes=CLEAN_UP)
        for fusion, rewrite in FUSIONS.items():
            for place in rewrite(single.clone()).rewritten:  # a chain is rounded link by link
                others = {node_name(node) for node in single.graph} - {place}
                double = ir.serde.deserialize_model(in_type(ir.serde.serialize_model(single), np.float64))
                result, exact = (rewrite(model, without=others) for model in (single, double))
                assert result.rewritten == exact.rewritten == [place]
                answers[fusion] += 1
                wanted = constants_of(double)
                for key, got in constants_of(single).items():
                    assert np.all(np.abs(got - wanted[key]) <= ULPS * np.spacing(np.abs(got))), (fusion, place, key)
        check(single)
        assert types_of(single) == {ir.DataType.FLOAT}

    holds()
    assert answers[name], "no network had a site"


def test_the_safe_fusions_alone_are_what_a_network_gets_unasked():
    assert [getattr(run, "func", run).name for run in CNN_PASSES[len(CLEAN_UP) :]] == list(Fusions().names)
