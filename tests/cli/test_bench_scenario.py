"""`bench --scenario`: the table of MLPerf's load generator and its JSON."""

import json

import onnx
import pytest

FIXED = """
<ir_version: 10, opset_import: ["" : 20]>
fixed (float[2, 3, 16, 16] images) => (float[2, 3] scores) {
  pooled = GlobalAveragePool(images)
  scores = Flatten<axis = 1>(pooled)
}
"""
ROWS = ("--backends", "ort,trt", "--max-seconds", "0.5", "--processes", "1")


@pytest.fixture(autouse=True)
def loadgen():
    pytest.importorskip("mlperf_loadgen", reason="LoadGen is not installed; pip install 'deploykit[loadgen]'")


def test_each_row_that_runs_has_its_scenarios_and_the_others_say_why(run):
    done = run("bench", "test_convnet", *ROWS, "--batch", "2", "--scenario", "offline,single-stream", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["scenarios"]
    assert found["label"] == "not a verified MLPerf result"
    assert found["loadgen"].startswith("MLPerf LoadGen ")
    ort, trt = found["rows"]
    assert [one["scenario"] for one in ort["results"]] == ["offline", "single-stream"]
    assert all(one["samples_per_second"] > 0 for one in ort["results"])
    assert (trt["state"], trt["results"]) == ("built", [])


@pytest.mark.full
def test_of_a_network_that_takes_whole_batches_a_sample_is_a_batch(run, image_folder, tmp_path):
    onnx.save(onnx.parser.parse_model(FIXED), tmp_path / "fixed.onnx")
    done = run(
        *("bench", tmp_path / "fixed.onnx", *ROWS, "--data", image_folder, "--batch", "2:2:2"),
        *("--scenario", "offline", "--json"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["scenarios"]
    assert found["sample_images"] == 2
    assert found["rows"][0]["results"][0]["samples"] > 0


def test_it_is_printed_below_with_its_label(run):
    done = run("bench", "test_convnet", *ROWS, "--scenario", "server", "--server-qps", "20", "--server-bound", "500")
    assert done.returncode == 0, done.stderr
    second = done.stdout[done.stdout.index("scenarios ") :]
    assert "not a verified MLPerf result" in second
    (line,) = (line for line in second.splitlines() if line.startswith("ort fp32"))
    assert "500 met" in line
    assert "20.0" in line
    assert max(map(len, second.splitlines()[:8])) <= 120


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scenario", "serve"), "unknown scenario 'serve'; did you mean server?"),
        (("--scenario", "offline", "--server-qps", "5"), "requires the scenario server"),
        (("--scenario", "server", "--mode", "forward"), "--scenario cannot be combined with --mode forward"),
    ],
)
def test_what_makes_no_sense_is_one_line(run, options, message):
    done = run("bench", "test_convnet", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]
