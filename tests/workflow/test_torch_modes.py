"""The report of a mode, its steps run in a real worker process."""

import pytest

from deploykit.bench import StepSettings
from deploykit.bench.torch_steps import Mode
from deploykit.errors import CheckpointMismatch, UnknownName, UsageError
from deploykit.modules.state import write_state
from deploykit.results.failure import exit_code
from deploykit.spec import ModelSpec
from deploykit.weights import seeded_state
from deploykit.workflow.torch_modes import ModeRequest, bench_mode

QUICK = StepSettings(burn_in=2, steps=4, threads=1)


def request(model, mode=Mode.FORWARD_BACKWARD, *, batch=3):
    return ModeRequest(model=model, mode=mode, batch=batch, settings=QUICK)


def factory(name):
    return ModelSpec(f"stepping_networks:{name}", input_shape=(3, 8, 8))


@pytest.mark.full
def test_the_row_has_every_step_and_what_they_say(headed):
    report = bench_mode(request(ModelSpec(headed)))
    (row,) = report.rows
    assert (row.state, row.mode, row.backend, row.precision, row.batch) == (
        "measured", "forward-backward", "torch", "fp32", 3
    )  # fmt: skip
    assert (len(row.burn_in_ns), len(row.steps_ns)) == (2, 4)
    assert (row.per_batch_ms.n, row.per_batch_ms.burn_in) == (4, 2)
    assert row.per_batch_ms.mean == pytest.approx(sum(row.steps_ns) / 4 / 1e6)
    assert row.images_per_second == pytest.approx(3e9 / (sum(row.steps_ns) / 4))
    assert min(row.steps_ns) <= row.latency_ms.median * 1e6 <= max(row.steps_ns)
    conditions = report.conditions
    assert (conditions.batch, conditions.threads, conditions.burn_in, conditions.steps) == (3, 1, 2, 4)
    assert conditions.loss == "cross entropy + 0.3 x auxiliary, label smoothing 0.1"
    assert "no optimizer step" in conditions.step
    assert exit_code(report.rows) == 0


@pytest.mark.full
def test_forward_has_no_loss():
    report = bench_mode(request(ModelSpec("test_convnet"), Mode.FORWARD))
    assert report.conditions.loss == ""
    assert "inference_mode" in report.conditions.step
    assert report.rows[0].per_batch_ms.mean > 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fails", "PyTorch failed: there is no gradient here"),
        ("hungry", "PyTorch is out of memory"),
    ],
)
def test_a_step_that_fails_fails_the_row_with_its_reason(name, said):
    report = bench_mode(request(factory(name)))
    (row,) = report.rows
    assert row.state == "failed"
    assert said in row.reason
    assert row.latency_ms is row.per_batch_ms is None
    assert exit_code(report.rows) == 1


def test_a_wrong_checkpoint_is_a_wrong_request(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_state(seeded_state(ModelSpec("test_resnet")), path)
    with pytest.raises(CheckpointMismatch, match="does not fit test_convnet"):
        bench_mode(request(ModelSpec("test_convnet", weights=path)))


@pytest.mark.parametrize(
    ("model", "batch", "kind", "message"),
    [
        ("graph.onnx", 2, UsageError, "steps a PyTorch module, and graph.onnx has none; name a network of the zoo"),
        ("test_convnets", 2, UnknownName, "unknown model 'test_convnets'"),
        ("test_convnet", 0, UsageError, "batch 0 is not between 1 and 65536"),
    ],
)
def test_what_cannot_be_stepped_is_refused_before_any_work(model, batch, kind, message):
    with pytest.raises(kind, match=message):
        request(ModelSpec(model), batch=batch)
