"""What training scripts keep beside the weights neither stops the reading nor runs."""

import argparse
import collections
import datetime
import decimal
import functools
import pathlib
import types
import uuid

import numpy as np
import pytest
import torch

from deploykit.errors import UntrustedArtifact
from deploykit.io.checkpoint.tensors import dense_tensor, tensors_of
from deploykit.io.loader import read_checkpoint

BESIDE = {
    "namespace": argparse.Namespace(lr=0.1, out=pathlib.Path("runs/1"), kind=int, dtype=torch.float16),
    "options": types.SimpleNamespace(lr=0.1),
    "path": pathlib.PureWindowsPath("C:/runs"),
    "date": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "took": datetime.timedelta(hours=3),
    "score": np.float64(71.2),
    "best": np.float32(3),
    "flag": np.bool_(True),
    "text": np.str_("resnet"),
    "random state": np.random.get_state(),
    "dtype": np.dtype("float32"),
    "mean": np.zeros(3, np.float32),
    "objects": np.array([None, {}], dtype=object),
    "history": collections.defaultdict(list, {"loss": [0.1, 0.2]}),
    "window": collections.deque([1, 2], maxlen=5),
    "counts": collections.Counter("aab"),
    "run": uuid.UUID(int=7),
    "price": decimal.Decimal("1.5"),
    "names": frozenset(["a"]),
    "torch": torch.torch_version.TorchVersion("2.0"),
    "device": torch.device("cpu"),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("what", BESIDE)
def test_harmless_types_beside_the_weights_are_passed_over(tmp_path, what, zipped):
    path = tmp_path / "net.pth"
    content = {"state_dict": {"w": torch.ones(2)}, "beside": {"it": BESIDE[what]}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert "state_dict.w" in tensors_of(read_checkpoint(path), path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int64", "uint8", "bool"])
def test_arrays_are_weights_too(tmp_path, kind, order):
    array = np.arange(24).reshape(2, 3, 4).astype(kind, order=order)
    torch.save({"w": array, "empty": np.zeros((0, 3), kind)}, tmp_path / "net.pth")
    found = tensors_of(read_checkpoint(tmp_path / "net.pth"), tmp_path / "net.pth")
    np.testing.assert_array_equal(dense_tensor("w", found["w"], tmp_path).numpy(), array)
    assert dense_tensor("empty", found["empty"], tmp_path).shape == (0, 3)


class Claims:
    """An array's pickle with a shape of its own choosing."""

    def __init__(self, shape):
        self.shape = shape

    def __reduce__(self):
        rebuild, arguments, (version, _, kind, fortran, content) = np.zeros(2, np.float32).__reduce__()
        return rebuild, arguments, (version, self.shape, kind, fortran, content)


@pytest.mark.parametrize("shape", [(10**12,), (3,)])
def test_an_array_that_claims_another_shape_is_refused(tmp_path, shape):
    torch.save({"w": Claims(shape)}, tmp_path / "net.pth")
    found = tensors_of(read_checkpoint(tmp_path / "net.pth"), tmp_path)
    with pytest.raises(UntrustedArtifact, match="w claims the shape"):
        dense_tensor("w", found["w"], tmp_path)


@pytest.mark.parametrize("shape", [(-2,), ("x",), (True, 2), ([],), 5, None])
def test_an_array_whose_shape_is_no_shape_is_no_tensor(tmp_path, shape):
    torch.save({"w": Claims(shape), "b": torch.ones(2)}, tmp_path / "net.pth")
    assert list(tensors_of(read_checkpoint(tmp_path / "net.pth"), tmp_path)) == ["b"]


def test_a_type_that_is_not_on_the_list_is_refused_by_name(tmp_path):
    torch.save({"state_dict": {"w": torch.ones(2)}, "f": functools.partial(int, "3")}, tmp_path / "net.pth")
    with pytest.raises(UntrustedArtifact, match=r"would run code when loaded \(functools\.partial\)"):
        read_checkpoint(tmp_path / "net.pth")
