"""What the commands answer when all is well."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

from deploykit.cli import COMMANDS
from deploykit.graph import graph_digest
from deploykit.spec import ModelSpec
from deploykit.zoo.registry import build_module

HEAVY = {"torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "rich", "numpy"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list"], ["doctor"]])
def test_light_commands_load_no_framework(arguments):
    allowed = {"--help": set(), "--version": set(), "list": {"rich", "numpy"}, "doctor": {"numpy"}}[arguments[0]]
    code = f"""
import sys
sys.argv = ["deploykit", *{arguments!r}]
from deploykit.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded", *({HEAVY!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()[1:]) <= allowed


def test_every_command_has_help(run):
    for name in COMMANDS:
        done = run(name, "--help")
        assert done.returncode == 0
        assert "--json" in done.stdout


def test_list_hides_miniatures_and_filters(run):
    everything = json.loads(run("list", "--json").stdout)
    names = [model["name"] for model in everything["models"]]
    assert {"lenet5", "vgg16_bn", "resnet152", "mobilenet"} <= set(names)
    assert not [name for name in names if name.startswith("test_")]
    assert everything["models"][0]["input"] == [1, 32, 32]
    table = run("list", "resnet*").stdout
    assert "25,557,032" in table
    assert "vgg" not in table


def test_doctor_says_what_is_missing_and_how_to_get_it(run):
    found = json.loads(run("doctor", "--for", "torch", "--json").stdout)["findings"]
    by_subject = {finding["subject"]: finding for finding in found}
    assert by_subject["torch"]["state"] == "ok"
    for finding in found:
        assert finding["state"] == "ok" or finding["fix"], finding


@pytest.fixture(scope="module")
def exported(run):
    done = run("export", "test_resnet", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_export_gives_a_checked_graph_without_batchnorm_at_any_batch(exported):
    model = onnx.load(exported["onnx"])
    onnx.checker.check_model(model, full_check=True)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    session = onnxruntime.InferenceSession(exported["onnx"], providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        (logits,) = session.run(None, {"images": np.zeros((batch, 3, 32, 32), np.float32)})
        assert logits.shape == (batch, 10)
    assert exported["digest"] == graph_digest(Path(exported["onnx"]).read_bytes())


def test_export_prints_the_error_beside_the_noise_floor(run, exported):
    assert exported["check"]["verdict"] == "pass"
    assert exported["check"]["total"]["relative_l2"] <= 3 * exported["check"]["floor"]
    again = run("export", "test_resnet")
    assert " relative L2 between plain float32 and the reference (" in again.stdout
    assert "seeded noise" in again.stdout
    assert exported["checked_on"] == "seeded noise"
    assert "(from the store)" in again.stdout


def test_export_can_copy_the_file(run, tmp_path, exported):
    done = run("export", "test_resnet", "--no-check", "-o", tmp_path / "net.onnx", "--json")
    assert json.loads(done.stdout)["onnx"] == str(tmp_path / "net.onnx")
    assert graph_digest((tmp_path / "net.onnx").read_bytes()) == exported["digest"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_build_compiles_and_then_finds_the_engine(run, image_folder, precision):
    batch = "1:5:9"  # no other test builds for it
    arguments = [
        "build",
        "test_mobilenet",
        "--precision",
        precision,
        "--batch",
        batch,
        "--data",
        image_folder,
        "--json",
    ]
    first, second = (json.loads(run(*arguments).stdout) for _ in range(2))
    assert first["engine_digest"] == second["engine_digest"]
    assert (first["from_store"], second["from_store"]) == (False, True)
    assert second["seconds"] == {}
    assert first["runs_here"] is False
    assert "GPU" in first["reason"]
    plan = first["plan"]
    assert plan["weighted_matched"] == plan["weighted_nodes"] > 5
    kind = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}[precision]
    assert plan["weighted_reads"].get(kind, 0) + len(plan["other_precision"]) == plan["weighted_nodes"]


def test_a_stored_engine_keeps_the_seconds_of_its_build(run, image_folder):
    verify = ["verify", "test_convnet", "--backends", "trt", "--data", image_folder, "--json"]
    rows = [json.loads(run(*verify).stdout)["rows"][0] for _ in range(2)]
    assert rows[1]["from_store"]
    assert rows[1]["build_seconds"] == rows[0]["build_seconds"] > 0.01


def test_editing_external_data_is_another_network(run, tmp_path):
    text = '<ir_version: 10, opset_import: ["": 20]> g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) {y = Add(x, w)}'
    model = onnx.parser.parse_model(text.replace("{y", "<float[1, 3, 8, 8] w> {y"))
    path = tmp_path / "model.onnx"

    def export(value):
        del model.graph.initializer[:]
        weight = np.full((1, 3, 8, 8), value, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
        kept = path.read_bytes() if path.exists() else None
        onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
        assert kept in (None, path.read_bytes())  # only w.bin has changed
        return json.loads(run("export", path, "--no-check", "--json").stdout)

    first = export(1.0)
    (tmp_path / "w.bin").unlink()
    second = export(2.0)
    assert not second["from_store"]
    assert second["digest"] != first["digest"]


def test_build_for_several_targets_and_a_batch_range(run):
    done = run("build", "test_convnet", "--target", "sm_80", "--target", "sm_120", "--batch", "1:4:16", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["plan"]["batch"] == 4


@pytest.mark.full
def test_verify_has_an_honest_row_for_everything_asked(run, image_folder):
    done = run(
        "verify", "test_resnet", "--backends", "torch,ort,trt,trt-rtx", "--precision", "fp32,fp16,int8",
        "--data", image_folder, "--json",
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert report["schema_version"] == 2
    rows = {(row["backend"], row["precision"]): row for row in report["rows"]}
    assert set(rows) == {(name, kind) for name in ("torch", "ort", "trt") for kind in ("fp32", "fp16", "int8")}
    assert done.returncode == 0, [row["parity"].get("reason") for row in rows.values()]
    assert rows["torch", "int8"]["state"] == "unavailable"
    assert "no INT8" in rows["torch", "int8"]["reason"]
    assert rows["ort", "fp16"]["note"] == "computed in float32"
    assert rows["ort", "int8"]["typed_digest"] != rows["trt", "int8"]["typed_digest"]
    for kind in ("fp32", "fp16", "int8"):
        assert rows["trt", kind]["state"] == "built"
        assert "ahead of time" in rows["trt", kind]["flavour"]
        assert rows["trt", kind]["latency_ms"] is None
        assert rows["trt", kind]["parity"]["scope"] == "typed graph"
        assert rows["ort", kind]["parity"]["verdict"] == "pass"
    assert rows["ort", "fp32"]["parity"]["total"]["relative_l2"] < 3 * rows["ort", "fp32"]["parity"]["floor"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_verify_catches_one_weight_tensor_scaled(run, image_folder, tmp_path, precision):
    built = json.loads(run("build", "test_resnet", "--precision", precision, "--data", image_folder, "--json").stdout)
    model = onnx.load(built["typed_onnx"])
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    if precision == "int8":  # the weight is its integers times their scale
        reader = next(node for node in model.graph.node if weight.name in node.input)
        weight = next(tensor for tensor in model.graph.initializer if tensor.name == reader.input[1])
    array = onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array((array * 1.5).astype(array.dtype), weight.name))
    onnx.save(model, tmp_path / "typed.onnx")
    common = ["verify", "test_resnet", "--backends", "trt", "--precision", precision, "--data", image_folder, "--typed"]
    sound = run(*common, built["typed_onnx"])
    assert sound.returncode == 0, sound.stdout + sound.stderr
    broken = run(*common, tmp_path / "typed.onnx")
    assert broken.returncode == 3, broken.stdout + broken.stderr
    assert "parity fail: logits: typed graph against float64" in broken.stdout


@pytest.mark.parametrize(
    ("factor", "said"),
    [(1e5, "conv1: "), (3e4, "float16 overflow in ")],
    ids=["a folded weight", "an activation"],
)
def test_verify_names_the_layer_that_overflows_float16(run, image_folder, tmp_path, factor, said):
    state = build_module(ModelSpec("test_resnet")).state_dict()
    state["bn1.weight"] = state["bn1.weight"] * factor
    save_file(state, tmp_path / "planted.safetensors")
    done = run(
        "verify", "test_resnet", "--backends", "ort", "--precision", "fp32,fp16",
        "--weights", tmp_path / "planted.safetensors", "--data", image_folder,
    )  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    remarks = [line for line in done.stdout.splitlines() if line.startswith("[") and "ort fp16" in line]
    assert any(said in line and "65504" in line for line in remarks), done.stdout
    assert "conv1" in done.stdout


def test_bench_measures_what_runs_and_keeps_every_sample(run, image_folder):
    done = run(
        "bench", "test_convnet", "--backends", "torch,ort,trt", "--precision", "fp32,int8", "--batch", "2",
        "--max-seconds", "3", "--data", image_folder, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["environment"]["cpu"]["cores"] >= 1
    rows = {(row["backend"], row["precision"]): row for row in report["rows"]}
    first, second = rows["torch", "fp32"], rows["ort", "fp32"]
    assert first["ratio_to_first"]["value"] == 1.0
    for row in (first, second, rows["ort", "int8"]):
        assert row["state"] == "measured"
        assert row["batch"] == 2
        assert len(row["samples_ns"]) == row["latency_ms"]["n"] + row["latency_ms"]["flagged"]
        assert row["latency_ms"]["median"] > 0
        assert row["parity"]["verdict"] == "pass"
    assert rows["trt", "fp32"]["latency_ms"] is None
    assert rows["trt", "fp32"]["plan"]["kernels"] > 0


@pytest.mark.full
def test_bench_as_a_table_is_plain_text(run, image_folder):
    done = run(
        "bench", "test_convnet", "--backends", "torch,ort,trt", "--max-seconds", "2", "--data", image_folder
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.isascii()
    assert "Traceback" not in done.stderr
    for part in ("measured", "built [", "no NVIDIA GPU", "kernels"):
        assert part in done.stdout


def test_an_onnx_file_takes_the_same_road(run, image_folder, exported):
    done = run(
        "verify", exported["onnx"], "--backends", "torch,ort,trt", "--precision", "fp32,fp16,int8",
        "--data", image_folder, "--json",
    )  # fmt: skip
    rows = {(row["backend"], row["precision"]): row for row in json.loads(done.stdout)["rows"]}
    assert rows["torch", "fp32"]["state"] == "unavailable"
    assert rows["ort", "fp32"]["parity"]["verdict"] == "pass"
    assert rows["ort", "fp32"]["parity"]["reference"] == "graph in float64"
    assert rows["trt", "fp16"]["state"] == "built"


def test_weights_given_are_the_weights_exported(run, tmp_path):
    module = build_module(ModelSpec("test_convnet", seed=7))
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    done = run("export", "test_convnet", "--weights", tmp_path / "weights.pth", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["weights"].startswith("weights.pth (")
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    session = onnxruntime.InferenceSession(answer["onnx"], providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = module(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(session.run(None, {"images": images})[0], expected, rtol=1e-4, atol=1e-5)


def test_seeded_statistics_are_cached_and_reused(run, shared_store, exported):
    entries = list((shared_store / "entries" / "weights").glob("*.json"))
    sizes = [len(load_file(next(iter(_files(shared_store, path))))) for path in entries]
    assert all(sizes)
    again = json.loads(run("export", "test_resnet", "--json").stdout)
    assert "seed weights and estimate BatchNorm statistics" not in again["seconds"]


def _files(store, manifest):
    for name, file in json.loads(manifest.read_text())["files"].items():
        if name.endswith(".safetensors"):
            yield store / "objects" / file["sha256"][:2] / f"{file['sha256']}.safetensors"
