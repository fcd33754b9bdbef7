"""Engines outside the store: what `save` writes, `open` and `inspect` read, and what is not opened."""

import json
import shutil

import numpy as np
import pytest

import deploykit as dk


@pytest.fixture
def saved(compiled, tmp_path):
    return compiled.save(tmp_path / "net.engine")


def test_an_engine_is_saved_with_its_record(saved, compiled):
    record = json.loads(saved.with_name("net.engine.json").read_text())
    assert record["digest"] == compiled.digest
    assert record["precision"] == "int8"
    assert record["targets"] == ["sm_89"]


def test_a_store_that_did_not_build_it_reads_the_plan_from_the_record(saved, compiled, tmp_path):
    found = dk.inspect(saved, store=tmp_path / "elsewhere")
    assert found.plan == compiled.plan
    assert found.weights_digest == compiled.weights.digest


def test_an_engine_of_another_store_is_opened_only_on_trust(saved, tmp_path):
    with pytest.raises(dk.UntrustedArtifact, match="native code"):
        dk.open(saved, store=tmp_path / "elsewhere")
    with pytest.raises(dk.BackendMissing, match="cannot run here"):
        dk.open(saved, store=tmp_path / "elsewhere", trust_engine=True)


def test_an_engine_of_this_store_needs_neither_record_nor_trust(compiled, tmp_path):
    copy = tmp_path / "bare.engine"
    shutil.copy(compiled.path, copy)
    with pytest.raises(dk.BackendMissing, match="cannot run here"):
        dk.open(copy, store=compiled.store)


def test_an_engine_without_a_record_is_refused(compiled, tmp_path):
    copy = tmp_path / "bare.engine"
    shutil.copy(compiled.path, copy)
    with pytest.raises(dk.UntrustedArtifact, match="no record of the engine"):
        dk.open(copy, store=tmp_path / "elsewhere", trust_engine=True)


def test_another_engine_than_the_record_describes_is_refused(saved, tmp_path):
    saved.write_bytes(saved.read_bytes() + b"\0")
    for use in (dk.open, dk.inspect):
        with pytest.raises(dk.UntrustedArtifact, match="that of another engine"):
            use(saved, store=tmp_path / "elsewhere", trust_engine=True)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"precision": "fp12"}, "precision"),
        ({"inputs": [{"name": 3}]}, "inputs"),
        ({"schema_version": 9}, "schema_version"),
        ({"more": 1}, "more"),
    ],
)
def test_a_record_that_was_touched_is_refused(saved, tmp_path, change, fault):
    path = saved.with_name("net.engine.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(dk.UntrustedArtifact, match=fault):
        dk.open(saved, store=tmp_path / "elsewhere", trust_engine=True)


def test_the_typed_graph_of_onnx_runtime_is_saved_and_opened(runnable, tmp_path):
    path = runnable.save(tmp_path)
    images = np.ones((3, 1, 32, 32), np.float32)
    with dk.open(runnable) as built, dk.open(path, trust_engine=True, store=tmp_path / "elsewhere") as opened:
        expected, found = (session.run({"images": images})["logits"] for session in (built, opened))
    np.testing.assert_array_equal(found, expected)


def test_eager_pytorch_has_no_file(lenet, tmp_path):
    engine = dk.build(lenet, backend="torch")
    assert engine.path is None
    with pytest.raises(dk.UsageError, match="makes no file"):
        engine.save(tmp_path / "net.engine")


def test_a_place_that_cannot_be_written_is_named(compiled, tmp_path):
    with pytest.raises(dk.UsageError, match="cannot write"):
        compiled.save(tmp_path / "no" / "such" / "folder.engine")
