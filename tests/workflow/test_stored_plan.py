"""The plan that lies beside a stored engine: read back whole, with what the typed graph knows of its layers."""

from dataclasses import replace

import pytest

from deploykit.backends import get_backend
from deploykit.graph import weighted_costs
from deploykit.plan.summary import summarize
from deploykit.spec import BatchRange, BuildSpec, ModelSpec, Precision
from deploykit.store import Store
from deploykit.workflow.engine import build
from deploykit.workflow.transforms import read_graph
from deploykit.workflow.workspace import Workspace

SPEC = BuildSpec(ModelSpec("test_resnet"), Precision.FP16, BatchRange(1, 4, 4))


@pytest.fixture(scope="module")
def built(workspace):
    build(workspace, SPEC, get_backend("trt-rtx"))
    return build(workspace, SPEC, get_backend("trt-rtx"))


def test_an_engine_that_was_just_compiled_is_the_one_that_is_found_again(tmp_path):
    workspace = Workspace(Store.open(tmp_path / "store"))
    fresh, again = (build(workspace, SPEC, get_backend("trt-rtx")) for _ in range(2))
    assert (fresh.hit, again.hit) == (False, True)
    assert fresh.plan == again.plan
    assert replace(fresh.engine, layers=None) == again.engine
    assert (fresh.engine.content, fresh.engine.log) == (None, "")


def test_the_stored_plan_is_that_of_the_summary(built):
    assert built.hit
    assert summarize(built.plan) == built.engine.plan


def test_every_multiply_accumulate_of_the_graph_stands_at_one_layer(built):
    costs = weighted_costs(read_graph(built.typed.graph.path), batch=4)
    assert built.plan.macs == sum(cost.macs for cost in costs.values()) > 0


def test_layers_name_the_modules_they_come_from(built):
    (stem,) = (layer for layer in built.plan.layers if "conv1" in layer.runs(built.plan.weighted))
    assert stem.modules == ("conv1", "relu")
    assert stem.macs == 4 * 32 * 32 * 8 * 3 * 3 * 3
