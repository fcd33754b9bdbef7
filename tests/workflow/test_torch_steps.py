"""What a step computes, looked at in this process."""

import numpy as np
import pytest
import torch
from stepping_networks import CLASSES, MADE

from deploykit.bench.torch_steps import Forward, ForwardBackward, Mode, describe_loss
from deploykit.errors import CheckpointMismatch, ExecutionFailed, UnknownName, UsageError
from deploykit.modules.state import write_state
from deploykit.spec import ModelSpec
from deploykit.weights import load_module, seeded_state
from deploykit.zoo.initialize import calibration_noise
from deploykit.zoo.registry import build_module, input_spec

CPU = "torch (cpu)"


def network(name, **options):
    return ModelSpec(f"stepping_networks:{name}", input_shape=(3, 8, 8), **options)


def run(workload, steps=1):
    """The result of each step."""
    step = workload.prepare(threads=1)
    results = []
    for _ in range(steps):
        step.launch()
        step.synchronize()
        results.append(step.result.clone())
    return results


def smoothed(logits, labels, share):
    """Cross entropy as arXiv 1512.00567 writes it, in float64."""
    logits = logits.detach().double().numpy()
    log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = (1 - share) * np.eye(logits.shape[1])[labels] + share / logits.shape[1]
    return -(wanted * log).sum(1).mean()


def noise(model, batch):
    (images,) = calibration_noise(input_spec(model), batches=1, batch=batch, seed=model.seed)
    return torch.from_numpy(images)


def test_the_loss_is_that_of_the_card_on_seeded_labels_with_its_heads(headed):
    model = ModelSpec(headed, seed=3)
    (loss,) = run(ForwardBackward(model, 6, CPU))
    outputs = build_module(model, training=True)(noise(model, 6))
    labels = torch.randint(CLASSES, (6,), generator=torch.Generator().manual_seed(3)).numpy()
    expected = smoothed(outputs.logits, labels, 0.1) + 0.3 * smoothed(outputs.auxiliary[0], labels, 0.1)
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert describe_loss(model) == "cross entropy + 0.3 x auxiliary, label smoothing 0.1"
    assert describe_loss(ModelSpec("test_convnet")) == "cross entropy"


def test_gradients_are_computed_anew_and_no_weight_moves(headed):
    model = ModelSpec(headed)
    run(ForwardBackward(model, 4, CPU), steps=3)
    trained = MADE[-1]
    run(ForwardBackward(model, 4, CPU))
    gradients = {name: parameter.grad for name, parameter in MADE[-1].named_parameters()}
    assert {"convolution.weight", "bn.weight", "classifier.weight", "aux.weight"} <= gradients.keys()
    fresh = build_module(model, training=True)
    for name, parameter in trained.named_parameters():
        assert float(gradients[name].norm()) > 0 or name == "convolution.bias"  # which BatchNorm's mean takes out
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-6, atol=1e-7)  # of one step, not of three
        assert torch.equal(parameter, fresh.get_parameter(name))
    assert trained.bn.num_batches_tracked == 3


def test_forward_backward_trains_and_forward_infers(headed):
    model = ModelSpec(headed)
    run(ForwardBackward(model, 2, CPU), steps=2)
    assert MADE[-1].modes == [(True, True, False)] * 2
    seeded = seeded_state(model)
    first, second = run(Forward(model, 2, CPU), steps=2)
    assert torch.equal(first, second)
    assert {mode for made in MADE[-2:] for mode in made.modes[-2:]} >= {(False, False, True)}
    module = build_module(model)
    module.load_state_dict(seeded)
    torch.testing.assert_close(first, module(noise(model, 2)).detach(), rtol=1e-6, atol=1e-6)


def test_dropout_is_drawn_anew_at_each_step_and_the_same_for_a_seed():
    losses = run(ForwardBackward(network("dropout"), 4, CPU), steps=3)
    assert len({float(loss) for loss in losses}) == 3
    assert run(ForwardBackward(network("dropout"), 4, CPU), steps=3) == losses
    assert run(ForwardBackward(network("dropout", seed=1), 4, CPU)) != losses[:1]


def test_batch_statistics_differ_from_inference(headed):
    """The same images one by one: in training mode BatchNorm sees another batch, in eval mode it does not matter."""
    model = ModelSpec(headed)
    module = build_module(model, training=True)
    images = noise(model, 4)
    whole, alone = module(images).logits, torch.cat([module(image[None]).logits for image in images])
    assert (whole - alone).abs().max() > 0.1


def test_the_loss_is_finite_for_seeded_weights_at_every_step():
    for name in ("test_convnet", "test_resnet", "test_mobilenet", "lenet5"):
        losses = run(ForwardBackward(ModelSpec(name), 8, CPU), steps=3)
        assert all(0 < float(loss) < 50 for loss in losses), (name, losses)


def test_a_checkpoint_without_heads_is_trained_with_seeded_ones(headed, tmp_path):
    path = tmp_path / "weights.safetensors"
    write_state(seeded_state(ModelSpec(headed, seed=8)), path)
    model = ModelSpec(headed, weights=path)
    run(ForwardBackward(model, 2, CPU))
    trained, donor = MADE[-1], load_module(model, path)
    assert torch.equal(trained.classifier.weight, donor.classifier.weight)
    assert torch.equal(trained.aux.weight, build_module(ModelSpec(headed), training=True).aux.weight)
    (scores,) = run(Forward(model, 2, CPU))
    torch.testing.assert_close(scores, donor(noise(model, 2)).detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("workload", [Forward, ForwardBackward])
def test_a_checkpoint_of_another_network_is_refused(tmp_path, workload):
    path = tmp_path / "weights.safetensors"
    write_state(seeded_state(ModelSpec("test_convnet")), path)
    with pytest.raises(CheckpointMismatch, match="does not fit test_resnet"):
        workload(ModelSpec("test_resnet", weights=path), 2, CPU).prepare(threads=1)


@pytest.mark.full
def test_layers_that_are_taken_over_are_trained():
    model = ModelSpec("vgg13", init_from="vgg11", image_size=32)
    (loss,) = run(ForwardBackward(model, 2, CPU))
    module = build_module(model, training=True)
    module.load_state_dict(seeded_state(model))
    labels = torch.randint(1000, (2,), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    assert float(loss) == pytest.approx(smoothed(module(noise(model, 2)), labels, 0), rel=1e-5)
    assert run(ForwardBackward(ModelSpec("vgg13", image_size=32), 2, CPU)) != [loss]


def test_a_step_that_fails_says_why():
    run(Forward(network("fails"), 2, CPU))  # its forward is sound
    step = ForwardBackward(network("fails"), 2, CPU).prepare(threads=1)
    with pytest.raises(ExecutionFailed, match=r"^PyTorch failed: there is no gradient here$"):
        step.launch()


def test_several_outputs_have_no_cross_entropy():
    with pytest.raises(UsageError, match=r"returns output_0\['batch', 192\].*; time it with --mode forward"):
        ForwardBackward(network("two"), 2, CPU).prepare(threads=1)


def test_modes_are_read_and_unknown_ones_refused():
    assert Mode.parse(" Forward-Backward ") is Mode.FORWARD_BACKWARD
    with pytest.raises(UnknownName, match=r"unknown mode 'forwards'; did you mean forward"):
        Mode.parse("forwards")
