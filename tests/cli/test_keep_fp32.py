"""`--keep-fp32` as a user meets it: what overflows is found when FP16 is built, and the option named cures it."""

import json

import numpy as np
import onnx
import pytest
from one_line import complaint

RTX = ("--backend", "trt-rtx", "--precision", "fp16")
NORM = """<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y)
    <float[4, 3, 3, 3] w, float[4, 4, 3, 3] v, float two = {2}, int64[1] axis = {1}, float eps = {0.00001}> {
    [stem] a = Conv <pads = [1, 1, 1, 1]> (x, w)
    [square] p = Pow (a, two)
    [mean] m = ReduceMean (p, axis)
    [plus] e = Add (m, eps)
    [root] r = Sqrt (e)
    [quotient] d = Div (a, r)
    [head] y = Conv <pads = [1, 1, 1, 1]> (d, v)
}"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    proto = onnx.parser.parse_model(NORM)
    random = np.random.default_rng(0)
    for name, shape, scale in (("w", (4, 3, 3, 3), 300.0), ("v", (4, 4, 3, 3), 1.0)):
        weight = (scale * random.standard_normal(shape)).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    del proto.graph.value_info[:]
    path = tmp_path_factory.mktemp("network") / "norm.onnx"
    onnx.save(proto, path)
    return path


def answer(done):
    assert done.returncode in (0, 3), done.stderr
    return json.loads(done.stdout)


def test_build_warns_with_the_option_and_the_option_cures(run, network):
    done = run("build", network, *RTX, "--json")
    found = answer(done)
    assert done.returncode == 0
    assert found["overflow"]["first"].startswith("square: Pow value 'p' reaches ")
    asked = [part for name in found["overflow"]["keep_fp32"] for part in ("--keep-fp32", name)]
    assert "deploykit: warning: float16 overflow in square: Pow" in done.stderr
    assert " ".join(asked) in done.stderr
    verified = ("verify", network, "--backends", "ort", "--precision", "fp16", "--json")
    failed = answer(run(*verified))["rows"][0]["parity"]
    assert failed["verdict"] == "fail"
    assert f"cured by {' '.join(asked)}" in failed["outputs"][0]["reason"]
    (row,) = answer(run(*verified, *asked))["rows"]
    assert row["parity"]["verdict"] == "pass"
    assert "4 of 7 nodes stay in float32 (square: --keep-fp32 square, ...)" in row["note"]
    cured = run("build", network, *RTX, *asked, "--json")
    assert "warning: float16 overflow" not in cured.stderr
    typing = answer(cured)["precision_report"]
    assert [item["node"] for item in typing["float32"]] == found["overflow"]["keep_fp32"]
    assert typing["float32"][0]["reason"] == "--keep-fp32 square"
    assert answer(cured)["typed_digest"] != found["typed_digest"]


def test_the_split_is_said_in_words_and_in_the_audit(run, network):
    said = run("build", network, *RTX, "--keep-fp32", "head").stdout
    assert "6 nodes compute in float16, 1 in float32 (head: --keep-fp32 head)" in " ".join(said.split())
    nodes = answer(run("inspect", network, *RTX, "--keep-fp32", "head", "--json"))["audit"]["nodes"]
    assert {node["name"]: (node["dtype"], node["reason"]) for node in nodes} == {
        "stem": ("Half", ""),
        "head": ("Float", "--keep-fp32 head"),
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["build", *RTX, "--keep-fp32", "sqare"],
            "unknown node or module of this network 'sqare'; did you mean square?",
        ),
        (["inspect", *RTX, "--keep-fp32", "op=Poww"], "unknown operator of this network 'Poww'; did you mean Pow"),
        (
            ["build", "--keep-fp32", "square"],
            "--keep-fp32 requires fp16, or int8 with --int8-policy rest=fp16; add --precision fp16",
        ),
        (["verify", "--precision", "fp32,int8", "--keep-fp32", "x"], "--keep-fp32 requires fp16"),
        (["bench", "--precision", "int8", "--keep-fp32", "x"], "--keep-fp32 requires fp16"),
        (["build", *RTX, "--int8-exclude", "square"], "--int8-exclude requires int8; leave it out; --keep-fp32 names"),
    ],
)
def test_what_would_be_passed_over_or_is_not_there_is_refused(run, network, arguments, said):
    done = run(arguments[0], network, *arguments[1:])
    assert done.returncode == 2
    assert said in complaint(done)


def test_a_clamped_bound_is_said_in_words_and_in_json(run, tmp_path):
    text = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) <float lo = {0.0}, float hi = {3.4e38}> { y = Clip (x, lo, hi) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "clip.onnx")
    built = ("build", tmp_path / "clip.onnx", *RTX)
    (note,) = answer(run(*built, "--json"))["precision_report"]["clamped"]
    assert (note["value"], note["stored"], note["why"]) == ("hi", "inf", "no bound")
    assert "3.4e+38 in hi is stored as inf: no bound" in " ".join(run(*built).stdout.split())


def test_beside_int8_the_rest_is_looked_at_too(run, network):
    asked = ("build", network, "--backend", "trt-rtx", "--precision", "int8", "--int8-policy", "no-last,rest=fp16")
    found = answer(run(*asked, "--json"))
    assert found["overflow"]["first"].startswith("square: Pow")
    keep = [part for name in found["overflow"]["keep_fp32"] for part in ("--keep-fp32", name)]
    cured = answer(run(*asked, *keep, "--json"))
    assert cured["overflow"]["first"] is None
    assert len(cured["precision_report"]["rest"]["float32"]) == 4
