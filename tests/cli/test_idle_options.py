"""Options that have nothing to act on: refused where a command is at odds with itself, else named on stderr."""

import json

import numpy as np
import onnx
import pytest
from one_line import complaint

USAGE = 2
FILES = {
    "images": "(float[N, 3, 12, 16] x) => (float[N, 5] y) {"
    " c = Conv (x, w) p = GlobalAveragePool (c) y = Flatten (p) }",
    "words": "(int64[N, 4] ids) => (float[N, 4, 3] y) { y = Gather (t, ids) }",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("idle")
    random = np.random.default_rng(1)
    arrays = {"w": random.normal(0, 0.3, (5, 3, 3, 3)), "t": random.normal(0, 1, (10, 3))}
    for name, text in FILES.items():
        proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 20]> g {text}')
        array = "w" if name == "images" else "t"
        proto.graph.initializer.append(onnx.numpy_helper.from_array(arrays[array].astype(np.float32), array))
        onnx.save(proto, folder / f"{name}.onnx")
    np.savez(folder / "images.npz", images=random.standard_normal((8, 3, 12, 16)).astype(np.float32))
    return folder


def warnings(done, *, ending=(0,)):
    assert done.returncode in ending, done.stderr
    prefix = "deploykit: warning: "
    lines = [line.removeprefix(prefix) for line in done.stderr.splitlines() if line.startswith(prefix)]
    return [line for line in lines if "no effect" in line]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "--fuse-budget", "5"], "--fuse-budget requires --fuse auto"),
        (["inspect", "--json", "--top", "3"], "--top cannot be combined with --json"),
        (["inspect", "--trust-engine"], "--trust-engine requires an engine file"),
        (["summary", "--preprocess", "unit"], "--preprocess does not apply to a summary, which reads no weights"),
        (["summary", "--seed", "0"], "--seed does not apply"),
        (["bench", "--mode", "forward", "--preprocess", "unit"], "--preprocess cannot be combined with --mode forward"),
        (["bench", "--mode", "forward", "--input-range", "images=0:1"], "--input-range cannot be combined with --mode"),
        (["bench", "--quick", "--processes", "3"], "--processes cannot be combined with --quick"),
        (["bench", "--quick", "--max-seconds", "9"], "--max-seconds cannot be combined with --quick"),
        (["bench", "--mode", "forward", "--quick"], "--quick cannot be combined with --mode forward"),
        (["evaluate", "--data", ".", "--fuse-budget", "5"], "No such option '--fuse-budget'"),
        (
            ["evaluate", "--data", ".", "--calibration-data", ".", "--precision", "int8", "--table", "t.json"],
            "--calibration-data cannot be combined with --table",
        ),
        (["verify", "--precision", "fp32,fp16", "--calibration-method", "mse"], "--calibration-method requires int8"),
        (["verify", "--precision", "fp32,int8", "--half-io"], "--keep-io/--half-io requires fp16"),
        (
            ["verify", "--backends", "torch,ort", "--workspace-mb", "9"],
            "--workspace-mb requires a backend that compiles",
        ),
        (["bench", "--backends", "ort", "--target", "sm_89"], "--target requires a backend that compiles"),
    ],
)
def test_options_that_their_own_command_never_reads_are_refused(run, arguments, said):
    command, *options = arguments
    done = run(command, "test_convnet", *options)
    assert done.returncode == USAGE, done.stderr
    assert said in complaint(done)


@pytest.mark.parametrize("command", ["export", "build", "verify"])
def test_a_preparation_of_images_is_refused_by_a_network_that_takes_none(run, files, command):
    done = run(command, files / "words.onnx", "--input-range", "ids=0:10", "--preprocess", "unit")
    assert done.returncode == USAGE
    assert "--preprocess: words.onnx takes ids int64[N, 4]" in complaint(done).replace(f"{files}/", "")


def test_one_list_of_options_serves_every_precision_and_each_build_says_what_it_did_not_read(run, files, image_folder):
    asked = ("--data", image_folder, "--preprocess", "unit", "--calibration-images", "4", "--half-io", "--seed", "2")
    found = {
        precision: warnings(run("build", files / "images.onnx", *asked, "--precision", precision))
        for precision in ("fp32", "fp16", "int8")
    }
    assert found == {
        "fp32": [
            "--calibration-images has no effect: nothing is quantized at --precision fp32",
            "--keep-io/--half-io has no effect: inputs and outputs stay float32 at --precision fp32",
            "--seed, --preprocess, --data have no effect: no input data is used at --precision fp32",
        ],
        "fp16": ["--calibration-images has no effect: nothing is quantized at --precision fp16"],
        "int8": ["--keep-io/--half-io has no effect: inputs and outputs stay float32 at --precision int8"],
    }
    assert warnings(run("inspect", files / "images.onnx", *asked, "--precision", "fp16")) == [
        "--calibration-images has no effect: nothing is quantized at --precision fp16",
        "--seed, --preprocess, --data have no effect: no input data is used at --precision fp16",
    ]


def test_a_table_leaves_images_nothing_to_do_but_their_preparation_is_held_against_it(run, files, image_folder):
    table = files / "table.json"
    prepared = ("--data", image_folder, "--preprocess", "unit")
    assert run("calibrate", files / "images.onnx", *prepared, "-o", table).returncode == 0
    done = run("build", files / "images.onnx", *prepared, "--precision", "int8", "--table", table)
    assert warnings(done) == ["--data has no effect: no input data is used at --precision int8 with --table"]
    repaired = run("build", files / "images.onnx", *prepared, "--precision", "int8", "--table", table,
                   "--int8-repair", "bias")  # fmt: skip
    assert warnings(repaired) == []


def test_an_export_says_what_the_file_does_not_depend_on(run, files):
    path = files / "images.onnx"
    asked = ("--preprocess", "unit", "--seed", "3", "--input-range", "x=0:1")
    assert warnings(run("export", path, "--preprocess", "unit")) == [
        "--preprocess has no effect: the graph takes preprocessed images; --stem uint8 preprocesses in the graph"
    ]
    assert run("export", path, *asked).returncode == USAGE  # numbers of a range are no images
    assert warnings(run("export", path, *asked[2:4])) == ["--seed has no effect: the file contains its weights"]
    assert warnings(run("export", path, *asked[4:], "--no-check")) == [
        "--input-range has no effect: no input data is used with --no-check"
    ]
    assert warnings(run("export", "test_convnet", "--stem", "uint8", "--preprocess", "unit", "--seed", "3")) == []
    assert warnings(run("summary", path, "--input-range", "x=0:1")) == [
        "--input-range has no effect: no input data is used"
    ]


@pytest.mark.parametrize(("data", "shown"), [("noise", "seeded noise"), ("images.npz", "arrays, prepared by whoever")])
def test_what_is_prepared_already_is_said_to_be(run, files, data, shown):
    origin = data if data == "noise" else files / data
    for command in (["verify", "--backends", "ort"], ["calibrate", "--images", "4"]):
        name, *more = command
        (said,) = warnings(run(name, files / "images.onnx", "--data", origin, "--preprocess", "unit", *more))
        assert said.startswith(f"--preprocess has no effect: the network is shown {shown}")


def test_options_that_some_row_reads_are_not_complained_of(run, files, image_folder):
    images = ("--data", image_folder, "--preprocess", "unit", "--calibration-images", "4", "--seed", "1")
    engine = ("--half-io", "--workspace-mb", "500", "--target", "sm_89")
    rows = ("--backends", "ort,trt", "--precision", "fp16,int8", "--json")
    done = run("verify", files / "images.onnx", *images, *engine, *rows)
    assert warnings(done, ending=(0, 3)) == []  # INT8 of so small a network may lose too much
    assert len(json.loads(done.stdout)["rows"]) == 4
