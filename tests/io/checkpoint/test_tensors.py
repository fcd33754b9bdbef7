"""Tables in tables, and files made to cost more than a look."""

import pytest
import torch

from deploykit.errors import UntrustedArtifact
from deploykit.io.checkpoint import tensors
from deploykit.io.checkpoint.tensors import tensors_of

W = torch.ones(2)


def names(content, path):
    return {name: found.container for name, found in tensors_of(content, path).items()}


def test_every_tensor_is_found_by_its_full_name(tmp_path):
    content = {
        "ema": {"state_dict": {"a.w": W}},
        "nets": [{"w": W}, {"w": W}],
        "optimizer": {"state": {0: {"exp_avg": W}}},
        "epoch": 3,
        None: {"w": W},
        "w": W,
    }
    assert names(content, tmp_path) == {
        "w": "",
        "ema.state_dict.a.w": "ema.state_dict",
        "nets.0.w": "nets.0",
        "nets.1.w": "nets.1",
        "optimizer.state.0.exp_avg": "optimizer.state.0",
    }


def cyclic():
    table = {"w": W}
    table["again"] = table
    return table


def doubling():
    table = {"w": W}
    for _ in range(11):
        table = {"left": table, "right": table}
    return {str(index): table for index in range(20)}


@pytest.mark.parametrize("content", [cyclic(), doubling()], ids=["a cycle", "tables twice in each other"])
def test_tables_without_end_are_refused_quickly(tmp_path, content):
    with pytest.raises(UntrustedArtifact, match="holds more than"):
        tensors_of(content, tmp_path)


def test_too_many_tensors_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "MAX_TENSORS", 10)
    with pytest.raises(UntrustedArtifact, match="more than 10 tensors"):
        tensors_of({str(index): W for index in range(11)}, tmp_path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], {"a": {}}])
def test_a_file_without_tensors_says_what_to_save(tmp_path, content):
    with pytest.raises(UntrustedArtifact, match=r"no state dict; save .*state_dict"):
        tensors_of(content, tmp_path)
