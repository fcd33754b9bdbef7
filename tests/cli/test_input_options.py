"""Inputs of every shape, number and kind through the commands, and images prepared as the user says."""

import json

import numpy as np
import onnx
import pytest
from one_line import complaint
from PIL import Image

USAGE = 2
NETWORKS = """
import torch
from torch import nn

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.words, self.head = nn.Embedding(10, 8), nn.Linear(16, 5)

    def forward(self, image, ids, mask=None):
        words = self.words(ids).mean(1)
        if mask is not None:
            words = words * mask.to(words.dtype)
        return self.head(torch.cat((self.body(image), words), 1))

def wide():
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""
TWO = ("two:Two", "--input-shape", "image=-1x3x8x12", "--input-shape", "ids=batchx4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    (folder / "two.py").write_text(NETWORKS)
    random = np.random.default_rng(0)
    np.savez(
        folder / "both.npz",
        image=random.standard_normal((12, 3, 8, 12)).astype(np.float32),
        ids=random.integers(0, 10, (12, 4)),
        labels=random.integers(0, 5, 12),
    )
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A file of free height and width, one of bytes with channels last and a fixed batch."""
    folder = tmp_path_factory.mktemp("own")
    weights = np.random.default_rng(1).normal(0, 0.3, (5, 3, 3, 3)).astype(np.float32)
    for name, text in {
        "free": "(float[N, 3, H, W] x) => (float[N, 5] y) { c = Conv (x, w) a = Relu (c) ",
        "bytes": "(uint8[2, 12, 16, 3] x) => (float[2, 5] y) { f = Cast <to = 1> (x) h = Mul (f, s) "
        "t = Transpose <perm = [0, 3, 1, 2]> (h) c = Conv (t, w) a = Relu (c) ",
    }.items():
        proto = onnx.parser.parse_model(
            f'<ir_version: 8, opset_import: ["" : 17]> g {text} p = GlobalAveragePool (a) y = Flatten (p) }}'
        )
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([1 / 255]), "s"))
        onnx.save(proto, folder / f"{name}.onnx")
    return folder


def answer(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_network_of_two_inputs_is_built_from_ranges_and_judged_on_arrays(run, folder):
    refused = run("build", *TWO, "--precision", "int8", "--input-range", "ids=0:10", path=folder)
    assert refused.returncode == USAGE
    assert "--data FILE.npz with an array for each input (image, ids)" in complaint(refused)
    done = run("verify", *TWO, "--input-range", "ids=0:10", "--data", folder / "both.npz", "--precision",
               "fp32,int8", "--backends", "torch,ort,trt", "--json", path=folder)  # fmt: skip
    rows = json.loads(done.stdout)["rows"]
    found = {(row["backend"], row["precision"]): row for row in rows}
    assert found.pop(("torch", "int8"))["state"] == "unavailable"
    assert {row["parity"]["verdict"] for key, row in found.items() if key[1] != "int8"} == {"pass"}
    assert found["trt", "int8"]["parity"]["sqnr_db"] > 30
    assert found["ort", "int8"]["parity"]["sqnr_db"] > 10  # of weights that nobody trained


def test_an_optional_input_is_left_out_unless_it_is_named(run, folder):
    built = answer(run("build", *TWO, "--input-range", "ids=0:10", "--json", path=folder))
    assert built["inputs"] == ["image float32[batch, 3, 8, 12]", "ids int64[batch, 4]"]
    with_mask = ("--input-shape", "mask=-1x1", "--input-range", "mask=false:true", "--input-range", "ids=0:10")
    built = answer(run("build", *TWO, *with_mask, "--json", path=folder))
    assert built["inputs"][2] == "mask bool[batch, 1]"


def test_several_inputs_are_evaluated_and_summarized(run, folder):
    rows = answer(
        run("evaluate", *TWO, "--input-range", "ids=0:10", "--data", folder / "both.npz", "--backends", "torch,ort",
            "--json", path=folder)
    )["rows"]  # fmt: skip
    assert [row["images"] for row in rows] == [12, 12]
    assert rows[0]["top1"] == rows[1]["top1"]
    layers = answer(run("summary", *TWO, "--input-range", "ids=0:10", "--json", path=folder))["layers"]
    assert {layer["kind"] for layer in layers} >= {"Conv2d", "Linear"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--input-shape", "image=-1x3x8x8"], "needs the shape of ids too: its forward takes image, ids, mask"),
        (["--input-shape", "image=-1x3x8x8", "--input-shape", "idx=1x4"], "has no input idx: its forward takes image"),
        (["--input-shape", "image=-1x3x8x8", "--input-shape", "ids=-1x4"], "--input-range ids=0:1000"),
        (["--input-shape", "3,8,8", "--input-shape", "ids=-1x4"], "has several inputs, and 3x8x8 names none"),
    ],
)
def test_shapes_that_do_not_fit_forward_are_one_clear_line(run, folder, options, said):
    done = run("export", "two:Two", *options, path=folder)
    assert done.returncode == USAGE
    assert said in complaint(done)


def test_free_sizes_of_a_file_are_fixed_or_become_the_profile(run, own):
    refused = run("build", own / "free.onnx")
    assert refused.returncode == USAGE
    assert "leaves H, W open; fix it: --input-shape x=batchx3x224x224" in complaint(refused)
    fixed = answer(run("build", own / "free.onnx", "--input-shape", "3,12,16", "--json"))
    assert fixed["inputs"] == ["x float32[N, 3, 12, 16]"]
    shape = ("--input-shape", "x=batchx3x[8:12:24]x[8:16:24]")
    ranged = answer(run("build", own / "free.onnx", *shape, "--json"))
    assert ranged["inputs"] == ["x float32[N, 3, H[8:12:24], W[8:16:24]]"]
    assert ranged["typed_digest"] != fixed["typed_digest"]
    assert ranged["plan"]["mb_moved"] == pytest.approx(fixed["plan"]["mb_moved"], rel=0.5)  # of the same sizes
    assert "kernels and bytes are those at the optimum sizes" in ranged["note"]
    report = answer(run("verify", own / "free.onnx", *shape, "--backends", "ort,trt", "--precision", "fp32", "--json"))
    assert {row["parity"]["verdict"] for row in report["rows"]} == {"pass"}
    assert (
        "parity also judged at the minimum sizes and maximum sizes of the input"
        in report["environment"]["conditions"]["inputs"]
    )
    small = run("verify", own / "free.onnx", "--input-shape", "x=batchx3x[1:12:24]x16", "--backends", "ort",
                "--precision", "fp32", "--json")  # fmt: skip
    (row,) = json.loads(small.stdout)["rows"]
    assert (small.returncode != 0, row["parity"].get("verdict", row["state"]) != "pass") == (True, True)


def test_images_that_resize_makes_too_small_for_the_largest_sizes_are_brought_to_them(run, own):
    shape = ("--input-shape", "x=batchx3x[8:12:24]x[8:12:24]", "--preprocess", "imagenet,resize=14")
    report = answer(run("verify", own / "free.onnx", *shape, "--backends", "ort", "--json"))
    assert [row["parity"]["verdict"] for row in report["rows"]] == ["pass"]
    said = report["environment"]["conditions"]["inputs"]
    assert said.endswith(
        "sizes of the input; at the maximum sizes of the input images are resized to 24: resize= does not fill them"
    )
    for command in (["bench", "--backends", "ort", "--max-seconds", "1"], ["calibrate", "--images", "4"]):
        name, *more = command
        assert run(name, own / "free.onnx", *shape, *more).returncode == 0  # of the optimum sizes, which it fills


def test_sizes_that_nothing_can_be_shown_at_are_named_and_cost_no_verdict(run, own, tmp_path):
    proto = onnx.load(own / "free.onnx")
    proto.metadata_props.add(key="deploykit.preprocess", value="imagenet,resize=14")
    onnx.save(proto, tmp_path / "noted.onnx")
    shape = ("--input-shape", "x=batchx3x[8:12:24]x[8:12:24]")
    report = answer(run("verify", tmp_path / "noted.onnx", *shape, "--backends", "ort", "--json"))
    assert [row["parity"]["verdict"] for row in report["rows"]] == ["pass"]
    said = report["environment"]["conditions"]["inputs"]
    assert (
        "parity also judged at the minimum sizes of the input; parity not judged at the maximum sizes of the input: "
        in said
    )
    assert "resize=14 is smaller than the input's 24 pixels" in said


@pytest.mark.parametrize("command", ["export", "verify", "inspect", "summary"])
@pytest.mark.parametrize("model", ["test_convnet", "bytes.onnx"])
def test_a_range_of_an_input_that_is_not_there_is_refused(run, own, model, command):
    name = own / model if model.endswith(".onnx") else model
    refused = run(command, name, "--input-range", "ids=0:10")
    assert refused.returncode == USAGE
    assert "has no input ids; it takes" in complaint(refused)


def test_a_batch_that_the_file_fixes_is_the_default(run, own, image_folder):
    options = ("--precision", "int8", "--data", image_folder, "--json")
    built = answer(run("build", own / "bytes.onnx", *options))
    assert (built["batch"], built["defaults"]["--batch"]) == ("2:2:2", "2:2:2")
    inspected = answer(run("inspect", own / "bytes.onnx", *options))
    assert (inspected["batch"], inspected["calibration"]) == (2, built["calibration"])
    refused = run("build", own / "bytes.onnx", "--batch", "4")
    assert "takes batches of 2 only" in complaint(refused)


def test_what_is_assumed_of_images_is_said_by_every_command_that_shows_some(run, own, image_folder):
    shape = ("--input-shape", "3,12,16", "--data", image_folder)
    built = answer(run("build", own / "free.onnx", *shape, "--precision", "int8", "--json"))
    how = built["calibration"]["preprocessing"]
    assert how["origin"] == "assumed"
    assert "ImageNet's mean and deviation are assumed" in how["warning"]
    assert built["defaults"]["--target"] == "sm_89"
    int8, fp32 = ("--precision", "int8"), ("--backends", "ort", "--precision", "fp32")
    options = {"build": int8, "inspect": int8, "calibrate": (), "calibrate --sensitivity": (), "verify": fp32}
    for command, more in options.items():
        name, *flags = command.split()
        said = run(name, own / "free.onnx", *shape, *flags, *more).stdout
        assert "preprocessing" in said
        assert "are assumed: set it with --preprocess" in said
    given = answer(
        run("build", own / "free.onnx", *shape, "--precision", "int8", "--preprocess", "imagenet", "--json")
    )["calibration"]["preprocessing"]
    assert (given["origin"], given["warning"], given["said"]) == ("given", None, how["said"])


def test_a_table_of_images_prepared_otherwise_is_refused(run, own, image_folder, tmp_path):
    shape = ("--input-shape", "3,12,16")
    table = tmp_path / "table.json"
    done = run("calibrate", own / "free.onnx", *shape, "--data", image_folder, "--preprocess", "unit", "-o", table)
    assert done.returncode == 0, done.stderr
    assert json.loads(table.read_text())["preprocessing"].endswith("RGB, pixel / 255")
    refused = run("build", own / "free.onnx", *shape, "--precision", "int8", "--table", table)
    assert refused.returncode == USAGE
    assert "made of images prepared otherwise" in complaint(refused)
    taken = run("build", own / "free.onnx", *shape, "--precision", "int8", "--table", table, "--preprocess", "unit")
    assert taken.returncode == 0, taken.stderr


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labeled")
    random = np.random.default_rng(4)
    for label in range(2):
        (folder / str(label)).mkdir()
        for number in range(6):
            pixels = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((50, 40)).save(folder / str(label) / f"{number}.png")
    return folder


def test_a_graph_with_a_stem_of_bytes_goes_through_every_command_with_the_same_numbers(run, labeled, tmp_path):
    path = tmp_path / "bytes.onnx"
    done = run("export", "test_convnet", "--stem", "uint8", "-o", path)
    assert done.returncode == 0, done.stderr
    tables = {}
    for model in ("test_convnet", path):
        table = tmp_path / "table.json"
        done = run("calibrate", model, "--data", labeled, "--images", "6", "-o", table)
        assert done.returncode == 0, done.stderr
        tables[model] = json.loads(table.read_text())["ranges"]
    plain, stemmed = tables.values()
    shared = sorted(plain.keys() & stemmed.keys())
    assert len(shared) >= 2
    for name in shared:
        assert stemmed[name]["hi"] == pytest.approx(plain[name]["hi"], rel=1e-4)
    for precision in ("fp16", "int8"):
        built = answer(run("build", path, "--precision", precision, "--data", labeled, "--json"))
        assert built["inputs"] == ["images uint8[batch, 32, 32, 3]"]
    verified = answer(
        run("verify", path, "--backends", "ort,trt", "--precision", "fp32,fp16", "--data", labeled, "--json")
    )
    assert {row["parity"]["verdict"] for row in verified["rows"]} == {"pass"}
    assert "the file says so" in verified["environment"]["conditions"]["preprocessing"]
    timed = answer(run("bench", path, "--backends", "ort", "--data", labeled, "--max-seconds", "1", "--json"))
    assert timed["rows"][0]["state"] == "measured"
    judged = [
        answer(run("evaluate", model, "--data", labeled, "--backends", "ort", "--json"))["rows"][0]["top1"]
        for model in ("test_convnet", path)
    ]
    assert judged[0] == judged[1]


def test_the_zoo_takes_images_that_are_not_square(run):
    built = answer(run("build", "test_convnet", "--input-shape", "3,32,48", "--json"))
    assert built["inputs"] == ["images float32[batch, 3, 32, 48]"]
    for shape, said in {
        "4,32,32": "test_convnet takes images of 3 channels, not 4",
        "3,2,32": "images of 2 pixels are too small for test_convnet",
        "x=1x3x8x8": "test_convnet takes images, not x=1x3x8x8",
    }.items():
        refused = run("build", "test_convnet", "--input-shape", shape)
        assert (refused.returncode, said in complaint(refused)) == (USAGE, True)


def test_no_default_is_named_that_nothing_read(run, tmp_path, image_folder):
    table = tmp_path / "table.json"
    calibrated = run("calibrate", "test_convnet", "--data", image_folder, "--images", "4", "-o", table)
    assert calibrated.returncode == 0, calibrated.stderr
    asked = ("build", "test_convnet", "--precision", "int8", "--json")
    found = json.loads(run(*asked, "--table", table).stdout)["defaults"]
    assert not {"--calibration-images", "--calibration-method", "--percentile", "--keep-io"} & set(found)
    assert found["--int8-policy"] == "all"
    assert found["--max-aux-streams"] == "0"
