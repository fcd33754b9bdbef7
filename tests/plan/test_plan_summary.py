"""The golden log is a real one: TensorRT-RTX 1.7.1, sm_89, two 3x3 convolutions of which the second has Q/DQ."""

import json
import re
from pathlib import Path

import pytest

from deploykit.codec import encode
from deploykit.errors import BuildFailed
from deploykit.plan.rtx_log import parse_layers, read_log, weighted_nodes
from deploykit.plan.summary import summarize
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
    return summarize(read)


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
    requantize = 4 * activation + 4 + activation
    second = activation + 32 * 32 * 9 + 3 * 4 * 32 + 4 * activation
    found = plan()
    assert found.bytes_moved == transposes + first + requantize + second
    assert found.mb_moved == 2.3
    assert found.engine_mb == 0.5


def test_memory_is_what_the_log_states():
    found = plan()
    assert found.weights_bytes == 47_488
    assert found.scratch_bytes == found.activation_bytes == 8_716_288


def test_weighted_nodes_by_what_they_read():
    found = plan()
    assert weighted_nodes(GOLDEN) == {"conv1": "Conv", "conv2": "Conv"}
    assert found.weighted_reads == {"Float": 1, "Int8": 1}
    assert (found.weighted_matched, found.weighted_nodes) == (2, 2)
    assert found.other_precision == {"conv1": "Float"}
    assert plan(precision=Precision.FP32).other_precision == {"conv2": "Int8"}


def test_a_pointwise_kernel_that_carries_a_convolutions_name_is_not_that_convolution():
    log = with_line(r"(Rou.*)\[ONNX Layer: q\]", "\\1[ONNX Layer: q]\x1f[ONNX Layer: conv2]")
    assert parse_layers(log)[3].nodes[-1] == "conv2"
    assert plan(log) == plan()


def test_a_weighted_node_that_no_layer_claims_is_named():
    found = plan(with_line(r"(Name: conv2_.*)\[ONNX Layer: conv2\]", r"\1[ONNX Layer: relu1]"))
    assert found.unmatched == ("conv2",)
    assert found.weighted_matched == 1


def test_fused_nodes_are_told_apart_and_a_suffix_is_not_part_of_a_name():
    log = with_line(r"(Name: conv2_.*)(\[ONNX Layer: conv2\])", "\\1[ONNX Layer: odd, [name]\x1f\\2__gemm_from_conv1x1")
    assert parse_layers(log)[-2].nodes[:2] == ("odd, [name", "conv2")


def test_synchronization_is_no_kernel():
    both = "".join(
        f"\nName: {kind}_myl0_{number}, LayerType: {kind}, Inputs: [], Constants: [], Outputs: [], TacticName: , "
        "StreamId: 0, Metadata: "
        for number, kind in ((6, "signal"), (7, "wait"))
    )
    found = plan(GOLDEN.replace("\n\nI/O Tensors:", f"{both}\n\nI/O Tensors:"))
    assert found.kernels == 5
    assert found.kinds["signal"] == found.kinds["wait"] == 1


def test_it_goes_into_json():
    assert json.loads(json.dumps(encode(plan())))["kernels"] == 5


@pytest.mark.parametrize(
    "log", ["", "Layers:\n", GOLDEN[: GOLDEN.index("Layers:")], with_line(r"Layers:\n(Name: .*\n)+", "Layers:\n")]
)
def test_a_log_without_layers_is_an_error(log):
    with pytest.raises(BuildFailed, match="holds no compiled layer"):
        plan(log)
