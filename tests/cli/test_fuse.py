"""`--fuse`, `--fusion-report` and `--precision best` as a user meets them."""

import json
import os

import onnx
import pytest

from deploykit.backends.device import find_gpu

NO_GPU = pytest.mark.skipif(find_gpu() is not None, reason="a GPU is here, so engines are timed")


def answer(done, code=0):
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def batchnorms(path):
    return sum(node.op_type == "BatchNormalization" for node in onnx.load(path).graph.node)


@pytest.mark.full
def test_rewrites_are_chosen_by_name_and_belong_to_the_key(run, tmp_path):
    found = {
        fuse: answer(run("export", "test_mobilenet", "--fuse", fuse, "--no-check", "--json", store=tmp_path))
        for fuse in ("none", "safe", "fold_batchnorm")
    }
    assert batchnorms(found["none"]["onnx"]) == 7
    assert batchnorms(found["safe"]["onnx"]) == 0
    assert found["safe"]["digest"] == found["fold_batchnorm"]["digest"] != found["none"]["digest"]
    assert not found["fold_batchnorm"]["from_store"]
    ran = {fuse: {record["name"] for record in each["passes"]} for fuse, each in found.items()}
    assert "fold_batchnorm" in ran["fold_batchnorm"]
    assert ran["none"] < ran["fold_batchnorm"] < ran["safe"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "test_mobilenet", "--fuse", "fold_batchnorn"], "did you mean fold_batchnorm"),
        (["export", "test_mobilenet", "--target", "rtx4090"], "--fusion-report or --fuse auto"),
        (
            ["export", "test_mobilenet", "--fusion-report", "--fuse-budget", "5"],
            "--fuse-budget requires --fuse auto",
        ),
        (
            ["export", "test_mobilenet", "--fuse", "auto", "--backend", "torch"],
            "unknown backend of --fuse auto 'torch'; did you mean trt or ort",
        ),
        (["export", "test_mobilenet", "--fuse", "auto", "--target", "rtx9999"], "unknown GPU 'rtx9999'"),
        (["export", "test_mobilenet", "--fuse", "auto", "--fuse-budget", "0"], "0.0 is not in the range x>0"),
        (
            ["verify", "test_mobilenet", "--fuse", "auto", "--backends", "torch"],
            "cannot estimate a cost for any of the rows",
        ),
        (["build", "test_mobilenet", "--accept-rtx-plan"], "--accept-rtx-plan requires --precision best"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(run, arguments, said):
    done = run(*arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert done.stdout == ""


@pytest.mark.full
def test_auto_keeps_what_pays_and_the_ledger_shows_why(run):
    asked = ["export", "test_mobilenet", "--fuse", "auto", "--precision", "fp32", "--target", "rtx4090"]
    found = answer(run(*asked, "--fusion-report", "--json"))
    decision = found["decision"]
    assert decision["said"] == "safe, fold_batchnorm at 6 of 7 sites"
    assert "roofline of rtx4090: a lower bound, not a measured time" in decision["objective"]
    assert batchnorms(found["onnx"]) == 1
    assert found["check"]["verdict"] == "pass"
    line = next(line for line in found["fusion_report"]["lines"] if line["name"] == "fold_batchnorm")
    assert (line["kept"], line["sites"]) == (6, 7)
    assert line["plan"]["all_sites"]["bytes_moved"] > line["plan"]["with"]["bytes_moved"]
    assert "at all 7: costs more, " in line["verdict"]
    assert line["ort"]["ratio"] > 0
    again = run(*asked)
    assert "safe, fold_batchnorm at 6 of 7 sites" in again.stdout
    assert "(from the store)" in again.stdout
    assert "choose fusions" not in again.stderr


@pytest.mark.full
def test_build_takes_the_decision_of_its_own_precision(run):
    found = answer(run("build", "test_mobilenet", "--fuse", "auto", "--backend", "trt-rtx", "--json"))
    assert found["decision"]["said"] == "safe, fold_batchnorm at 6 of 7 sites"
    assert "bytes moved, then kernels" in found["decision"]["objective"]
    plain = answer(run("build", "test_mobilenet", "--backend", "trt-rtx", "--json"))
    assert found["plan"]["bytes_moved"] < plain["plan"]["bytes_moved"]


@pytest.mark.full
def test_a_table_decides_once_and_says_for_what(run, image_folder):
    asked = ["--fuse", "auto", "--backends", "torch,trt,ort", "--batch", "8", "--data", image_folder, "--json"]
    found = answer(run("verify", "test_mobilenet", *asked))
    said = found["environment"]["conditions"]["fusions"]
    assert "safe, fold_batchnorm at 6 of 7 sites; chosen by the TensorRT-RTX" in said
    assert said.endswith("for trt fp32 and all rows alike")
    digests = {row["typed_digest"] for row in found["rows"] if row["typed_digest"]}
    assert len(digests) == 1
    assert all(row["parity"]["verdict"] == "pass" for row in found["rows"])


@pytest.mark.full
def test_a_table_says_which_rewrites_it_has_where_they_are_not_the_default(run, image_folder):
    asked = ["verify", "test_mobilenet", "--backends", "ort", "--data", image_folder]
    assert ["fusions", "none"] in [line.split() for line in run(*asked, "--fuse", "none").stdout.splitlines()[:6]]
    assert "fusions" not in run(*asked).stdout


@NO_GPU
def test_the_best_precision_is_undecided_for_full_tensorrt(run, image_folder):
    asked = ["build", "test_resnet", "--precision", "best", "--data", image_folder]
    done = run(*asked, "--json")
    found = answer(done, code=1)
    assert found["engine"] is None
    assert found["best"]["precision"] is None
    assert set(found["best"]["contenders"]) == {"fp16", "int8"}
    assert "--accept-rtx-plan" in done.stderr.splitlines()[-1]
    taken = answer(run(*asked, "--accept-rtx-plan", "--json"))
    assert taken["precision"] == "fp16"
    assert os.path.exists(taken["engine"])  # noqa: PTH110 - a path in JSON


@NO_GPU
def test_the_best_precision_by_the_plan_says_why(run, image_folder):
    asked = ["build", "test_resnet", "--precision", "best", "--backend", "trt-rtx", "--target", "rtx4090"]
    done = run(*asked, "--data", image_folder)
    assert done.returncode == 0, done.stderr
    assert "test_resnet, fp16" in done.stdout
    assert "the roofline of rtx4090, a lower bound; nothing was measured" in done.stdout
