"""Shapes without torch's own rules must be the shapes that torch has."""

import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from deploykit.summary.aten import tensors
from deploykit.summary.shapes import result_of

MAPS = (2, 6, 5, 4)


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


CALLS = {
    "relu": lambda x: torch.relu(x),
    "relu_": lambda x: torch.relu_(x),
    "relu6": lambda x: torch.nn.functional.relu6(x),
    "tanh of halves": lambda x: torch.tanh(x.half()),
    "add": lambda x: x + x,
    "add a number": lambda x: x + 1,
    "add broadcast": lambda x: x + meta(6, 1, 1),
    "add to something larger": lambda x: meta(1, 6, 1, 1) + x,
    "add another type": lambda x: x + meta(*MAPS, dtype=torch.float64),
    "add in place": lambda x: x.add_(meta(6, 1, 1)),
    "multiply whole numbers": lambda x: meta(3, dtype=torch.int64) * 1.5,
    "cat": lambda x: torch.cat([x, x], 1),
    "cat by default": lambda x: torch.cat([x, x]),
    "cat from behind": lambda x: torch.cat([x, x], -1),
    "cat of other sizes": lambda x: torch.cat([x, meta(2, 1, 5, 4)], 1),
    "mean": lambda x: x.mean((2, 3)),
    "mean that keeps": lambda x: x.mean((-1, -2), keepdim=True),
    "mean of everything": lambda x: x.mean(),
    "mean in another type": lambda x: x.mean((2, 3), dtype=torch.float64),
    "linear": lambda x: torch.nn.functional.linear(meta(2, 6), meta(7, 6), meta(7)),
    "batchnorm": lambda x: torch.nn.functional.batch_norm(x, meta(6), meta(6), meta(6), meta(6)),
    "convolution": lambda x: torch.nn.functional.conv2d(x, meta(8, 6, 3, 3)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_result_has_the_shape_and_type_that_torch_gives(call):
    checked = []

    class Compare(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            wanted, found = func(*args, **(kwargs or {})), result_of(func, args, kwargs or {})
            one, other = (
                tensors(wanted)[0],
                tensors(found)[0],
            )  # BatchNorm's saved statistics are of no use in eval mode
            assert (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device), func
            checked.append(func)
            return wanted

    with Compare():
        call(meta(*MAPS))
    assert checked


def test_a_change_in_place_gives_the_tensor_itself():
    maps = meta(*MAPS)
    assert result_of(torch.ops.aten.relu_.default, (maps,), {}) is maps


@pytest.mark.parametrize(
    "name",
    ["mobilenet", *(pytest.param(name, marks=pytest.mark.full) for name in ("resnet18", "googlenet", "vgg11_bn"))],
)
def test_a_summary_of_a_classical_network_never_imports_dynamo(name):
    code = f"""
import sys
from deploykit.workflow.summarize import summarize
from deploykit.spec import ModelSpec
summarize(ModelSpec({name!r}))
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
