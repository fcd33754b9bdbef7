"""What every backend must do, whatever it is: one suite over all of them, each on a real build of a miniature.

The backends are the built-in ones and those of examples/plugins, which are found through their entry points.
"""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from example_plugins import OPENVINO, declared_entry_points

from deploykit.backends import BACKENDS, backend_names, get_backend
from deploykit.backends.protocol import ModuleSource
from deploykit.errors import BackendMissing, InvalidFeed, UnknownName
from deploykit.spec import BatchRange, BuildSpec, EngineSettings, ModelSpec, Precision
from deploykit.workflow.engine import build
from deploykit.workflow.export import export

SPEC = BuildSpec(ModelSpec("test_convnet"), batch=BatchRange(1, 2, 4))
SLOW = {"torch:compile"}  # a compilation takes up to a minute
FRAMEWORKS = {"torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda", "openvino"}
NAMES = sorted({*BACKENDS, *declared_entry_points(OPENVINO)["deploykit.backends"]})


@pytest.fixture(scope="module")
def exported(workspace):
    return export(workspace, SPEC.model)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.full] * (name in SLOW)) for name in NAMES],
)
def backend(request):
    found = get_backend(request.param)
    if reason := found.unavailable():
        pytest.skip(f"{request.param}: {reason}")
    return found


@pytest.fixture(scope="module")
def built(workspace, backend):
    return build(workspace, SPEC, backend)


@pytest.fixture(scope="module")
def session(backend, built):
    if built.engine.reason:
        pytest.skip(f"{backend.name} cannot run here: {built.engine.reason}")
    with backend.open(built.engine, threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).normal(size=(4, 3, 32, 32)).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_a_backend_goes_by_its_registered_name_and_is_cheap_to_ask(name):
    code = f"""
import sys
from deploykit.backends import get_backend
backend = get_backend({name!r})
backend.unavailable()
backend.placement
print(backend.name, *({FRAMEWORKS!r} & set(sys.modules)))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # where plug-ins are
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == [name]


def test_an_unknown_backend_names_its_neighbors():
    with pytest.raises(UnknownName, match="did you mean torch"):
        get_backend("torhc")
    assert set(NAMES) - {"null"} <= set(backend_names())


def test_the_engine_is_a_plain_value_that_describes_itself(backend, built, exported):
    engine = built.engine
    assert engine.backend == backend.name
    assert engine.precision is Precision.FP32
    assert any(character.isdigit() for character in engine.flavour) or backend.name == "null"
    assert [spec.name for spec in engine.inputs] == ["images"]
    assert [spec.name for spec in engine.outputs] == ["logits"]
    assert pickle.loads(pickle.dumps(engine)) == engine
    if backend.compiles:
        assert engine.path is not None
        assert engine.path.stat().st_size > 0
        assert engine.typed_digest == exported.digest


def test_what_cannot_be_built_is_refused_with_a_reason(backend):
    module = ModuleSource(SPEC.model, Path("weights.safetensors"), (), ()).at(Precision.INT8)
    reason = backend.supports(module)
    assert reason or backend.name == "null"
    if reason:
        with pytest.raises(BackendMissing, match=re.escape(reason.what)):
            backend.build(module, EngineSettings())


def test_an_engine_that_cannot_run_here_says_why_when_opened(backend, built):
    if not built.engine.reason:
        pytest.skip(f"{backend.name} runs here")
    with pytest.raises(BackendMissing, match=built.engine.reason.what[:20]):
        backend.open(built.engine)


@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_have_their_shape_and_type_at_any_batch(session, images, batch):
    outputs = session.run({"images": images[:batch]})
    assert set(outputs) == {"logits"}
    assert outputs["logits"].shape == (batch, 10)
    assert outputs["logits"].dtype == np.float32
    assert np.isfinite(outputs["logits"]).all()


def test_outputs_follow_the_input_and_nothing_else(session, images):
    first = session.run({"images": images[:2]})["logits"]
    session.run({"images": images[2:]})
    np.testing.assert_array_equal(session.run({"images": images[:2]})["logits"], first)
    assert not np.allclose(session.run({"images": images[2:]})["logits"], first)


def test_an_image_does_not_depend_on_its_neighbors(session, images):
    together = session.run({"images": images})["logits"]
    alone = np.concatenate([session.run({"images": images[i : i + 1]})["logits"] for i in range(len(images))])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_a_bound_feed_runs_again_and_again(session, images):
    bound = session.bind({"images": images[:1]})
    for _ in range(3):
        bound.launch()
    bound.synchronize()
    elapsed = bound.device_ms()
    assert elapsed is None or elapsed > 0


@pytest.mark.parametrize("call", ["run", "bind"])
@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ({}, "'images' is missing"),
        ({"image": np.zeros((1, 3, 32, 32), np.float32)}, "unknown input 'image'"),
        ({"images": np.zeros((1, 3, 32, 32), np.float64)}, "'images' is float64"),
        ({"images": np.zeros((1, 1, 32, 32), np.float32)}, r"shape \(1, 1, 32, 32\)"),
        ({"images": np.zeros((3, 32, 32), np.float32)}, r"shape \(3, 32, 32\)"),
        ({"images": np.zeros((0, 3, 32, 32), np.float32)}, r"shape \(0, 3, 32, 32\)"),
    ],
)
def test_a_wrong_feed_is_refused(session, call, feed, message):
    with pytest.raises(InvalidFeed, match=message):
        getattr(session, call)(feed)
