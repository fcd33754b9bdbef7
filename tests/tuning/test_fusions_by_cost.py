"""`--fuse auto`: sites that pay are kept, one by one, whatever the group they are in does."""

import dataclasses
import json

import pytest
from fusing_graphs import scaled_residual, siblings

from deploykit.codec import decode, encode
from deploykit.errors import UsageError
from deploykit.graph import CLEAN_UP, optimize
from deploykit.plan.gpus import find_gpu_spec
from deploykit.results.choices import FusionDecision
from deploykit.spec import SAFE_FUSIONS, BatchRange, BuildSpec, Fusions, ModelSpec, Precision
from deploykit.store import Store
from deploykit.tuning.cost import PlanCostModel
from deploykit.tuning.fusions import STAGE, Goal, candidate, decide, decided, only_sites
from deploykit.workflow.export import traced
from deploykit.workflow.workspace import Workspace

AUTO = Fusions.parse("auto")


@pytest.fixture
def workspace(tmp_path):
    return Workspace(Store.open(tmp_path / "store"))


def goal_of(path, precision=Precision.FP16, **more):
    return Goal(spec=BuildSpec(ModelSpec(str(path)), precision, BatchRange(1, 8, 8), fusions=AUTO), **more)


def cost(workspace, goal, fusions):
    network = traced(workspace, goal.spec.model)
    optimize(network, passes=CLEAN_UP)
    return PlanCostModel(goal.spec, goal.gpu).cost(candidate(network, fusions).network)


@pytest.mark.parametrize("gpu", [None, "rtx4090"])
def test_of_siblings_only_the_pair_that_pays_is_merged(workspace, tmp_path, gpu):
    goal = goal_of(siblings(tmp_path / "net.onnx"), gpu=find_gpu_spec(gpu) if gpu else None)
    decision = decide(workspace, goal)
    assert decision.fusions == Fusions((*SAFE_FUSIONS, "merge_siblings"), ("merge_siblings@a0",))
    assert decision.said == "safe, merge_siblings at 1 of 2 sites"
    both, first, second = (step for step in decision.steps if step.fusion == "merge_siblings")
    assert [step.sites for step in (both, first, second)] == [("a0", "a1"), ("a0",), ("a1",)]
    assert [step.kept for step in (both, first, second)] == [False, False, True]
    assert "MB (+" in both.figures
    chosen, safe = cost(workspace, goal, decision.fusions), cost(workspace, goal, Fusions())
    assert chosen.sign(safe) == -1
    assert decision.change == safe.change_to(chosen)
    assert not decision.ran_out


@pytest.mark.full
def test_a_safe_fusion_is_dropped_where_it_costs_more(workspace):
    goal = goal_of("test_mobilenet", Precision.FP32)
    decision = decide(workspace, goal)
    assert decision.fusions.sites_without("fold_batchnorm") == {"blocks.2.bn2/BatchNormalization"}
    assert decision.said == "safe, fold_batchnorm at 6 of 7 sites"
    assert cost(workspace, goal, decision.fusions).sign(cost(workspace, goal, Fusions())) == -1


def test_a_group_that_leaves_the_cost_as_it_is_is_not_cut(workspace, tmp_path):
    decision = decide(workspace, goal_of(scaled_residual(tmp_path / "net.onnx")))
    assert [(step.fusion, step.sites, step.kept) for step in decision.steps] == [("fold_scale", ("m0", "m1"), False)]
    assert decision.fusions == Fusions()
    assert decision.change == "nothing is better"


def test_a_decision_is_kept_in_the_store(workspace, tmp_path):
    goal = goal_of(siblings(tmp_path / "net.onnx"))
    first = decide(workspace, goal)
    again = Workspace(workspace.store)
    assert decide(again, goal) == first
    assert again.seconds == {}
    other = dataclasses.replace(goal, gpu=find_gpu_spec("t4"))
    assert decide(again, other).objective != first.objective
    assert STAGE in again.seconds


def test_a_decision_survives_its_json(workspace, tmp_path):
    decision = decide(workspace, goal_of(siblings(tmp_path / "net.onnx")))
    (manifest,) = (workspace.store.root / "entries" / "fusing").glob("*.json")
    assert manifest.stat().st_size > 0
    assert decode(FusionDecision, json.loads(json.dumps(encode(decision))), what="decision", hint="") == decision


def test_the_budget_ends_the_search_and_the_answer_says_so(workspace, tmp_path):
    decision = decide(workspace, goal_of(siblings(tmp_path / "net.onnx"), budget_seconds=1e-6))
    assert decision.ran_out
    assert decision.steps == ()
    assert decision.fusions == Fusions()
    assert "the budget of 1e-06 s ran out" in str(decision)


def test_a_group_is_exactly_its_sites(workspace, tmp_path):
    base = traced(workspace, ModelSpec(str(siblings(tmp_path / "net.onnx"))))
    assert candidate(base, Fusions(("merge_siblings",))).sites("merge_siblings") == ("a0", "a1")
    made = only_sites(base, Fusions(), "merge_siblings", {"a1"})
    assert made.sites("merge_siblings") == ("a1",)
    assert made.fusions.without == ("merge_siblings@a0",)


def test_nothing_is_decided_where_nothing_is_open(workspace):
    goal = Goal(spec=BuildSpec(ModelSpec("test_resnet"), fusions=Fusions()), backend="torch")
    assert decided(workspace, goal) == (goal, None)


@pytest.mark.full
def test_by_the_time_of_onnx_runtime(workspace, tmp_path):
    goal = goal_of(scaled_residual(tmp_path / "net.onnx"), Precision.FP32, backend="ort", budget_seconds=8.0)
    decision = decide(workspace, goal)
    assert "ONNX Runtime" in decision.objective
    assert "time here (fp32, batch 8)" in decision.objective
    assert decision.steps[0].fusion == "fold_scale"
    assert " ms, " in decision.steps[0].figures


def test_a_backend_without_a_cost_is_refused(workspace):
    with pytest.raises(UsageError, match="cannot estimate a cost for torch; it can for trt, trt-rtx, ort"):
        decide(workspace, goal_of("test_resnet", backend="torch"))


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf")])
def test_a_budget_is_a_number_of_seconds(seconds):
    with pytest.raises(UsageError, match="budget"):
        goal_of("test_resnet", budget_seconds=seconds)
