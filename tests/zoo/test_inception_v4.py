"""Inception-v4 against arXiv 1602.07261 and timm."""

import pytest
import torch
from torch import Tensor, nn

from deploykit.spec import ModelSpec
from deploykit.zoo.inception_v4 import PoolProjection
from deploykit.zoo.registry import construct

MODEL = ModelSpec("inception_v4")

# Figure 9, right: channels and side of the maps behind the stem, each A, reduction A, each B, reduction B, each C.
GRIDS = [(384, 35)] * 5 + [(1024, 17)] * 8 + [(1536, 8)] * 4
STEM = [(32, 149), (32, 147), (64, 147), (160, 73), (192, 71)]  # figure 3, up to its last concatenation


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def shapes_only():
    with torch.device("meta"):
        yield construct(MODEL)


def kernels(module: nn.Module) -> list[tuple[int, ...]]:
    return [layer.kernel_size for layer in module.modules() if isinstance(layer, nn.Conv2d)]


def test_the_maps_have_the_papers_sizes(shapes_only):
    maps = torch.empty(1, 3, 299, 299, device="meta")
    sizes = []
    for layer in shapes_only.features:
        maps = layer(maps)
        sizes.append((maps.shape[1], maps.shape[2]))
    assert sizes == STEM + GRIDS


def test_large_kernels_are_factored_in_the_order_of_the_published_weights(shapes_only):
    features = shapes_only.features
    assert kernels(features[4].branch1) == [(1, 1), (1, 7), (7, 1), (3, 3)]
    assert kernels(features[11].branch1) == [(1, 1), (1, 7), (7, 1)]
    assert kernels(features[11].branch2) == [(1, 1), (7, 1), (1, 7), (7, 1), (1, 7)]
    assert kernels(features[21].branch2_1) + kernels(features[21].branch2_2) == [(3, 1), (1, 3)]


def test_pooling_leaves_the_padding_out_of_its_means():
    pooling, _ = PoolProjection(1, 1)
    ones = torch.ones(1, 1, 5, 5)
    assert torch.equal(pooling(ones), ones)


def test_every_batchnorm_has_the_inceptions_epsilon(shapes_only):
    layers = [layer for layer in shapes_only.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(layers) == 149
    assert {layer.eps for layer in layers} == {0.001}


def test_training_drops_a_fifth_of_the_pooled_features():
    dropout = construct(MODEL, training=True).head_drop
    kept = dropout(torch.ones(1000, 100))
    assert (kept == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert torch.equal(dropout.eval()(kept), kept)


def test_training_has_no_auxiliary_outputs():
    with torch.device("meta"):
        logits = construct(MODEL, training=True)(torch.empty(2, 3, 299, 299))
    assert isinstance(logits, Tensor)
    assert logits.shape == (2, 1000)


def test_75_pixels_are_the_least_that_leave_a_map(shapes_only):
    assert shapes_only(torch.empty(1, 3, 75, 75, device="meta")).shape == (1, 1000)
    with pytest.raises(RuntimeError):
        shapes_only(torch.empty(1, 3, 74, 74, device="meta"))
