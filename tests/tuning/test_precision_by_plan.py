"""`build --precision best`: who is chosen, on what evidence, and when nobody is."""

import pytest
from fusing_graphs import write

from deploykit.backends import get_backend
from deploykit.backends.device import find_gpu
from deploykit.bench import Interval
from deploykit.errors import BackendMissing
from deploykit.plan.gpus import find_gpu_spec
from deploykit.spec import BatchRange, BuildSpec, Calibration, ModelSpec, Precision
from deploykit.tuning import precision as best
from deploykit.tuning.cost import TimeCost

NO_GPU = pytest.mark.skipif(find_gpu() is not None, reason="a GPU is here, so engines are timed")


def choose(workspace, backend, *, name="test_resnet", gpu=None, accept=False, strict=False):
    spec = BuildSpec(ModelSpec(str(name)), Precision.FP16, BatchRange(1, 4, 4), calibration=Calibration(images=4))
    compiler = get_backend(backend, strict=strict)
    named = find_gpu_spec(gpu) if gpu else None
    return best.choose_precision(workspace, spec, compiler, gpu=named, accept_rtx_plan=accept)


@NO_GPU
@pytest.mark.parametrize("gpu", [None, "rtx4090"])
def test_plans_decide_for_tensorrt_rtx(workspace, gpu):
    found = choose(workspace, "trt-rtx", gpu=gpu)
    assert found.precision is Precision.FP16  # requantization is a kernel of its own there
    assert ("roofline of rtx4090, a lower bound" if gpu else "bytes moved, then kernels") in found.why
    assert "nothing was measured" in found.why
    assert set(found.contenders) == {"fp16", "int8"}


@NO_GPU
def test_full_tensorrt_is_undecided_without_a_gpu(workspace):
    found = choose(workspace, "trt")
    assert found.precision is None
    assert found.why.startswith("undecided: full TensorRT was not measured")
    assert set(found.contenders) == {"fp16", "int8"}
    assert found.precision is None


@NO_GPU
def test_the_plan_may_be_accepted_for_full_tensorrt(workspace):
    assert choose(workspace, "trt", accept=True).precision is Precision.FP16


@NO_GPU
def test_a_missing_backend_is_missing(workspace):
    with pytest.raises(BackendMissing, match="backend trt cannot be used here"):
        choose(workspace, "trt", strict=True)


@NO_GPU
def test_what_cannot_be_built_loses_and_the_reason_is_kept(workspace, tmp_path):
    path = write(tmp_path / "n.onnx", "y = Relu(x)", {}, channels=3, side=8, output="float[N, 3, 8, 8] y")
    found = choose(workspace, "trt-rtx", name=path)
    assert found.precision is Precision.FP16
    assert found.why == "int8 cannot be built"
    assert "no layer can be quantized to INT8" in found.contenders["int8"]


@pytest.mark.parametrize(
    ("interval", "chosen"),
    [
        (Interval(0.5, 0.6), Precision.INT8),
        (Interval(0.9, 1.1), Precision.FP16),
        (Interval(1.2, 1.3), Precision.FP16),
        (None, Precision.FP16),
    ],
)
def test_int8_has_to_be_faster_beyond_noise_where_engines_run(workspace, monkeypatch, interval, chosen):
    monkeypatch.setattr(best, "paired", lambda jobs, *, seconds: TimeCost(0.5, 1.0, 0.55, interval))
    found = choose(workspace, "ort")
    assert found.precision is chosen
    assert "measured here" in found.why
    assert ("verify --precision int8" in found.why) == (chosen is Precision.INT8)


def test_engines_that_run_are_really_timed(workspace, monkeypatch):
    monkeypatch.setattr(best, "TIMED_SECONDS", 1.0)
    found = choose(workspace, "ort")
    assert found.precision in (Precision.FP16, Precision.INT8)
    assert all(figure.endswith(" ms") and float(figure[:-3]) > 0 for figure in found.contenders.values())
