"""Seeded weights that behave like a network's: activations keep their size, and the output depends on the input.

A network with random weights stands in for a trained one wherever no checkpoint is at hand. For speed any numbers
would do; for parity they must not vanish, explode, or give every image the same logits. Three steps see to that:
weights scaled by fan-in, BatchNorm statistics estimated on images, and noise with the spectrum of natural images.
Importing this module imports no torch; noise needs none.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deploykit.errors import UsageError
from deploykit.modules.calling import call
from deploykit.spec import TensorSpec

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

BATCHNORM_SHIFT = 1.0
BATCHNORM_SPREAD = 0.1  # standard deviation of BatchNorm's scale and shift around their means
BIAS_SPREAD = 0.05  # more would drown what VGG-16 without BatchNorm makes of small images
SHARED_LUMINANCE = 0.9  # of the variance: the color channels of natural images correlate about this much


def initialize(module: "nn.Module", *, seed: int) -> None:
    """Overwrite, in place, every convolution, linear layer and BatchNorm; other parameters stay as they are.

    Weights are normal with variance 2 / fan_in (He et al., arXiv 1502.01852, equation 10). Filters that read several
    channels have their mean taken off: behind a ReLU all channels share a positive part, which would grow with depth
    until every image has the same logits (VGG-16 without BatchNorm: they then vary by 0.14 of their norm, so 0.64).

    BatchNorm shifts by 1 on average. At 0 a deep network is chaotic: half of each layer's values lie near the ReLU's
    kink, rounding errors grow layer by layer, and ResNet-152 in float16 keeps 1 dB, which says nothing about float16
    (at 1: 38 dB; ResNet-50 17 and 39). Scales, shifts and biases get a small spread, so that a rewrite that forgets
    one of them shows in the numbers.

    The numbers depend on `seed` and on the order of the modules alone; torch's global generator is not touched.
    """
    import torch
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear):
                _fill_weighted(layer.weight, layer.bias, random)
            elif isinstance(layer, _BatchNorm) and layer.affine:
                layer.weight.normal_(1.0, BATCHNORM_SPREAD, generator=random)
                layer.bias.normal_(BATCHNORM_SHIFT, BATCHNORM_SPREAD, generator=random)


def _fill_weighted(weight: "Tensor", bias: "Tensor | None", random: "Generator") -> None:
    filters = weight.flatten(1)
    fan_in = filters.shape[1]
    filters.normal_(0.0, (2.0 / fan_in) ** 0.5, generator=random)
    if weight.shape[1] > 1:
        filters -= filters.mean(1, keepdim=True)
    if bias is not None:
        bias.normal_(0.0, BIAS_SPREAD, generator=random)


def estimate_batchnorm(module: "nn.Module", batches: "Iterable[Tensor | Mapping[str, Tensor]]") -> int:
    """Set, in place, each BatchNorm's running statistics to their average over `batches`; return how many were set.

    While this runs the BatchNorms normalize by the batch at hand, and everything else is in eval mode (no dropout).
    Afterwards the whole module is in eval mode. Raises UsageError when there is no batch to estimate from.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    module.eval()
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not layers:
        return 0
    momenta = [layer.momentum for layer in layers]
    seen = 0
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # torch's spelling of the cumulative average
            layer.train()
        with torch.no_grad():
            for seen, batch in enumerate(batches, start=1):  # noqa: B007
                call(module, batch if isinstance(batch, Mapping) else {"": batch})
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        module.eval()
    if not seen:
        raise UsageError("no images to estimate the BatchNorm statistics from", hint="give at least one batch")
    return len(layers)


def calibration_noise(
    spec: TensorSpec, *, batches: int, batch: int, seed: int
) -> "Iterator[np.ndarray[Any, np.dtype[np.float32]]]":
    """`batches` arrays of `batch` images shaped as `spec` says, mean 0 and variance 1 per channel over all images.

    The amplitude of spatial frequency f falls as 1/f, as in natural images (Field, "Relations between the statistics of
    natural images and the response properties of cortical cells", 1987); channels share most of their variance.
    Single images differ in brightness and contrast. The same arguments give the same bits.

    Raises UsageError when `spec` is not (batch, channels, height, width) with fixed sizes.
    """
    match spec.shape:
        case (_, int(channels), int(height), int(width)):
            pass
        case _:
            raise UsageError(f"input {spec.name} has shape {spec.shape}, not (batch, channels, height, width)")
    random = np.random.default_rng(seed)
    amplitude = _falling_amplitude(height, width)
    shared, own = np.sqrt(SHARED_LUMINANCE), np.sqrt(1.0 - SHARED_LUMINANCE)
    for _ in range(batches):
        white = random.standard_normal((batch, channels + 1, height, width))
        pink = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=(height, width))
        images = shared * pink[:, :1] + own * pink[:, 1:] if channels > 1 else pink[:, 1:]
        yield np.ascontiguousarray(images, dtype=np.float32)


def _falling_amplitude(height: int, width: int) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """1/f on the half plane that rfft2 keeps, f in cycles per image and at least 1, scaled to keep the variance."""
    vertical = np.fft.fftfreq(height, d=1.0 / height)[:, None]
    amplitude = 1.0 / np.maximum(np.hypot(vertical, np.fft.fftfreq(width, d=1.0 / width)), 1.0)
    amplitude /= np.sqrt(np.mean(amplitude**2))
    half: np.ndarray[Any, np.dtype[np.float64]] = amplitude[:, : width // 2 + 1]
    return half
