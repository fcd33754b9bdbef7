"""LeNet-5 from its name to a session, with numbers that are held to the module's own."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import deploykit as dk
from deploykit.weights import seeded_module

IMAGES = np.random.default_rng(3).normal(size=(4, 1, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def expected():
    module = seeded_module(dk.ModelSpec("lenet5")).eval()
    with torch.no_grad():
        return module(torch.from_numpy(IMAGES)).numpy()


def test_the_graph_says_what_it_is(lenet):
    assert lenet.path.is_file()
    assert len(lenet.digest) == 64
    assert [str(each) for each in lenet.inputs] == ["images float32[batch, 1, 32, 32]"]
    assert [str(each) for each in lenet.outputs] == ["logits float32[batch, 10]"]
    assert lenet.check.verdict == "pass"
    assert lenet.weights.random
    assert {"remove_no_ops", "fold_batchnorm"} <= {each.name for each in lenet.passes}
    lenet.raise_if_failed()
    assert json.loads(lenet.to_json())["digest"] == lenet.digest


def test_a_session_answers_as_the_module_does(runnable, expected):
    with dk.open(runnable, threads=1) as session:
        logits = session.run({"images": IMAGES})["logits"]
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_a_pytorch_engine_answers_as_the_module_does(lenet, expected):
    with dk.open(dk.build(lenet, backend="torch", batch=4)) as session:
        np.testing.assert_allclose(session.run({"images": IMAGES})["logits"], expected, rtol=1e-5, atol=1e-5)


def test_a_table_has_ranges_that_hold_the_activations(table, lenet, tmp_path):
    assert table.images == 16
    assert table.method == "entropy"
    assert len(table.ranges) > 5
    assert table.table.graph_digest == lenet.digest
    copy = table.save(tmp_path / "table.json")
    assert copy.read_text() == table.path.read_text() == table.table.to_json()
    assert json.loads(table.to_json())["activations"] == len(table.ranges)


def test_a_table_of_two_shards_is_that_of_one_pass(lenet, table, tmp_path):
    parts = [tmp_path / "one.json", tmp_path / "two.json"]
    for index, part in enumerate(parts, 1):
        found = dk.calibrate_shard(lenet, shard=(index, 2), output=part, data="noise", images=16)
        assert found.shard == f"{index}/2"
    merged = dk.merge_shards(parts, output=tmp_path / "merged.json", method="entropy")
    assert merged.table == table.table


def test_the_plan_of_an_engine_is_int8_where_the_network_is(compiled):
    assert compiled.path.is_file()
    assert compiled.precision is dk.Precision.INT8
    assert str(compiled.spec.batch) == "1:4:8"
    assert {layer.reads for layer in compiled.plan.kernels if layer.macs} == {"Int8"}
    assert "calibration" in json.loads(compiled.to_json())


def test_a_table_by_its_path_builds_the_same_graph(compiled, lenet, table, tmp_path):
    path = table.save(tmp_path / "table.json")
    again = dk.build(lenet, precision="int8", calibration=path, backend="trt-rtx", batch=(1, 4, 8), target="sm_89")
    assert again.typed_digest == compiled.typed_digest
    assert again.digest == compiled.digest


@pytest.mark.full
def test_verify_judges_each_row(lenet, table):
    report = dk.verify(lenet, backends=["torch", "ort"], precisions=["fp32", "int8"], data="noise", calibration=table)
    assert [(row.label, row.state) for row in report.rows] == [
        ("torch fp32", "measured"),
        ("torch int8", "unavailable"),
        ("ort fp32", "measured"),
        ("ort int8", "measured"),
    ]
    assert report.rows[0].parity.verdict == "pass"
    assert len(json.loads(report.to_json())["rows"]) == 4


@pytest.mark.full
def test_bench_times_rows_and_steps(lenet):
    report = dk.bench(lenet, backends="ort", data="noise", max_seconds=1)
    (row,) = report.rows
    assert 0 < row.latency_ms.median < 1000
    (steps,) = dk.bench_steps("lenet5", batch=2, burn_in=1, steps=3).rows
    assert steps.per_batch_ms.n == 3


def test_evaluate_counts_right_answers(lenet, expected, tmp_path):
    labels = expected.argmax(axis=1)
    np.savez(tmp_path / "labeled.npz", images=np.zeros((4, 32, 32), np.uint8), labels=labels)
    report = dk.evaluate(lenet, data=tmp_path / "labeled.npz", backends=["ort"], batch=2)
    (row,) = report.rows
    assert row.top1.n == 4
    assert row.row.state == "measured"


def test_inspect_reads_the_plan_of_an_engine_and_of_a_network(compiled, shared_store):
    found = dk.inspect(compiled, target="rtx4090")
    assert found.plan == compiled.plan
    assert found.roofline.gpu.name == "rtx4090"
    beside = dk.inspect("lenet5", diff="fp16", target="sm_89", store=shared_store)
    assert beside.diff is not None


def test_the_zoo_and_a_network_layer_by_layer():
    card = next(each for each in dk.list_models("lenet5") if each.name == "lenet5")
    assert card.params == 61_706
    assert dk.summarize("lenet5").layers.params == 61_706
    assert all(not each.is_miniature for each in dk.list_models())
    assert any(each.is_miniature for each in dk.list_models(miniatures=True))


def test_the_doctor_looks_at_the_store_that_is_named(tmp_path):
    assert any(str(tmp_path) in found.detail for found in dk.doctor(backend="trt-rtx", store=tmp_path))


def test_progress_is_silent_unless_it_is_asked_for(lenet, capfd, shared_store):
    seen = []
    dk.export("lenet5", store=shared_store, check=False)
    assert capfd.readouterr() == ("", "")
    dk.calibrate(lenet, data="noise", images=7, progress=lambda *step: seen.append(step))
    assert ("calibrate on 7 images", 1, 1) in seen
    assert capfd.readouterr() == ("", "")


def test_random_weights_are_warned_of_at_the_line_that_asked(lenet):
    with pytest.warns(dk.DeploykitWarning, match="weights that nobody trained") as caught:
        dk.build(lenet, backend="trt-rtx", target="sm_89", batch=2)
    assert caught[0].filename == __file__


def test_none_is_the_default_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEPLOYKIT_STORE", raising=False)
    graph = dk.export("test_resnet", check=False)
    assert graph.path.is_relative_to(tmp_path / "engines")
    assert dk.build(graph, backend="ort").store == tmp_path / "engines"


def test_a_file_and_a_function_are_networks(lenet, expected, shared_store):
    for network in (lenet.path, str(lenet.path), dk.from_onnx(lenet.path)):
        engine = dk.build(network, backend="ort", store=shared_store)
        with dk.open(engine) as session:
            np.testing.assert_allclose(session.run({"images": IMAGES})["logits"], expected, rtol=1e-5, atol=1e-5)
    model = dk.from_factory("live_networks:Small", input_shape=(3, 12, 12), factory_args={"classes": 2})
    graph = dk.export(model, store=shared_store)
    assert str(graph.outputs[0]) == "logits float32[batch, 2]"
    assert not graph.weights.random


def test_opening_an_engine_imports_no_pytorch(runnable, tmp_path):
    path = runnable.save(tmp_path / "lenet.onnx")
    code = (
        "import sys, numpy, deploykit as dk\n"
        f"with dk.open({str(path)!r}, trust_engine=True, store={str(tmp_path / 'store')!r}) as session:\n"
        "    print(session.run({'images': numpy.zeros((2, 1, 32, 32), 'float32')})['logits'].shape)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "(2, 10)"), done.stderr
