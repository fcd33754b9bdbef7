"""Old operators mean what they meant: each change of opset against ONNX Runtime on the file as it came."""

import itertools
from collections import defaultdict

import numpy as np
import onnx
import onnxruntime
import pytest
from upgrade_cases import CASES

from deploykit.errors import ExportFailed
from deploykit.graph import check, optimize, parse, serialize
from deploykit.graph.upgrade import CHANGES, TARGET


def of_opset(text, opset):
    return onnx.parser.parse_model(
        f'<ir_version: 4, opset_import: ["" : {opset}]> g {text}'.replace("IMAGES", "float[2, 3, 6, 6]")
    )


def feed_of(proto):
    rng = np.random.default_rng(0)
    feed = {}
    for value in proto.graph.input:
        kind = value.type.tensor_type
        shape = [size.dim_value for size in kind.shape.dim]
        if value.name == "scales":
            feed[value.name] = np.array([1, 1, 1.5, 0.7], np.float32)
        elif kind.elem_type == onnx.TensorProto.FLOAT:
            feed[value.name] = (1.2 * rng.standard_normal(shape)).astype(np.float32)
        else:
            feed[value.name] = np.array(True) if kind.elem_type == onnx.TensorProto.BOOL else np.array([1, 3])
    return feed


def run(content, feed):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, feed)


def history():
    """Every version of every operator up to TARGET."""
    found = defaultdict(dict)
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.domain and schema.since_version <= TARGET:
            found[schema.name][schema.since_version] = schema
    return found


def turning_points(text, first, last):
    """The opsets from `first` to `last` at which an operator of the text has a version of its own."""
    proto = of_opset(text, last)
    operators = {node.op_type for node in proto.graph.node}
    versions = {version for operator in operators for version in HISTORY[operator] if first < version <= last}
    return sorted({first, *versions})


HISTORY = history()


@pytest.mark.parametrize("name", CASES)
def test_the_converted_graph_computes_what_onnx_runtime_computes_on_the_file(name):
    first, last, text = CASES[name]
    for opset in turning_points(text, first, last):
        proto = of_opset(text, opset)
        feed = feed_of(proto)
        model = parse(proto)
        assert model.opset_imports[""] == TARGET if opset < 17 else opset
        optimize(model)
        check(model)
        for got, wanted in zip(run(serialize(model), feed), run(proto.SerializeToString(), feed), strict=True):
            assert got.shape == wanted.shape
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5, err_msg=f"opset {opset}")


# What ONNX Runtime runs no more, by the words of the standard of its day.
X = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
W = np.array([0.2, 0.5, 0.7], np.float32)
BEFORE_ONNX_RUNTIME = {
    "broadcast from axis 1": (6, "y = Add <broadcast = 1, axis = 1> (x, w)", X + W[:, None, None]),
    "broadcast from axis -3": (6, "y = Mul <broadcast = 1, axis = -3> (x, w)", X * W[:, None, None]),
    "broadcast from axis 1 and scale": (
        1,
        "a = Sub <broadcast = 1, axis = 1> (x, w) y = Div <broadcast = 1, axis = 1> (a, w)",
        (X - W[:, None, None]) / W[:, None, None],
    ),
    "a slope for each channel": (6, "y = PRelu (x, w)", np.where(X < 0, X * W[:, None, None], X)),
    "batch norm in test mode": (
        6,
        "y = BatchNormalization <is_test = 1, epsilon = 0.1> (x, w, w, w, w)",
        ((X - W[:, None, None]) / np.sqrt(W[:, None, None] + 0.1)) * W[:, None, None] + W[:, None, None],
    ),
    "hints for computing in place": (1, "y = Relu <consumed_inputs = [0]> (x)", np.maximum(X, 0)),
    "padding by opset 1": (
        1,
        "y = Pad <paddings = [0, 0, 1, 0, 0, 0, 0, 0]> (x)",
        np.pad(X, [(0, 0)] * 2 + [(1, 0), (0, 0)]),
    ),
    "a cast by name": (1, 'a = Cast <to = "INT32"> (x) y = Cast <to = "FLOAT"> (a)', np.trunc(X)),
    "concat without an axis": (1, "y = Concat (x, x)", np.concatenate([X, X], 1)),
    "upsample by two sides": (
        1,
        'y = Upsample <mode = "nearest", height_scale = 2.0, width_scale = 3.0> (x)',
        X.repeat(2, 2).repeat(3, 3),
    ),
    "gemm with a vector": (
        6,
        "f = Flatten (x) t = Transpose (f) y = Gemm <broadcast = 1> (t, f, row)",
        X.reshape(2, -1).T @ X.reshape(2, -1) + np.arange(60, dtype=np.float32),
    ),
}


@pytest.mark.parametrize("name", BEFORE_ONNX_RUNTIME)
def test_operators_that_no_runtime_has_any_more(name):
    opset, body, wanted = BEFORE_ONNX_RUNTIME[name]
    shape = ", ".join(map(str, wanted.shape))
    proto = of_opset(f"(float[2, 3, 4, 5] x) => (float[{shape}] y) {{ {body} }}", opset)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(W, "w"))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(60, dtype=np.float32), "row"))
    model = parse(proto)
    optimize(model)
    check(model)
    np.testing.assert_allclose(run(serialize(model), {"x": X})[0], wanted, rtol=1e-4, atol=1e-5)


REFUSED = {
    "BatchNormalization": (6, "y = BatchNormalization (x, w, w, w, w)", "statistics of its batch"),
    "Tile": (1, "t = Shape (x) y = Tile (x, w, w)", "along one axis"),
    "Dropout": (7, "d, y = Dropout (x)", "its output 'y' is for training only"),
    "LpPool": (1, "y = LpPool <kernel_shape = [2, 2], p = 1.5> (x)", "p is 1.5"),
}


@pytest.mark.parametrize("operator", REFUSED)
def test_what_has_no_equivalent_is_refused_by_name(operator):
    opset, body, why = REFUSED[operator]
    proto = of_opset(f"(float[2, 3, 4, 5] x, float[3] w) => (float y) {{ {body} }}", opset)
    proto.graph.node[-1].name = "the_node"
    with pytest.raises(
        ExportFailed, match=rf"node 'the_node' \({operator}\) has no equivalent in a newer opset: .*{why}"
    ):
        parse(proto)


def differs(old, new):
    """Whether a node of the old version may mean something else, or nothing, when it is read as the new one."""
    if new.deprecated or new.min_input > old.min_input or new.max_input < old.max_input:
        return True
    if new.max_output < old.max_output or new.min_output > old.min_output:
        return True
    for name, attribute in old.attributes.items():
        now = new.attributes.get(name)
        if now is None or now.type != attribute.type or (now.required and not attribute.required):
            return True
        if now.default_value.type and now.default_value != attribute.default_value:
            return True
    return False


# A default that was a misprint; an operand that opset 2 took away and 13 gave back; what the change at 12 takes off.
HARMLESS = {("GRU", 3), ("Split", 2), ("Dropout", 7)}


def test_every_change_in_onnxs_history_has_a_function():
    missing = []
    for name, versions in HISTORY.items():
        ordered = sorted(versions)
        for before, after in itertools.pairwise(ordered):
            old, new = versions[before], versions[after]
            only_hint = set(old.attributes) - set(new.attributes) == {"consumed_inputs"}
            known = any(since == after for since, _ in CHANGES.get(name, ()))
            if differs(old, new) and not known and not only_hint and (name, after) not in HARMLESS:
                missing.append((name, before, after))
    assert not missing
