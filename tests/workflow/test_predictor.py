"""`Predictor`: the right classes for whatever an image is given as, in this process and in others."""

import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from classifying import CLASSES, SOFTMAX, expected, write_classifier, write_images
from PIL import Image

import deploykit as dk

LABELS = [f"class {number}" for number in range(CLASSES)]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images") / "of", 11)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return dk.from_onnx(write_classifier(tmp_path_factory.mktemp("network") / "net.onnx"), preprocess="unit")


@pytest.fixture(scope="module")
def engine(network, shared_store):
    return dk.build(network, backend="ort", batch=(1, 4, 4), store=shared_store)


@pytest.fixture(scope="module")
def predictor(engine):
    with dk.Predictor(engine, labels=LABELS, top=3, threads=1) as found:
        yield found


def test_the_classes_are_those_of_the_network(predictor, images):
    found = predictor(images)
    classes, shares = expected(images, 3)
    np.testing.assert_array_equal(found["classes"], classes)
    np.testing.assert_allclose(found["probabilities"], shares, rtol=1e-4)
    assert found["labels"].tolist() == [[LABELS[number] for number in row] for row in classes]
    assert found["error"].tolist() == [None] * len(images)


def test_it_takes_images_in_every_form(predictor, images):
    wanted = predictor(images)["probabilities"]
    pictures = [Image.open(path).convert("RGB") for path in images]
    arrays = [np.asarray(picture) for picture in pictures]
    prepared = np.stack([predictor.session.prepare(picture) for picture in pictures])
    for form in (list(map(str, images)), pictures, arrays, prepared, {"image": arrays}, {"path": images}):
        np.testing.assert_array_equal(predictor(form)["probabilities"], wanted)


def test_columns_come_back_beside_the_classes(predictor, images):
    batch = {"image": np.array([np.asarray(Image.open(images[0]))]), "id": np.array([7])}
    found = predictor(batch)
    assert list(found) == ["id", "classes", "probabilities", "labels", "error"]
    assert found["id"].tolist() == [7]


def test_a_gray_image_is_one_of_equal_colors(predictor):
    gray = np.full((9, 9), 120, np.uint8)
    found = predictor([gray, gray[..., None], np.repeat(gray[..., None], 3, axis=2)])["probabilities"]
    assert (found == found[0]).all()


def test_a_broken_image_has_its_error_and_the_others_their_classes(predictor, images, tmp_path):
    (tmp_path / "empty.png").touch()
    found = predictor([images[0], tmp_path / "empty.png", tmp_path / "gone.png", images[1]])
    assert (found["classes"][[1, 2]] == -1).all()
    assert np.isnan(found["probabilities"][[1, 2]]).all()
    assert found["labels"][1].tolist() == [None] * 3
    assert "cannot read image" in found["error"][1]
    assert "there is no image" in found["error"][2]
    np.testing.assert_array_equal(found["classes"][[0, 3]], predictor(images[:2])["classes"])
    assert (predictor([tmp_path / "empty.png"])["classes"] == -1).all()
    assert predictor([])["classes"].shape == (0, 3)


def test_an_image_that_would_fill_the_memory_when_it_is_resized_is_an_error(predictor):
    narrow = Image.new("RGB", (1_000_000, 1))
    assert "would be resized to" in predictor([narrow])["error"][0]


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ([3], "image 0 is a int"),
        ([np.zeros((4, 4, 3))], r"image 0 is float64\[4, 4, 3\]"),
        ([np.zeros((4, 4, 2), np.uint8)], r"image 0 is uint8\[4, 4, 2\]"),
        (np.zeros((2, 3, 8, 8), np.float32), "has shape"),
        ({"pictures": []}, "a batch has the columns pictures"),
    ],
)
def test_what_is_no_image_is_refused(predictor, batch, said):
    with pytest.raises(dk.InvalidFeed, match=said):
        predictor(batch)


@pytest.mark.parametrize("backend", ["null", "ort"])
@pytest.mark.parametrize("batch", [(1, 1, 1), (1, 4, 8), (8, 8, 8)])
def test_every_backend_and_batch_answers_alike(network, images, shared_store, backend, batch):
    engine = dk.build(network, backend=backend, batch=batch, store=shared_store)
    with dk.Predictor(engine, backend, top=CLASSES, threads=1) as predictor:
        assert (predictor.batch, predictor.backend, predictor.classes) == (batch[1], backend, CLASSES)
        together = predictor(images)
        single = [predictor([path]) for path in images]
    np.testing.assert_allclose(together["probabilities"].sum(axis=1), 1, rtol=1e-5)
    assert (np.diff(together["probabilities"], axis=1) <= 0).all()
    assert [sorted(row) for row in together["classes"].tolist()] == [list(range(CLASSES))] * len(images)
    np.testing.assert_allclose(
        together["probabilities"], np.concatenate([each["probabilities"] for each in single]), rtol=1e-5
    )


def test_probabilities_of_a_softmax_are_taken_as_they_are(tmp_path, images, shared_store):
    path = write_classifier(tmp_path / "soft.onnx", ending=SOFTMAX)
    network = dk.from_onnx(path, preprocess="unit")
    with dk.Predictor(network, threads=1, store=shared_store) as predictor:
        np.testing.assert_allclose(predictor(images)["probabilities"], expected(images, 5)[1], rtol=1e-4)


IN_ANOTHER_PROCESS = """
import pickle, sys
import numpy as np
predictor = pickle.loads(sys.stdin.buffer.read())
found = predictor(sys.argv[1:])
options = predictor.session._session.session.get_session_options()
assert not {"torch", "onnx", "tensorrt", "tensorrt_rtx"} & set(sys.modules), sorted(sys.modules)
print(options.intra_op_num_threads, *found["probabilities"].ravel().tolist())
"""


def in_another_process(predictor, images):
    return subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, *map(str, images)],
        input=pickle.dumps(predictor), capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_another_process_opens_it_by_its_path_with_its_own_threads_and_without_pytorch(engine, images):
    with dk.Predictor(engine, threads=2) as predictor:
        here = predictor(images)["probabilities"].ravel().tolist()
        assert len(pickle.dumps(predictor)) < 10_000
        done = in_another_process(predictor, images)
    assert done.returncode == 0, done.stderr.decode()
    threads, *there = done.stdout.decode().split()
    assert threads == "2"
    assert list(map(float, there)) == here


def test_another_engine_under_the_path_is_not_opened(engine, images, tmp_path, shared_store):
    path = engine.save(tmp_path / "net.onnx")
    predictor = dk.Predictor(path, trust_engine=True, store=tmp_path / "elsewhere")
    path.write_bytes(path.read_bytes() + b"\0")
    done = in_another_process(predictor, images)
    assert b"is not the one that was named" in done.stderr
    path.unlink()
    assert b"cannot read the engine" in in_another_process(predictor, images).stderr


def test_a_saved_engine_knows_how_images_are_prepared(engine, predictor, images, tmp_path):
    path = engine.save(tmp_path / "net.onnx")
    with dk.Predictor(path, "ort", top=3, trust_engine=True, store=tmp_path / "elsewhere") as saved:
        assert saved.digest == predictor.digest
        assert saved.engine_digest == engine.digest
        assert saved.preprocessing == predictor.preprocessing
        np.testing.assert_array_equal(saved(images)["classes"], predictor(images)["classes"])


def test_an_exported_graph_and_a_path_are_built_first(network, images, tmp_path, shared_store):
    wanted, _ = expected(images, 1)
    graph = dk.export(network, check=False, store=shared_store)
    with dk.Predictor(graph, top=1) as predictor:
        np.testing.assert_array_equal(predictor(images)["classes"], wanted)
    with dk.Predictor(write_classifier(tmp_path / "plain.onnx"), store=shared_store) as predictor:
        assert "assumed" in predictor.preprocessing


def test_the_digest_is_of_engine_and_preprocessing(engine, network, shared_store):
    other = dk.from_onnx(network.spec.name, preprocess="imagenet")
    again = dk.build(other, backend="ort", batch=(1, 4, 4), store=shared_store)
    first, second = dk.Predictor(engine), dk.Predictor(again)
    assert first.engine_digest == second.engine_digest
    assert first.digest != second.digest
    assert first.digest == dk.Predictor(engine, top=1, threads=2).digest


def test_names_come_from_a_list_a_file_or_folders(engine, images, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(LABELS) + "\n")
    for label in LABELS:
        (tmp_path / "folders" / label).mkdir(parents=True)
    for labels in (LABELS, names, tmp_path / "folders"):
        assert dk.Predictor(engine, labels=labels).labels == tuple(LABELS)
    shutil.copy(names, tmp_path / "folders" / "classes.txt")
    assert dk.Predictor(engine, labels=tmp_path / "folders").labels == tuple(LABELS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": ["one"]}, "labels are 1 names, net distinguishes 10 classes"),
        ({"labels": "nowhere.txt"}, "nowhere.txt"),
        ({"top": 0}, "top is 0"),
        ({"threads": -1}, "threads is -1"),
        ({"backend": "trt"}, "the engine is of ort, not of trt"),
        ({"top": "five"}, "is not a whole number"),
    ],
)
def test_a_wrong_option_is_named(engine, options, said):
    with pytest.raises(dk.UsageError, match=said):
        dk.Predictor(engine, **options)


def test_what_is_no_classifier_is_refused(tmp_path, shared_store):
    text = '<ir_version: 10, opset_import: ["": 20]> g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) {y = Relu(x)}'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "relu.onnx")
    with pytest.raises(dk.UnsupportedGraph, match=r"relu returns y float32.*a classifier has one output"):
        dk.Predictor(tmp_path / "relu.onnx", store=shared_store)


def test_an_engine_that_cannot_run_here_says_why(network, shared_store):
    engine = dk.build(network, backend="trt-rtx", target="sm_89", store=shared_store)
    if engine.reason is None:
        pytest.skip("there is a GPU")
    with pytest.raises(dk.BackendMissing, match="cannot run here"):
        dk.Predictor(engine)
