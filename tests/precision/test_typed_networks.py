"""Whole networks through the real compilers: ONNX Runtime's integer kernels and TensorRT-RTX's parser."""

from collections import Counter

import numpy as np
import onnx
import pytest

from deploykit import graph
from deploykit.export import export_module
from deploykit.ort_session import open_session
from deploykit.precision.calibrate.collect import collect
from deploykit.precision.emulate import literal_graph
from deploykit.precision.float16 import to_float16
from deploykit.precision.int8.baseline import quantize_static
from deploykit.precision.int8.lint import lint
from deploykit.precision.int8.quantize import quantize
from deploykit.spec import (
    ORT_CPU,
    TENSORRT,
    ModelSpec,
    Precision,
)
from deploykit.zoo.initialize import calibration_noise, estimate_batchnorm
from deploykit.zoo.registry import build_module, input_spec

NETWORKS = ("test_convnet", "test_resnet", "test_mobilenet")


def noise(name, *, seed):
    return next(calibration_noise(input_spec(ModelSpec(name)), batches=1, batch=32, seed=seed))


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """Name, optimized float graph, its calibration table, calibration and test images."""
    import torch

    name = request.param
    calibration, test = noise(name, seed=1), noise(name, seed=2)
    module = build_module(ModelSpec(name))
    estimate_batchnorm(module, [torch.from_numpy(calibration)])
    model = export_module(module, input_spec(ModelSpec(name)))
    graph.optimize(model)
    digest = graph.graph_digest(graph.serialize(model))
    table = collect(model, [{"images": calibration}], graph_digest=digest, data_digest="b" * 64, threads=1)
    return name, model, table, calibration, test


def output(model, x, *, optimize=False):
    runner = open_session(model, optimize=optimize, threads=1)
    return runner.run(None, {runner.get_inputs()[0].name: x})[0]


def sqnr(found, reference):
    return 20 * np.log10(np.linalg.norm(reference) / np.linalg.norm(found - reference))


def quantized(network, placement):
    _, model, table, *_ = network
    typed = model.clone()
    report = quantize(typed, table, placement)
    assert report.excluded == ()
    assert lint(typed, placement) == []
    return typed


def weighted(model):
    return sum(node.op_type in ("Conv", "Gemm", "MatMul") for node in model.graph)


def test_float16_keeps_30_db_as_its_types_say(network):
    _, model, _, _, test = network
    typed = model.clone()
    to_float16(typed)
    graph.check(typed)
    assert sqnr(output(literal_graph(typed, Precision.FP16), test), output(model, test)) > 30


@pytest.mark.parametrize("placement", [ORT_CPU, TENSORRT], ids=lambda placement: placement.name)
def test_int8_meets_the_baseline_within_1_db(network, placement):
    _, model, _, calibration, test = network
    reference = output(model, test)
    typed = quantized(network, placement)
    graph.check(typed)
    static = quantize_static(model, [{"images": calibration}], symmetric=placement.symmetric)
    import onnxruntime

    runner = onnxruntime.InferenceSession(static, providers=["CPUExecutionProvider"])
    (baseline,) = runner.run(None, {runner.get_inputs()[0].name: test})
    assert sqnr(output(typed, test), reference) > sqnr(baseline, reference) - 1


@pytest.mark.full
def test_resnet18_passes_the_lint_of_both_placements():
    name = ModelSpec("resnet18", image_size=32)
    images = next(calibration_noise(input_spec(name), batches=1, batch=2, seed=1))
    model = export_module(build_module(name), input_spec(name))
    graph.optimize(model)
    table = collect(model, [{"images": images}], graph_digest="a" * 64, data_digest="b" * 64, threads=1)
    for placement in (ORT_CPU, TENSORRT):
        quantized(("resnet18", model, table), placement)


def test_onnx_runtime_forms_integer_kernels_and_leaves_no_pair_inside(network, tmp_path):
    import onnxruntime

    _, model, *_ = network
    before = Counter(node.op_type for node in model.graph)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    content = graph.serialize(quantized(network, ORT_CPU))
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    after = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert (after["QLinearConv"], after["QGemm"]) == (before["Conv"], before["Gemm"])
    assert after["QLinearAdd"] == before["Add"]
    assert not {"Conv", "FusedConv", "Gemm", "Add", "Relu", "Clip"} & after.keys()
    assert after["QuantizeLinear"] <= 1 + before["ReduceMean"]
    assert after["DequantizeLinear"] <= 1 + before["ReduceMean"]


def rtx_parse(content):
    """None, or the parser's first complaint."""
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (Linux x86-64 and Windows only)")
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    return None if parser.parse(content) else parser.get_error(0).desc()


def test_tensorrt_parses_its_own_placement(network):
    assert rtx_parse(graph.serialize(quantized(network, TENSORRT))) is None


def test_tensorrt_rejects_the_placement_of_onnx_runtime(network, capfd):
    assert "zero point" in rtx_parse(graph.serialize(quantized(network, ORT_CPU)))


def test_tensorrt_rejects_an_int32_bias(network, capfd):
    from dataclasses import replace

    typed = quantized(network, replace(TENSORRT, name="int32-bias", int32_bias=True))
    assert "DequantizeLinear" in rtx_parse(graph.serialize(typed))
