"""`verify A --against B.onnx`: any two graphs by the same measures, and what cannot be compared in one line."""

import json

import numpy as np
import onnx
import pytest
from faults import bgr, normalization, planted, scaled_weight
from one_line import complaint
from onnx import numpy_helper

import deploykit as dk

GATE, USAGE = 3, 2
FILE = """<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 3, 16, 16] images, float[N, 4] extra) => (float[N, 8] scores, float[N, 4, 8, 8] maps)
    <float[4, 3, 3, 3] w, float[4] b, float[8, 8] v> {
    [first] c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (images, w, b)
    [act] maps = Relu (c)
    [pool] p = GlobalAveragePool (maps)
    [flat] f = Flatten (p)
    [join] j = Concat <axis = 1> (f, extra)
    [last] scores = MatMul (j, v)
}"""


def write(path, text=FILE, dtype=np.float32):
    """The graph with its weights inside."""
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    for info in list(model.graph.value_info):
        shape = [size.dim_value for size in info.type.tensor_type.shape.dim]
        array = random.standard_normal(shape).astype(dtype)
        model.graph.initializer.append(numpy_helper.from_array(array, info.name))
    del model.graph.value_info[:]
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("file") / "a.onnx")


@pytest.fixture(scope="module")
def network(shared_store, tmp_path_factory):
    """A file with convolutions and residuals."""
    target = tmp_path_factory.mktemp("file") / "network.onnx"
    return dk.export("test_resnet", check=False, store=shared_store).save(target)


@pytest.fixture
def compare(run):
    def start(*arguments):
        done = run("verify", *arguments, "--json")
        assert done.stdout, done.stderr
        found = json.loads(done.stdout)
        (row,) = found["rows"]
        return done.returncode, row, found["environment"]["conditions"]["against"]

    return start


def test_names_that_differ_are_paired_in_order_and_said(compare, file, tmp_path):
    text = FILE
    for old, new in (("images", "x1"), ("extra", "x2"), ("scores", "images"), ("maps", "out")):
        text = text.replace(old, new)
    code, row, said = compare(file, "--against", write(tmp_path / "b.onnx", text))
    assert (code, row["precision"], row["parity"]["verdict"]) == (0, "fp32", "pass")
    assert said == [
        "b.onnx: nothing in it is quantized or float16, so the limits of fp32 apply",
        "paired in order: images = x1, extra = x2, scores = images, maps = out",
    ]


def test_a_float16_file_is_fed_float16_and_held_to_its_limits(compare, file, tmp_path):
    half = write(tmp_path / "half.onnx", FILE.replace("float[", "float16["), np.float16)
    code, row, said = compare(file, "--against", half)
    assert (code, row["precision"], row["note"]) == (0, "fp16", "computed in float32")
    assert 40 < row["parity"]["sqnr_db"] < 80
    assert "it computes in float16, so the limits of fp16 apply" in said[0]


def test_somebodys_int8_is_held_to_the_limits_of_int8(compare, network, tmp_path, shared_store):
    built = dk.build(str(network), precision="int8", backend="ort", store=shared_store)
    code, row, said = compare(network, "--against", built.typed_path)
    assert row["precision"] == "int8"
    assert "it has quantized nodes, so the limits of int8 apply" in said[0]
    assert (code == 0) == (row["parity"]["verdict"] == "pass")
    assert row["parity"]["precision_limit_text"] == "SQNR at least 20 dB"


def test_a_batch_that_the_other_graph_fixes_is_the_batch(compare, run, file, tmp_path):
    fixed = write(tmp_path / "fixed.onnx", FILE.replace("float[N,", "float[2,"))
    code, row, _ = compare(file, "--against", fixed)
    assert (code, row["batch"]) == (0, 2)
    done = run("verify", file, "--against", fixed, "--batch", "4")
    assert done.returncode == USAGE
    assert "takes batches of 2 only" in complaint(done)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (", float[N, 4] extra)", ")", "has 1 input and a 2"),
        ("float[N, 4] extra", "int64[N, 4] extra", "does not match extra float32[N, 4] of a: int64, not float32"),
        ("float[N, 4, 8, 8] maps", "float[N, 4] maps", "2 dimensions, not 4"),
        ("float[N, 3, 16, 16] images", "float[N, 3, 32, 32] images", "of a: another shape"),
    ],
)
def test_graphs_that_do_not_match_are_one_line(run, file, tmp_path, old, new, said):
    text = FILE.replace(old, new)
    if "extra)" in old:
        text = text.replace("j = Concat <axis = 1> (f, extra)", "j = Concat <axis = 1> (f, f)")
    if "int64" in new:
        text = text.replace("[join]", "[cast] e = Cast <to = 1> (extra) [join]").replace("(f, extra)", "(f, e)")
    if "[N, 4] maps" in new:
        text = text.replace("maps = Relu (c)", "r = Relu (c)").replace(
            "p = GlobalAveragePool (maps)", "p = GlobalAveragePool (r)"
        )
        text = text.replace("f = Flatten (p)", "maps = Flatten (p) f = Identity (maps)")
    done = run("verify", file, "--against", write(tmp_path / "b.onnx", text))
    assert done.returncode == USAGE
    assert said in complaint(done)


def test_a_fault_in_a_copy_is_located(run, network, tmp_path):
    other = planted(network, tmp_path / "b.onnx", scaled_weight, "layer2.0.conv1")
    done = run("verify", network, "--against", other, "--explain", "--json")
    found = json.loads(done.stdout)["rows"][0]["explanation"]
    assert done.returncode == GATE
    assert found["first"]["node"] == "layer2.0.conv1"
    assert found["cause"] == "layer2.0.conv1: its weight is 1.2 times the network's"
    assert found["options"] == ["--keep-fp32 layer2.0.conv1"]
    assert run("verify", network, "--against", other, "--keep-fp32", "layer2.0.conv1").returncode == 0


@pytest.mark.parametrize("fault", ["missing normalization", "bgr"])
def test_what_is_wrong_with_the_images_is_found_at_the_first_layer(run, network, tmp_path, fault):
    normalizing = planted(network, tmp_path / "a.onnx", normalization)
    other = network if fault == "missing normalization" else planted(normalizing, tmp_path / "b.onnx", bgr, "conv1")
    done = run("verify", normalizing, "--against", other, "--explain", "--json")
    found = json.loads(done.stdout)["rows"][0]["explanation"]
    assert done.returncode == GATE
    assert found["first"]["node"] == "conv1"
    expected = "the network computes" if fault == "missing normalization" else "reverse order (BGR for RGB)"
    assert expected in found["cause"]
    assert "Sub" in found["cause"] or fault == "bgr"
