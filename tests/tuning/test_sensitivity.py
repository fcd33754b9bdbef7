"""The layer that INT8 hurts is found, and the mixed graph leaves it and no other in FP16."""

from dataclasses import replace

import numpy as np
import pytest

from deploykit.errors import GateFailed, UsageError
from deploykit.precision.calibrate.ranges import Range
from deploykit.spec import BuildSpec, Calibration, ModelSpec
from deploykit.tuning.sensitivity import Aim, measure
from deploykit.workflow.calibrate import calibrate
from deploykit.workflow.export import export
from deploykit.workflow.transforms import read_graph


@pytest.fixture(scope="module")
def exported(workspace):
    return export(workspace, ModelSpec("test_mobilenet"))


@pytest.fixture(scope="module")
def spec():
    return BuildSpec(ModelSpec("test_mobilenet"), calibration=Calibration(images=8))


@pytest.fixture(scope="module")
def plain(workspace, exported, spec):
    return measure(workspace, exported, spec, aim=Aim(), images=4, gpu=None)


@pytest.fixture(scope="module")
def poisoned(workspace, exported, spec, tmp_path_factory):
    """A table in which one layer's input is cut off at a hundredth, and that layer."""
    table, _ = calibrate(workspace, exported, spec)
    convolutions = [node for node in read_graph(exported.path).graph if node.op_type == "Conv"]
    victim = convolutions[len(convolutions) // 2]
    name = victim.inputs[0].name
    found = table.ranges[name]
    cut = Range(found.lo / 100, found.hi / 100, found.threshold / 100)
    path = tmp_path_factory.mktemp("table") / "table.json"
    path.write_text(replace(table, ranges={**table.ranges, name: cut}).to_json())
    return victim.name, replace(spec, calibration=Calibration(table=path))


def test_every_layer_alone_loses_less_than_all_together(plain):
    together = plain.mixed_graphs[0]
    assert together.kept_fp16 == ()
    assert all(layer.loss.sqnr_db > together.loss.sqnr_db for layer in plain.layers)
    assert len({layer.node for layer in plain.layers}) == len(plain.layers) > 5
    assert {layer.kind for layer in plain.layers} >= {"depthwise", "pointwise", "dense"}
    ordered = [layer.loss.sqnr_db for layer in plain.layers]
    assert ordered == sorted(ordered)
    assert plain.chosen is None


def test_errors_of_layers_add_up(plain):
    """Their powers, roughly: what the mixed graph rests on."""
    parts = sum(10 ** (-layer.loss.sqnr_db / 10) for layer in plain.layers)
    assert -10 * np.log10(parts) == pytest.approx(plain.mixed_graphs[0].loss.sqnr_db, abs=3)


def test_a_planted_layer_is_the_only_one_that_is_left(workspace, exported, poisoned, plain):
    victim, spec = poisoned
    aim = Aim(min_sqnr=plain.mixed_graphs[0].loss.sqnr_db - 1)
    found = measure(workspace, exported, spec, aim=aim, images=4, gpu=None)
    assert found.layers[0].node == victim
    assert found.chosen.kept_fp16 == (victim,)
    assert found.chosen.loss.sqnr_db >= aim.min_sqnr > found.mixed_graphs[0].loss.sqnr_db
    assert "kernels" in found.chosen.plan


def test_an_aim_that_all_of_int8_meets_leaves_nothing(workspace, exported, spec, plain):
    found = measure(
        workspace, exported, spec, aim=Aim(min_sqnr=plain.mixed_graphs[0].loss.sqnr_db - 0.1), images=4, gpu=None
    )
    assert found.chosen.kept_fp16 == ()


def test_what_cannot_be_reached_or_measured_is_refused(workspace, exported, spec):
    with pytest.raises(GateFailed, match="even with only one layer in INT8 the limit is missed"):
        measure(workspace, exported, spec, aim=Aim(min_sqnr=150), images=2, gpu=None)
    with pytest.raises(UsageError, match="--max-drop needs labeled images"):
        measure(workspace, exported, spec, aim=Aim(max_drop=1), images=2, gpu=None)
    for wrong in ({"max_drop": -1.0}, {"min_sqnr": 900.0}):
        with pytest.raises(UsageError, match="is"):
            Aim(**wrong)
