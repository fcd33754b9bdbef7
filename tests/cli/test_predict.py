"""`deploykit predict` as a process: killed, interrupted, gone on with, and short of room."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from one_line import complaint
from PIL import Image
from test_json_schema import SCHEMA, faults

USAGE, MISSING = 2, 4
IMAGES = 160
GRAPH = """<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 3, 32, 32] images) => (float[N, 5] scores) {
    c = Conv <pads = [1, 1, 1, 1]> (images, k)
    p = GlobalAveragePool (c)
    scores = Flatten (p)
}"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    model = onnx.parser.parse_model(GRAPH)
    weight = np.random.default_rng(0).standard_normal((5, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "k"))
    path = tmp_path_factory.mktemp("network") / "net.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Many names of a few images, which take milliseconds to decode."""
    folder = tmp_path_factory.mktemp("folder")
    images = tmp_path_factory.mktemp("images")
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (150, 200, 3), dtype=np.uint8)
        Image.fromarray(noise).save(images / f"{number}.jpg")
    for number in range(IMAGES):
        (folder / f"{number:04}.jpg").symlink_to(images / f"{number % 4}.jpg")
    return folder


@pytest.fixture(scope="module")
def asked(network, folder):
    def arguments(output, *more):
        return ["predict", network, folder, "--preprocess", "unit", "--batch", "8", "--out", output, *more]

    return arguments


@pytest.fixture(scope="module")
def whole(run, asked, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "rows.jsonl"
    done = run(*asked(path, "--json"))
    assert done.returncode == 0, done.stderr
    return path.read_bytes(), json.loads(done.stdout)


def test_the_answer_is_as_the_schema_says(whole):
    content, found = whole
    assert faults(found, SCHEMA["properties"]["predict"]) == []
    assert (found["images"], found["errors"], found["held"]) == (IMAGES, 0, 0)
    assert found["images_per_second"] == pytest.approx(IMAGES / found["seconds"])
    assert len(content.splitlines()) == IMAGES
    assert json.loads(content.splitlines()[0])["model"] == found["digest"][:12]


def started(arguments, store, **options):
    command = [sys.executable, "-m", "deploykit", *map(str, arguments)]
    environment = os.environ | {"DEPLOYKIT_STORE": str(store)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), (signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.full)],
)
def test_a_run_that_is_ended_goes_on(run, asked, whole, shared_store, tmp_path, number, code):
    path = tmp_path / "rows.jsonl"
    with started(asked(path, "--decode-threads", "1"), shared_store) as process:
        while not path.exists() or path.stat().st_size < 2000:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (code, ""), errors
    assert "Traceback" not in errors
    left = path.read_bytes()
    assert 0 < len(left) < len(whole[0])
    done = run(*asked(path, "--json"))
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == whole[0]
    assert 0 < json.loads(done.stdout)["held"] < IMAGES
    assert [each.name for each in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.full
def test_where_there_is_no_room_it_goes_on_later(asked, whole, run, shared_store, tmp_path):
    path = tmp_path / "rows.jsonl"

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    with started(asked(path), shared_store, preexec_fn=little_room) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == USAGE
    assert "cannot write" in errors
    assert "run it again" in errors
    assert path.stat().st_size == 10_000
    assert run(*asked(path)).returncode == 0
    assert path.read_bytes() == whole[0]


def test_what_a_person_reads(run, asked, tmp_path):
    done = run(*asked(tmp_path / "rows.csv", "--shard", "2/8", "--top", "2"))
    assert done.returncode == 0, done.stderr
    for part in ("shard", "2/8", "images/s", "rows.csv: 24 rows"):
        assert part in done.stdout
    header, first = (tmp_path / "rows.csv").read_text().splitlines()[:2]
    assert header == "image,error,model,class_1,probability_1,class_2,probability_2"
    assert first.split(",")[0].endswith("/0016.jpg")


def test_no_image_at_all_is_a_failure_and_some_are_a_warning(run, network, folder, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.touch()
    base = ["predict", network, broken, "--preprocess", "unit"]
    done = run(*base, "--out", tmp_path / "none.jsonl", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["errors"] == 1
    done = run(*base, folder / "0000.jpg", "--out", tmp_path / "some.jsonl", "--json")
    assert done.returncode == 0
    assert "1 of 2 images have an error" in done.stderr


def test_an_engine_file_is_its_own_network(run, network, folder, whole, tmp_path):
    import deploykit as dk

    engine = dk.build(dk.from_onnx(network, preprocess="unit"), backend="ort", store=tmp_path / "store")
    path = engine.save(tmp_path / "net.engine")
    base = ["predict", path, folder, "--out", tmp_path / "rows.jsonl", "--store", tmp_path / "store"]
    done = run(*base, "--precision", "fp16")
    assert done.returncode == USAGE
    assert "--precision cannot change the engine" in complaint(done)
    done = run(*base)
    assert done.returncode == 5  # the typed graph of ONNX Runtime is no engine of the store
    assert "--trust-engine" in complaint(done) or "trust_engine" in complaint(done)
    done = run(*base, "--trust-engine", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["digest"] == whole[1]["digest"]
    assert (tmp_path / "rows.jsonl").read_bytes() == whole[0]


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--out", "rows.txt"], USAGE, "rows.txt is of no known kind"),
        (["--out", "no/such/rows.csv"], USAGE, "no/such is not a folder"),
        ([], USAGE, "Missing option '-o' / '--out'"),
        (["--out", "rows.csv", "--shard", "x"], USAGE, "cannot read shard 'x'"),
        (["--out", "rows.csv", "--labels", "nowhere"], USAGE, "nowhere"),
        (["--out", "rows.csv", "--table", "t.json"], USAGE, "--table requires int8"),
        (["--out", "rows.csv", "--trust-engine"], USAGE, "--trust-engine requires an engine file"),
        (["--out", "rows.csv", "nowhere.jpg"], USAGE, "there is no image or folder nowhere.jpg"),
        (["--out", "rows.csv", "--backend", "tort"], USAGE, "unknown backend 'tort'"),
        (["--out", "rows.csv", "--backend", "trt", "--strict-backend"], MISSING, "GPU"),
    ],
)
def test_a_wrong_request_is_one_line(run, network, folder, tmp_path, monkeypatch, elsewhere, more, code, said):
    done = run("predict", network, folder, *more)
    assert done.returncode == code, done.stderr
    assert said in complaint(done)
    assert not list(Path(elsewhere).glob("*rows*"))
