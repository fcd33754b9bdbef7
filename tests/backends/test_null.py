import numpy as np
import pytest

from deploykit.backends import get_backend
from deploykit.backends.null import NullBackend
from deploykit.backends.protocol import (
    Engine,
    ModuleSource,
    TypedGraph,
)
from deploykit.errors import InvalidFeed
from deploykit.spec import EngineSettings, ModelSpec, Precision, TensorSpec

INPUTS = (TensorSpec("images", ("batch", 3, 8, 8), "float32"),)
OUTPUTS = (TensorSpec("logits", ("batch", 10), "float32"), TensorSpec("features", ("batch", 4, 2, 2), "float16"))


def open_null(precision=Precision.FP32, inputs=INPUTS, outputs=OUTPUTS):
    return NullBackend().open(Engine("null", "test", precision, inputs, outputs))


def images(batch, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, 3, 8, 8), np.float32)


def test_it_is_registered_and_always_usable():
    backend = get_backend("null")
    assert isinstance(backend, NullBackend)
    assert backend.unavailable() is None


def test_outputs_have_the_shapes_and_types_that_were_promised():
    found = open_null().run({"images": images(5)})
    assert {name: (array.shape, array.dtype.name) for name, array in found.items()} == {
        "logits": ((5, 10), "float32"),
        "features": ((5, 4, 2, 2), "float16"),
    }


def test_an_image_gets_its_own_output_whatever_the_batch():
    batch = images(6)
    together = open_null().run({"images": batch})["logits"]
    apart = np.concatenate([open_null().run({"images": image[None]})["logits"] for image in batch])
    np.testing.assert_array_equal(together, apart)
    assert together.std(axis=0).min() > 0.1  # every logit varies over images
    assert len(set(together.argmax(axis=1))) > 1


def test_a_fixed_batch_is_one_input():
    inputs, outputs = (TensorSpec("x", (2, 3), "float32"),), (TensorSpec("y", (2, 4), "float32"),)
    with open_null(inputs=inputs, outputs=outputs) as session:
        first = session.run({"x": np.array([[1, 2, 3], [4, 5, 6]], np.float32)})["y"]
        second = session.run({"x": np.array([[1, 2, 3], [4, 5, 7]], np.float32)})["y"]
    assert first.shape == (2, 4)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("precision", "largest"), [(Precision.FP16, 2.0**-12), (Precision.INT8, 0.5 / 127)])
def test_precision_costs_no_more_than_its_rounding(precision, largest):
    feed = {"images": images(8)}
    error = np.abs(open_null(precision).run(feed)["logits"] - open_null().run(feed)["logits"]).max()
    assert largest / 4 < error <= largest * 1.001


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        ({"images": images(1), "more": images(1)}, "unknown input 'more'"),
        ({}, "input 'images' is missing"),
        ({"images": images(1).astype(np.float64)}, "input 'images' is float64"),
        ({"images": images(1)[:, :2]}, r"input 'images' has shape \(1, 2, 8, 8\)"),
        ({"images": images(1)[:0]}, r"input 'images' has shape \(0, 3, 8, 8\)"),
    ],
)
def test_refuses_a_feed_that_does_not_fit(feed, words):
    with open_null() as session:
        for call in (session.run, session.bind):
            with pytest.raises(InvalidFeed, match=words):
                call(feed)


def test_builds_from_a_source_that_names_its_tensors(tmp_path):
    backend = NullBackend()
    module = ModuleSource(ModelSpec("lenet5"), tmp_path / "w.safetensors", INPUTS, OUTPUTS)
    steps = []
    engine = backend.build(module.at(Precision.FP16), EngineSettings(), lambda *step: steps.append(step))
    assert (engine.backend, engine.precision, engine.inputs, engine.outputs) == ("null", "fp16", INPUTS, OUTPUTS)
    assert (engine.reason, steps) == (None, [("build null", 1, 1)])
    assert (backend.compiles, backend.runs_module, engine.content) == (False, False, None)
    typed = TypedGraph(tmp_path / "t.onnx", "5" * 64, Precision.INT8, None, INPUTS, OUTPUTS)
    engine = backend.build(typed, EngineSettings())
    assert (engine.precision, engine.inputs, engine.typed_digest) == ("int8", INPUTS, typed.digest)
