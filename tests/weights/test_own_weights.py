"""A factory's numbers are the same in every process: what a state dict misses, wrappers hide and files change."""

import sys

import pytest
import torch
from torch import nn

from deploykit.errors import UsageError
from deploykit.modules.state import attributes_digest, restore, state_digest, state_of, write_state
from deploykit.spec import ModelSpec
from deploykit.store import Store
from deploykit.weights import load_network
from deploykit.workflow.export import identity
from deploykit.workflow.networks import resolve
from deploykit.workflow.workspace import Workspace

SOURCE = '''
import random
import numpy as np
import torch
from torch import nn

class Net(nn.Module):
    """What a state dict misses: a buffer that is not persistent, and a plain tensor."""
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("scale", torch.rand(4, 1, 1), persistent=False)
        self.shift = torch.rand(4, 1, 1)
        self._hidden = torch.rand(1)
        self.gain = 2.0
    def forward(self, x):
        return (self.conv(x) * self.scale + self.shift * self._hidden).mean((2, 3)) * self.gain

def untrained(): return Net()

def trained():
    net = Net(); net.load_state_dict(torch.load("mine.pth")); return net

def tied():
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1), nn.Flatten())
    net[2].weight = net[0].weight
    return net

def normed():
    norm = torch.nn.utils.parametrizations
    first = norm.weight_norm(nn.Conv2d(3, 4, 3)); second = norm.spectral_norm(nn.Conv2d(4, 4, 3))
    return nn.Sequential(first, second, nn.Flatten())

def old_norm():
    return nn.Sequential(torch.nn.utils.weight_norm(nn.Conv2d(3, 4, 3)), nn.Flatten())

def lazy(): return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(5))

def parallel(): return nn.DataParallel(Net())

def averaged(): return torch.optim.swa_utils.AveragedModel(Net())

def compiled(): return torch.compile(Net())

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = Net()
    def forward(self, x): return self.module(x) * 3

def wrapped(): return Own()

def half():
    net = Net().half(); net.shift = net.shift.half(); net._hidden = net._hidden.half(); return net

def double(): return Net().double()

def bfloat(): return Net().bfloat16()

def frozen():
    net = Net().requires_grad_(False); net.train(); return net

def by_numpy():
    net = Net()
    with torch.no_grad(): net.conv.weight.copy_(torch.from_numpy(np.random.rand(4, 3, 3, 3)) * random.random())
    return net

def complex_filter():
    net = Net(); net.register_buffer("spectrum", torch.rand(4, 1, 1, dtype=torch.complex64)); return net

class Held:
    pass

class Holding(nn.Module):
    def __init__(self, gain):
        super().__init__()
        self.held = Held(); self.held.gain = gain
    def forward(self, x): return x.mean((2, 3)) * self.held.gain

def hooked():
    net, gain = Net(), float(open("gain").read())
    net.conv.register_forward_hook(lambda module, inputs, made: made * gain)
    return net

def holding(): return Holding(float(open("gain").read()))

class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))
        self.last = torch.zeros(1, 3)
    def forward(self, x):
        self.seen += 1
        self.last = x.mean((2, 3))
        return self.last * 2

def counting(): return Counting()

def on_meta(): return Net().to("meta")
'''
NAMES = (
    *("untrained", "tied", "normed", "old_norm", "lazy", "parallel", "averaged", "compiled", "wrapped"),
    *("half", "double", "bfloat", "frozen", "by_numpy", "complex_filter"),
)


@pytest.fixture
def module(tmp_path, monkeypatch):
    name = f"own_weights_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def spec(module, function, **given):
    return ModelSpec(f"{module}:{function}", input_shape=(3, 8, 8), **given)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("function", NAMES)
def test_another_process_has_the_same_numbers(module, function, tmp_path):
    """A second construction, other draws in between, answers as the first once its state was put into it."""
    first = load_network(spec(module, function)).module
    write_state(state_of(first), tmp_path / "state.safetensors")
    torch.rand(5)
    second = load_network(spec(module, function, seed=9)).module
    restore(second, tmp_path / "state.safetensors")
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(first(images), second(images))
    assert not first.training
    assert {tensor.dtype for tensor in first.parameters()} == {torch.float32}
    assert state_digest(state_of(first)) == state_digest(state_of(second))


@pytest.mark.parametrize(
    ("function", "kind"), [("parallel", "Net"), ("averaged", "Net"), ("compiled", "Net"), ("wrapped", "Own")]
)
def test_wrappers_of_torch_s_are_taken_off_and_the_user_s_own_stay(module, function, kind):
    assert type(load_network(spec(module, function)).module).__name__ == kind


@pytest.mark.parametrize(("function", "kind"), [("half", "float16"), ("double", "float64"), ("bfloat", "bfloat16")])
def test_what_was_converted_is_said(module, function, kind):
    origin = load_network(spec(module, function)).origin
    assert (str(origin), origin.notes) == (
        "own, as the function returned them",
        (f"{kind} tensors converted to float32",),
    )


def test_an_untrained_constructor_draws_the_same_for_a_seed(module):
    digests = [state_digest(state_of(load_network(spec(module, "by_numpy", seed=seed)).module)) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_seeded_weights_have_to_be_asked_for(module):
    own = load_network(spec(module, "untrained"))
    seeded = load_network(spec(module, "untrained", seeded=True))
    assert (str(own.origin), own.origin.random) == ("own, as the function returned them", False)
    assert (str(seeded.origin), seeded.origin.random) == ("random, seed 0", True)
    assert not torch.equal(own.module.conv.weight, seeded.module.conv.weight)


def test_a_network_without_values_is_refused(module):
    with pytest.raises(UsageError, match=r"has no values: it lies on torch's meta device"):
        state_of(load_network(spec(module, "on_meta")).module)


def test_numbers_beside_the_tensors_count(module):
    one, other = (load_network(spec(module, "untrained")).module for _ in range(2))
    assert attributes_digest(one) == attributes_digest(other)
    other.gain = 3.0
    assert attributes_digest(one) != attributes_digest(other)


@pytest.mark.parametrize("function", ["hooked", "holding"])
def test_what_no_tensor_shows_is_part_of_the_key_all_the_same(module, function, tmp_path):
    """A number in a hook's closure, or in an object that a module holds, is in the graph."""
    found = []
    for gain in ("1", "1", "3"):
        (tmp_path / "gain").write_text(gain)
        found.append(identity(Workspace(Store.open(tmp_path / "store")), spec(module, function)))
    assert found[0] == found[1] != found[2]


def test_a_network_that_counts_its_runs_is_taken_as_it_was_made(module, tmp_path):
    source = resolve(Workspace(Store.open(tmp_path / "store")), spec(module, "counting")).source
    assert not torch.cat([source.load().seen, source.load().last.ravel()]).any()


def test_another_network_each_time_is_refused(tmp_path):
    write_state(state_of(nn.Linear(2, 3)), tmp_path / "state.safetensors")
    with pytest.raises(UsageError, match=r"other tensors each time it is made: weight, bias"):
        restore(nn.Linear(2, 4), tmp_path / "state.safetensors")


def test_a_file_that_the_function_reads_is_seen_although_no_source_changed(module, tmp_path):
    """The key of the graph follows the values."""
    net = load_network(spec(module, "untrained")).module
    torch.save(net.state_dict(), "mine.pth")
    digests = []
    for scale in (1.0, 1.0, 2.0):
        torch.save({name: tensor * scale for name, tensor in net.state_dict().items()}, "mine.pth")
        workspace = Workspace(Store.open(tmp_path / "store"))
        digests.append(identity(workspace, spec(module, "trained"))["weights"])
    assert digests[0] == digests[1] != digests[2]
