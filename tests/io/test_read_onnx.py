"""ONNX files: sound ones load with their data, hostile ones are refused before anything is allocated."""

import itertools
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser
from onnx_files import DATA, HEADER, TEXT, WEIGHT, refused

from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.io.loader import external_files, read_onnx
from deploykit.io.onnx_vetting import OnnxLimits, vet_model


def test_reads_a_model(save):
    assert read_onnx(save(TEXT)) == parser.parse_model(TEXT)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (DATA, {}),
        (DATA, {"length": None, "offset": None}),
        (b"\0" * 8 + DATA + b"\0", {"offset": "8"}),
    ],
)
def test_reads_external_data_into_the_model(external, monkeypatch, data, told):
    path = external(data, **told)
    monkeypatch.chdir(path.parent)
    for name in (path, path.relative_to(path.parent)):
        weight = read_onnx(name).graph.initializer[0]
        np.testing.assert_array_equal(numpy_helper.to_array(weight), WEIGHT)
        assert weight.data_location == TensorProto.DEFAULT
        assert not weight.external_data


CUSTOM = '<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1, "acme" : 3]> '


def test_operators_of_other_domains_are_read(save):
    body = "g (float[N, 4] x) => (float[N, 4] y) { a = com.microsoft.Gelu (x) y = acme.Swoosh <beta = 2.0> (a) }"
    found = read_onnx(save(CUSTOM + body))
    assert [(node.domain, node.op_type) for node in found.graph.node] == [("com.microsoft", "Gelu"), ("acme", "Swoosh")]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{ y = Swoosh (x) }", "No Op registered for Swoosh"),
        ("{ y = other.Swoosh (x) }", "No opset import for domain.*'other'"),
        ("{ y = acme.Swoosh <table = float[4] {1.0}> (x) }", "its shape needs"),
        (
            "{ s = Constant <value = int64[2] {99999, 99999}> () z = ConstantOfShape (s) y = acme.Swoosh (z) }",
            "would take",
        ),
    ],
    ids=["unknown to ONNX", "of a domain that is not imported", "with a false tensor", "behind a bomb"],
)
def test_other_domains_are_vetted_like_onnxs_own(save, body, said):
    with pytest.raises(UntrustedArtifact, match=said):
        read_onnx(save(f"{CUSTOM} g (float[N, 4] x) => (float[N, 4] y) {body}"))


def test_what_onnx_itself_writes_is_read(tmp_path):
    model = parser.parse_model(TEXT)
    onnx.save_model(model, tmp_path / "net.onnx", save_as_external_data=True, location="data", size_threshold=0)
    assert numpy_helper.to_array(read_onnx(tmp_path / "net.onnx").graph.initializer[0]).tolist() == [1, 2, 3, 4]


def test_external_files_are_listed_once_and_not_read(external, save, monkeypatch):
    path = external()
    model = onnx.load_model(path, load_external_data=False)
    twin = model.graph.initializer.add()
    twin.CopyFrom(model.graph.initializer[0])
    twin.name = "v"
    path.write_bytes(model.SerializeToString())
    monkeypatch.setattr("deploykit.io.onnx_vetting._read_external", lambda *_: pytest.fail("read"))
    assert external_files(path) == (path.parent / "weights.bin",)
    monkeypatch.chdir(path.parent)
    assert external_files(path.relative_to(path.parent)) == (path.parent / "weights.bin",)
    assert external_files(save(TEXT)) == ()


@pytest.mark.parametrize("told", [{"location": "../weights.bin"}, {"location": "gone.bin"}, {"length": "17"}])
def test_external_files_are_vetted(external, told):
    with pytest.raises(UntrustedArtifact, match="external data of tensor 'w'"):
        external_files(external(**told))


@pytest.mark.parametrize("name", ["absent.onnx", "folder.onnx"])
def test_a_wrong_path_is_a_usage_error(tmp_path, name):
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(UsageError, match=re.escape(name)):
        read_onnx(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n not a model", "is not"),
        (b"\n" * 100, "is not"),
        (b"\x08\x0a", "without nodes"),
        (parser.parse_model(TEXT).SerializeToString()[:-20], "is not"),
        (parser.parse_model(TEXT.replace("Add", "NoSuchOperator")).SerializeToString(), "NoSuchOperator"),
    ],
)
def test_what_is_not_onnx_is_refused(tmp_path, content, message):
    (tmp_path / "net.onnx").write_bytes(content)
    refused(tmp_path / "net.onnx", message)


def test_a_file_beyond_the_limit_is_not_read(tmp_path):
    with (tmp_path / "net.onnx").open("wb") as file:
        file.truncate(2**31 + 5)  # sparse: it takes no room on the disk
    refused(tmp_path / "net.onnx", "2147483653 bytes, more than 2147483647; keep large weights in an external data")


BOMBS = {
    "constant of shape": "y0 = ConstantOfShape <value = float[1] {1}> (s)",
    "expand": "y0 = Expand (x0, s)",
    "a product of shapes": "t = Mul (s, s)\n y0 = ConstantOfShape (t)",
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS.keys())
def test_a_small_model_that_asks_for_much_is_refused(save, body):
    big = 50_000 if "Mul" not in body else 300
    text = f"""{HEADER}
    g (float[1] x) => (float[1] y) <int64[2] s = {{{big}, {big}}}, float[1] x0 = {{1}}> {{
        {body}
        r = ReduceMax <keepdims = 0> (y0)
        y = Add (x, r)
    }}"""
    if "Mul" in body:
        text = text.replace("300, 300", "300000, 300000")
    refused(save(text), "value 'y0' .* would take [0-9]{11,} bytes")


@pytest.mark.parametrize("values", ["float[1] single = {1}", "int64[1] single = {1}"])
def test_a_vector_that_doubles_forty_times_is_refused_before_inference_joins_it(save, values):
    names = ["single", *(f"t{i}" for i in range(40))]
    body = " ".join(f"{after} = Concat <axis = 0> ({before}, {before})" for before, after in itertools.pairwise(names))
    text = f"{HEADER} g (float[1] x) => (float y) <{values}> {{ {body} y = ReduceMax <keepdims = 0> (x) }}"
    refused(save(text), "the constant vectors that .* joins have more than 4194304 values")


def test_a_bomb_inside_a_function_is_refused(save):
    text = """<ir_version: 10, opset_import: ["" : 20, "local" : 1]>
    g (float[1] x) => (float[1] y) { r = local.Big (x)
        y = Add (x, r) }
    <domain: "local", opset_import: ["" : 20]>
    Big (x) => (r) {
        s = Constant <value = int64[2] {50000, 50000}> ()
        c = Expand (x, s)
        r = ReduceMax <keepdims = 0> (c)
    }"""
    refused(save(text.replace(HEADER, "")), "would take 10000000000 bytes")


@pytest.mark.parametrize("where", ["initializer", "attribute", "branch", "function"])
def test_a_tensor_whose_shape_its_data_does_not_fill_is_refused_wherever_it_is(save, where):
    model = parser.parse_model(TEXT)
    huge = TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=[1000, 1000], raw_data=b"1234")
    constant = helper.make_node("Constant", [], ["c"], value=huge)
    if where == "initializer":
        model.graph.initializer.append(huge)
    elif where == "attribute":
        model.graph.node.append(constant)
    elif where == "branch":
        branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, None)])
        model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch))
    else:
        model.functions.append(helper.make_function("local", "F", [], ["c"], [constant], model.opset_import))
    refused(save(model), "tensor 'huge' .* has 4 bytes of data, its shape needs 4000000")


def test_sizes_are_whole_numbers_without_overflow(save):
    model = parser.parse_model(TEXT)
    model.graph.initializer.append(TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=[2**32, 2**32]))
    refused(save(model), f"tensor 'huge' .* would take {4 * 2**64} bytes")


def test_a_sparse_tensor_counts_as_it_unfolds(save):
    model = parser.parse_model(TEXT)
    values = helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("at", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [10**5, 10**5]))
    refused(save(model), "tensor 'sparse' .* would take 40000000000 bytes")


@pytest.mark.parametrize(
    ("kind", "values"),
    [(TensorProto.INT4, [1, 2, 3]), (TensorProto.FLOAT16, [1.0, 2.0]), (TensorProto.STRING, ["a", "bc"]),
     (TensorProto.BOOL, [True]), (TensorProto.COMPLEX64, [1j, 2j]), (TensorProto.BFLOAT16, [1.0])],
)  # fmt: skip
def test_sound_tensors_of_every_storage_pass(save, kind, values):
    model = parser.parse_model(TEXT)
    model.graph.initializer.append(helper.make_tensor("extra", kind, [len(values)], values))
    assert len(read_onnx(save(model)).graph.initializer) == 2


@pytest.mark.parametrize("dims", [[-1], [5]])
def test_typed_data_must_fill_its_shape(save, dims):
    model = parser.parse_model(TEXT)
    model.graph.initializer.append(TensorProto(name="t", data_type=TensorProto.FLOAT, dims=dims, float_data=[1.0]))
    refused(save(model), r"tensor 't' .* (shape \[-1\]|has 1 values, its shape needs 5)")


def test_an_unknown_data_type_is_refused(save):
    model = parser.parse_model(TEXT)
    model.graph.initializer.append(TensorProto(name="t", data_type=99, dims=[1], raw_data=b"1"))
    refused(save(model), "tensor 't' .* has data type 99")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (OnnxLimits(nodes=2), "more than 2 nodes"),
        (OnnxLimits(tensor_bytes=15), "tensor 'w' .* would take 16 bytes, more than 15"),
        (OnnxLimits(initializer_bytes=31), "take more than 31 bytes"),
    ],
)
def test_each_limit_holds_and_one_more_passes(tmp_path, limits, message):
    model = parser.parse_model(f"""{HEADER}
    g (float[N, 4] x) => (float[N, 4] y) <float[4] w = {{1, 2, 3, 4}}, float[4] v = {{1, 2, 3, 4}}> {{
        a = Add (x, w)
        b = Add (a, v)
        y = Relu (b)
    }}""")
    with pytest.raises(UntrustedArtifact, match=message):
        vet_model(model, tmp_path / "net.onnx", limits)
    vet_model(model, tmp_path / "net.onnx", OnnxLimits(nodes=3, tensor_bytes=16, initializer_bytes=32))


def functions(calls):
    """A model that calls f0; `calls` says which functions each function calls."""
    text = '<ir_version: 10, opset_import: ["" : 20, "local" : 1]>\n'
    text += "g (float[4] x) => (float[4] y) { y = local.f0 (x) }\n"
    for name, called in calls.items():
        body = "".join(f"v{i + 1} = local.{other} (v{i})\n" for i, other in enumerate(called))
        text += '<domain: "local", opset_import: ["" : 20, "local" : 1]>\n'
        text += f"{name} (v0) => (r) {{ {body} r = Relu (v{len(called)}) }}\n"
    return parser.parse_model(text)


@pytest.mark.parametrize("calls", [{"f0": ["f0"]}, {"f0": ["f1"], "f1": ["f0"]}])
def test_functions_that_call_themselves_are_refused(save, calls):
    refused(save(functions(calls)), "calls itself")


def test_functions_that_double_at_every_level_are_counted_as_inlined(save):
    calls = {f"f{i}": [f"f{i + 1}"] * 2 for i in range(40)} | {"f40": []}
    refused(save(functions(calls)), "more than 100000 nodes")


def test_functions_that_nest_too_deep_are_refused(save):
    calls = {f"f{i}": [f"f{i + 1}"] for i in range(200)} | {"f200": []}
    refused(save(functions(calls)), "more than 64 deep")


def test_a_function_that_is_shared_is_not_a_circle(save):
    assert read_onnx(save(functions({"f0": ["f1", "f2"], "f1": ["f2"], "f2": []})))
