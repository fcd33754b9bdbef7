"""GoogLeNet against torchvision's, table 1 of its paper, and what training adds."""

import copy

import pytest
import torch
import torchvision
from families import scaled
from safetensors.torch import save_file
from torch import nn

from deploykit.errors import UsageError
from deploykit.export import export_module
from deploykit.graph.rewrite import module_scope
from deploykit.spec import ModelSpec
from deploykit.weights import load_module
from deploykit.zoo.googlenet import ConvBN, googlenet, googlenet_paper
from deploykit.zoo.registry import build_module, cards, construct, input_spec, preprocessing
from deploykit.zoo.training import WithAuxiliary, training_loss

FACTORIES = {"googlenet": googlenet, "googlenet_paper": googlenet_paper}
HEADS = ("aux1.", "aux2.")
both = pytest.mark.parametrize("name", FACTORIES)


@pytest.fixture(scope="module")
def twin():
    """torchvision's network, with seeded weights."""
    torch.manual_seed(0)
    return scaled(torchvision.models.googlenet(weights=None, init_weights=False))


def images(batch, size, *, seed=1):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def without_dropout(module):
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return module


def test_torchvisions_checkpoint_gives_its_logits(twin, tmp_path):
    save_file(twin.state_dict(), tmp_path / "weights.safetensors")  # with the heads' tensors, as published
    ours = load_module(ModelSpec("googlenet"), tmp_path / "weights.safetensors")
    with torch.no_grad():
        expected, logits = twin(images(2, 224)), ours(images(2, 224))
    assert (expected[0] - expected[1]).abs().max() > 0.1
    assert torch.equal(logits, expected)


def test_training_gives_torchvisions_logits_of_all_three_classifiers(twin):
    theirs = without_dropout(copy.deepcopy(twin)).train()
    ours = without_dropout(construct(ModelSpec("googlenet"), training=True))
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        expected, outputs = theirs(images(2, 224)), ours(images(2, 224))
    assert isinstance(outputs, WithAuxiliary)
    nearest, farther = outputs.auxiliary
    assert (outputs.logits - expected.logits).abs().max() <= 1e-5
    assert (nearest - expected.aux_logits1).abs().max() <= 1e-5
    assert (farther - expected.aux_logits2).abs().max() <= 1e-5
    assert not torch.allclose(nearest, farther, atol=0.1)


def test_parameters_are_registered_under_the_same_names_in_the_same_order():
    with torch.device("meta"):
        theirs, ours = torchvision.models.googlenet(weights=None, init_weights=False), googlenet()
    assert [(key, value.shape) for key, value in ours.state_dict().items()] == [
        (key, value.shape) for key, value in theirs.state_dict().items()
    ]
    assert {layer.eps for layer in ours.modules() if isinstance(layer, nn.BatchNorm2d)} == {0.001}
    assert sum(parameter.numel() for parameter in ours.parameters()) == 13_004_888


def test_the_card_normalizes_as_torchvision_does_for_its_weights():
    pixels = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    published = torchvision.models.GoogLeNet_Weights.IMAGENET1K_V1.transforms()
    normalized = torchvision.transforms.functional.normalize(pixels, published.mean, published.std)
    network = torchvision.models.GoogLeNet(transform_input=True, init_weights=False)
    recipe = preprocessing(ModelSpec("googlenet"))
    ours = (pixels - torch.tensor(recipe.mean)[:, None, None]) / torch.tensor(recipe.std)[:, None, None]
    torch.testing.assert_close(ours, network._transform_input(normalized), rtol=0, atol=1e-12)
    assert (recipe.resize, recipe.crop) == (published.resize_size[0], published.crop_size[0])
    assert recipe.interpolation == published.interpolation.value


# Table 1: channels and side behind each stage.
GRIDS = {
    "conv1": (64, 112),
    "maxpool1": (64, 56),
    "norm1": (64, 56),
    "conv2": (64, 56),
    "conv3": (192, 56),
    "norm2": (192, 56),
    "maxpool2": (192, 28),
    "inception3a": (256, 28),
    "inception3b": (480, 28),
    "maxpool3": (480, 14),
    "inception4a": (512, 14),
    "inception4b": (512, 14),
    "inception4c": (512, 14),
    "inception4d": (528, 14),
    "inception4e": (832, 14),
    "maxpool4": (832, 7),
    "inception5a": (832, 7),
    "inception5b": (1024, 7),
    "avgpool": (1024, 1),
    "aux1.pool": (512, 4),
    "aux2.pool": (528, 4),
    "aux1.conv": (128, 4),
    "aux2.conv": (128, 4),
}


@both
def test_stages_put_out_what_table_1_says_in_its_order(name):
    found = {}
    with torch.device("meta"):
        module = FACTORIES[name]().train()
        for stage in GRIDS:
            module.get_submodule(stage).register_forward_hook(
                lambda _, __, output, stage=stage: found.update({stage: output.shape[1:]})
            )
        module(torch.empty(2, 3, 224, 224))
    assert found == {stage: (channels, side, side) for stage, (channels, side) in GRIDS.items()}
    trunk = [stage for stage in GRIDS if not stage.startswith("aux")]
    assert [stage for stage in found if stage in trunk] == trunk


@pytest.mark.parametrize(("name", "largest", "biased"), [("googlenet", 3, False), ("googlenet_paper", 5, True)])
def test_the_third_branches_and_biases_tell_the_two_forms_apart(name, largest, biased):
    convolutions = {key: layer for key, layer in FACTORIES[name]().named_modules() if isinstance(layer, nn.Conv2d)}
    thirds = [layer.kernel_size for key, layer in convolutions.items() if key.endswith("branch3.1.conv")]
    assert thirds == [(largest, largest)] * 9
    assert len(convolutions) == 59  # three, nine times six, and one a head
    assert {layer.bias is not None for layer in convolutions.values()} == {biased}
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in FACTORIES[name]().modules()) is not biased


@both
def test_dropout_has_the_papers_rates(name):
    rates = {key: layer.p for key, layer in FACTORIES[name]().named_modules() if isinstance(layer, nn.Dropout)}
    assert rates == {"dropout": 0.4, "aux1.dropout": 0.7, "aux2.dropout": 0.7}


def test_local_responses_are_normalized_over_five_channels():
    maps = 100 * images(1, 6, seed=3).double().repeat(1, 4, 1, 1)
    padded = nn.functional.pad(maps.square(), (0, 0, 0, 0, 2, 2))
    squares = sum(padded[:, shift : shift + 12] for shift in range(5))
    expected = maps / (1 + 1e-4 / 5 * squares) ** 0.75
    module = googlenet_paper(auxiliary=False)
    for normalize in (module.norm1, module.norm2):
        torch.testing.assert_close(normalize(maps), expected, rtol=1e-12, atol=0)
    assert (expected - maps).abs().max() > 10


def test_the_papers_heads_average_over_5x5_in_steps_of_3():
    maps = images(1, 14).double()
    windows = [[maps[..., i : i + 5, j : j + 5].mean((2, 3)) for j in (0, 3, 6, 9)] for i in (0, 3, 6, 9)]
    expected = torch.stack([torch.stack(row, -1) for row in windows], -2)
    torch.testing.assert_close(googlenet_paper().aux1.pool(maps), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("size", "works"), [(222, False), (223, True), (270, True), (271, False), (64, False)])
def test_the_papers_heads_say_which_images_they_train_on(size, works):
    with torch.device("meta"):
        module, batch = googlenet_paper().train(), torch.empty(2, 3, size, size)
        if works:
            assert [head.shape for head in module(batch).auxiliary] == [(2, 1000)] * 2
        else:
            with pytest.raises(UsageError, match="train on images of 223 to 270 pixels, or without auxiliary heads"):
                module(batch)
        assert module.eval()(batch).shape == (2, 1000)
        assert googlenet_paper(auxiliary=False).train()(batch).shape == (2, 1000)


@both
def test_without_heads_there_are_none_of_their_tensors_and_training_gives_logits_alone(name):
    with torch.device("meta"):
        module = construct(ModelSpec(name)).train()
        assert module(torch.empty(2, 3, 224, 224)).shape == (2, 1000)
        full = FACTORIES[name]()
    assert not [key for key in module.state_dict() if key.startswith(HEADS)]
    assert {key.partition(".")[0] for key in full.state_dict().keys() - module.state_dict().keys()} == {"aux1", "aux2"}
    assert cards()[name].auxiliary == ("aux1", "aux2")


@both
def test_heads_are_no_part_of_evaluation(name):
    module = build_module(ModelSpec(name), training=True).eval()
    with torch.no_grad():
        before = module(images(1, 64))
        for head in (module.aux1, module.aux2):
            for parameter in head.parameters():
                parameter.fill_(float("nan"))
        assert torch.equal(module(images(1, 64)), before)


@pytest.mark.full
@both
def test_the_exported_graph_has_no_node_of_a_head(name):
    graph = export_module(FACTORIES[name]().eval(), input_spec(ModelSpec(name, image_size=64))).graph
    scopes = {module_scope(node) for node in graph}
    assert any(scope.startswith("inception5b") for scope in scopes)
    assert not [scope for scope in scopes if scope.startswith("aux")]
    assert not [key for key, value in graph.initializers.items() if value.uses() and key.startswith(HEADS)]
    assert [output.name for output in graph.outputs] == ["logits"]


@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("googlenet_paper", 224)])
def test_the_loss_reaches_every_parameter_and_heads_only_by_their_weight(name, size):
    module = build_module(ModelSpec(name), training=True)
    card, labels = cards()[name], torch.tensor([3, 999])
    assert card.auxiliary_weight == 0.3
    outputs = module(images(2, size))
    training_loss(outputs, labels, auxiliary_weight=0.0).backward(retain_graph=True)
    untouched = {key for key, parameter in module.named_parameters() if not parameter.grad.any()}
    assert untouched == {key for key, _ in module.named_parameters() if key.startswith(HEADS)}
    module.zero_grad()
    training_loss(outputs, labels, auxiliary_weight=card.auxiliary_weight).backward()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())
    assert not [key for key, parameter in module.named_parameters() if not parameter.grad.any()]


@both
def test_the_smallest_image_is_the_one_that_the_network_can_take(name):
    smallest = cards()[name].min_image_size
    module = construct(ModelSpec(name))
    assert module(torch.zeros(1, 3, smallest, smallest)).shape == (1, 1000)
    with pytest.raises(RuntimeError):
        module(torch.zeros(1, 3, smallest - 1, smallest - 1))


@pytest.mark.parametrize("bias", [False, True])
def test_the_block_of_inceptions_is_convolution_batchnorm_relu(bias):
    block = ConvBN(3, 4, (1, 7), stride=2, padding=(0, 3), bias=bias).double().eval()
    block.bn.running_mean.normal_()
    block.bn.running_var.uniform_(0.5, 1.5)
    maps = images(2, 9).double()
    convolved = nn.functional.conv2d(maps, block.conv.weight, block.conv.bias, stride=2, padding=(0, 3))
    mean, std = block.bn.running_mean, (block.bn.running_var + 1e-3).sqrt()
    expected = ((convolved - mean[:, None, None]) / std[:, None, None]).clamp(min=0)
    torch.testing.assert_close(block(maps), expected, rtol=1e-12, atol=1e-14)
    assert (block.conv.bias is not None) is bias
