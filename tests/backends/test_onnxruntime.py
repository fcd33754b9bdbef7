"""What the ONNX Runtime backend asks of the library; the CUDA provider is seen from outside, at the library's door."""

from dataclasses import replace

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from deploykit.backends import onnxruntime as backend_module
from deploykit.backends.device import LocalGpu
from deploykit.backends.onnxruntime import OnnxRuntimeBackend
from deploykit.backends.protocol import (
    TypedGraph,
)
from deploykit.errors import BackendMissing, BuildFailed, DeviceOutOfMemory, ExecutionFailed
from deploykit.ort_session import CPU, CUDA, open_session
from deploykit.spec import (
    ORT_CPU,
    ORT_CPU_7BIT,
    TENSORRT,
    EngineSettings,
    Precision,
    Target,
    TensorSpec,
)

GPU = LocalGpu("a GPU", Target(8, 9), 24 << 30, "13.0", 1)
GROW = """<ir_version: 10, opset_import: ["" : 20]>
g (float[one] x, int64[rank] shape) => (float[n] y) { y = Expand(x, shape) }"""


def machine(monkeypatch, *, gpu, package):
    monkeypatch.setattr(backend_module, "find_gpu", lambda: gpu)
    monkeypatch.setattr(backend_module, "installed_version", lambda *names: "1.31.1" if package in names else None)


@pytest.fixture
def built(tmp_path):
    path = tmp_path / "grow.onnx"
    onnx.save(onnx.parser.parse_model(GROW), path)
    inputs = (TensorSpec("x", ("one",), "float32"), TensorSpec("shape", (1,), "int64"))
    typed = TypedGraph(path, "0" * 64, Precision.FP32, None, inputs, (TensorSpec("y", ("n",), "float32"),))
    return lambda: OnnxRuntimeBackend().build(typed, EngineSettings())


def feed(size):
    return {"x": np.ones(1, np.float32), "shape": np.array([size])}


@pytest.mark.parametrize(
    ("gpu", "package", "saturates", "provider", "placement"),
    [
        (GPU, "onnxruntime-gpu", True, CUDA, TENSORRT),
        (GPU, "onnxruntime", False, CPU, ORT_CPU),
        (None, "onnxruntime-gpu", False, CPU, ORT_CPU),
        (None, "onnxruntime", True, CPU, ORT_CPU_7BIT),
    ],
)
def test_cuda_needs_a_gpu_and_the_package_with_the_provider(
    monkeypatch, built, gpu, package, saturates, provider, placement
):
    machine(monkeypatch, gpu=gpu, package=package)
    monkeypatch.setattr("deploykit.backends.onnxruntime.saturates_u8s8", lambda: saturates)
    assert built().flavour == f"onnxruntime 1.31.1 {provider}"
    assert OnnxRuntimeBackend().placement == placement


def test_a_cuda_session_loads_its_libraries_first_and_keeps_tf32_off(monkeypatch, built, capsys):
    seen = []

    class Session:
        def __init__(self, model, options, providers):
            seen.append(providers)
            self.options = options

        def get_providers(self):
            return [CUDA, CPU]

        def get_session_options(self):
            return self.options

    def preload():
        seen.append("libraries")
        print("Failed to load libmissing.so")

    machine(monkeypatch, gpu=GPU, package="onnxruntime-gpu")
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with OnnxRuntimeBackend().open(built()):
        assert seen == ["libraries", [(CUDA, {"use_tf32": "0"})]]
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(backend_module.find_gpu() is not None, reason="there is a GPU here")
def test_the_cpu_in_the_place_of_cuda_is_refused_with_the_library_that_is_missing(monkeypatch, built, capfd):
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libmissing.so: no such file"))
    machine(monkeypatch, gpu=GPU, package="onnxruntime-gpu")
    with pytest.raises(BackendMissing, match=r"loaded CPU\w+, not CUDA\w+ \(Failed to load libmissing.so.*doctor"):
        OnnxRuntimeBackend().open(built())
    assert capfd.readouterr().out == ""


def test_the_library_still_has_what_is_called():
    assert callable(onnxruntime.preload_dlls)


@pytest.mark.parametrize("call", ["run", "launch"])
def test_memory_that_runs_out_is_told_apart_from_other_failures(monkeypatch, built, call):
    machine(monkeypatch, gpu=None, package="onnxruntime-gpu")
    with OnnxRuntimeBackend().open(built(), threads=1) as session:
        go = session.run if call == "run" else lambda wanted: session.bind(wanted).launch()
        with pytest.raises(DeviceOutOfMemory, match=r"Failed to allocate memory.*smaller batch"):
            go(feed(1 << 46))
        with pytest.raises(ExecutionFailed, match="ONNX Runtime failed") as caught:
            go(feed(-5))
        assert not isinstance(caught.value, DeviceOutOfMemory)
        assert session.run(feed(3))["y"].tolist() == [1, 1, 1]


DILATED = """<ir_version: 10, opset_import: ["" : 20]>
g (float[N, 1, 6, 6] x) => (float[N, 1, 4, 4] y) <float s = {0.05}, uint8 z = {128}> {
    q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    p = AveragePool<kernel_shape = [2, 2], dilations = [2, 2]>(d)
    r = QuantizeLinear(p, s, z)
    y = DequantizeLinear(r, s, z)
}"""


def test_a_graph_that_breaks_the_optimizer_runs_at_the_basic_level_and_says_so(tmp_path):
    """onnxruntime 1.31 makes QLinearAveragePool of it, and then refuses its own node for the dilations."""
    path = tmp_path / "dilated.onnx"
    onnx.save(onnx.parser.parse_model(DILATED), path)
    inputs, outputs = (TensorSpec("x", ("N", 1, 6, 6), "float32"),), (TensorSpec("y", ("N", 1, 4, 4), "float32"),)
    typed = TypedGraph(path, "0" * 64, Precision.FP32, None, inputs, outputs)
    backend = OnnxRuntimeBackend()
    x = np.random.default_rng(0).standard_normal((2, 1, 6, 6)).astype(np.float32)
    with backend.open(backend.build(typed, EngineSettings()), threads=1) as session:
        assert "ran at the basic level" in session.remark
        np.testing.assert_array_equal(
            session.run({"x": x})["y"], open_session(path, optimize=False).run(None, {"x": x})[0]
        )


def test_a_graph_that_no_level_takes_is_refused_for_what_the_highest_said(tmp_path):
    path = tmp_path / "wrong.onnx"
    onnx.save(onnx.parser.parse_model(GROW.replace("Expand", "Expanse")), path)
    with pytest.raises(BuildFailed, match=r"ONNX Runtime rejects the graph: .*Expanse"):
        open_session(path)


def test_an_ordinary_session_has_nothing_to_own_up_to(built):
    with OnnxRuntimeBackend().open(built(), threads=1) as session:
        assert session.remark == ""


def test_an_engine_is_opened_with_care_below_the_optimizer_s_highest_level(built):
    assert built().careful is False
    with OnnxRuntimeBackend().open(replace(built(), careful=True), threads=1) as session:
        assert "ran at the basic level" in session.remark
