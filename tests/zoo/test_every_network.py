"""Every network of the zoo, at its own size, through every stage that this machine has.

A miniature stands for its family in `make test`; networks of more than SMALL parameters are what `make test-full` runs.
"""

import shutil

import numpy as np
import onnx
import onnxruntime
import pytest

from deploykit.backends import get_backend
from deploykit.parity import distance, module_reference
from deploykit.spec import BuildSpec, ModelSpec, Precision
from deploykit.store import Store
from deploykit.workflow.engine import build
from deploykit.workflow.export import export
from deploykit.workflow.workspace import Workspace
from deploykit.zoo.initialize import calibration_noise
from deploykit.zoo.registry import cards, input_spec

SMALL = 100_000
BATCHES = (1, 2)
READS = {Precision.FP32: "Float", Precision.FP16: "Half"}


@pytest.fixture
def workspace(tmp_path):
    """A store that does not outlive its test: VGG-19 alone fills two gigabytes."""
    yield Workspace(Store.open(tmp_path / "store"))
    shutil.rmtree(tmp_path / "store")


@pytest.mark.parametrize(
    "name",
    [pytest.param(card.name, marks=() if card.params < SMALL else pytest.mark.full) for card in cards().values()],
)
def test_a_network_is_exported_checked_run_and_compiled(name, workspace):
    model = ModelSpec(name)
    exported = export(workspace, model)
    onnx.checker.check_model(exported.path, full_check=True)
    graph = onnx.load(exported.path).graph
    assert not [node.name for node in graph.node if node.op_type in {"BatchNormalization", "Dropout"}]
    assert [value.name for value in graph.output] == ["logits"]

    images = next(calibration_noise(input_spec(model), batches=1, batch=sum(BATCHES), seed=1))
    reference = module_reference(exported.module.load(), [{"images": images}], ("logits",))
    exact = reference.exact["logits"]
    floor = distance(reference.float32["logits"], exact).relative_l2
    assert floor < 1e-4
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    found = [session.run(None, {"images": part})[0] for part in np.split(images, [BATCHES[0]])]
    assert [len(part) for part in found] == list(BATCHES)
    for got, wanted in zip(found, np.split(exact, [BATCHES[0]]), strict=True):
        assert distance(got, wanted).relative_l2 <= 3 * floor

    for precision, kind in READS.items():
        plan = build(workspace, BuildSpec(model, precision), get_backend("trt-rtx")).engine.plan
        weighted = [node for node in graph.node if node.op_type in {"Conv", "Gemm"}]
        assert plan.weighted_matched == plan.weighted_nodes == len(weighted)
        assert plan.weighted_reads == {kind: len(weighted)}
