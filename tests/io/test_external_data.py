"""External data of an ONNX file: inside the model's folder, a plain file, and as large as the tensor says."""

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_files import DATA, WEIGHT, limit_memory, refused

from deploykit.errors import UntrustedArtifact
from deploykit.io import onnx_vetting
from deploykit.io.loader import external_files, read_onnx


@pytest.mark.parametrize(
    "location",
    ["../weights.bin", "/etc/hostname", "", "sub/../../weights.bin", "a\\..\\b", "C:weights.bin", "x\0y", "."],
)
def test_a_location_outside_the_folder_is_refused(external, tmp_path, location):
    (tmp_path / "weights.bin").write_bytes(DATA)
    refused(external(location=location), "not inside the model's folder|not a regular file")


def test_an_absent_data_file_is_refused(external):
    refused(external(location="other.bin"), "is not there: 'other.bin'")


@pytest.mark.parametrize("through", ["file", "folder"])
def test_a_symbolic_link_is_refused(external, tmp_path, through):
    path = external(location="link" if through == "file" else "link/weights.bin")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "weights.bin").write_bytes(DATA)
    (path.parent / "link").symlink_to(outside / "weights.bin" if through == "file" else outside)
    refused(path, "reached through a link")


def test_a_hard_link_is_refused(external, tmp_path):
    path = external()
    os.link(path.parent / "weights.bin", tmp_path / "second name")
    refused(path, "is a link")


def test_a_pipe_is_refused(external):
    path = external(location="pipe")
    os.mkfifo(path.parent / "pipe")
    refused(path, "not a regular file")


@pytest.mark.parametrize(
    "told",
    [
        {"length": "17"},
        {"offset": "1"},
        {"offset": "-1"},
        {"offset": "17", "length": None},
        {"length": "1e3"},
        {"length": "9" * 30},
        {"length": "8"},
        {"basepath": "/etc"},
        {"offset": "9223372036854775807"},
    ],
)
def test_a_range_that_the_file_does_not_have_is_refused(external, told):
    refused(external(**told), "external data of tensor 'w'|tensor 'w' .* has 8 bytes of data")


def test_a_key_twice_is_refused(external):
    path = external()
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")
    path.write_bytes(model.SerializeToString())
    refused(path, "has a key twice")


def test_a_sparse_data_file_beyond_the_limit_is_refused_before_it_is_read(external):
    path = external(length=str(3 * 2**30))
    with (path.parent / "weights.bin").open("wb") as file:
        file.truncate(3 * 2**30)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].dims[:] = [3 * 2**28]
    path.write_bytes(model.SerializeToString())
    code = f"from pathlib import Path; from deploykit.io.loader import read_onnx; read_onnx(Path({str(path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=limit_memory)
    assert f"tensor 'w' of {path} would take 3221225472 bytes, more than 2147483647" in done.stderr


@pytest.fixture
def hub(external, tmp_path):
    """A hub's cache: `snapshots/abc` names the files, `blobs` holds them; returns the model's name and the blobs."""
    path = external()
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for name, blob in (("net.onnx", "aa11"), ("weights.bin", "bb22")):
        (path.parent / name).rename(blobs / blob)
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    return snapshot / "net.onnx", blobs


def test_the_links_of_a_hubs_cache_are_followed(hub):
    path, blobs = hub
    np.testing.assert_array_equal(numpy_helper.to_array(read_onnx(path).graph.initializer[0]), WEIGHT)
    assert external_files(path) == (blobs / "bb22",)


def test_a_snapshot_that_is_itself_a_link_is_followed(hub, tmp_path):
    path, _ = hub
    (tmp_path / "latest").symlink_to(path.parent)
    assert read_onnx(tmp_path / "latest" / "net.onnx")


@pytest.mark.parametrize("through", ["file", "folder"])
def test_a_link_that_stays_in_the_models_folder_is_followed(external, through):
    path = external(location="link" if through == "file" else "link/weights.bin")
    (path.parent / "link").symlink_to(path.parent / "weights.bin" if through == "file" else path.parent)
    np.testing.assert_array_equal(numpy_helper.to_array(read_onnx(path).graph.initializer[0]), WEIGHT)


@pytest.mark.parametrize("where", ["elsewhere", "blobs/deeper", "blobs/.."])
def test_a_hubs_link_to_another_folder_is_refused_with_the_way_out(hub, tmp_path, where):
    path, blobs = hub
    folder = tmp_path / where
    folder.mkdir(parents=True, exist_ok=True)
    (blobs / "bb22").rename(folder / "bb22")
    (path.parent / "weights.bin").unlink()
    (path.parent / "weights.bin").symlink_to(folder / "bb22")
    refused(path, "reached through a link, 'weights.bin', that leads to .*bb22; .*cp -L")


def test_the_model_alone_behind_a_link_finds_its_data_in_the_folder_that_names_it_only(external, tmp_path):
    path = external()
    named = tmp_path / "named"
    named.mkdir()
    (named / "net.onnx").symlink_to(path)
    refused(named / "net.onnx", "is not there: 'weights.bin'")


def test_a_hard_link_behind_a_hubs_link_is_refused(hub, tmp_path):
    path, blobs = hub
    os.link(blobs / "bb22", tmp_path / "second name")
    refused(path, "is a link")


def test_a_file_that_is_exchanged_between_vetting_and_reading_is_refused(external, monkeypatch):
    path = external()
    real = onnx_vetting._locate

    def locate(tensor, model):
        place = real(tensor, model)
        place.path.rename(place.path.with_suffix(".old"))
        place.path.write_bytes(DATA)
        return place

    model = onnx.load(path, load_external_data=False)
    monkeypatch.setattr(onnx_vetting, "_locate", locate)
    with pytest.raises(UntrustedArtifact, match="became another file"):
        onnx_vetting.load_external_data(model, path)
