"""`--int8-policy` as a user meets it: terms, the plan's choice, and what a table says of the layers that are left."""

import json

import pytest
from one_line import complaint

RTX = ("--backend", "trt-rtx", "--precision", "int8")


def answer(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_policy_reaches_the_engine_and_the_audit(run, photographs):
    asked = ["test_mobilenet", *RTX, "--data", photographs, "--int8-policy", "no-depthwise,rest=fp16"]
    found = answer(run("build", *asked, "--json"))
    assert set(found["plan"]["weighted_reads"]) == {"Half", "Int8"}
    left = {item["node"]: item["reason"] for item in found["typing"]["left"]}
    assert left
    assert set(found["plan"]["other_precision"]) == set(left)
    audit = answer(run("inspect", *asked, "--json"))["audit"]["nodes"]
    assert {node["name"]: node["reason"] for node in audit if not node["as_wanted"]} == left


def test_the_plan_chooses_the_cheapest_candidate(run, photographs):
    asked = ["build", "test_mobilenet", *RTX, "--data", photographs, "--json"]
    chosen = answer(run(*asked, "--int8-policy", "plan"))
    everything = answer(run(*asked))
    layers = chosen["int8_layers"]
    figures = layers["candidates"]
    moved = {name: float(figure.split(" kernels, ")[1].split(" MB")[0]) for name, figure in figures.items()}
    assert moved[layers["policy"]] == min(moved.values())
    assert chosen["plan"]["bytes_moved"] <= everything["plan"]["bytes_moved"]
    assert "not a measured time" in layers["objective"]
    assert everything["int8_layers"] is None


def test_a_layer_is_left_by_name(run, photographs):
    found = answer(run("build", "test_resnet", *RTX, "--data", photographs, "--int8-leave", "conv1", "--json"))
    assert found["plan"]["other_precision"] == {"conv1": "Float"}


def test_parity_holds_for_a_mixed_graph(run, photographs):
    asked = ["verify", "test_resnet", "--backends", "trt", "--precision", "int8", "--data", photographs, "--json"]
    (row,) = json.loads(run(*asked, "--int8-policy", "no-first,rest=fp16").stdout)["rows"]
    assert (row["state"], row["parity"]["verdict"]) == ("built", "pass")


def test_onnxruntimes_row_says_why_it_has_no_float16(run, photographs):
    asked = ["verify", "test_resnet", "--backends", "ort,trt", "--precision", "int8", "--data", photographs, "--json"]
    rows = {row["backend"]: row for row in json.loads(run(*asked, "--int8-policy", "rest=fp16").stdout)["rows"]}
    assert rows["ort"]["state"] == "unavailable"
    assert "no float16 beside int8" in rows["ort"]["reason"]
    assert rows["trt"]["state"] == "built"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "test_resnet", *RTX, "--int8-policy", "no-pointwize"], "did you mean no-pointwise"),
        (["build", "test_resnet", *RTX, "--int8-leave", "conv9"], "unknown weighted layer 'conv9'"),
        (["verify", "test_resnet", "--int8-policy", "plan"], "decided by `build` and `inspect`"),
    ],
)
def test_a_wrong_request_names_the_fix(run, arguments, said):
    done = run(*arguments)
    assert done.returncode == 2
    assert said in complaint(done)
