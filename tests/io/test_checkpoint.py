"""Checkpoints: every good layout loads, every bad one is one line and runs nothing."""

import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.io.checkpoint.tensors import dense_tensor, tensors_of
from deploykit.io.loader import read_checkpoint

STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(7)}
WRAPPED = {f"module.{name}": tensor for name, tensor in STATE.items()}


def tensors_in(path, table=""):
    """Those of one table by their names in it."""
    found = tensors_of(read_checkpoint(path), path)
    prefix = f"{table}." if table else ""
    return {name.removeprefix(prefix): dense_tensor(name, item, path) for name, item in found.items()}


def assert_is_state(tensors):
    assert tensors.keys() == STATE.keys()
    for name, tensor in STATE.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=0)
        assert not tensors[name].requires_grad


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".pth.tar", ""])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("content", "table"),
    [
        (STATE, ""),
        (WRAPPED, "module"),
        ({"state_dict": STATE, "epoch": 3}, "state_dict"),
        ({"model": WRAPPED, "optimizer": {"lr": 0.1}}, "model.module"),
        ({name: torch.nn.Parameter(tensor.float()) if tensor.ndim else tensor for name, tensor in STATE.items()}, ""),
    ],
)
def test_reads_every_layout_of_a_pickle(tmp_path, content, table, zipped, suffix):
    path = tmp_path / f"net{suffix}"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert_is_state(tensors_in(path, table))


def test_reads_safetensors(tmp_path):
    save_file(STATE, tmp_path / "net.weights")
    assert_is_state(tensors_in(tmp_path / "net.weights"))


@pytest.mark.parametrize("name", ["absent.pth", "absent.safetensors", "folder.pth"])
def test_a_wrong_path_is_a_usage_error(tmp_path, name):
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(UsageError, match=name.replace(".", r"\.")):
        read_checkpoint(tmp_path / name)


class Payload:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, zipped):
    witness = tmp_path / "it ran"
    torch.save({"w": Payload(witness)}, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UntrustedArtifact, match=r"would run code when loaded \(posix\.mkdir\)"):
        read_checkpoint(tmp_path / "net.pth")
    assert not witness.exists()
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Payload(witness)))
    with pytest.raises(UntrustedArtifact):
        read_checkpoint(tmp_path / "plain.pth")
    assert not witness.exists()


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, kind, share):
    path = tmp_path / ("net.safetensors" if kind == "safetensors" else "net.pth")
    if kind == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UntrustedArtifact, match=r"cannot read|is not a PyTorch checkpoint|is empty") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("content", [[torch.ones(1)], 3, torch.ones(1)])
def test_a_checkpoint_that_is_no_table_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(UntrustedArtifact, match=r"no state dict|not a state dict"):
        tensors_in(tmp_path / "net.pth")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(1).expand(10**6, 10**6),  # a kilobyte that claims four terabytes
        torch.ones(1, device="meta"),
        torch.eye(3).to_sparse(),
    ],
)
def test_a_tensor_without_its_own_elements_is_refused(tmp_path, tensor):
    torch.save({"w": tensor}, tmp_path / "net.pth")
    with pytest.raises(UntrustedArtifact, match="w is not a plain tensor"):
        tensors_in(tmp_path / "net.pth")


def test_another_pickle_protocol_is_named(tmp_path):
    torch.save(STATE, tmp_path / "net.pth", pickle_protocol=4)
    with pytest.raises(UntrustedArtifact, match="protocol that torch's safe reader does not know; save it again"):
        read_checkpoint(tmp_path / "net.pth")


def test_a_compressed_archive_is_refused(tmp_path):
    torch.save(STATE, tmp_path / "net.pth")
    with zipfile.ZipFile(tmp_path / "net.pth") as good, zipfile.ZipFile(tmp_path / "bomb.pth", "w") as bomb:
        for record in good.infolist():
            bomb.writestr(record.filename, good.read(record), zipfile.ZIP_DEFLATED)
    with pytest.raises(UntrustedArtifact, match="compressed record"):
        read_checkpoint(tmp_path / "bomb.pth")
