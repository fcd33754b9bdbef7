"""`--int8-policy` as a user meets it: terms, the plan's choice, and what a table says of the layers that are left."""

import json
import shlex

import pytest
from one_line import complaint

RTX = ("--backend", "trt-rtx", "--precision", "int8")


def answer(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_policy_reaches_the_engine_and_the_audit(run, image_folder):
    asked = ["test_mobilenet", *RTX, "--data", image_folder, "--int8-policy", "no-depthwise,rest=fp16"]
    found = answer(run("build", *asked, "--json"))
    assert set(found["plan"]["weighted_reads"]) == {"Half", "Int8"}
    left = {item["node"]: item["reason"] for item in found["precision_report"]["excluded"]}
    assert left
    assert set(found["plan"]["other_precision"]) == set(left)
    audit = answer(run("inspect", *asked, "--json"))["audit"]["nodes"]
    assert {node["name"]: node["reason"] for node in audit if not node["as_wanted"]} == left


def test_the_plan_chooses_the_cheapest_candidate(run, image_folder):
    asked = ["build", "test_mobilenet", *RTX, "--data", image_folder, "--json"]
    chosen = answer(run(*asked, "--int8-policy", "plan"))
    everything = answer(run(*asked))
    layers = chosen["int8_layers"]
    figures = layers["candidates"]
    moved = {name: float(figure.split(" kernels, ")[1].split(" MB")[0]) for name, figure in figures.items()}
    kernels = {name: int(figure.split(" kernels, ")[0]) for name, figure in figures.items()}
    assert moved[layers["policy"]] == min(moved.values())
    assert kernels[layers["policy"]] == min(kernels[name] for name in moved if moved[name] == min(moved.values()))
    half = answer(run("build", "test_mobilenet", "--backend", "trt-rtx", "--precision", "fp16", "--json"))["plan"]
    assert layers["fp16"].startswith(f"{half['kernels']} kernels, {half['mb_moved']:.1f} MB, ")
    assert chosen["plan"]["bytes_moved"] <= everything["plan"]["bytes_moved"]
    assert "not a measured time" in layers["objective"]
    assert everything["int8_layers"] is None


def test_a_layer_is_left_by_name(run, image_folder):
    found = answer(run("build", "test_resnet", *RTX, "--data", image_folder, "--int8-exclude", "conv1", "--json"))
    assert found["plan"]["other_precision"] == {"conv1": "Float"}


def test_parity_holds_for_a_mixed_graph(run, image_folder):
    asked = ["verify", "test_resnet", "--backends", "trt", "--precision", "int8", "--data", image_folder, "--json"]
    (row,) = json.loads(run(*asked, "--int8-policy", "no-first,rest=fp16").stdout)["rows"]
    assert (row["state"], row["parity"]["verdict"]) == ("built", "pass")


def test_onnxruntimes_row_says_why_it_has_no_float16(run, image_folder):
    asked = ["verify", "test_resnet", "--backends", "ort,trt", "--precision", "int8", "--data", image_folder, "--json"]
    rows = {row["backend"]: row for row in json.loads(run(*asked, "--int8-policy", "rest=fp16").stdout)["rows"]}
    assert rows["ort"]["state"] == "unavailable"
    assert "no float16 beside int8" in rows["ort"]["reason"]
    assert rows["trt"]["state"] == "built"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "test_resnet", *RTX, "--int8-policy", "no-pointwize"], "did you mean no-pointwise"),
        (["build", "test_resnet", *RTX, "--int8-exclude", "conv9"], "unknown layer with weights 'conv9'"),
        (
            ["verify", "test_resnet", "--int8-policy", "plan"],
            "--int8-policy plan requires `build` or `inspect`; give the policy that they print",
        ),
    ],
)
def test_a_wrong_request_names_the_fix(run, arguments, said):
    done = run(*arguments)
    assert done.returncode == 2
    assert said in complaint(done)


def test_repair_reaches_both_placements(run, image_folder):
    """The same parity run with and without it: other graphs, both clean, and at least as near to float64 in sum."""
    asked = [
        "verify",
        "test_mobilenet",
        "--backends",
        "ort,trt",
        "--precision",
        "int8",
        "--data",
        image_folder,
        "--json",
    ]
    plain, repaired = (json.loads(run(*asked, *more).stdout)["rows"] for more in ([], ["--int8-repair", "all"]))
    assert {row["state"] for row in (*plain, *repaired)} <= {"measured", "built"}
    assert len({row["typed_digest"] for row in (*plain, *repaired)}) == 4
    decibels = [sum(row["parity"]["sqnr_db"] for row in rows) for rows in (plain, repaired)]
    assert decibels[1] > decibels[0]


def test_a_build_says_what_was_repaired(run, image_folder):
    done = run("build", "test_resnet", *RTX, "--data", image_folder, "--int8-repair", "bias,equalize,clip")
    assert done.returncode == 0, done.stderr
    assert ["repair", "clip,equalize,bias"] in [line.split() for line in done.stdout.splitlines()]
    assert "cross-layer equalization of " in done.stdout
    assert "squared output error on the calibration images x 0." in done.stdout


def test_biases_are_corrected_where_the_rest_is_fp16(run, image_folder):
    asked = ["build", "test_resnet", *RTX, "--data", image_folder, "--int8-repair", "bias"]
    done = run(*asked, "--int8-policy", "no-first,rest=fp16", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["repair"]["correction"]["kept"]
    assert found["precision_report"]["rest"]["half_nodes"] > 0


def test_a_table_is_of_the_graph_that_equalization_makes(run, image_folder, tmp_path):
    table = tmp_path / "table.json"
    made = ["calibrate", "test_resnet", "--data", image_folder, "--int8-repair", "equalize", "-o", table, "--json"]
    answer(run(*made))
    asked = ["build", "test_resnet", *RTX, "--data", image_folder, "--table", table, "--json"]
    assert "belongs to graph" in complaint(run(*asked[:-1]))
    assert answer(run(*asked, "--int8-repair", "equalize"))["calibration"]["table"] == str(table)


def test_an_unknown_repair_is_refused(run):
    done = run("build", "test_resnet", *RTX, "--int8-repair", "clip,polish")
    assert done.returncode == 2
    assert "unknown repair 'polish'" in complaint(done)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-drop", "1"], "--max-drop requires --sensitivity"),
        (["--sensitivity", "--max-drop", "1"], "--max-drop needs labeled images"),
        (["--sensitivity", "--min-sqnr", "-3"], "--min-sqnr is -3"),
        (["--sensitivity", "--shard", "1/2", "-o", "x.json"], "--sensitivity cannot be combined with --shard"),
    ],
)
def test_wrong_requests_for_sensitivity_name_the_fix(run, arguments, said):
    done = run("calibrate", "test_resnet", *arguments)
    assert done.returncode == 2
    assert said in complaint(done)


@pytest.mark.full
def test_a_mixed_graph_is_found_and_can_be_pasted(run, image_folder):
    common = ["test_resnet", "--data", image_folder]
    plain = answer(run("calibrate", *common, "--sensitivity", "--json"))
    floor = plain["mixed_graphs"][0]["loss"]["sqnr_db"]
    asked = ("--images=8", "--method", "percentile", "--sensitivity", "--min-sqnr", f"{floor + 2:.1f}")
    done = run("calibrate", *asked, *common)
    assert done.returncode == 0, done.stderr
    line = shlex.split(done.stdout.split("To build the chosen one: ")[1])
    start = ["deploykit", "build", "--calibration-images", "8", "--calibration-method", "percentile"]
    mixed = ["--precision", "int8", "--int8-policy", "rest=fp16"]
    assert line[: len(start) + len(common) + len(mixed)] == [*start, *map(str, common), *mixed]
    excluded = line[len(start) + len(common) + len(mixed) :]
    built = answer(run(*line[1:], *RTX, "--json"))
    assert {item["node"] for item in built["precision_report"]["excluded"]} == set(excluded[1::2])
    assert set(built["plan"]["weighted_reads"]) == {"Half", "Int8"}
