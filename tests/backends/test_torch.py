import numpy as np
import pytest
import torch
from torch import nn

from deploykit.backends import torch as backend_module
from deploykit.backends.device import LocalGpu
from deploykit.backends.protocol import (
    Engine,
)
from deploykit.backends.torch import TorchBackend
from deploykit.errors import BackendMissing, DeviceOutOfMemory, ExecutionFailed
from deploykit.spec import EngineSettings, Precision, Target, TensorSpec


class Recipe:
    """Stands for ModuleSource: a module of the test's own, with its tensors."""

    inputs = (TensorSpec("x", ("batch", 4), "float32"),)
    outputs = (TensorSpec("y", ("batch", 4), "float32"),)
    precision = Precision.FP32

    def __init__(self, module):
        self.module = module

    def load(self):
        return self.module


class Raises(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        raise self.error


class Expands(nn.Module):
    def forward(self, x):
        return torch.empty(1 << 46)


def engine(module, flavour="torch 2.15 (cpu)", precision=Precision.FP32):
    recipe = Recipe(module)
    return Engine("torch", flavour, precision, recipe.inputs, recipe.outputs, module=recipe)


def run(module, precision=Precision.FP32):
    with TorchBackend().open(engine(module, precision=precision), threads=1) as session:
        session.run({"x": np.ones((2, 4), np.float32)})


@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch has a GPU here")
def test_an_engine_for_the_gpu_does_not_open_on_the_cpu(monkeypatch):
    monkeypatch.setattr(backend_module, "find_gpu", lambda: LocalGpu("a GPU", Target(8, 9), 1, "13.0", 1))
    built = TorchBackend().build(Recipe(nn.ReLU()), EngineSettings())
    assert built.flavour.endswith("(cuda)")
    with pytest.raises(BackendMissing, match=r"cannot use the GPU.*install a build of PyTorch"):
        TorchBackend().open(built)


def test_an_engine_for_the_cpu_stays_there():
    with TorchBackend().open(engine(nn.ReLU()), threads=1) as session:
        assert session.device.type == "cpu"


@pytest.mark.parametrize("module", [Expands(), Raises(torch.OutOfMemoryError("CUDA out of memory. Tried ..."))])
def test_memory_that_runs_out_during_a_run(module):
    with pytest.raises(DeviceOutOfMemory, match=r"PyTorch is out of memory.*smaller batch"):
        run(module)


def test_memory_that_runs_out_while_the_weights_move(monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    module = nn.Linear(4, 4)
    monkeypatch.setattr(module, "to", full)
    with pytest.raises(DeviceOutOfMemory, match="Tried to allocate"):
        TorchBackend().open(engine(module))


def test_memory_that_runs_out_while_a_feed_is_bound(monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with TorchBackend().open(engine(nn.ReLU()), threads=1) as session:
        monkeypatch.setattr(torch.Tensor, "to", full)
        with pytest.raises(DeviceOutOfMemory):
            session.bind({"x": np.ones((2, 4), np.float32)})


def test_another_failure_is_quoted():
    with pytest.raises(ExecutionFailed, match="PyTorch failed: cuDNN error") as caught:
        run(Raises(RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")))
    assert not isinstance(caught.value, DeviceOutOfMemory)


class MakesFloat32(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(x + torch.ones(4))


class CastsToFloat32(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(x.float())


class MasksBeyondFloat16(nn.Module):
    def forward(self, x):
        return x.masked_fill(x > 0, -1e9)


class AsksForFloat32(nn.Module):
    def forward(self, x):
        assert x.dtype is torch.float32, "float32 images, please"
        return x


@pytest.mark.parametrize("network", [MakesFloat32, CastsToFloat32, MasksBeyondFloat16, AsksForFloat32])
def test_a_module_that_half_does_not_reach_whole_has_no_fp16_row(network):
    run(network())  # in FP32 it runs
    with pytest.raises(BackendMissing, match=r"runs this module in FP32 and not in FP16: .+; half\(\) reaches"):
        run(network(), Precision.FP16)


def test_a_module_that_fails_in_either_precision_failed():
    with pytest.raises(ExecutionFailed, match="no such thing"):
        run(Raises(RuntimeError("no such thing")), Precision.FP16)


def test_memory_that_runs_out_in_fp16_is_out_of_memory():
    with pytest.raises(DeviceOutOfMemory):
        run(Expands(), Precision.FP16)


class Structured(nn.Module):
    def forward(self, x):
        return {"label": (1 << 30) + 1 + x.argmax(1), "rest": [None, (x > 0, x)]}


def test_a_nested_result_comes_out_by_name_and_whole_numbers_stay_whole():
    recipe = Recipe(Structured())
    recipe.outputs = (
        TensorSpec("label", ("batch",), "int64"),
        TensorSpec("rest_1_0", ("batch", 4), "bool"),
        TensorSpec("rest_1_1", ("batch", 4), "float32"),
    )
    built = Engine("torch", "torch 2.15 (cpu)", Precision.FP16, recipe.inputs, recipe.outputs, module=recipe)
    with TorchBackend().open(built, threads=1) as session:
        found = session.run({"x": np.eye(4, dtype=np.float32)})
    assert found["label"].tolist() == [(1 << 30) + 1 + index for index in range(4)]
    assert {name: array.dtype.name for name, array in found.items()} == {
        "label": "int64",
        "rest_1_0": "bool",
        "rest_1_1": "float32",
    }


class WritesToItsInput(nn.Module):
    def forward(self, x):
        return x.mul_(2)


def test_a_network_that_writes_to_its_input_leaves_the_caller_s_array_alone():
    array = np.ones((2, 4), np.float32)
    with TorchBackend().open(engine(WritesToItsInput()), threads=1) as session:
        assert session.run({"x": array})["y"].tolist() == [[2] * 4] * 2
    assert (array == 1).all()
