"""What is no checkpoint is named by its content, whatever it is called, with what to do about it."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from deploykit.errors import UntrustedArtifact
from deploykit.io.loader import read_checkpoint


def zipped(*members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in members:
            archive.writestr(name, b"content")
    return stream.getvalue()


def tarred():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    return stream.getvalue()


def onnx_file():
    graph = onnx.helper.make_graph([], "empty", [], [])
    return onnx.helper.make_model(graph, producer_name="pytorch").SerializeToString()


def one_array():
    stream = io.BytesIO()
    np.save(stream, np.ones(3))
    return stream.getvalue()


FOREIGN = {
    "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 102530333\n",
    "HTML page": b"\n<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title>",
    "an HTML page": b"<!-- saved from a browser -->\n<HTML lang=en>",
    "XML file": b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>',
    "ONNX file": onnx_file(),
    "HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(64),
    "Keras model": zipped("metadata.json", "config.json", "model.weights.h5"),
    "zip archive of 2 files": zipped("readme.txt", "best/model.pth"),
    "tar archive": tarred(),
    "compressed with gzip": gzip.compress(b"weights"),
    "an index of a checkpoint in parts": b'{"metadata": {"total_size": 8}, "weight_map": {"a": "model-1.safetensors"}}',
    "a JSON file": b'{"lr": 0.1}',
    "TensorFlow Lite": b"\x1c\0\0\0TFL3" + bytes(32),
    "TensorFlow SavedModel": b"\x08\x01\x12\xff" + bytes(32),
    "one NumPy array": one_array(),
    "is empty": b"",
}


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "weights"])
@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_no_checkpoint_is_named_with_the_fix(tmp_path, what, name):
    path = tmp_path / name
    path.write_bytes(FOREIGN[what])
    with pytest.raises(UntrustedArtifact, match=what) as caught:
        read_checkpoint(path)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_many_comments_cost_no_more_than_their_length(tmp_path):
    (tmp_path / "net.pth").write_bytes(b"<!---->" * 146)
    with pytest.raises(UntrustedArtifact):
        read_checkpoint(tmp_path / "net.pth")


def test_the_checkpoint_inside_an_archive_is_named(tmp_path):
    (tmp_path / "all.zip").write_bytes(zipped("readme.txt", "best/model.pth"))
    with pytest.raises(UntrustedArtifact, match=r"name the checkpoint inside: best/model\.pth"):
        read_checkpoint(tmp_path / "all.zip")


def test_a_torchscript_archive_is_named_and_not_run(tmp_path):
    torch.jit.trace(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 2, 2)).save(tmp_path / "scripted.pt")
    with pytest.raises(UntrustedArtifact, match=r"TorchScript archive, .*torch\.jit\.load\(\"scripted\.pt\"\)"):
        read_checkpoint(tmp_path / "scripted.pt")


class OwnNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)


@pytest.mark.parametrize("content", [OwnNet(), {"model": OwnNet(), "epoch": 3}], ids=["alone", "in a table"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_module_is_named_with_its_class(tmp_path, content, zipped):
    torch.save(content, tmp_path / "whole.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        UntrustedArtifact, match=r"would run code when loaded .*OwnNet.*model\.state_dict\(\)"
    ) as caught:
        read_checkpoint(tmp_path / "whole.pth")
    assert "whole pickled module" in str(caught.value) or not zipped
    assert caught.value.exit_code == 5
