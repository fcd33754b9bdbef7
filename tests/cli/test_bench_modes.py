"""`deploykit bench --mode` as a user meets it."""

import json
import statistics

import onnx
import pytest
from one_line import complaint

from deploykit.modules.state import write_state
from deploykit.spec import ModelSpec
from deploykit.weights import seeded_state

USAGE = 2


@pytest.mark.parametrize("mode", [pytest.param("forward", marks=pytest.mark.full), "forward-backward"])
def test_json_has_every_step_and_what_they_say(run, mode):
    done = run("bench", "test_convnet", "--mode", mode, "--batch", "4", "--burn-in", "3", "--steps", "7", "--threads",
               "1", "--seed", "5", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    conditions = report["environment"]["conditions"]
    assert (conditions["batch"], conditions["threads"], conditions["burn_in"], conditions["steps"]) == (4, 1, 3, 7)
    assert (conditions["model"], conditions["weights"]) == ("test_convnet", "random, seed 5")
    assert conditions["loss"] == ("cross entropy" if mode == "forward-backward" else "")
    (row,) = report["rows"]
    assert (row["state"], row["mode"], row["backend"], row["precision"], row["batch"]) == (
        "measured", mode, "torch", "fp32", 4
    )  # fmt: skip
    assert (len(row["samples_ns"]), len(row["burn_in_ns"])) == (7, 3)
    found = row["per_batch_ms"]
    assert found["mean"] == pytest.approx(statistics.fmean(row["samples_ns"]) / 1e6)
    assert found["sd"] == pytest.approx(statistics.stdev(row["samples_ns"]) / 1e6)
    assert (found["n"], found["burn_in"]) == (7, 3)
    assert row["latency_ms"]["median"] == pytest.approx(statistics.median(row["samples_ns"]) / 1e6)
    assert (row["latency_ms"]["n"], row["latency_ms"]["p90"], row["latency_ms"]["flagged"]) == (7, None, 0)
    assert row["images_per_second"] == pytest.approx(4e3 / found["mean"])


@pytest.mark.full
def test_the_table_is_plain_text_with_the_documented_defaults(run):
    done = run("bench", "test_convnet", "--mode", "forward-backward")
    assert done.returncode == 0, done.stderr
    for part in ("batch 32, threads", "10 of burn-in, then 100 timed", "cross entropy", "+/-", "no optimizer step"):
        assert part in done.stdout
    assert done.stdout.isascii()
    assert [line.split("  ")[1] for line in done.stderr.splitlines()] == [
        "prepare the steps", "burn-in steps", "timed steps"
    ]  # fmt: skip


@pytest.mark.full
def test_backends_and_precision_may_be_named_when_they_are_what_runs(run):
    done = run("bench", "test_convnet", "--mode", "forward", "--backends", "torch", "--precision", "fp32", "--batch",
               "1", "--burn-in", "0", "--steps", "2", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"][0]["burn_in_ns"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mode", "backward"], ["unknown mode 'backward'", "forward-backward"]),
        (["--burn-in", "3"], ["--burn-in requires --mode"]),
        (["--steps", "3"], ["--steps requires --mode"]),
        (["--mode", "forward", "--steps", "1"], ["--steps", "1 is not in the range x>=2"]),
        (["--mode", "forward", "--burn-in", "-1"], ["--burn-in", "-1 is not in the range x>=0"]),
        (["--mode", "forward", "--threads", "-1"], ["--threads", "-1 is not in the range x>=0"]),
        (["--mode", "forward", "--backends", "torch,ort"], ["not --backends torch,ort"]),
        (["--mode", "forward", "--backends", "ort"], ["not --backends ort"]),
        (["--mode", "forward", "--backends", "torhc"], ["unknown backend 'torhc'"]),
        (["--mode", "forward", "--precision", "fp16"], ["not in fp16"]),
        (["--mode", "forward", "--precision", "fp32,fp16"], ["not in fp32,fp16"]),
        (["--mode", "forward", "--throughput"], ["--throughput cannot be combined with --mode forward"]),
        (["--mode", "forward-backward", "--max-seconds", "60"], ["--max-seconds cannot be combined with"]),
        (["--mode", "forward", "--target", "sm_89"], ["--target cannot be combined with"]),
        (["--mode", "forward", "--half-io"], ["--keep-io/--half-io cannot be combined with"]),
        (["--mode", "forward", "--data", "."], ["--data cannot be combined with"]),
        (["--mode", "forward", "--calibration-images", "8"], ["--calibration-images cannot be combined with"]),
        (["--mode", "forward", "--strict-backend"], ["--strict-backend cannot be combined with"]),
        (["--mode", "forward", "--batch", "1:2:4"], ["takes one batch, not 1:2:4", "--batch 32"]),
        (["--mode", "forward", "--batch", "0"], ["batch"]),
        (["--mode", "forward", "--image-size", "1"], ["1 pixels are too small"]),
    ],
)
def test_an_option_that_would_be_passed_over_is_refused(run, arguments, said):
    done = run("bench", "test_convnet", *arguments)
    line = complaint(done)
    assert done.returncode == USAGE, done.stderr
    for part in said:
        assert part in line


@pytest.mark.parametrize("mode", ["forward", "forward-backward"])
def test_an_onnx_file_has_no_module_to_step(run, tmp_path, mode):
    text = '<ir_version: 10, opset_import: ["": 20]> g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) {y = Relu(x)}'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "graph.onnx")
    done = run("bench", tmp_path / "graph.onnx", "--mode", mode)
    assert "graph.onnx has none" in complaint(done)
    assert done.returncode == USAGE


@pytest.mark.full
def test_a_checkpoint_is_stepped_and_a_foreign_one_refused(run, tmp_path):
    path = tmp_path / "trained.safetensors"
    write_state(seeded_state(ModelSpec("test_convnet", seed=3)), path)
    options = ("--mode", "forward-backward", "--weights", path, "--batch", "2", "--burn-in", "0", "--steps", "2")
    done = run("bench", "test_convnet", *options)
    assert done.returncode == 0, done.stderr
    assert "weights  trained.safetensors (" in done.stdout
    foreign = run("bench", "test_resnet", *options)
    assert foreign.returncode == USAGE
    assert "does not fit test_resnet" in complaint(foreign)


@pytest.mark.full
def test_a_step_that_does_not_fit_into_memory_is_a_failed_row(run):
    done = run("bench", "test_convnet", "--mode", "forward-backward", "--image-size", "8192", "--batch", "60000",
               "--burn-in", "0", "--steps", "2")  # fmt: skip
    assert done.returncode == 1
    assert "failed [1]" in done.stdout
    assert "[1] torch fp32: 60000 images do not fit into memory; give a smaller --batch" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_help_names_the_defaults(run):
    shown = " ".join(run("bench", "--help-all").stdout.split())
    for part in (
        "[default: (1; 32 with --mode)]",
        "warm-up steps, untimed, before the timed ones. [default: 10]",
        "[default: 100]",
    ):
        assert part in shown
