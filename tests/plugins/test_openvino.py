"""The OpenVINO plug-in: what it asks of the library, and that its rows compute what they say."""

import json
import shutil
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from example_plugins import OPENVINO, plugged
from in_process import run_in_process

from deploykit.backends import backend_names, get_backend
from deploykit.errors import BackendMissing, BuildFailed
from deploykit.spec import BatchRange, BuildSpec, ModelSpec, Precision
from deploykit.workflow.engine import build

needs_openvino = pytest.mark.skipif(not find_spec("openvino"), reason="OpenVINO is not installed: pip install openvino")
SPEC = BuildSpec(ModelSpec("test_resnet"), batch=BatchRange(1, 1, 4))


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory):
    with plugged(OPENVINO, tmp_path_factory.mktemp("site")):
        yield


@pytest.fixture
def run(shared_store, tmp_path):
    def start(*arguments):
        return run_in_process(arguments, cwd=tmp_path, environment={"DEPLOYKIT_STORE": str(shared_store)})

    return start


@pytest.fixture(scope="module")
def engine(workspace):
    """`engine("int8")`: what the backend builds of a miniature."""

    def make(precision):
        return build(workspace, SPEC.with_precision(Precision(precision)), get_backend("openvino")).engine

    return make


def images(batch=1):
    return np.random.default_rng(batch).normal(size=(batch, 3, 32, 32)).astype(np.float32)


def layers(session, kind):
    """What OpenVINO says that the compiled layers of a kind are computed by: `jit_avx2_I8`."""
    infos = [node.get_rt_info() for node in session._static.get_runtime_model().get_ops()]
    return [info["primitiveType"].astype(str) for info in infos if info["layerType"].astype(str) == kind]


def test_its_entry_point_makes_it_a_backend():
    assert "openvino" in backend_names()
    assert get_backend("openvino").name == "openvino"


def test_without_the_library_it_says_what_to_install(monkeypatch):
    backend = get_backend("openvino")
    module = __import__(type(backend.made).__module__)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert str(backend.unavailable()) == "OpenVINO is not installed; pip install openvino"


def test_weights_have_seven_bits_where_integer_kernels_saturate(monkeypatch):
    backend = get_backend("openvino")
    module = __import__(type(backend.made).__module__)
    for saturates, limit in ((True, 64), (False, 127)):
        monkeypatch.setattr(module, "saturates_u8s8", lambda saturates=saturates: saturates)
        assert backend.placement.weight_limit == limit


@pytest.mark.skipif(not find_spec("setuptools"), reason="setuptools is not installed: pip install setuptools")
def test_its_wheel_declares_the_entry_point(tmp_path, monkeypatch):
    from setuptools import build_meta

    package = shutil.copytree(OPENVINO, tmp_path / "package", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    monkeypatch.chdir(package)
    wheel = tmp_path / build_meta.build_wheel(str(tmp_path))
    with zipfile.ZipFile(wheel) as archive:
        (points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "[deploykit.backends]\nopenvino = deploykit_openvino:OpenVinoBackend" in archive.read(points).decode()
        assert "deploykit_openvino/__init__.py" in archive.namelist()


@needs_openvino
def test_float32_stays_float32_and_float16_says_what_it_is_computed_in(engine):
    made = engine("fp32")
    assert (made.hint, made.note) == ("f32", "")
    with get_backend("openvino").open(made, threads=1) as session:
        compiled = session._static
        assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
        assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
        assert layers(session, "Convolution")
        assert all(kind.endswith("f32") for kind in layers(session, "Convolution"))
    half = engine("fp16")
    assert (half.hint, half.note) in {("f32", "computed in float32"), ("f16", "")}


@needs_openvino
def test_every_convolution_of_the_int8_graph_runs_on_integers(engine):
    with get_backend("openvino").open(engine("int8"), threads=1) as session:
        found = layers(session, "Convolution")
        assert len(found) == 9
        assert all("i8" in kind.lower() for kind in found), found
        assert all("i8" in kind.lower() for kind in layers(session, "FullyConnected"))


@needs_openvino
def test_a_bound_feed_is_read_where_it_lies(engine):
    with get_backend("openvino").open(engine("fp32"), threads=1) as session:
        feed = {"images": images()}
        bound = session.bind(feed)
        bound.launch()
        before = bound.fetch()["logits"]
        feed["images"][:] = images(2)[:1]
        bound.launch()
        np.testing.assert_array_equal(bound.fetch()["logits"], session.run(feed)["logits"])
        assert not np.allclose(bound.fetch()["logits"], before)


@needs_openvino
def test_a_shape_that_it_was_not_tuned_for_is_compiled_when_it_comes(engine):
    with get_backend("openvino").open(engine("fp32"), threads=1) as session:
        session.run({"images": images(1)})
        assert session._dynamic is None
        several = session.run({"images": images(3)})["logits"]
        assert session._dynamic is not None
        alone = [session.run({"images": images(3)[index : index + 1]})["logits"] for index in range(3)]
        np.testing.assert_allclose(several, np.concatenate(alone), rtol=1e-4, atol=1e-5)


@needs_openvino
def test_a_graph_that_openvino_rejects_is_one_line(engine, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")
    with pytest.raises(BuildFailed, match="OpenVINO rejects the graph: ") as caught:
        get_backend("openvino").open(replace(engine("fp32"), path=broken))
    assert "\n" not in str(caught.value)
    with pytest.raises(BackendMissing, match="no graph for OpenVINO"):
        get_backend("openvino").open(replace(engine("fp32"), path=None))


@needs_openvino
def test_bench_puts_it_beside_onnx_runtime(run):
    done = run(
        *("bench", "test_resnet", "--backends", "ort,openvino", "--precision", "fp32,int8"),
        *("--max-seconds", "1", "--threads", "1", "--json"),
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [(row["backend"], row["state"], row["parity"]["verdict"]) for row in rows] == [
        *([("ort", "measured", "pass")] * 2),
        *([("openvino", "measured", "pass")] * 2),
    ]
    assert rows[2]["flavour"].startswith("openvino 20")
    assert rows[2]["flavour"].endswith(" CPU")
    assert rows[1]["typed_digest"] != rows[3]["typed_digest"]


def test_the_project_installs_without_it():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert "openvino" not in text
