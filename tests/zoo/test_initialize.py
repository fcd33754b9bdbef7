import numpy as np
import pytest
import torch
from torch import nn

from deploykit.errors import UsageError
from deploykit.spec import ModelSpec, TensorSpec
from deploykit.weights import seeded_state
from deploykit.zoo.initialize import calibration_noise, estimate_batchnorm, initialize
from deploykit.zoo.registry import build_module, construct, input_spec

IMAGES = TensorSpec("images", ("batch", 3, 64, 64), "float32")


def noise(spec=IMAGES, *, batch=64, seed=0):
    return next(calibration_noise(spec, batches=1, batch=batch, seed=seed))


def test_noise_repeats_bit_for_bit_and_seeds_differ():
    first, again = (list(calibration_noise(IMAGES, batches=3, batch=2, seed=9)) for _ in range(2))
    assert len(first) == 3
    assert all(array.tobytes() == other.tobytes() for array, other in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], noise(batch=2, seed=10))


def test_noise_is_normalized_and_its_channels_share_their_luminance():
    images = noise(batch=256)
    assert images.dtype == np.float32
    assert images.shape == (256, 3, 64, 64)
    np.testing.assert_allclose(images.mean((0, 2, 3)), 0, atol=0.05)
    np.testing.assert_allclose(images.var((0, 2, 3)), 1, atol=0.05)
    assert np.corrcoef(images[:, 0].ravel(), images[:, 1].ravel())[0, 1] == pytest.approx(0.9, abs=0.02)


def test_noise_has_the_spectrum_of_photographs():
    power = (np.abs(np.fft.fft2(noise()[:, 0])) ** 2).mean(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64, 1 / 64), np.fft.fftfreq(64, 1 / 64)))
    fitted = (frequency >= 1) & (frequency < 32)
    slope = np.polyfit(np.log(frequency[fitted]), np.log(power[fitted]), 1)[0]
    assert slope == pytest.approx(-2, abs=0.1)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_noise_of_tiny_and_odd_sizes_is_finite_with_unit_variance(size):
    images = noise(TensorSpec("images", ("batch", 1, size, size), "float32"), batch=4000)
    assert np.isfinite(images).all()
    assert images.var() == pytest.approx(1, abs=0.1)


def test_noise_needs_an_image_shape():
    with pytest.raises(UsageError, match=r"input tokens has shape \('batch', 77\)"):
        next(calibration_noise(TensorSpec("tokens", ("batch", 77), "float32"), batches=1, batch=1, seed=0))


def test_estimated_statistics_are_the_average_over_batches():
    layer = nn.BatchNorm2d(3)
    batches = [torch.from_numpy(noise(batch=4, seed=seed)) for seed in range(3)]
    assert estimate_batchnorm(nn.Sequential(layer), batches) == 1
    means = torch.stack([batch.double().mean((0, 2, 3)) for batch in batches]).mean(0)
    variances = torch.stack([batch.double().var((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(layer.running_mean.double(), means, rtol=0, atol=1e-6)
    torch.testing.assert_close(layer.running_var.double(), variances, rtol=1e-5, atol=0)
    assert not layer.training
    assert layer.momentum == 0.1


def test_estimation_forgets_what_was_there_before():
    layer = nn.BatchNorm2d(3)
    layer.running_mean.fill_(1e6)
    estimate_batchnorm(layer, [torch.from_numpy(noise())])
    assert layer.running_mean.abs().max() < 1


def test_estimation_runs_without_dropout():
    layer = nn.BatchNorm2d(3)
    images = torch.from_numpy(noise())
    estimate_batchnorm(nn.Sequential(nn.Dropout(0.9), layer), [images])
    torch.testing.assert_close(layer.running_var, images.var((0, 2, 3)), rtol=1e-4, atol=0)


def test_networks_without_batchnorm_need_no_images():
    assert estimate_batchnorm(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), []) == 0


def test_estimation_without_images_is_refused_and_leaves_eval_mode():
    module = construct(ModelSpec("test_convnet")).train()
    with pytest.raises(UsageError, match="no images to estimate the BatchNorm statistics from"):
        estimate_batchnorm(module, [])
    assert not any(layer.training for layer in module.modules())


def test_a_failing_batch_leaves_eval_mode_and_momentum():
    module = construct(ModelSpec("test_convnet"))
    with pytest.raises(RuntimeError):
        estimate_batchnorm(module, [torch.zeros(1, 5, 8, 8)])
    assert not any(layer.training for layer in module.modules())
    assert module.features[1].momentum == 0.1


def test_weights_are_scaled_by_fan_in_and_centered():
    layer = nn.Conv2d(64, 128, 3)
    initialize(layer, seed=0)
    filters = layer.weight.detach().flatten(1)
    assert filters.var().item() == pytest.approx(2 / (64 * 9), rel=0.02)
    assert filters.mean(1).abs().max() < 1e-8


def test_filters_of_one_channel_are_not_centered():
    layer = nn.Conv2d(64, 64, 3, groups=64)
    initialize(layer, seed=0)
    assert layer.weight.flatten(1).mean(1).abs().max() > 0.1


def test_affine_parameters_and_biases_vary():
    layer = nn.Sequential(nn.Conv2d(3, 512, 1), nn.BatchNorm2d(512))
    initialize(layer, seed=0)
    assert layer[0].bias.std().item() == pytest.approx(0.05, rel=0.1)
    assert layer[1].weight.mean().item() == pytest.approx(1, abs=0.02)
    assert layer[1].bias.mean().item() == pytest.approx(1, abs=0.02)
    assert layer[1].bias.std().item() == pytest.approx(0.1, rel=0.1)


# name, image size: full depth, sizes that keep the suite quick; the floor is what float32 may lose against float64.
NETWORKS = [
    ("lenet5", 32, 2e-6),
    ("test_convnet", 32, 2e-6),
    ("test_resnet", 32, 5e-6),
    ("test_mobilenet", 32, 5e-6),
    ("mobilenet", 96, 2e-5),
    ("resnet18", 64, 2e-5),
    ("resnet50", 64, 2e-5),
    pytest.param("vgg16", 32, 2e-5, marks=pytest.mark.full),
    pytest.param("vgg16_bn", 32, 3e-5, marks=pytest.mark.full),
    ("googlenet", 64, 2e-5),
    ("googlenet_paper", 64, 2e-5),
    ("bn_inception", 64, 2e-5),
]


@pytest.mark.parametrize(("name", "size", "floor"), NETWORKS)
def test_seeded_networks_keep_their_scale_and_tell_images_apart(name, size, floor):
    spec = ModelSpec(name, image_size=size)
    module = build_module(spec)
    module.load_state_dict(seeded_state(spec))
    images = torch.from_numpy(noise(input_spec(spec), batch=4, seed=77))
    scales = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            layer.register_forward_hook(lambda _, __, output: scales.append(output.square().mean().sqrt().item()))
    with torch.no_grad():
        logits = module(images)
    assert 0.05 < min(scales) <= max(scales) < 10
    assert ((logits - logits.mean(0)).norm() / logits.norm()).item() > 0.3
    assert nn.functional.cosine_similarity(logits[0], logits[1], dim=0) < 0.95
    with torch.no_grad():
        exact = module.double()(images.double())
    assert ((logits - exact).norm() / exact.norm()).item() < floor
