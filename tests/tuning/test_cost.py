"""Costs: which plan costs less, and that the graph it is of is the one that a build would compile."""

import onnx_ir as ir
import pytest
from fusing_graphs import scaled_residual, write

from deploykit.backends import get_backend
from deploykit.bench import Interval
from deploykit.errors import UnsupportedGraph
from deploykit.graph import cnn_passes, optimize, serialize
from deploykit.plan.gpus import find_gpu_spec
from deploykit.plan.roofline import roofline
from deploykit.spec import BatchRange, BuildSpec, ModelSpec, Precision
from deploykit.tuning.cost import PlanCost, PlanCostModel, TimeCost, TimeCostModel, require_made_up
from deploykit.workflow.engine import build
from deploykit.workflow.export import traced


def optimized(workspace, model):
    network = traced(workspace, model)
    optimize(network, passes=cnn_passes())
    return network


@pytest.mark.parametrize(
    ("one", "other", "sign"),
    [
        (PlanCost(9, 100_000, 5.0), PlanCost(8, 90_000, 6.0), -1),
        (PlanCost(9, 100_000, 5.0), PlanCost(8, 90_000, 5.0), 1),
        (PlanCost(9, 100_000), PlanCost(8, 90_000), 1),
        (PlanCost(9, 100_000), PlanCost(8, 100_000), 1),
        (PlanCost(9, 100_000), PlanCost(10, 100_040), -1),
        (PlanCost(9, 100_000), PlanCost(9, 100_040), 0),
        (PlanCost(9, 100_000), PlanCost(9, 100_060), -1),
    ],
    ids=["bound first", "then bytes", "bytes alone", "then kernels", "bytes alike", "too little", "just enough"],
)
def test_which_plan_is_cheaper(one, other, sign):
    assert one.sign(other) == sign
    assert other.sign(one) == -sign


def test_a_change_reads_from_the_other_plan_to_this_one():
    before, after = PlanCost(74, 219_200_000, 278.8), PlanCost(73, 252_200_000, 313.0)
    assert before.change_to(after) == "219.2 -> 252.2 MB (+15.1 %), 74 -> 73 kernels, lower bound 278.8 -> 313.0 us"


@pytest.mark.parametrize(
    ("interval", "sign"),
    [(Interval(0.8, 0.9), -1), (Interval(0.9, 1.1), 0), (Interval(1.1, 1.2), 1), (None, 0)],
)
def test_a_time_counts_beyond_noise_alone(interval, sign):
    cost = TimeCost(1.0, 1.0, 1.0, interval)
    assert cost.sign == sign
    assert ("within noise" in str(cost)) == bool(cost.within_noise)
    assert ("too few rounds" in str(cost)) == (cost.within_noise is None) == (interval is None)


@pytest.mark.parametrize("precision", list(Precision))
def test_a_cost_is_that_of_the_engine_that_a_build_compiles(workspace, precision):
    model, gpu = ModelSpec("test_resnet"), find_gpu_spec("rtx4090")
    spec = BuildSpec(model, precision, BatchRange(1, 4, 4))
    network = optimized(workspace, model)
    before = serialize(network)
    cost = PlanCostModel(spec, gpu).cost(network)
    plan = build(workspace, spec, get_backend("trt-rtx")).plan
    assert (cost.kernels, cost.bytes_moved) == (len(plan.kernels), plan.bytes_moved)
    assert cost.roofline_us == pytest.approx(roofline(plan, gpu).total_us, rel=1e-12)
    assert serialize(network) == before


def test_shapes_that_a_rewrite_left_out_are_read_from_the_file(workspace):
    model, gpu = ModelSpec("test_resnet"), find_gpu_spec("t4")
    cost_model = PlanCostModel(BuildSpec(model, Precision.FP16), gpu)
    network = optimized(workspace, model)
    whole = cost_model.cost(network)
    for node in network.graph:
        for value in node.outputs:
            value.shape = value.shape if value.is_graph_output() else None
    assert cost_model.cost(network) == whole


def test_objectives_say_what_was_not_measured():
    spec = BuildSpec(ModelSpec("test_resnet"), Precision.FP16)
    said = PlanCostModel(spec, find_gpu_spec("rtx4090")).objective
    for part in (
        "TensorRT-RTX 1.",
        "ahead-of-time plan",
        "fp16, batch 8, sm_89",
        "roofline of rtx4090",
        "not a measured",
    ):
        assert part in said
    assert "bytes moved, then kernels" in PlanCostModel(spec).objective
    assert "ONNX Runtime" in TimeCostModel(spec).objective


@pytest.mark.full
def test_more_work_takes_more_time(workspace, tmp_path):
    long, short = (
        optimized(workspace, ModelSpec(str(scaled_residual(tmp_path / f"{blocks}.onnx", blocks=blocks))))
        for blocks in (8, 1)
    )
    spec = BuildSpec(ModelSpec("net.onnx"), batch=BatchRange(1, 1, 1))
    cost = TimeCostModel(spec, 3.0).cost(long, short)
    assert cost.sign == 1
    assert cost.ratio > 2
    assert cost.ms > cost.other_ms > 0


def test_what_cannot_be_fed_is_not_calibrated_for_a_cost(workspace, tmp_path):
    path = write(tmp_path / "n.onnx", "y = Relu(x)", {}, channels=3, side=8, output="float[N, 3, 8, 8] y")
    network = optimized(workspace, ModelSpec(str(path)))
    network.graph.inputs[0].dtype = ir.DataType.INT32
    with pytest.raises(UnsupportedGraph, match=r"x int32\[N, 3, 8, 8\]"):
        require_made_up(network)
