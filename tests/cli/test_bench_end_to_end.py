"""`bench --end-to-end` on a folder of images: the second table and its JSON."""

import json
import shutil

import numpy as np
import pytest

ROWS = ("--backends", "ort,trt", "--max-seconds", "0.5", "--end-to-end")


@pytest.fixture
def folder(image_folder, tmp_path):
    found = tmp_path / "images"
    shutil.copytree(image_folder, found)
    (found / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    return found


def test_the_second_table_counts_files_and_names_what_cannot_be_decoded(run, folder):
    done = run("bench", "test_convnet", *ROWS, "--data", folder, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["end_to_end"]
    assert (found["files"], found["used"], found["top"]) == (9, 8, 5)
    assert [text.partition(":")[0] for text in found["undecodable"]] == ["broken.jpg"]
    ort, trt = found["rows"]
    stages = {stage["stage"]: stage for stage in ort["stages"]}
    assert list(stages) == ["decode", "resize", "normalize", "copy", "infer", "top-k"]
    assert sum(stage["share"] for stage in stages.values()) == pytest.approx(1, abs=0.01)
    assert ort["total_ms"]["median"] >= stages["decode"]["ms"]["median"] > 0
    assert ort["images_per_second"] > 0
    assert (trt["state"], trt["stages"], trt["total_ms"]) == ("built", [], None)


def test_it_is_printed_below_the_first(run, folder):
    done = run("bench", "test_convnet", *ROWS, "--data", folder)
    assert done.returncode == 0, done.stderr
    second = done.stdout[done.stdout.index("end to end") :]
    assert f"{folder}: 9 files, 8 used; 1 cannot be decoded" in second
    assert "not decoded  broken.jpg: cannot read image" in second
    lines = [line.split()[:2] for line in second.splitlines()]
    assert ["ort", "fp32"] in lines
    assert [line[0] for line in lines if line and line[0] in ("decode", "infer", "top-k")] == [
        *("decode", "infer", "top-k"),
    ]
    assert "trt fp32: no NVIDIA GPU" in second


def test_without_the_option_there_is_none(run, folder):
    done = run("bench", "test_convnet", "--backends", "ort", "--max-seconds", "0.5", "--data", folder, "--json")
    assert json.loads(done.stdout)["end_to_end"] is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("noise", "--data noise has no image files"),
        ("pixels.npz", "holds pixels, not image files"),
        ("absent", "image folder absent does not exist"),
        ("broken", "broken for test can be read; the first: cannot read image"),
    ],
)
def test_data_without_image_files_is_one_line(run, elsewhere, data, message):
    np.savez(elsewhere / "pixels.npz", images=np.zeros((8, 32, 32, 3), np.uint8))
    (elsewhere / "broken").mkdir(exist_ok=True)
    (elsewhere / "broken" / "one.jpg").write_bytes(b"no image")
    done = run("bench", "test_convnet", *ROWS, "--data", data)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr.splitlines()[-1]


def test_steps_have_no_image_files(run):
    done = run("bench", "test_convnet", "--mode", "forward", "--end-to-end")
    assert (done.returncode, "--end-to-end cannot be combined with --mode forward" in done.stderr) == (2, True)
