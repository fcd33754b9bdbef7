"""`deploykit evaluate` as a user meets it: three kinds of labeled data, one table, a gate, and data that is none."""

import gzip
import json
import struct

import numpy as np
import pytest
from one_line import complaint
from PIL import Image

USAGE, GATE, UNTRUSTED = 2, 3, 5
IMAGES = 24


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(3).integers(0, 256, (IMAGES, 12, 12), dtype=np.uint8)


@pytest.fixture(scope="module")
def labels():
    return np.arange(IMAGES, dtype=np.int64) % 10


@pytest.fixture(scope="module")
def archive(tmp_path_factory, pixels, labels):
    path = tmp_path_factory.mktemp("archive") / "digits.npz"
    np.savez(path, images=pixels, labels=labels)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pixels, labels):
    """The same images as a subfolder for each class, with one image beside them and one that is broken."""
    root = tmp_path_factory.mktemp("classes")
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        (root / str(label)).mkdir(exist_ok=True)
        Image.fromarray(image).save(root / str(label) / f"{index}.png")
    Image.fromarray(pixels[0]).save(root / "loose.png")
    (root / "3" / "broken.png").write_bytes(b"\x89PNG and no more")
    return root


def write_idx(path, array):
    content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory, pixels, labels):
    root = tmp_path_factory.mktemp("mnist")
    write_idx(root / "t10k-images-idx3-ubyte.gz", pixels)
    write_idx(root / "t10k-labels-idx1-ubyte.gz", labels)
    other = np.random.default_rng(4).integers(0, 256, (30, 12, 12), dtype=np.uint8)
    write_idx(root / "train-images-idx3-ubyte", other)
    write_idx(root / "train-labels-idx1-ubyte", np.arange(30) % 10)
    return root


def rows(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["rows"]


def asked(data, *more):
    return ["evaluate", "lenet5", "--data", data, "--backends", "ort", "--json", *more]


def test_three_kinds_of_data_tell_the_same(run, archive, folder, mnist):
    """Each resized the same way, so the same images are right whatever they lie in."""
    found = {origin: rows(run(*asked(origin)))[0] for origin in (archive, folder, mnist)}
    assert {row["images"] for row in found.values()} == {IMAGES}
    assert len({json.dumps(row["top1"]) for row in found.values()}) == 1


@pytest.mark.full
def test_a_table_for_people(run, folder):
    done = run("evaluate", "lenet5", "--data", folder, "--backends", "torch,ort", "--batch", "5")
    assert done.returncode == 0, done.stderr
    assert (
        f"{folder}: {IMAGES} images, 10 classes; 2 skipped (loose.png: is not in the folder of a class; 3/broken.png"
        in (done.stdout)
    )
    assert "drop, points [95 % CI]" in done.stdout
    assert "exact McNemar test" in done.stdout


def test_int8_is_never_judged_by_what_it_was_calibrated_on(run, archive, mnist):
    left = rows(run(*asked(archive, "--precision", "fp32,int8", "--calibration-images", "5")))
    assert [row["images"] for row in left] == [IMAGES - 5] * 2
    whole = rows(run(*asked(mnist, "--precision", "int8", "--calibration-images", "5")))
    assert whole[0]["images"] == IMAGES  # the training part is there to calibrate on
    other = rows(run(*asked(archive, "--precision", "int8", "--calibration-data", mnist)))
    assert other[0]["images"] == IMAGES


def test_limit_takes_some(run, archive):
    assert rows(run(*asked(archive, "--limit", "7")))[0]["images"] == 7


def test_prepared_arrays_go_in_as_they_are(run, tmp_path, labels):
    path = tmp_path / "prepared.npz"
    images = np.random.default_rng(5).standard_normal((IMAGES, 1, 32, 32)).astype(np.float32)
    np.savez(path, images=images, labels=labels)
    row = rows(run(*asked(path, "--precision", "fp32,int8", "--calibration-images", "4")))[1]
    assert row["images"] == IMAGES - 4
    assert row["against_first"]["lost"] + row["against_first"]["gained"] < IMAGES / 2


def test_the_gate_has_its_exit_code(run, archive):
    """FP32 of the untrained network loses nothing in another backend; one row alone has nothing to be held to."""
    done = run("evaluate", "lenet5", "--data", archive, "--backends", "ort,torch", "--max-drop", "0")
    assert done.returncode == 0, done.stderr
    done = run("evaluate", "lenet5", "--data", archive, "--backends", "ort", "--max-drop", "0")
    assert done.returncode == GATE
    assert "--max-drop could not be checked" in done.stdout
    done = run("evaluate", "lenet5", "--data", archive, "--backends", "ort", "--max-drop", "101")
    assert done.returncode == USAGE
    assert "--max-drop is 101" in complaint(done)


def spoilt(tmp_path, **arrays):
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    return path


EIGHT = np.zeros((4, 8, 8), np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None]


@pytest.mark.parametrize(
    ("arrays", "code", "said"),
    [
        ({"pictures": EIGHT}, USAGE, "has no array `images`; it has pictures"),
        ({"images": EIGHT}, USAGE, "has no labels"),
        ({"images": EIGHT, "labels": np.zeros(3, np.int64)}, USAGE, "labels are int64[3] for 4 images"),
        ({"images": EIGHT, "labels": np.zeros(4)}, USAGE, "labels are float64[4]"),
        ({"images": EIGHT[:0], "labels": np.arange(0)}, USAGE, "has no image"),
        ({"images": EIGHT, "labels": np.array([0, 1, 2, 10**12])}, USAGE, "label 1000000000000 is beyond any class"),
        ({"images": EIGHT, "labels": np.array([0, 1, 2, 10])}, USAGE, "has 11 classes, lenet5 distinguishes 10"),
        ({"images": EIGHT[..., None], "labels": np.arange(4)}, USAGE, "images are uint8[4, 8, 8, 1]"),
        ({"images": np.zeros((4, 1, 28, 28), np.float32), "labels": np.arange(4)}, USAGE, "lenet5 takes images"),
        (
            {"images": np.full((4, 1, 32, 32), np.nan, np.float32), "labels": np.arange(4)},
            USAGE,
            "image 0 contains NaN",
        ),
        ({"images": np.array([object()] * 4)}, UNTRUSTED, "holds Python objects, so it is refused"),
    ],
)
def test_an_archive_that_does_not_fit_is_refused(run, tmp_path, arrays, code, said):
    done = run(*asked(spoilt(tmp_path, **arrays)))
    assert done.returncode == code
    assert said in complaint(done)


def test_what_only_looks_like_an_archive_is_refused(run, tmp_path):
    path = tmp_path / "pickle.npz"
    path.write_bytes(b"\x80\x04K\x01.")
    done = run(*asked(path))
    assert done.returncode == UNTRUSTED
    assert "is not an .npz archive" in complaint(done)


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda content: content[:-1], UNTRUSTED, "has another size"),
        (lambda content: content + b"x", UNTRUSTED, "has another size"),
        (lambda content: content[:2] + b"\x0d" + content[3:], UNTRUSTED, "is not an idx file"),
        (lambda content: content[:4] + b"\xff\xff\xff\xff" * 3 + content[16:], UNTRUSTED, "more than"),
    ],
)
def test_a_damaged_idx_file_is_refused(run, tmp_path, mnist, spoil, code, said):
    whole = gzip.decompress((mnist / "t10k-images-idx3-ubyte.gz").read_bytes())
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(spoil(whole))
    done = run(*asked(tmp_path))
    assert done.returncode == code
    assert said in complaint(done)


def test_folders_that_label_nothing_are_refused(run, tmp_path, folder, image_folder):
    assert "has no labels" in complaint(run(*asked(image_folder)))
    lonely = tmp_path / "lonely" / "3"
    lonely.mkdir(parents=True)
    Image.fromarray(EIGHT[0]).save(lonely / "a.png")
    assert "has only one class, 3" in complaint(run(*asked(lonely.parent)))
    assert "does not exist" in complaint(run(*asked(tmp_path / "nowhere")))
    assert "requires labeled images" in complaint(run("evaluate", "lenet5"))
    assert "--calibration-data requires int8" in complaint(run(*asked(folder, "--calibration-data", folder)))


def test_class_names_take_the_order_of_classes_txt(run, tmp_path, folder):
    import shutil

    copy = tmp_path / "named"
    shutil.copytree(folder, copy)
    (copy / "classes.txt").write_text("\n".join(map(str, range(10))))
    assert rows(run(*asked(copy)))[0]["top1"] == rows(run(*asked(folder)))[0]["top1"]
    (copy / "classes.txt").write_text("0\n1\n")
    assert "does not list 2, 3, 4" in complaint(run(*asked(copy)))
    (copy / "classes.txt").write_text("0\n1\n0\n")
    assert "lists 0 twice" in complaint(run(*asked(copy)))


def test_a_calibration_needs_several_images(run, tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "a.png")
    done = run("calibrate", "lenet5", "--data", tmp_path)
    assert done.returncode == USAGE
    assert "has 1 image to calibrate on; half of a set is kept for tests" in complaint(done)


def test_fewer_classes_than_the_network_has_are_said(run, tmp_path, pixels):
    np.savez(tmp_path / "few.npz", images=pixels, labels=np.arange(IMAGES) % 2)
    asked = ("evaluate", "lenet5", "--data", tmp_path / "few.npz", "--backends", "ort")
    assert "2 classes (the network has 10: class 0 of the data is taken for its class 0" in run(*asked).stdout
    conditions = json.loads(run(*asked, "--json").stdout)["environment"]["conditions"]
    assert (conditions["classes"], conditions["network_classes"]) == (2, 10)
