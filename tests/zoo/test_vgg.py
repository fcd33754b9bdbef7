"""VGG's configurations against table 1, and what deep ones take over from net A."""

import pytest
import torch
from torch import nn

from deploykit.errors import UsageError
from deploykit.spec import ModelSpec
from deploykit.zoo.registry import cards, construct
from deploykit.zoo.vgg import CONFIGURATIONS, VGG

DEEP = ["vgg13", "vgg16c", "vgg16", "vgg19", "vgg13_bn", "vgg16_bn", "vgg19_bn"]

# Indices into `features` of A's conv1_1, conv2_1, conv3_1, conv3_2, and of the layers with these names elsewhere.
WITHOUT_BATCHNORM = {"A": (0, 3, 6, 8), "B": (0, 5, 10, 12), "C": (0, 5, 10, 12), "D": (0, 5, 10, 12),
                     "E": (0, 5, 10, 12)}  # fmt: skip
WITH_BATCHNORM = {"A": (0, 4, 8, 11), "B": (0, 7, 14, 17), "D": (0, 7, 14, 17), "E": (0, 7, 14, 17)}


class Narrow:
    """A VGG of every configuration with the linear layers cut to a few units, so that tests take milliseconds."""

    def __init__(self, monkeypatch):
        self.linear, self.patch = nn.Linear, monkeypatch

    def __call__(self, configuration, *, batch_norm=False, classes=10, seed=0):
        torch.manual_seed(seed)
        self.patch.setattr(nn, "Linear", lambda inputs, outputs: self.linear(min(inputs, 8), min(outputs, 8)))
        try:
            module = VGG(configuration, batch_norm=batch_norm, classes=classes)
        finally:
            self.patch.undo()
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    nn.init.uniform_(tensor)
        return module


@pytest.fixture
def narrow(monkeypatch):
    return Narrow(monkeypatch)


def test_configurations_have_the_weight_layers_of_table_1():
    assert {name: sum(map(len, blocks)) + 3 for name, blocks in CONFIGURATIONS.items()} == {
        "A": 11, "B": 13, "C": 16, "D": 16, "E": 19,
    }  # fmt: skip


def test_configuration_c_ends_its_last_three_blocks_in_1x1():
    with torch.device("meta"):
        module = construct(ModelSpec("vgg16c"))
        kernels = [layer.kernel_size[0] for layer in module.features if isinstance(layer, nn.Conv2d)]
        maps = module.features(torch.empty(1, 3, 224, 224))
    assert kernels == [3, 3, 3, 3, 3, 3, 1, 3, 3, 1, 3, 3, 1]
    assert maps.shape == (1, 512, 7, 7)


@pytest.mark.parametrize(
    ("configuration", "batch_norm"),
    [*((name, False) for name in WITHOUT_BATCHNORM), *((name, True) for name in WITH_BATCHNORM)],
)
def test_the_first_four_convolutions_and_the_linear_layers_are_taken_over(narrow, configuration, batch_norm):
    places = WITH_BATCHNORM if batch_norm else WITHOUT_BATCHNORM
    donor = narrow("A", batch_norm=batch_norm, seed=1)
    module, before = (narrow(configuration, batch_norm=batch_norm, seed=2) for _ in range(2))
    module.initialize_from(donor)
    given = dict(zip(places[configuration], places["A"], strict=True))
    if batch_norm:
        given |= {ours + 1: theirs + 1 for ours, theirs in given.items()}
    for index, layer in enumerate(module.features):
        source = donor.features[given[index]] if index in given else before.features[index]
        for name, tensor in layer.state_dict().items():
            assert torch.equal(tensor, source.state_dict()[name]), f"features.{index}.{name}"
    for ours, theirs in zip(module.classifier.parameters(), donor.classifier.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_what_is_taken_over_is_a_copy(narrow):
    donor, module = narrow("A", seed=1), narrow("D", seed=2)
    module.initialize_from(donor)
    kept = donor.features[0].weight.clone()
    with torch.no_grad():
        module.features[0].weight.zero_()
    assert torch.equal(donor.features[0].weight, kept)


@pytest.mark.parametrize(
    ("donor", "message"),
    [
        ({"configuration": "B"}, r"VGG D without BatchNorm \(10 classes\) cannot start from VGG B without BatchNorm"),
        ({"configuration": "A", "batch_norm": True}, r"cannot start from VGG A with BatchNorm \(10 classes\)"),
        ({"configuration": "A", "classes": 5}, r"cannot start from VGG A without BatchNorm \(5 classes\)"),
    ],
)
def test_other_donors_are_refused_and_nothing_is_taken(narrow, donor, message):
    module, before = (narrow("D", seed=2) for _ in range(2))
    with pytest.raises(UsageError, match=message) as caught:
        module.initialize_from(narrow(seed=1, **donor))
    assert "give configuration A with the same BatchNorm, classes and channels" in str(caught.value)
    assert all(torch.equal(ours, kept) for ours, kept in zip(module.parameters(), before.parameters(), strict=True))


def test_a_plain_net_a_is_refused_by_a_network_with_batchnorm(narrow):
    with pytest.raises(UsageError, match=r"VGG E with BatchNorm .* cannot start from VGG A without BatchNorm"):
        narrow("E", batch_norm=True).initialize_from(narrow("A"))


@pytest.mark.parametrize("name", DEEP)
def test_cards_name_net_a_of_their_kind(name):
    assert cards()[name].init_from == (("vgg11_bn",) if name.endswith("_bn") else ("vgg11",))
    assert not cards()["vgg11"].init_from


@pytest.mark.parametrize("name", DEEP)
def test_the_network_on_the_card_fits(name):
    """At full width, shapes alone."""
    with torch.device("meta"):
        construct(ModelSpec(name)).initialize_from(construct(ModelSpec(cards()[name].init_from[0])))
