"""`deploykit calibrate` as a user meets it: a table, its shards, what is built with it, and data that is none."""

import json
import re
import shutil

import numpy as np
import pytest
from one_line import complaint
from PIL import Image

USAGE, UNTRUSTED = 2, 5


def answer(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def asked(image_folder):
    return ["test_resnet", "--data", image_folder, "--images", "6"]


@pytest.fixture(scope="module")
def table(run, asked, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "table.json"
    answer(run("calibrate", *asked, "--method", "entropy", "-o", path, "--json"))
    return path


@pytest.fixture(scope="module")
def shards(run, asked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    paths = [folder / f"shard{index}.json" for index in (1, 2, 3)]
    for index, path in enumerate(paths, start=1):
        found = answer(run("calibrate", *asked, "--shard", f"{index}/3", "-o", path, "--json"))
        assert (found["shard"], found["images"]) == (f"{index}/3", 2)
    return paths


def test_the_answer_describes_the_table(run, asked, table):
    found = answer(run("calibrate", *asked, "--method", "entropy", "--json"))
    written = json.loads(table.read_text())
    assert (found["method"], found["images"], found["note"]) == ("entropy", 6, None)
    assert found["activations"] == len(written["ranges"]) > 10
    assert len(found["image_names"]) == 4  # half of the folder's; the others are for tests
    assert found["peak_memory_bytes"] > 10**8
    assert (written["graph_digest"], written["data_digest"]) == (found["graph_digest"], found["data_digest"])


def test_merged_shards_are_the_single_pass_bit_for_bit(run, shards, table, tmp_path):
    merged = tmp_path / "merged.json"
    answer(run("calibrate", "merge", *reversed(shards), "--method", "entropy", "-o", merged, "--json"))
    assert merged.read_bytes() == table.read_bytes()


def test_one_table_serves_both_placements(run, table):
    asked = ["verify", "test_resnet", "--backends", "ort,trt", "--precision", "int8", "--table", table, "--json"]
    rows = json.loads(run(*asked).stdout)["rows"]
    assert {row["state"] for row in rows} <= {"measured", "built"}
    assert len({row["typed_digest"] for row in rows}) == 2
    built = answer(
        run("build", "test_resnet", "--precision", "int8", "--table", table, "--backend", "trt-rtx", "--json")
    )
    assert (built["calibration"]["table"], built["calibration"]["method"]) == (str(table), "entropy")
    assert built["plan"]["weighted_reads"] == {"Int8": 10}


def test_a_method_changes_the_graph_and_the_counts_are_kept(run, image_folder):
    asked = ["build", "test_resnet", "--precision", "int8", "--backend", "trt-rtx", "--data", image_folder, "--json"]
    plain = answer(run(*asked))
    done = run(*asked, "--calibration-method", "mse")
    assert answer(done)["typed_digest"] != plain["typed_digest"]
    assert "calibrate on" not in done.stderr


def test_an_interrupted_shard_goes_on(run, asked, shards, tmp_path):
    begun = tmp_path / "shard.json"
    content = json.loads(shards[0].read_text())
    begun.write_text(json.dumps({**content, "done": 0, "images": 0, "histograms": {}}))
    answer(run("calibrate", *asked, "--shard", "1/3", "-o", begun, "--json"))
    assert begun.read_bytes() == shards[0].read_bytes()


def test_a_shard_of_another_calibration_is_not_overwritten(run, asked, shards, tmp_path):
    kept = tmp_path / "shard.json"
    shutil.copy(shards[1], kept)
    done = run("calibrate", *asked, "--shard", "1/3", "-o", kept)
    assert done.returncode == USAGE
    assert "of another calibration; delete it" in complaint(done)
    assert kept.read_bytes() == shards[1].read_bytes()


def test_noise_is_stamped(run, tmp_path):
    import onnx

    wide = tmp_path / "wide.onnx"
    text = """<ir_version: 10, opset_import: ["" : 20]>
        g (float[batch, 5, 8, 12] x) => (float[batch, 16, 6, 10] y) <float[16, 5, 3, 3] w> { y = Conv (x, w) }"""
    model = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).standard_normal((16, 5, 3, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(model, wide)
    refused = run("calibrate", wide, "--images", "2")
    assert refused.returncode == USAGE
    assert "--data noise" in complaint(refused)
    done = run("calibrate", wide, "--images", "2", "--data", "noise")
    assert "calibrated on noise: speed only" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument 'MODEL'"),
        (["test_resnot"], "did you mean"),
        (["test_resnet", "--method", "entorpy"], "did you mean entropy"),
        (["test_resnet", "--percentile", "99"], "--percentile requires --method percentile"),
        (["test_resnet", "--method", "percentile", "--percentile", "5"], "5.0 is not in the range 50<x<=100"),
        (["test_resnet", "--shard", "1/2"], "--shard requires an output file"),
        (["test_resnet", "--shard", "3/2", "-o", "x.json"], "cannot read shard '3/2'"),
        (["test_resnet", "--shard", "1/2", "-o", "x.json", "--method", "mse"], "which collects statistics only"),
        (["test_resnet", "--fuse", "auto"], "calibrate does not take --fuse auto"),
        (["test_resnet", "--data", "/nowhere"], "/nowhere does not exist"),
        (["test_resnet", "--shard", "1/99", "--images", "2", "-o", "x.json"], "2 batches cannot be cut into 99 shards"),
        (["merge", "/nowhere.json", "-o", "x.json"], "/nowhere.json"),
    ],
)
def test_a_wrong_request_names_the_fix(run, arguments, said):
    done = run("calibrate", *arguments)
    assert done.returncode == USAGE
    assert said in complaint(done)


def test_a_missing_shard_is_named(run, shards, tmp_path):
    done = run("calibrate", "merge", shards[0], shards[2], "-o", tmp_path / "table.json")
    assert done.returncode == USAGE
    assert "shards are missing: 2/3" in complaint(done)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("images", [[], [(9, 9, 9)]], ids=["empty", "black"])
def test_a_folder_that_says_nothing_is_refused(run, tmp_path, images):
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(4 * len(images)):
        Image.new("RGB", (48, 48), images[0]).save(folder / f"{number}.png")
    done = run("calibrate", "test_resnet", "--data", folder, "--images", "2")
    assert done.returncode == USAGE
    assert ("has no image" if not images else "are of one color") in complaint(done)


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda text: "\x80\x04pickle", UNTRUSTED, "not JSON"),
        (lambda text: text.replace('"threshold": ', '"threshold": -', 1), UNTRUSTED, "is not above 0"),
        (lambda text: re.sub('"lo": [^,]+', '"lo": 1e99', text, count=1), UNTRUSTED, "float32 cannot"),
        (lambda text: text.replace('"images": 6', '"images": 0'), UNTRUSTED, "images is 0"),
        (lambda text: text.replace("short side to 32", "short side to 932"), USAGE, "prepared otherwise"),
    ],
)
def test_a_table_that_was_touched_is_refused(run, table, tmp_path, spoil, code, said):
    path = tmp_path / "table.json"
    path.write_text(spoil(table.read_text()))
    done = run("build", "test_resnet", "--precision", "int8", "--table", path)
    assert done.returncode == code
    assert said in complaint(done)


def test_a_table_of_another_network_is_refused(run, table):
    done = run("build", "test_mobilenet", "--precision", "int8", "--table", table)
    assert done.returncode == USAGE
    assert "belongs to graph" in complaint(done)
    idle = run("build", "test_resnet", "--precision", "int8", "--table", table, "--calibration-images", "5")
    assert "--calibration-images cannot be combined with --table" in complaint(idle)
