"""`torch:channels_last` and `torch:compile`: what they change, what they do not, and what the compiler needs."""

import os
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from deploykit.backends import get_backend
from deploykit.backends.protocol import Engine
from deploykit.backends.torch_variants import CACHE, ChannelsLastBackend, CompiledBackend
from deploykit.errors import UnknownName
from deploykit.spec import EngineSettings, Precision, TensorSpec


class Watching(nn.Module):
    """A convolution, and a vector that is added; it remembers how its images lay in memory."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.seen = []

    def forward(self, images, shift):
        self.seen.append((images.is_contiguous(memory_format=torch.channels_last), shift.is_contiguous()))
        return self.conv(images) + shift[:, :, None, None]


class Recipe:
    inputs = (TensorSpec("images", ("batch", 3, 8, 8), "float32"), TensorSpec("shift", ("batch", 4), "float32"))
    outputs = (TensorSpec("y", ("batch", 4, 6, 6), "float32"),)

    def __init__(self, module, precision=Precision.FP32):
        self.module, self.precision = module, precision

    def load(self):
        return self.module


FEED = {
    "images": np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32),
    "shift": np.random.default_rng(1).standard_normal((2, 4), np.float32),
}


def ask(name, module, precision=Precision.FP32):
    backend = get_backend(name)
    engine = backend.build(Recipe(module, precision), EngineSettings())
    with backend.open(engine, threads=1) as session:
        return engine, session.run(FEED)["y"]


def test_channels_last_is_a_layout_of_images_and_weights_and_no_other_answer():
    torch.manual_seed(0)
    module = Watching()
    _, expected = ask("torch", module)
    engine, found = ask("torch:channels_last", module)
    assert module.seen == [(False, True), (True, True)]
    assert module.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert engine.backend == "torch:channels_last"
    assert engine.flavour == get_backend("torch").build(Recipe(module), EngineSettings()).flavour.replace(
        " (", " channels_last ("
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_timed_run_lays_nothing_out():
    module = Watching()
    backend = ChannelsLastBackend()
    with backend.open(backend.build(Recipe(module), EngineSettings()), threads=1) as session:
        bound = session.bind(FEED)
        for _ in range(2):
            bound.launch()
    assert module.seen == [(True, True)] * 2


def test_variants_have_no_int8_and_no_file():
    for name in ("torch:channels_last", "torch:compile"):
        reason = get_backend(name).supports(Recipe(nn.ReLU(), Precision.INT8))
        assert "no INT8 path" in reason.what


def test_without_a_compiler_the_row_is_unavailable_and_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = CompiledBackend().unavailable()
    assert "needs a C++ compiler" in reason.what
    assert "apt install g++" in reason.fix
    monkeypatch.setenv("CXX", "no-such-compiler -O3")
    assert "no-such-compiler -O3 is not here" in CompiledBackend().unavailable().what
    compiler = tmp_path / "c++"
    compiler.touch(mode=0o755)
    monkeypatch.setenv("CXX", str(compiler))
    if (Path(sysconfig.get_path("include")) / "Python.h").exists():
        assert CompiledBackend().unavailable() is None
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert "headers of this Python" in CompiledBackend().unavailable().what


@pytest.mark.parametrize(
    ("name", "fix"),
    [("torch:eager", "write torch"), ("inductor", "write torch:compile"), ("nhwc", "write torch:channels_last")],
)
def test_other_names_for_them_are_answered_with_the_right_one(name, fix):
    with pytest.raises(UnknownName, match=fix):
        get_backend(name)


@pytest.mark.full
@pytest.mark.skipif(CompiledBackend().unavailable() is not None, reason="no C++ compiler")
def test_the_compiled_module_answers_the_same_and_leaves_no_cache(monkeypatch):
    monkeypatch.setenv(CACHE, "/elsewhere")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()

    class Images(Recipe):
        inputs = Recipe.inputs[:1]

    feed, answers = {"images": FEED["images"]}, []
    for name in ("torch", "torch:compile"):
        backend = get_backend(name)
        engine: Engine = backend.build(Images(module), EngineSettings())
        with backend.open(engine, threads=1) as session:
            answers.append(session.run(feed)["y"])
            cache = os.environ[CACHE]
    np.testing.assert_allclose(answers[1], answers[0], rtol=1e-4, atol=1e-5)
    assert not Path(cache).exists()
    assert os.environ[CACHE] == "/elsewhere"
