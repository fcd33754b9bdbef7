"""`bench` with a list of batches, percentiles and an accuracy: one run of all of it, and what is refused."""

import io
import json
import re

import numpy as np
import pytest
from one_line import complaint

from deploykit.bench import fingerprint
from deploykit.report.table import render_report
from deploykit.results.comparison import ComparisonEnvironment, Conditions, Report
from deploykit.results.saved import read_results

USAGE, UNTRUSTED = 2, 5
SHOWN = (
    *("batch 1, 4, threads", "p90 ms p95 ms p99 ms", "images", "roof", "top-1", "on 24 images: "),
    *("Saturation, the smallest", "Percentiles are withheld below", "and memory:", "export s", "memory MB"),
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("labeled") / "digits.npz"
    pixels = np.random.default_rng(3).integers(0, 256, (24, 12, 12), dtype=np.uint8)
    np.savez(path, images=pixels, labels=np.arange(24, dtype=np.int64) % 10)
    return path


@pytest.fixture(scope="module")
def evaluation(run, digits, tmp_path_factory):
    """What evaluate printed."""
    done = run("evaluate", "lenet5", "--data", digits, "--backends", "ort", "--json")
    assert done.returncode == 0, done.stderr
    path = tmp_path_factory.mktemp("evaluation") / "lenet5.json"
    path.write_text(done.stdout)
    return path


@pytest.mark.full
def test_batches_percentiles_accuracy_roofline_and_costs_in_one_run(run, evaluation, digits):
    done = run("bench", "lenet5", "--backends", "ort", "--batch", "1,4", "--max-seconds", "1", "--data", digits,
               "--accuracy", evaluation, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = read_results(done.stdout, what="answer")
    assert [(row.backend, row.batch, row.state) for row in report.rows] == [
        ("ort", 1, "measured"), ("ort", 4, "measured"),
    ]  # fmt: skip
    for row in report.rows:
        assert row.accuracy.top1.n == 24
        assert row.images_per_second > 0
        assert row.roofline.bound_ms > 0
        assert row.memory_bytes > 10e6
        assert row.export_seconds > 0
        assert row.cold_ms > 0
    assert report.conditions.cpu_peaks.fp32_gflops > 0.1
    out = io.StringIO()
    render_report(report, percentiles=True, file=out)
    table = " ".join(out.getvalue().split())
    for part in SHOWN:
        assert part in table


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bench", "--batch", "1,x"], ["cannot read the list of batches '1,x'", "1,8,32"]),
        (["bench", "--batch", "1,4:8:16"], ["cannot read the list of batches", "or one range alone (1:8:32)"]),
        (["bench", "--batch", "1,"], ["cannot read the list of batches '1,'"]),
        (["bench", "--batch", "0,8"], ["batch 0:0:0 is not a range"]),
        (["verify", "--batch", "8,,1"], ["cannot read the list of batches"]),
        (["evaluate", "--batch", "1,8", "--data", "."], ["cannot read batch '1,8'"]),
        (["build", "--batch", "1,8"], ["cannot read batch '1,8'"]),
        (["bench", "--mode", "forward", "--batch", "1,8"], ["--mode forward takes one batch, not 1,8"]),
        (["bench", "--mode", "forward", "--percentiles"], ["--percentiles cannot be combined with --mode forward"]),
        (["bench", "--mode", "forward", "--accuracy", "a.json"], ["--accuracy cannot be combined with --mode"]),
        (["bench", "--mode", "forward", "--backends", "torch:compile"], ["not --backends torch:compile"]),
        (["bench", "--accuracy", "missing.json"], ["there is no file missing.json"]),
        (["bench", "--accuracy", "."], ["file . is a folder"]),
        (["bench", "--backends", "torch:channels-last"], ["unknown backend", "torch:channels_last"]),
        (["bench", "--backends", "torch:compiled"], ["unknown backend", "torch or torch:compile?"]),
    ],
)
def test_bad_input_is_one_line(run, arguments, said):
    command, *options = arguments
    done = run(command, "test_convnet", *options)
    line = complaint(done)
    assert done.returncode == USAGE, done.stderr
    for part in said:
        assert part in line


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda text: text[: len(text) // 2], UNTRUSTED, "is not JSON"),
        (lambda text: "[]", UNTRUSTED, "is not of bench, verify, evaluate"),
        (lambda text: re.sub(r'version": \d+', 'version": 99', text), UNTRUSTED, "schema_version 99, not"),
        (lambda text: text.replace('"hits"', '"hit"', 1), UNTRUSTED, "hit"),
        (lambda text: text.replace('"model": "lenet5"', '"model": "vgg16"'), USAGE, "is of vgg16, not of lenet5"),
    ],
)  # fmt: skip
def test_an_accuracy_that_is_none_is_refused_before_any_work(run, evaluation, tmp_path, change, code, said):
    path = tmp_path / "changed.json"
    path.write_text(change(evaluation.read_text()))
    done = run("bench", "lenet5", "--accuracy", path)
    assert said in complaint(done)
    assert done.returncode == code


def test_the_answer_of_another_command_is_no_accuracy(run, tmp_path):
    conditions = Conditions(model="lenet5", batch=1, threads=2, tf32=False)
    machine = fingerprint(threads=2, seed=0, tf32=False)
    answer = Report(environment=ComparisonEnvironment(**machine.facts(), conditions=conditions), rows=())
    (tmp_path / "verify.json").write_text(answer.to_json())
    refused = run("bench", "lenet5", "--accuracy", tmp_path / "verify.json")
    assert "is of verify, not of evaluate" in complaint(refused)
    assert refused.returncode == USAGE


def test_an_accuracy_of_other_graphs_is_said_and_joined_to_nothing(run, evaluation, tmp_path):
    found = json.loads(evaluation.read_text())
    for row in found["rows"]:
        row["typed_digest"] = "0" * 64
    (tmp_path / "other.json").write_text(json.dumps(found))
    done = run("bench", "lenet5", "--backends", "ort", "--max-seconds", "0.3", "--accuracy", tmp_path / "other.json")
    assert done.returncode == 0, done.stderr
    assert "no row has the accuracy that was given" in done.stderr
    assert "top-1" not in done.stdout
