"""`deploykit summary` as a process: its table, JSON, CSV, and what it refuses."""

import csv
import io
import json

import numpy as np
import onnx
import pytest
from one_line import complaint

from deploykit.zoo.registry import cards

USAGE = 2


def test_the_table_names_network_paper_deviations_layers_and_totals(run):
    done = run("summary", "lenet5")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["model", "lenet5"]
    assert lines[1].split() == ["input", "1x32x32"]
    assert "Gradient-Based Learning" in lines[2]
    for deviation in cards()["lenet5"].deviations:
        assert deviation in done.stdout
    assert ["c3", "Conv2d", "16x10x10", "2,416", "240,000", "1,600", "14"] in [line.split() for line in lines]
    assert ["total", "61,706", "416,520", "8,094"] in [line.split() for line in lines]
    assert any(line.split()[:3] == ["c5", "Linear", "120"] and line.endswith("whole image") for line in lines)
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout


def test_json_has_the_same_rows_totals_and_card(run):
    done = run("summary", "test_resnet", "--json")
    found = json.loads(done.stdout)
    assert found["schema_version"] == 2
    assert found["input"] == [3, 32, 32]
    card = cards()["test_resnet"]
    assert found["totals"] == {
        "params": card.params,
        "macs": card.macs,
        "activations": sum(layer["activations"] for layer in found["layers"]),
    }
    first = found["layers"][0]
    assert (first["name"], first["output"], first["receptive_field"]) == ("conv1", [8, 32, 32], [3, 3])
    assert first["convolution"] == {"inputs": 3, "outputs": 8, "kernel": [3, 3], "stride": [1, 1], "groups": 1}
    assert found["cost_law"] == []


def test_csv_is_read_back_by_the_csv_module(run):
    done = run("summary", "test_resnet", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    layers = json.loads(run("summary", "test_resnet", "--json").stdout)["layers"]
    assert len(rows) == len(layers)
    for row, layer in zip(rows, layers, strict=True):
        assert (row["name"], row["kind"], int(row["call"])) == (layer["name"], layer["kind"], layer["call"])
        assert [int(size) for size in row["output"].split("x")] == layer["output"]
        assert (int(row["params"]), int(row["macs"])) == (layer["params"], layer["macs"])
        assert [int(side) for side in row["receptive_field"].split("x")] == layer["receptive_field"]
        assert bool(int(row["whole_image"])) == layer["whole_image"]


def test_mobilenets_cost_law_by_hand(run):
    """Half of 32 -> 64 channels on maps of 112 * 160 / 224 = 80; the last block has half of 1024 on 5x5 maps."""
    arguments = ["summary", "mobilenet", "--width-mult", "0.5", "--image-size", "160"]
    found = json.loads(run(*arguments, "--json").stdout)
    first, last = found["cost_law"][0], found["cost_law"][-1]
    assert (first["channels"], first["side"]) == ([16, 32], 80)
    assert first["paper_law"] == first["counted"] == 9 * 16 * 80 * 80 + 16 * 32 * 80 * 80 == 4_198_400
    assert first["full"] == 9 * 32 * 112 * 112 + 32 * 64 * 112 * 112 == 29_302_784
    assert first["of_full"] == pytest.approx(4_198_400 / 29_302_784, rel=1e-12)
    assert last["counted"] == 9 * 512 * 25 + 512 * 512 * 25 == 6_668_800
    assert found["totals"]["macs"] == 76_524_800
    table = run(*arguments).stdout
    assert [
        "blocks.0.0.conv_dw",
        "16",
        "->",
        "32",
        "16",
        "->",
        "32",
        "80",
        "80",
        *["4,198,400"] * 3,
        "0",
        "0",
        "0.1433",
    ] in [line.split() for line in table.splitlines()]


def test_an_onnx_file_is_summarized_without_obeying_its_names(run, tmp_path):
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    g (float[N, 3, 16, 16] x) => (float[N, 4, 7, 7] y) { y = Conv <strides=[2, 2]> (x, w) }
    """
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "w"))
    model.graph.node[0].name = "\x1b[31m=conv"
    onnx.save(model, tmp_path / "net.onnx")
    found = json.loads(run("summary", tmp_path / "net.onnx", "--json").stdout)
    (layer,) = found["layers"]
    assert (found["model"], layer["kind"], layer["output"]) == ("net", "Conv", [4, 7, 7])
    assert (layer["params"], layer["macs"]) == (108, 4 * 49 * 27)
    for form in ([], ["--csv"]):
        assert "\x1b" not in run("summary", tmp_path / "net.onnx", *form).stdout


def test_a_factory_is_summarized_where_it_lies(run, tmp_path):
    (tmp_path / "own_network.py").write_text(
        "from torch import nn\n\ndef tiny(width=4):\n    return nn.Sequential(nn.Conv2d(2, width, (3, 5)))\n"
    )
    arguments = ["own_network:tiny", "--input-shape", "2,10,20", "--factory-args", '{"width": 6}']
    done = run("summary", *arguments, "--json", path=tmp_path)
    assert done.returncode == 0, done.stderr
    (layer,) = json.loads(done.stdout)["layers"]
    assert (layer["output"], layer["params"], layer["receptive_field"]) == ([6, 8, 16], 6 * 30 + 6, [3, 5])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resnet51"], ["unknown model 'resnet51'", "did you mean resnet50"]),
        (["lenet5", "--json", "--csv"], ["--json cannot be combined with --csv"]),
        (["lenet5", "--weights", "weights.pth"], ["reads no weights", "--weights"]),
        (["lenet5", "--seed", "3"], ["reads no weights", "--seed"]),
        (["lenet5", "--width-mult", "0.5"], ["no width multiplier", "mobilenet"]),
        (["missing.onnx"], ["there is no file missing.onnx"]),
    ],
)
def test_refusals_are_one_line(run, arguments, said):
    done = run("summary", *arguments)
    assert done.returncode == USAGE
    line = complaint(done)
    assert all(part in line for part in said), line
