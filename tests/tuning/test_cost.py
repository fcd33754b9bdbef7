"""Prices: what is cheaper, and that a priced graph is the one that a build would compile."""

import onnx_ir as ir
import pytest
from fusing_graphs import scaled_residual, write

from deploykit.backends import get_backend
from deploykit.bench import Interval, Ratio
from deploykit.errors import UnsupportedGraph
from deploykit.graph import cnn_passes, optimize, serialize
from deploykit.plan.gpus import find_gpu_spec
from deploykit.plan.roofline import roofline
from deploykit.spec import BatchRange, BuildSpec, ModelSpec, Precision
from deploykit.tuning.cost import PlanPrice, PlanPricing, TimePrice, TimePricing, require_made_up
from deploykit.workflow.engine import build
from deploykit.workflow.export import traced


def optimized(workspace, model):
    network = traced(workspace, model)
    optimize(network, passes=cnn_passes())
    return network


@pytest.mark.parametrize(
    ("one", "other", "sign"),
    [
        (PlanPrice(9, 100_000, 5.0), PlanPrice(8, 90_000, 6.0), -1),
        (PlanPrice(9, 100_000, 5.0), PlanPrice(8, 90_000, 5.0), 1),
        (PlanPrice(9, 100_000), PlanPrice(8, 90_000), 1),
        (PlanPrice(9, 100_000), PlanPrice(8, 100_000), 1),
        (PlanPrice(9, 100_000), PlanPrice(10, 100_040), -1),
        (PlanPrice(9, 100_000), PlanPrice(9, 100_040), 0),
        (PlanPrice(9, 100_000), PlanPrice(9, 100_060), -1),
    ],
    ids=["bound first", "then bytes", "bytes alone", "then kernels", "bytes alike", "too little", "just enough"],
)
def test_which_plan_is_cheaper(one, other, sign):
    assert one.sign(other) == sign
    assert other.sign(one) == -sign


def test_a_change_reads_from_the_other_plan_to_this_one():
    before, after = PlanPrice(74, 219_200_000, 278.8), PlanPrice(73, 252_200_000, 313.0)
    assert before.change_to(after) == "219.2 -> 252.2 MB (+15.1 %), 74 -> 73 kernels, lower bound 278.8 -> 313.0 us"


@pytest.mark.parametrize(
    ("interval", "sign"),
    [(Interval(0.8, 0.9), -1), (Interval(0.9, 1.1), 0), (Interval(1.1, 1.2), 1), (None, 0)],
)
def test_a_time_counts_beyond_noise_alone(interval, sign):
    price = TimePrice(1.0, 1.0, Ratio(1.0, interval, 8))
    assert price.sign == sign
    assert ("within noise" in str(price)) == (sign == 0)


@pytest.mark.parametrize("precision", list(Precision))
def test_a_price_is_that_of_the_engine_that_a_build_compiles(workspace, precision):
    model, gpu = ModelSpec("test_resnet"), find_gpu_spec("rtx4090")
    spec = BuildSpec(model, precision, BatchRange(1, 4, 4))
    network = optimized(workspace, model)
    before = serialize(network)
    price = PlanPricing(spec, gpu).price(network)
    plan = build(workspace, spec, get_backend("trt-rtx")).plan
    assert (price.kernels, price.bytes_moved) == (len(plan.kernels), plan.bytes_moved)
    assert price.roofline_us == pytest.approx(roofline(plan, gpu).total_us, rel=1e-12)
    assert serialize(network) == before


def test_shapes_that_a_rewrite_left_out_are_read_from_the_file(workspace):
    model, gpu = ModelSpec("test_resnet"), find_gpu_spec("t4")
    pricing = PlanPricing(BuildSpec(model, Precision.FP16), gpu)
    network = optimized(workspace, model)
    whole = pricing.price(network)
    for node in network.graph:
        for value in node.outputs:
            value.shape = value.shape if value.is_graph_output() else None
    assert pricing.price(network) == whole


def test_objectives_say_what_was_not_measured():
    spec = BuildSpec(ModelSpec("test_resnet"), Precision.FP16)
    said = PlanPricing(spec, find_gpu_spec("rtx4090")).objective
    for part in (
        "TensorRT-RTX 1.",
        "ahead-of-time plan",
        "fp16, batch 8, sm_89",
        "roofline of rtx4090",
        "not a measured",
    ):
        assert part in said
    assert "bytes moved, then kernels" in PlanPricing(spec).objective
    assert "ONNX Runtime" in TimePricing(spec).objective


def test_more_work_takes_more_time(workspace, tmp_path):
    long, short = (
        optimized(workspace, ModelSpec(str(scaled_residual(tmp_path / f"{blocks}.onnx", blocks=blocks))))
        for blocks in (8, 1)
    )
    spec = BuildSpec(ModelSpec("net.onnx"), batch=BatchRange(1, 1, 1))
    price = TimePricing(spec, 3.0).price(long, short)
    assert price.sign == 1
    assert price.ratio.value > 2
    assert price.ms > price.other_ms > 0


def test_what_cannot_be_fed_is_not_calibrated_for_a_price(workspace, tmp_path):
    path = write(tmp_path / "n.onnx", "y = Relu(x)", {}, channels=3, side=8, output="float[N, 3, 8, 8] y")
    network = optimized(workspace, ModelSpec(str(path)))
    network.graph.inputs[0].dtype = ir.DataType.INT32
    with pytest.raises(UnsupportedGraph, match=r"x int32\[N, 3, 8, 8\]"):
        require_made_up(network)
