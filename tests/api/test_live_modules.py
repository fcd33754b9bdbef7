"""Modules that are there: their own weights, untouched by whatever is done with them."""

import copy
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from live_networks import Embedded, Small, trained
from torch import nn

import deploykit as dk

IMAGES = np.random.default_rng(7).normal(size=(4, 3, 12, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def small():
    return trained(Small())


@pytest.fixture(scope="module")
def model(small):
    return dk.from_module(small, example=IMAGES)


def answers(engine):
    with dk.open(engine) as session:
        return session.run({"images": IMAGES})["logits"]


def expected_of(module):
    with torch.no_grad():
        return copy.deepcopy(module).float().eval()(torch.from_numpy(IMAGES)).numpy()


def condition(module):
    """All that may not change: values, types, modes, gradients, hooks."""
    state = {name: (value.dtype, value.device, value.clone()) for name, value in module.state_dict().items()}
    return state, [part.training for part in module.modules()], [p.requires_grad for p in module.parameters()]


def assert_unchanged(module, before):
    state, modes, gradients = condition(module)
    assert (modes, gradients) == before[1:]
    assert state.keys() == before[0].keys()
    for name, (dtype, device, value) in before[0].items():
        assert state[name][:2] == (dtype, device)
        assert torch.equal(state[name][2], value)


def test_it_keeps_its_weights_and_statistics_and_is_not_touched(small, model, shared_store):
    before = condition(small)
    graph = dk.export(model, store=shared_store)
    assert graph.check.verdict == "pass"
    assert str(graph.inputs[0]) == "images float32[batch, 3, 12, 12]"
    assert not graph.weights.random
    np.testing.assert_allclose(answers(dk.build(graph, backend="ort")), expected_of(small), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answers(dk.build(graph, backend="torch")), expected_of(small), rtol=1e-5, atol=1e-6)
    report = dk.verify(model, backends=["torch", "ort"], data="noise", store=shared_store)
    assert [(row.label, row.state, row.parity.verdict) for row in report.rows] == [
        ("torch fp32", "measured", "pass"),
        ("ort fp32", "measured", "pass"),
    ]
    assert_unchanged(small, before)
    assert small.training


def test_it_is_taken_wherever_a_network_is(small, model, shared_store):
    before = condition(small)
    assert dk.summarize(small, example=IMAGES).layers.params == sum(p.numel() for p in small.parameters())
    graph = dk.export(model, store=shared_store, check=False)
    table = dk.calibrate(graph, data="noise", images=8)
    engine = dk.build(graph, precision="int8", calibration=table, backend="trt-rtx", target="sm_89", batch=4)
    assert engine.plan.kernels
    assert dk.inspect(small, example=IMAGES, target="sm_89", store=shared_store).title == "Small, fp32"
    (row,) = dk.bench_steps(model, mode="forward-backward", batch=2, burn_in=1, steps=2).rows
    assert (row.state, row.per_batch_ms.n) == ("measured", 2)
    assert_unchanged(small, before)


def test_training_that_goes_on_makes_another_network(shared_store):
    module = trained(Small())
    first = dk.from_module(module, example=IMAGES)
    before, old = dk.export(first, store=shared_store), expected_of(module)
    trained(module)
    after = dk.export(module, example=IMAGES, store=shared_store)
    assert before.digest != after.digest
    np.testing.assert_allclose(answers(dk.build(before, backend="ort")), old, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answers(dk.build(after, backend="ort")), expected_of(module), rtol=1e-5, atol=1e-6)
    assert dk.export(first, store=shared_store).digest == before.digest


def test_the_same_weights_in_other_code_are_another_network(small, model, shared_store):
    """What forward does is in no tensor: a clamp that the images do not reach is in the graph alone."""

    class Clamped(Small):
        def forward(self, images):
            return super().forward(images).clamp(-1e6, 1e6)

    other = Clamped()
    other.load_state_dict(small.state_dict())
    graph = dk.export(other, example=IMAGES, store=shared_store, check=False)
    assert graph.digest != dk.export(model, store=shared_store, check=False).digest


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_another_type_is_converted_on_the_copy_and_said(dtype, shared_store):
    module = trained(Small()).to(dtype)
    before = condition(module)
    graph = dk.export(module, example=torch.zeros(2, 3, 12, 12, dtype=dtype), store=shared_store)
    name = str(dtype).removeprefix("torch.")
    assert any(f"{name} tensors converted to float32" in note for note in graph.weights.notes)
    np.testing.assert_allclose(answers(dk.build(graph, backend="ort")), expected_of(module), rtol=1e-5, atol=1e-6)
    assert_unchanged(module, before)


@pytest.mark.full
def test_a_class_of_this_very_script_has_no_row_in_a_worker(small, shared_store):
    class Local(Small):
        pass

    report = dk.verify(Local(), example=IMAGES, backends=["torch", "ort"], data="noise", store=shared_store, batch=2)
    torch_row, ort_row = report.rows
    assert torch_row.state == "unavailable"
    assert "Local" in torch_row.reason
    assert "from_factory" in torch_row.reason
    assert ort_row.state == "measured"


def test_wrappers_are_taken_off_the_copy(small, model, shared_store):
    wrapped = nn.DataParallel(small)
    digest = dk.export(wrapped, example=IMAGES, store=shared_store, check=False).digest
    assert digest == dk.export(model, store=shared_store, check=False).digest
    assert wrapped.module is small


def test_several_inputs_are_named_by_forward(shared_store):
    module = Embedded()
    ids, features = torch.zeros(2, 7, dtype=torch.int64), torch.zeros(2, 6)
    by_order = dk.from_module(module, example=(ids, features), input_range="ids=0:11")
    by_name = dk.from_module(module, example={"features": features, "ids": ids}, input_range="ids=0:11")
    graph = dk.export(by_order, store=shared_store)
    assert {str(each) for each in graph.inputs} == {"ids int64[batch, 7]", "features float32[batch, 6]"}
    assert [each.name for each in graph.outputs] == ["scores"]
    assert {each.name for each in dk.export(by_name, store=shared_store, check=False).inputs} == {"ids", "features"}
    feed = {"ids": np.arange(14).reshape(2, 7) % 11, "features": np.ones((2, 6), np.float32)}
    with dk.open(dk.build(graph, backend="ort")) as session, torch.no_grad():
        expected = module.eval()(**{name: torch.from_numpy(array) for name, array in feed.items()})["scores"]
        np.testing.assert_allclose(session.run(feed)["scores"], expected.numpy(), rtol=1e-5, atol=1e-6)


def test_a_network_that_cannot_be_traced_is_left_as_it_was(shared_store):
    class Untraceable(Small):
        def forward(self, images):
            return super().forward(images) if images.sum() > 0 else -super().forward(images)

    module = Untraceable()
    before = condition(module)
    with pytest.raises(dk.ExportFailed):
        dk.export(module, example=IMAGES, store=shared_store)
    assert_unchanged(module, before)


def test_a_network_whose_forward_keeps_count_is_left_as_it_was(shared_store):
    class Counting(Small):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, images):
            self.calls += 1
            return super().forward(images)

    module = Counting()
    before = condition(module)
    dk.export(module, example=IMAGES, store=shared_store, check=False)
    assert_unchanged(module, before)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({}, "inputs of Small are not known"),
        ({"example": IMAGES, "input_shape": (3, 12, 12)}, "said twice"),
        ({"example": "images"}, "is a str, not an array"),
        ({"example": np.zeros(())}, "has the shape"),
        ({"example": np.zeros((2, 3, 4, 4), np.complex64)}, "holds complex64"),
        ({"example": (IMAGES, IMAGES)}, "example has 2 inputs"),
    ],
)
def test_inputs_that_are_none_are_refused(small, options, fault):
    with pytest.raises(dk.UsageError, match=fault):
        dk.from_module(small, **options)


def test_a_module_without_values_is_refused():
    with pytest.raises(dk.UsageError, match="has no values"):
        dk.from_module(Small().to("meta"), example=IMAGES)


def test_a_module_that_cannot_be_copied_is_refused():
    module = Small()
    module.events = (each for each in ())
    with pytest.raises(dk.UsageError, match="cannot be copied"):
        dk.from_module(module, example=IMAGES)


def test_lazy_layers_get_their_shapes_on_the_copy(shared_store):
    module = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2))
    graph = dk.export(module, example=IMAGES, store=shared_store)
    assert str(graph.outputs[0]) == "logits float32[batch, 2]"
    assert all(nn.parameter.is_lazy(each) for each in module.parameters())


@pytest.mark.full
def test_the_autocast_of_the_caller_is_not_in_the_graph(shared_store):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model = dk.from_module(network, example=torch.zeros(1, 3, 8, 8))
        report = dk.verify(model, backends=["torch", "ort"], precisions=["fp32"], store=shared_store)
    report.raise_if_failed()
    assert [row.state for row in report.rows] == ["measured", "measured"]


class OwnAutocast(nn.Sequential):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x).float()


def test_a_network_that_casts_to_bfloat16_cannot_be_exported(shared_store):
    model = dk.from_module(OwnAutocast(nn.Conv2d(3, 4, 3)), example=torch.zeros(1, 3, 8, 8))
    with pytest.raises(dk.ExportFailed, match="its forward computes in bfloat16"):
        dk.export(model, store=shared_store)


class Exits(nn.Module):
    def forward(self, x):
        sys.exit(7)


def test_a_forward_that_exits_does_not_end_the_process(shared_store):
    model = dk.from_module(Exits(), example=torch.zeros(1, 3, 8, 8))
    with pytest.raises(dk.UsageError, match=r"sys\.exit\(7\)"):
        dk.export(model, store=shared_store)


def test_two_threads_export_at_once(tmp_path):
    def export(width):
        network = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 2))
        return dk.export(dk.from_module(network, example=torch.zeros(1, 3, 8, 8)), store=tmp_path).path

    with ThreadPoolExecutor(2) as pool:
        assert all(path.is_file() for path in pool.map(export, [3, 4, 5, 6]))
