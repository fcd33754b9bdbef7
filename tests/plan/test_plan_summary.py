"""The golden log is a real one: TensorRT-RTX 1.7.1, sm_89, two 3x3 convolutions of which the second has Q/DQ."""

import json
import re
from pathlib import Path

import pytest

from deploykit.errors import BuildFailed
from deploykit.plan.rtx_log import parse_layers, read_log, weighted_nodes
from deploykit.plan.summary import summarise
from deploykit.spec import Precision

GOLDEN = (Path(__file__).parent / "golden_int8.log").read_text()


def plan(log=GOLDEN, precision=Precision.INT8, batch=8, engine_bytes=480_324):
    read = read_log(
        log,
        compiler="tensorrt-rtx 1.7.1",
        precision=precision,
        batch=batch,
        targets=("sm_89",),
        engine_bytes=engine_bytes,
    )
    return summarise(read)


def with_line(pattern, replacement):
    edited, count = re.subn(pattern, replacement, GOLDEN, count=1)
    assert count == 1
    return edited


def test_kernels_are_the_layers_that_compute():
    found = plan()
    assert found.kernels == 5
    assert found.kinds == {"correlation": 2, "kgen": 3, "shape_call": 1}


def test_every_tensor_is_counted_once_per_layer_that_touches_it():
    activation = 8 * 32 * 16 * 16
    transposes = 2 * (4 + 4) * activation
    first = 4 * activation + 4 * 32 * 32 * 9 + 4 + 4 + 4 * activation
    requantise = 4 * activation + 4 + activation
    second = activation + 32 * 32 * 9 + 3 * 4 * 32 + 4 * activation
    found = plan()
    assert found.bytes_moved == transposes + first + requantise + second
    assert found.mb_moved == 2.3
    assert found.engine_mb == 0.5


def test_memory_is_read_where_the_log_tells_and_none_where_it_does_not():
    found = plan()
    assert found.weights_bytes == 47_488
    assert found.scratch_bytes == 8_716_288
    assert found.activation_bytes is None


def test_weighted_nodes_by_what_they_read():
    found = plan()
    assert weighted_nodes(GOLDEN) == {"conv1": "Conv", "conv2": "Conv"}
    assert found.weighted_reads == {"Float": 1, "Int8": 1}
    assert (found.weighted_accounted, found.weighted_nodes) == (2, 2)
    assert found.other_precision == {"conv1": "Float"}
    assert plan(precision=Precision.FP32).other_precision == {"conv2": "Int8"}


def test_a_pointwise_kernel_that_carries_a_convolutions_name_is_not_that_convolution():
    log = with_line(r"\[ONNX Layer: q\]", "[ONNX Layer: q]\x1f[ONNX Layer: conv2]")
    assert plan(log) == plan()


def test_a_weighted_node_that_no_layer_claims_is_named():
    found = plan(with_line(r"\[ONNX Layer: conv2\]", "[ONNX Layer: other]"))
    assert found.unaccounted == ("conv2",)
    assert found.weighted_accounted == 1


def test_fused_nodes_are_told_apart_and_a_suffix_is_not_part_of_a_name():
    log = with_line(r"(\[ONNX Layer: conv2\])", "[ONNX Layer: odd, [name]\x1f\\1__gemm_from_conv1x1")
    assert parse_layers(log)[-2].nodes[:2] == ("odd, [name", "conv2")


def test_synchronisation_is_no_kernel():
    line = "Name: s, LayerType: signal, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, Metadata: "
    found = plan(f"{GOLDEN}{line}\n{line.replace('signal', 'wait')}\n")
    assert found.kernels == 5
    assert found.kinds["signal"] == found.kinds["wait"] == 1


def test_it_goes_into_json():
    assert json.loads(json.dumps(plan().as_dict()))["kernels"] == 5


@pytest.mark.parametrize(
    ("log", "complaint"),
    [
        ("", "holds no compiled layer"),
        ("Layers:\n", "holds no compiled layer"),
        (with_line(r"Constants: \[\], Outputs", "Weights: [], Outputs"), "a layer in a form"),
        (with_line(r"LayerType: kgen", "LayerType: <kgen>"), "a layer in a form"),
        (with_line(r"Datatype: Int8", "Datatype: Int3"), "unknown type Int3"),
        (with_line(r"Datatype: Int8", "Type: Int8"), "a tensor in a form"),
        (with_line(r"Dimensions: \[-1,32,16,16\]", "Dimensions: [N,32,16,16]"), "a tensor in a form"),
        (with_line(r"\[ONNX Layer: q\]", "[Torch Layer: q]"), "origin in a form"),
    ],
)
def test_an_unknown_form_is_an_error_that_asks_for_a_report(log, complaint):
    with pytest.raises(BuildFailed, match=complaint) as caught:
        plan(log)
    assert "report" in caught.value.hint
