"""Whatever shape a network's result has, its tensors come out in one order, under names that lead back to them."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from deploykit.errors import UsageError
from deploykit.modules.outputs import flatten_outputs, output_specs_of, returning_a_tuple

Detections = namedtuple("Detections", "boxes scores")
BATCHES = (2, 3)


@dataclass
class Answer:
    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...]
    loss: torch.Tensor | None = None


def rows(batch: int, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(batch, *shape, dtype=dtype)


def specs(make: Any, taken: tuple[str, ...] = ("images",)) -> list[tuple[str, tuple[int | str, ...], str]]:
    found = output_specs_of([make(batch) for batch in BATCHES], BATCHES, taken)
    return [(spec.name, spec.shape, spec.dtype) for spec in found]


NAMES = {
    "a tensor": (lambda n: rows(n, 5), ["logits"]),
    "a tuple of one": (lambda n: (rows(n, 5),), ["logits"]),
    "a tensor and None": (lambda n: (rows(n, 5), None), ["logits"]),
    "None first": (lambda n: (None, rows(n, 5), rows(n, 6)), ["output_1", "output_2"]),
    "a tuple": (lambda n: (rows(n, 5), rows(n, 6)), ["output_0", "output_1"]),
    "nested lists": (lambda n: (rows(n, 5), [rows(n, 6), rows(n, 7)]), ["output_0", "output_1_0", "output_1_1"]),
    "a dictionary": (lambda n: {"out": rows(n, 5), "aux": rows(n, 6)}, ["out", "aux"]),
    "a dictionary of one": (lambda n: {"out": rows(n, 5)}, ["out"]),
    "an ordered dictionary": (lambda n: OrderedDict(out=rows(n, 5), aux=None), ["out"]),
    "numbered keys": (lambda n: {0: rows(n, 5), 1: rows(n, 6)}, ["output_0", "output_1"]),
    "lists by key": (lambda n: {"boxes": [rows(n, 4), rows(n, 4)], "s": rows(n)}, ["boxes_0", "boxes_1", "s"]),
    "a named tuple": (lambda n: Detections(rows(n, 4), rows(n)), ["boxes", "scores"]),
    "a dataclass": (lambda n: Answer(rows(n, 4), (rows(n), rows(n))), ["logits", "hidden_0", "hidden_1"]),
    "a dictionary in a tuple": (lambda n: ({"p3": rows(n, 4)}, rows(n)), ["p3", "output_1"]),
    "equal names": (lambda n: [{"p": rows(n, 4)}, {"p": rows(n, 5)}], ["p", "p_1"]),
    "the input's name": (lambda n: {"images": rows(n, 4), "y": rows(n)}, ["images_1", "y"]),
    "keys with spaces": (lambda n: {"a b/c": rows(n, 4), "": rows(n)}, ["a_b_c", "output"]),
}


@pytest.mark.parametrize(("make", "names"), NAMES.values(), ids=NAMES)
def test_outputs_are_named_by_what_leads_to_them(make: Any, names: list[str]):
    assert [name for name, _, _ in specs(make)] == names
    assert len(flatten_outputs(make(2))) == len(names)


def test_the_batch_is_found_wherever_it_stands():
    found = specs(
        lambda n: {
            "time_major": rows(16, n, 5),
            "flat": torch.zeros(n * 7, 4),
            "fixed": torch.zeros(7),
            "scalar": torch.tensor(1.0),
            "one_more": torch.zeros(n + 1, 2),
            "label": rows(n, dtype=torch.int64),
            "mask": rows(n, 2, dtype=torch.bool),
            "half": rows(n, 2, dtype=torch.bfloat16),
        }
    )
    assert found == [
        ("time_major", (16, "batch", 5), "float32"),
        ("flat", ("7*batch", 4), "float32"),
        ("fixed", (7,), "float32"),
        ("scalar", (), "float32"),
        ("one_more", ("one_more_0", 2), "float32"),
        ("label", ("batch",), "int64"),
        ("mask", ("batch", 2), "bool"),
        ("half", ("batch", 2), "float32"),
    ]


class Itself(list[Any]):
    def __init__(self) -> None:
        super().__init__([self])


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ((), "no tensor but an empty tuple"),
        ({}, "no tensor but an empty dict"),
        (None, "no tensor but a NoneType"),
        ((None, [None]), "no tensor but a tuple"),
        (3, "returns a int"),
        ({"y": torch.zeros(2), "meta": {"name": "x"}}, "returns a str at meta_name"),
        ((torch.zeros(2), 3.5), "returns a float at output_1"),
        (torch.zeros(2, dtype=torch.complex64), "complex numbers; .*view_as_real"),
        ((torch.zeros(2), torch.zeros(2).to_sparse()), "a sparse tensor at output_1"),
        (Itself(), "nested more than 32 deep"),
    ],
)
def test_what_is_no_tensor_is_refused_where_it_stands(result: object, words: str):
    with pytest.raises(UsageError, match=words):
        flatten_outputs(result)


def test_a_result_that_changes_with_the_batch_is_refused():
    with pytest.raises(UsageError, match=r"2 tensors for 2 images and 3 for 3; return stacked"):
        specs(lambda n: list(rows(n, 4)))
    with pytest.raises(UsageError, match=r"output out has 1 dimensions for 2 images and 2 for 3; keep the dimension"):
        specs(lambda n: {"out": torch.zeros(4) if n == 2 else torch.zeros(1, 4)})


class HandsBack(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        y = x + 1
        return {"x": x, "y": [y, None], "again": y}


def test_each_tensor_of_the_flat_tuple_is_one_of_its_own_and_the_module_is_as_before():
    module, x = HandsBack().eval(), torch.zeros(2, 3)
    with returning_a_tuple(module):
        flat = module(x)
    assert isinstance(flat, tuple)
    assert len({id(tensor) for tensor in (x, *flat)}) == 4
    assert [float(tensor.sum()) for tensor in flat] == [0, 6, 6]
    assert isinstance(module(x), dict)
