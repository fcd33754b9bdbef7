import importlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import small_graphs
from small_graphs import FLOAT, HALF, INT8, spec

from deploykit.backends import get_backend, nvinfer_session, tensorrt, tensorrt_rtx
from deploykit.backends.device import LocalGpu, find_gpu, why_no_gpu
from deploykit.backends.protocol import ModuleSource
from deploykit.backends.tensorrt import TensorRTBackend
from deploykit.backends.tensorrt_rtx import TensorRTRTXBackend
from deploykit.errors import BackendMissing
from deploykit.spec import (
    TENSORRT,
    ModelSpec,
    Precision,
    Reason,
    Target,
)

RTX_4090 = LocalGpu("a GPU", Target(8, 9), 24 << 30, "13.0", 1)

needs_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt-rtx is not installed")
without_gpu = pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU here")


def installed(monkeypatch, *names, gpu=None, version="11.4.0"):
    """A machine on which, of the optional libraries, exactly these are installed."""
    for module in (tensorrt, tensorrt_rtx):
        monkeypatch.setattr(module, "find_spec", lambda name: name in names or None)
        monkeypatch.setattr(module, "find_gpu", lambda: gpu)
    monkeypatch.setattr(tensorrt, "installed_version", lambda name: version)


def build(backend, folder, text=FLOAT, precision=Precision.FP32, **options):
    typed = small_graphs.write(folder, text, precision)
    return backend.build(typed, spec(**options))


def test_names_and_placement():
    for name in ("trt", "trt-rtx"):
        backend = get_backend(name)
        assert (backend.name, backend.placement, backend.compiles) == (name, TENSORRT, True)
        assert not backend.runs_module


@pytest.mark.parametrize("backend", [TensorRTBackend(), TensorRTBackend(strict=True), TensorRTRTXBackend()])
def test_a_typed_graph_is_required(backend, tmp_path):
    module = ModuleSource(ModelSpec("small"), tmp_path / "weights", (), ())
    assert "typed graph" in str(backend.supports(module))
    with pytest.raises(BackendMissing, match="typed graph"):
        backend.build(module, spec())
    assert backend.supports(small_graphs.write(tmp_path, FLOAT)) is None


def test_asking_whether_it_is_available_imports_no_framework():
    code = (
        "import sys; from deploykit.backends import get_backend\n"
        "for name in ('trt', 'trt-rtx'): get_backend(name).unavailable()\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'onnx', 'tensorrt', 'tensorrt_rtx'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_without_rtx_the_reason_names_the_package(monkeypatch):
    installed(monkeypatch)
    assert "pip install tensorrt-rtx" in str(TensorRTRTXBackend().unavailable())
    assert "pip install tensorrt-rtx" in str(TensorRTBackend().unavailable())


def test_rtx_alone_is_enough_to_compile_unless_strict(monkeypatch):
    installed(monkeypatch, "tensorrt_rtx")
    assert TensorRTBackend().unavailable() is None
    assert TensorRTRTXBackend().unavailable() is None
    assert TensorRTBackend(strict=True).unavailable() == why_no_gpu()


def test_strict_on_a_gpu_wants_tensorrt(monkeypatch):
    installed(monkeypatch, "tensorrt_rtx", "pycuda", gpu=RTX_4090)
    assert str(TensorRTBackend(strict=True).unavailable()) == (
        "TensorRT is not installed; pip install 'deploykit[gpu]'"
    )


@pytest.mark.parametrize(
    ("found", "lacking"), [("10.2.0", True), ("10.3.0", False), ("10.13.3.9", False), ("11.4.0.1", False)]
)
def test_strict_wants_a_recent_tensorrt(monkeypatch, found, lacking):
    installed(monkeypatch, "tensorrt", gpu=RTX_4090, version=found)
    assert (TensorRTBackend(strict=True).unavailable() is not None) is lacking
    if lacking:
        assert "TensorRT 10.2.0 is older than 10.3" in str(TensorRTBackend(strict=True).unavailable())


@needs_rtx
@without_gpu
def test_the_substitute_says_what_it_is_and_cannot_run(tmp_path):
    backend = TensorRTBackend()
    engine = build(backend, tmp_path)
    assert engine.backend == "trt"
    assert engine.flavour.startswith("tensorrt-rtx ")
    assert engine.flavour.endswith(" (ahead of time)")
    assert engine.reason == why_no_gpu()
    assert engine.typed_digest == "0" * 64
    assert engine.plan.kernels >= 4
    assert round(len(engine.content) / 1e6, 1) == engine.plan.engine_mb
    assert "LayerType:" in engine.log
    with pytest.raises(BackendMissing, match=r"cannot run here: no .*GPU"):
        backend.open(engine)


@needs_rtx
@without_gpu
def test_strict_does_not_build(tmp_path):
    with pytest.raises(BackendMissing, match="GPU"):
        build(TensorRTBackend(strict=True), tmp_path)


@needs_rtx
def test_rtx_runs_where_the_gpu_is_one_of_its_targets(monkeypatch, tmp_path):
    installed(monkeypatch, "tensorrt_rtx", "pycuda", gpu=RTX_4090)
    engine = build(TensorRTRTXBackend(), tmp_path)
    assert engine.reason is None
    assert engine.backend == "trt-rtx"
    assert engine.flavour.count(".") == 2
    assert "ahead" not in engine.flavour


@needs_rtx
def test_rtx_for_another_gpu_says_which_target_to_add(monkeypatch, tmp_path):
    installed(monkeypatch, "tensorrt_rtx", "pycuda", gpu=replace(RTX_4090, capability=Target(8, 6)))
    reason = build(TensorRTRTXBackend(), tmp_path, targets=("sm_89", "sm_80")).reason
    assert reason == Reason("compiled for sm_89, sm_80, and this machine's GPU is sm_86", "add --target sm_86")


@needs_rtx
def test_rtx_without_pycuda_compiles_and_says_what_running_needs(monkeypatch, tmp_path):
    installed(monkeypatch, "tensorrt_rtx", gpu=RTX_4090)
    engine = build(TensorRTRTXBackend(), tmp_path)
    assert str(engine.reason) == "pycuda is not installed; pip install 'deploykit[gpu]'"
    with pytest.raises(BackendMissing, match="pycuda"):
        TensorRTRTXBackend().open(engine)


@needs_rtx
@pytest.mark.parametrize(
    ("text", "precision", "tf32", "note"),
    [
        (FLOAT, Precision.FP32, False, ""),
        (FLOAT, Precision.FP32, True, "TF32 allowed"),
        (HALF, Precision.FP16, False, "1 of 2 layers with weights compute in float"),
        (INT8, Precision.INT8, False, "1 of 2 layers with weights compute in float"),
    ],
)
def test_the_note_says_where_another_type_is_computed_in(tmp_path, text, precision, tf32, note):
    assert build(TensorRTRTXBackend(), tmp_path, text, precision, tf32=tf32).note == note


INSPECTED = {
    "Layers": [
        {
            "Name": f"{node} + rest",
            "LayerType": kind,
            "Inputs": [{"Name": read, "Dimensions": [8, 16], "Format/Datatype": "Row major linear FP32"}],
            "Outputs": [{"Name": written, "Dimensions": [8, 16], "Format/Datatype": "Row major linear FP32"}],
            "Metadata": f"[ONNX Layer: {node}]",
        }
        for node, kind, read, written in (
            ("conv1", "CaskConvolution", "x", "a"),
            ("conv2", "CaskConvolution", "a", "c"),
            ("fc", "CaskGemmMatrixMultiply", "c", "y"),
        )
    ],
    "Bindings": ["x", "y"],
}


@pytest.fixture
def full_tensorrt(monkeypatch):
    """TensorRT-RTX's bindings stand in for TensorRT's, which have the same names; the targets play no part."""
    monkeypatch.setitem(sys.modules, "tensorrt", importlib.import_module("tensorrt_rtx"))
    installed(monkeypatch, "tensorrt", "tensorrt_rtx", "pycuda", gpu=replace(RTX_4090, capability=Target(9, 0)))


@needs_rtx
def test_full_tensorrt_builds_for_the_gpu_that_is_here_and_reads_what_its_inspector_tells(
    full_tensorrt, monkeypatch, tmp_path
):
    asked = []

    def answer(trt, content, *, batch):
        asked.append((trt.__name__, len(content), batch))
        return json.dumps(INSPECTED)

    monkeypatch.setattr(nvinfer_session, "inspect_engine", answer)
    engine = build(TensorRTBackend(), tmp_path, targets=("sm_90",), batch="1:4:8", tf32=True)
    assert engine.flavour.startswith("tensorrt ")
    assert engine.reason is None
    assert engine.note == "TF32 allowed"
    assert "LayerType:" not in engine.log  # the finest lines are not kept where no plan is read from them
    assert asked == [("tensorrt_rtx", len(engine.content), 4)]
    assert (engine.layers.compiler, engine.layers.source) == (engine.flavour, "engine inspector")
    assert (engine.layers.targets, engine.layers.batch) == (("sm_90",), 4)
    assert engine.layers.weighted == {"conv1": "Conv", "conv2": "Conv", "fc": "Gemm"}
    assert engine.plan.kernels == 3
    assert engine.plan.weighted_reads == {"Float": 3}
    assert engine.plan.engine_mb == round(len(engine.content) / 1e6, 1)


@needs_rtx
def test_the_note_of_full_tensorrt_says_where_another_type_is_computed_in(full_tensorrt, monkeypatch, tmp_path):
    monkeypatch.setattr(nvinfer_session, "inspect_engine", lambda *arguments, **options: json.dumps(INSPECTED))
    engine = build(TensorRTBackend(), tmp_path, HALF, Precision.FP16)
    assert engine.note == "2 of 2 layers with weights compute in float"


@needs_rtx
def test_an_inspector_that_cannot_be_read_costs_the_plan_and_not_the_engine(full_tensorrt, monkeypatch, tmp_path):
    monkeypatch.setattr(nvinfer_session, "inspect_engine", lambda *arguments, **options: '{"Layers": []}')
    engine = build(TensorRTBackend(), tmp_path)
    assert (engine.plan, engine.layers) == (None, None)
    assert engine.note.startswith("no plan: TensorRT's engine inspector reports no layers")
    assert len(engine.content) > 10_000


@needs_rtx
@without_gpu
def test_an_engine_that_cannot_be_inspected_here_says_why(full_tensorrt, tmp_path):
    engine = build(TensorRTBackend(), tmp_path)
    assert engine.note.startswith("no plan: TensorRT could not load the engine: ")
    assert len(engine.content) > 10_000
