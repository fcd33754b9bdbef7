"""Inception v2: every layer written out, table 1's stages, and an auxiliary head that exists in training alone."""

import numpy as np
import onnxruntime
import pytest
import torch
from families import assert_smallest_image
from torch import nn
from torchvision.models.inception import InceptionE

from deploykit.export import export_module
from deploykit.graph import optimize, serialize
from deploykit.graph.rewrite import module_scope
from deploykit.spec import ModelSpec
from deploykit.weights import seeded_state
from deploykit.zoo.inception_v2 import inception_v2
from deploykit.zoo.registry import cards, input_spec
from deploykit.zoo.training import WithAuxiliary

HEAD = "auxiliary"

# Each convolution as (channels in, channels out, kernel, side of its output), in the order of execution.
STEM = [
    (3, 32, (3, 3), 149), (32, 32, (3, 3), 147), (32, 64, (3, 3), 147),
    (64, 80, (3, 3), 71), (80, 192, (3, 3), 35), (192, 288, (3, 3), 35),
]  # fmt: skip
FIGURE_5 = [
    (288, 64, (1, 1), 35),
    (288, 48, (1, 1), 35), (48, 64, (3, 3), 35),
    (288, 64, (1, 1), 35), (64, 96, (3, 3), 35), (96, 96, (3, 3), 35),
    (288, 64, (1, 1), 35),
]  # fmt: skip
TO_17 = [
    (288, 192, (1, 1), 35), (192, 384, (3, 3), 17),
    (288, 64, (1, 1), 35), (64, 96, (3, 3), 35), (96, 96, (3, 3), 17),
]  # fmt: skip
FIGURE_6 = [
    (768, 192, (1, 1), 17),
    (768, 128, (1, 1), 17), (128, 128, (1, 7), 17), (128, 192, (7, 1), 17),
    (768, 128, (1, 1), 17), (128, 128, (1, 7), 17), (128, 128, (7, 1), 17), (128, 128, (1, 7), 17),
    (128, 192, (7, 1), 17),
    (768, 192, (1, 1), 17),
]  # fmt: skip
TO_8 = [
    (768, 192, (1, 1), 17), (192, 320, (3, 3), 8),
    (768, 192, (1, 1), 17), (192, 192, (3, 3), 17), (192, 192, (3, 3), 8),
]  # fmt: skip


def figure_7(channels):
    return [
        (channels, 320, (1, 1), 8),
        (channels, 384, (1, 1), 8), (384, 384, (1, 3), 8), (384, 384, (3, 1), 8),
        (channels, 448, (1, 1), 8), (448, 384, (3, 3), 8), (384, 384, (1, 3), 8), (384, 384, (3, 1), 8),
        (channels, 192, (1, 1), 8),
    ]  # fmt: skip


STAGES = {
    "stem": (STEM, (288, 35)),
    "grid35": (3 * FIGURE_5, (288, 35)),
    "reduction35": (TO_17, (768, 17)),
    "grid17": (5 * FIGURE_6, (768, 17)),
    "reduction17": (TO_8, (1280, 8)),
    "grid8": (figure_7(1280) + figure_7(2048), (2048, 8)),
}

# Parameters and multiply-accumulates, as the module's docstring and the card publish them.
COUNTS = {
    "stem": (711_872, 1_627_898_976),
    "grid35": (708_000, 863_654_400),
    "reduction35": (877_184, 373_791_744),
    "grid17": (6_487_040, 1_870_315_520),
    "reduction17": (1_513_600, 237_735_936),
    "grid8": (11_121_408, 710_934_528),
}
LINEAR = (2048 * 1000 + 1000, 2048 * 1000)


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_has_the_layers_and_the_output_of_table_1(stage):
    layers, (channels, side) = STAGES[stage]
    found, outputs = [], []

    def note(layer, _, output):
        found.append((layer.in_channels, layer.out_channels, layer.kernel_size, output.shape[-1]))

    with torch.device("meta"):
        module = inception_v2(auxiliary=False).eval()
        part = module.get_submodule(stage)
        part.register_forward_hook(lambda _, __, output: outputs.append(output.shape))
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(note)
        module(torch.empty(1, 3, 299, 299))
    assert found == layers
    assert outputs == [(1, channels, side, side)]
    norms = [layer for layer in part.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert [layer.num_features for layer in norms] == [width for _, width, _, _ in layers]
    assert {layer.eps for layer in norms} == {0.001}


@pytest.mark.parametrize("stage", STAGES)
def test_counts_follow_from_the_layers(stage):
    layers, _ = STAGES[stage]
    weights = [channels * width * high * wide for channels, width, (high, wide), _ in layers]
    params = sum(weights) + sum(2 * width for _, width, _, _ in layers)  # BatchNorm's scale and shift
    macs = sum(weight * side**2 for weight, (*_, side) in zip(weights, layers, strict=True))
    assert (params, macs) == COUNTS[stage]


def test_the_card_adds_the_stages_up():
    params, macs = (sum(column) for column in zip(*COUNTS.values(), LINEAR, strict=True))
    assert (cards()["inception_v2"].params, cards()["inception_v2"].macs) == (params, macs)


def test_the_width_around_the_sevens_brings_the_cost_nearest_to_inception_v3():
    card, v3 = cards()["inception_v2"], cards()["inception_v3"]

    def module_macs(seven):
        between = 4 * seven * seven + 2 * seven * 192
        return 17**2 * (2 * 768 * 192 + 2 * 768 * seven + 7 * between)

    costs = {seven: card.macs + 5 * (module_macs(seven) - module_macs(128)) for seven in range(64, 256, 8)}
    assert min(costs, key=lambda seven: abs(costs[seven] - v3.macs)) == 128


def test_figure_7_is_torchvisions_last_module():
    torch.manual_seed(0)
    ours, theirs = inception_v2(auxiliary=False).grid8[0].eval(), InceptionE(1280).eval()
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.1)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    maps = torch.randn(2, 1280, 8, 8)
    with torch.no_grad():
        expected = theirs(maps)
        assert expected.std() > 0
        assert torch.equal(ours(maps), expected)


def test_poolings_average_in_modules_and_take_the_maximum_in_reductions():
    with torch.device("meta"):
        module = inception_v2(auxiliary=False)
    kinds = {
        stage: [type(layer) for layer in module.get_submodule(stage).modules() if "Pool" in type(layer).__name__]
        for stage in STAGES
    }
    assert kinds == {
        "stem": [nn.MaxPool2d],
        "grid35": [nn.AvgPool2d] * 3,
        "reduction35": [nn.MaxPool2d],
        "grid17": [nn.AvgPool2d] * 5,
        "reduction17": [nn.MaxPool2d],
        "grid8": [nn.AvgPool2d] * 2,
    }


def test_the_head_normalizes_its_convolution_and_not_its_fully_connected_layer():
    head = inception_v2().auxiliary
    convolution, norm = head.conv.conv, head.conv.bn
    assert (convolution.in_channels, convolution.out_channels, convolution.kernel_size) == (768, 128, (1, 1))
    assert [layer for layer in head.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)] == [norm]
    shapes = [(layer.in_features, layer.out_features) for layer in head.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(3200, 1024), (1024, 1000)]


def test_training_reads_the_head_on_the_last_17x17_maps():
    torch.manual_seed(0)
    module = inception_v2().train()
    maps = []
    module.grid17.register_forward_hook(lambda _, __, output: maps.append(output))
    with torch.no_grad():
        outputs = module(torch.randn(2, 3, 299, 299))
        assert isinstance(outputs, WithAuxiliary)
        assert outputs.logits.shape == (2, 1000)
        assert len(outputs.auxiliary) == 1
        assert torch.equal(outputs.auxiliary[0], module.auxiliary(maps[0]))
        assert module.eval()(torch.randn(1, 3, 75, 75)).shape == (1, 1000)


def test_without_the_head_there_are_none_of_its_tensors_and_training_gives_logits_alone():
    with torch.device("meta"):
        module = inception_v2(auxiliary=False).train()
        assert module(torch.empty(2, 3, 299, 299)).shape == (2, 1000)
    assert not [name for name in module.state_dict() if name.startswith(f"{HEAD}.")]
    assert cards()["inception_v2"].auxiliary == (HEAD,)


@pytest.mark.parametrize(("size", "fits"), [(298, False), (299, True), (346, True), (347, False)])
def test_the_head_takes_images_of_299_to_346_pixels(size, fits):
    with torch.device("meta"):
        module = inception_v2().train()
        if fits:
            assert module(torch.empty(2, 3, size, size)).auxiliary[0].shape == (2, 1000)
        else:
            with pytest.raises(RuntimeError, match="must have same reduction dim"):
                module(torch.empty(2, 3, size, size))


def test_the_smallest_image_is_the_one_that_the_network_can_take():
    assert_smallest_image("inception_v2", 75)


@pytest.mark.full
@pytest.mark.parametrize("size", [75, 171])
def test_other_sizes_export_without_the_head_and_with_a_free_batch(size):
    spec = ModelSpec("inception_v2", image_size=size)
    module = inception_v2().eval()  # the head is there
    module.load_state_dict(seeded_state(spec), strict=False)
    images = input_spec(spec)
    graph = export_module(module, images)
    scopes = {module_scope(node).partition(".")[0] for node in graph.graph}
    assert {"stem", "grid17", "reduction17", "fc"} <= scopes
    assert HEAD not in scopes
    assert not [name for name in graph.graph.initializers if name.startswith(f"{HEAD}.")]
    optimize(graph)
    assert sum(node.op_type == "Conv" for node in graph.graph) == sum(len(layers) for layers, _ in STAGES.values())
    session = onnxruntime.InferenceSession(serialize(graph), providers=["CPUExecutionProvider"])
    exact = module.double()
    for batch in (1, 3):
        x = np.random.default_rng(batch).standard_normal(images.at_batch(batch)).astype(np.float32)
        with torch.no_grad():
            wanted = exact(torch.from_numpy(x).double()).numpy()
        (got,) = session.run(None, {"images": x})
        assert got.shape == wanted.shape == (batch, 1000)
        assert np.linalg.norm(got - wanted) < 2e-5 * np.linalg.norm(wanted)
