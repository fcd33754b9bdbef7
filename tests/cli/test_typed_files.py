"""Files that came quantized or in float16: built as what they compute, and said to be that."""

import json

import numpy as np
import onnx
import pytest
from one_line import complaint

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'
QUANTIZED = """g (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y)
    <float s = {0.03}, int8 z = {0}, int8[4, 3, 3, 3] w, float[4] ws, int8[4] wz, float[4, 4, 3, 3] v> {
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    k = DequantizeLinear <axis = 0> (w, ws, wz)
    [first] a = Conv <pads = [1, 1, 1, 1]> (d, k)
    [last] y = Conv <pads = [1, 1, 1, 1]> (a, v)
}"""
CLASSIFIER = QUANTIZED.replace("float[N, 4, 8, 8] y", "float[N, 4] y").replace(
    "[last] y = Conv <pads = [1, 1, 1, 1]> (a, v)", "p = GlobalAveragePool (a)\n    y = Flatten (p)"
)
HALF = """g (float16[N, 3, 8, 8] x) => (float16[N, 4, 8, 8] y) <float16[4, 3, 3, 3] h> {
    [only] y = Conv <pads = [1, 1, 1, 1]> (x, h)
}"""


def write(path, text):
    proto = onnx.parser.parse_model(HEADER + text)
    random = np.random.default_rng(0)
    arrays = {
        "w": random.integers(-100, 100, (4, 3, 3, 3)).astype(np.int8),
        "ws": np.full(4, 0.01, np.float32),
        "wz": np.zeros(4, np.int8),
        "v": random.standard_normal((4, 4, 3, 3)).astype(np.float32),
        "h": random.standard_normal((4, 3, 3, 3)).astype(np.float16),
    }
    for info in list(proto.graph.value_info):
        if info.name in arrays:
            proto.graph.initializer.append(onnx.numpy_helper.from_array(arrays[info.name], info.name))
    del proto.graph.value_info[:]
    onnx.save(proto, path)
    return path


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    return write(tmp_path_factory.mktemp("file") / "quantized.onnx", QUANTIZED)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    return write(tmp_path_factory.mktemp("file") / "half.onnx", HALF)


def built(run, path, precision, *more):
    done = run("build", path, "--backend", "trt-rtx", "--precision", precision, "--data", "noise", *more, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_quantized_file_is_its_own_int8_graph(run, quantized):
    found = built(run, quantized, "int8")
    assert found["typed_onnx"] == found["onnx"]
    assert found["calibration"] is None
    assert "quantized by its author, not calibrated" in found["note"]
    assert found["precision_report"]["quantized"] == ["first"]
    assert [item["node"] for item in found["precision_report"]["excluded"]] == ["last"]
    assert found["plan"]["weighted_reads"] == {"Float": 1, "Int8": 1}
    assert found["plan"]["other_precision"] == {"last": "Float"}


def test_the_rest_of_a_quantized_file_becomes_float16(run, quantized):
    found = built(run, quantized, "fp16")
    assert found["plan"]["weighted_reads"] == {"Half": 1, "Int8": 1}
    assert "1 of 2 layers with weights compute in int8" in found["note"]


def test_a_quantized_file_in_fp32_is_the_file_as_it_is(run, quantized):
    assert "the file as it is, which computes in" in built(run, quantized, "fp32")["note"]


@pytest.mark.parametrize(
    "asked",
    [
        ("--int8-exclude", "first"),
        ("--int8-policy", "no-first"),
        ("--int8-repair", "bias"),
        ("--calibration-method", "entropy"),
    ],
    ids=lambda it: it[0],
)
def test_what_would_change_a_quantized_file_is_refused(run, quantized, asked):
    done = run("build", quantized, "--backend", "trt-rtx", "--precision", "int8", *asked)
    assert done.returncode == 2
    assert "quantized by its author: no option of ours changes where or how" in complaint(done)


def test_a_quantized_file_is_judged_by_all_images_since_none_calibrates_it(run, tmp_path):
    path, data = write(tmp_path / "classifier.onnx", CLASSIFIER), tmp_path / "data.npz"
    random = np.random.default_rng(5)
    np.savez(data, x=random.standard_normal((9, 3, 8, 8)).astype(np.float32), labels=random.integers(0, 4, 9))
    done = run("evaluate", path, "--data", data, "--backends", "ort", "--precision", "int8", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["images"] for row in found["rows"]] == [9]
    assert found["environment"]["conditions"]["calibration"] == ""
    refused = run("calibrate", path, "--data", data)
    assert refused.returncode == 2
    assert "quantized by its author" in complaint(refused)


def test_a_float16_file_is_float16_under_either_name(run, half):
    whole = built(run, half, "fp16")
    assert "float16 by its author" in whole["note"]
    assert whole["precision_report"]["elements"] == 0
    assert "computes in float16" in built(run, half, "fp32")["note"]
    done = run("build", half, "--backend", "trt-rtx", "--precision", "int8", "--data", "noise")
    assert done.returncode == 2
    assert (
        "is float16: the graph is not float32 throughout; use --precision fp32 or fp16, which keeps its types"
        in complaint(done)
    )
