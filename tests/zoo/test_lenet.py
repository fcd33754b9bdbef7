"""LeNet-5 layer by layer: the form taught today, and the network as the paper prints it."""

import pytest
import torch
from torch import nn

from deploykit.export import export_module
from deploykit.graph import optimize
from deploykit.modules.state import write_state
from deploykit.spec import ModelSpec
from deploykit.weights import load_module, seeded_state
from deploykit.zoo.initialize import calibration_noise
from deploykit.zoo.lenet import C3_TABLE, LeNet5As1998, SparseC3, Subsampling
from deploykit.zoo.registry import build_module, construct, input_spec

PRINTED = ModelSpec("lenet5_1998")

# Trainable parameters per layer, figure 2 and section II.B.
TABLES = {
    "lenet5": {"c1": 156, "s2": 0, "c3": 2416, "s4": 0, "c5": 48120, "f6": 10164, "output": 850},
    "lenet5_1998": {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48120, "f6": 10164, "output": 0},
}


def noise(count, *, seed=0):
    return torch.from_numpy(next(calibration_noise(input_spec(PRINTED), batches=1, batch=count, seed=seed)))


def squash(sums):
    return 1.7159 * torch.tanh(2 / 3 * sums)


@pytest.mark.parametrize("name", TABLES)
def test_each_layer_has_the_parameters_of_the_paper(name):
    module = construct(ModelSpec(name))
    assert {key: sum(p.numel() for p in layer.parameters()) for key, layer in module.named_children()} == TABLES[name]
    assert sum(TABLES[name].values()) == {"lenet5": 61_706, "lenet5_1998": 60_000}[name]


@pytest.mark.parametrize("name", TABLES)
def test_maps_have_the_sizes_of_figure_2(name):
    module, shapes = construct(ModelSpec(name)), {}
    for key, layer in module.named_children():
        layer.register_forward_hook(lambda _, __, output, key=key: shapes.update({key: tuple(output.shape[1:])}))
    module(torch.zeros(1, 1, 32, 32))
    c5 = (120, 1, 1) if name == "lenet5_1998" else (120,)
    assert shapes == {
        "c1": (6, 28, 28), "s2": (6, 14, 14), "c3": (16, 10, 10), "s4": (16, 5, 5), "c5": c5, "f6": (84,),
        "output": (10,),
    }  # fmt: skip


def test_table_1_has_its_60_connections():
    assert [len(inputs) for inputs in C3_TABLE] == [3] * 6 + [4] * 9 + [6]
    assert len(set(C3_TABLE)) == 16
    assert [sum(source in inputs for inputs in C3_TABLE) for source in range(6)] == [10] * 6


def test_c3_reads_what_table_1_says_and_nothing_else():
    torch.manual_seed(0)
    layer = SparseC3()
    maps = torch.randn(1, 6, 14, 14)
    before = layer(maps)
    for source in range(6):
        changed = maps.clone()
        changed[:, source] += 1.0
        moved = (layer(changed) - before).abs().amax((0, 2, 3)) > 1e-3
        assert moved.tolist() == [source in inputs for inputs in C3_TABLE]


def test_c3_is_a_full_convolution_with_zeros_where_table_1_is_empty():
    torch.manual_seed(0)
    layer = SparseC3().double()
    kernels = [*layer.threes.weight, *layer.fours.weight, *layer.all.weight]
    weight = torch.zeros(16, 6, 5, 5, dtype=torch.float64)
    for row, inputs, kernel in zip(weight, C3_TABLE, kernels, strict=True):
        row[list(inputs)] = kernel.detach()
    bias = torch.cat([part.bias for part in (layer.threes, layer.fours, layer.all)])
    maps = torch.randn(3, 6, 14, 14, dtype=torch.float64)
    torch.testing.assert_close(layer(maps), nn.functional.conv2d(maps, weight, bias), rtol=0, atol=1e-12)


def test_subsampling_adds_scales_and_shifts():
    layer = Subsampling(2)
    with torch.no_grad():
        layer.coefficient.copy_(torch.tensor([0.5, -2.0]).view(2, 1, 1))
        layer.bias.copy_(torch.tensor([1.0, 0.25]).view(2, 1, 1))
    square = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    expected = torch.tensor([0.5 * 10 + 1.0, -2.0 * 10 + 0.25]).view(1, 2, 1, 1)
    torch.testing.assert_close(layer(square.expand(1, 2, 2, 2)), expected, rtol=0, atol=1e-6)


def test_the_network_is_the_papers_formula_by_formula():
    module = build_module(PRINTED).double()
    images = noise(3).double()

    def subsampled(maps, layer):
        added = maps[..., 0::2, 0::2] + maps[..., 0::2, 1::2] + maps[..., 1::2, 0::2] + maps[..., 1::2, 1::2]
        return squash(layer.coefficient * added + layer.bias)

    with torch.no_grad():
        maps = subsampled(squash(module.c1(images)), module.s2)
        maps = subsampled(squash(module.c3(maps)), module.s4)
        features = squash(module.f6(squash(module.c5(maps)).flatten(1)))
        expected = -torch.stack([(features - bitmap).square().sum(1) for bitmap in module.output.bitmaps], 1)
        torch.testing.assert_close(module(images), expected, rtol=1e-12, atol=0)


def test_the_squashing_function_keeps_the_bitmaps_values():
    assert squash(torch.tensor([1.0, -1.0])).tolist() == pytest.approx([1.0, -1.0], abs=1e-4)


def test_bitmaps_are_fixed_signs_far_apart():
    output = construct(PRINTED).output
    assert list(output.parameters()) == []
    assert output.bitmaps.shape == (10, 84)
    assert set(output.bitmaps.unique().tolist()) == {-1.0, 1.0}
    distances = torch.cdist(output.bitmaps, output.bitmaps).square() + 1e3 * torch.eye(10)
    assert distances.min() >= 40  # ten pixels, 2^2 each


def test_bitmaps_look_like_their_digits():
    one, eight = construct(PRINTED).output.bitmaps.view(10, 12, 7)[[1, 8]]
    assert torch.equal(eight, eight.flip(1))  # mirrored left to right
    assert one[-1].tolist() == [-1, 1, 1, 1, 1, 1, 1]
    assert one[4].tolist() == [-1, -1, -1, 1, 1, -1, -1]


def test_the_nearest_bitmap_wins():
    output = construct(PRINTED).output
    scores = output(output.bitmaps * 0.9)
    assert scores.argmax(1).tolist() == list(range(10))
    torch.testing.assert_close(scores.diagonal(), torch.full((10,), -84 * 0.1**2), rtol=1e-4, atol=0)
    assert (scores <= 0).all()


def test_subsampling_follows_the_seed_within_its_interval():
    first, again, other = (build_module(ModelSpec("lenet5_1998", seed=seed)).s4.coefficient for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.3 <= first.min() < first.max() <= 0.6


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_seeded_scores_tell_images_apart_and_parity_says_something(seed):
    module, images = build_module(ModelSpec("lenet5_1998", seed=seed)), noise(64, seed=9)
    scales = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | Subsampling):
            layer.register_forward_hook(lambda _, __, output: scales.append(output.double().square().mean().sqrt()))
    with torch.no_grad():
        halves = module.half()(images.half()).double()
        scores = module.double()(images.double())
    assert 0.5 < min(scales) <= max(scales) < 3
    assert scores.min() > -84 * 2.7159**2  # no further than the squashing function reaches: far from float16's limit
    assert len(scores.argmax(1).unique()) >= 8
    centered = scores - scores.mean(0)  # without what all images have in common, which flatters every ratio
    error = (halves - scores) - (halves - scores).mean(0)
    assert 20 * torch.log10(centered.norm() / error.norm()) > 40


def test_the_exported_graph_has_table_1_as_three_convolutions():
    model = export_module(build_module(PRINTED), input_spec(PRINTED))
    optimize(model)
    operators = [node.op_type for node in model.graph]
    assert operators.count("Conv") == 5
    assert operators.count("Gather") == 2
    assert operators.count("AveragePool") == 2
    assert len(operators) < 40


def test_every_trainable_layer_learns():
    module = LeNet5As1998().train()
    nn.functional.cross_entropy(module(noise(4)), torch.tensor([0, 1, 2, 3])).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in module.parameters())


def test_a_checkpoint_brings_the_bitmaps_along(tmp_path):
    state = seeded_state(PRINTED)
    assert "output.bitmaps" in state
    assert not any("read_by" in name for name in state)
    write_state(state, tmp_path / "lenet.safetensors")
    images = noise(2)
    with torch.no_grad():
        assert torch.equal(load_module(PRINTED, tmp_path / "lenet.safetensors")(images), build_module(PRINTED)(images))


def test_sizes_from_32_to_35_pixels_give_the_same_maps():
    module = construct(PRINTED)
    assert {module(torch.zeros(1, 1, size, size)).shape for size in (32, 35)} == {(1, 10)}
    for size in (31, 36):
        with pytest.raises(RuntimeError):
            module(torch.zeros(1, 1, size, size))
