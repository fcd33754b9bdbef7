"""Where weights may come from: a file with or without auxiliary heads, torchvision's registry, another network."""

import hashlib
import os
import subprocess
import sys

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from deploykit.errors import BackendMissing, CheckpointMismatch, DeploykitError, UsageError
from deploykit.modules.state import write_state
from deploykit.spec import ModelSpec
from deploykit.weights import load_module, published_checkpoint, seeded_state
from deploykit.zoo.registry import build_module, cards, construct

INCEPTION = ModelSpec("inception_v3", image_size=107)


@pytest.fixture(scope="module")
def with_head(tmp_path_factory):
    """A torchvision checkpoint as published: with the auxiliary head."""
    path = tmp_path_factory.mktemp("checkpoint") / "inception_v3.safetensors"
    torch.manual_seed(0)
    state = torchvision.models.inception_v3(weights=None, init_weights=False).state_dict()
    assert any(name.startswith("AuxLogits.") for name in state)
    save_file(state, path)
    return path, state


def test_inference_passes_over_the_auxiliary_head_of_a_checkpoint(with_head):
    path, state = with_head
    loaded = load_module(INCEPTION, path).state_dict()
    assert not [name for name in loaded if name.startswith("AuxLogits.")]
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())


def test_training_reads_the_auxiliary_head(with_head):
    path, state = with_head
    module = load_module(INCEPTION, path, training=True)
    assert module.training
    loaded = module.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.items())


def test_a_head_that_the_checkpoint_lacks_is_seeded_for_training(with_head, tmp_path):
    _, state = with_head
    save_file({k: v for k, v in state.items() if not k.startswith("AuxLogits.")}, tmp_path / "bare.safetensors")
    loaded = load_module(INCEPTION, tmp_path / "bare.safetensors", training=True).state_dict()
    seeded = build_module(INCEPTION, training=True).state_dict()
    for name, tensor in loaded.items():
        assert torch.equal(tensor, (seeded if name.startswith("AuxLogits.") else state)[name]), name


def test_a_tensor_missing_behind_a_head_s_name_is_still_a_misfit(with_head, tmp_path):
    _, state = with_head
    renamed = {name.replace("fc.", "AuxLogits.lost."): tensor for name, tensor in state.items()}
    save_file(renamed, tmp_path / "renamed.safetensors")
    with pytest.raises(CheckpointMismatch, match=r"2 missing \(fc\.weight, fc\.bias\)"):
        load_module(INCEPTION, tmp_path / "renamed.safetensors")


@pytest.mark.parametrize(
    "name", ["mobilenet", *(pytest.param(name, marks=pytest.mark.full) for name in ("resnet34", "inception_v3"))]
)
def test_weights_of_another_network_are_recognized(name, tmp_path):
    with torch.device("meta"):
        state = construct(ModelSpec(name), training=True).state_dict()
    torch.save({key: torch.ones(tensor.shape) for key, tensor in state.items()}, tmp_path / "other.pth")
    with pytest.raises(CheckpointMismatch, match=rf"does not fit resnet18: .*; it looks like weights of {name}$"):
        load_module(ModelSpec("resnet18"), tmp_path / "other.pth")


def test_weights_of_no_known_network_are_not_guessed(tmp_path):
    save_file({"x": torch.zeros(cards()["resnet34"].params)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointMismatch, match="names and shapes are those of torchvision resnet18"):
        load_module(ModelSpec("resnet18"), tmp_path / "other.safetensors")


# torchvision's registry; nothing is downloaded here: torch.hub's folder is filled, or the address leads nowhere


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path / "checkpoints"


def test_a_published_checkpoint_that_is_there_already_is_taken(hub):
    hub.mkdir()
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    (hub / url.rpartition("/")[2]).write_bytes(b"weights")
    assert published_checkpoint("resnet18").read_bytes() == b"weights"


def test_a_published_checkpoint_is_fetched_and_held_to_its_digest(hub, tmp_path, monkeypatch):
    content = b"the weights of resnet18"
    digest = hashlib.sha256(content).hexdigest()
    served = tmp_path / "served"
    served.mkdir()
    for name, body in ((f"resnet18-{digest[:8]}.pth", content), (f"vgg11-{digest[:8]}.pth", b"somebody else's")):
        (served / name).write_bytes(body)

    class Enum(dict):
        pass

    def weights_of(name):
        entry = type("Weights", (), {"url": (served / f"{name}-{digest[:8]}.pth").as_uri()})
        return Enum(IMAGENET1K_V1=entry)

    monkeypatch.setattr(torchvision.models, "get_model_weights", weights_of)
    assert published_checkpoint("resnet18").read_bytes() == content
    with pytest.raises(DeploykitError, match=r"cannot download file:.*invalid hash value .*; fetch it elsewhere"):
        published_checkpoint("vgg11")
    assert [path.name for path in hub.iterdir()] == [f"resnet18-{digest[:8]}.pth"]


def test_every_torchvision_twin_has_the_weights_whose_accuracy_its_card_states():
    for card in cards().values():
        library, _, theirs = card.twin.partition(":")
        if library == "torchvision":
            weights = torchvision.models.get_model_weights(theirs)[card.top1_source.split()[-1]]
            assert weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] == card.top1, card.name


def test_an_address_that_cannot_be_reached_is_one_line(hub, monkeypatch):
    import urllib.request

    def refuse(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    with pytest.raises(DeploykitError, match=r"cannot download https://.*: Network is unreachable") as caught:
        published_checkpoint("resnet18")
    assert caught.value.exit_code == 1


def test_networks_that_torchvision_does_not_publish_are_named():
    with pytest.raises(UsageError, match=r"torchvision has no weights of mobilenet; it has those of .*resnet18"):
        published_checkpoint("mobilenet")


def test_without_torchvision_the_fix_is_named():
    code = """
import sys
sys.modules["torchvision"] = None
from deploykit.errors import BackendMissing
from deploykit.weights import published_checkpoint
try:
    published_checkpoint("resnet18")
except BackendMissing as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "torchvision is not installed; pip install torchvision"
    assert BackendMissing.exit_code == 4


# Net A's layers in a deeper VGG

DEEP = ModelSpec("vgg13_bn", image_size=32, init_from="vgg11_bn")


@pytest.fixture(params=[16, pytest.param(4096, marks=pytest.mark.full)])
def hidden_units(request, monkeypatch):
    """VGG's hidden linear layers, narrow and as they are (seven gigabytes of several networks at once)."""
    widths = {4096: request.param}

    class Linear(nn.Linear):
        def __init__(self, inputs, outputs):
            super().__init__(widths.get(inputs, inputs), widths.get(outputs, outputs))

    monkeypatch.setattr(nn, "Linear", Linear)
    return request.param


def test_a_deep_vgg_starts_from_net_a_s_layers(hidden_units, tmp_path):
    donor = build_module(ModelSpec("vgg11_bn", image_size=32, seed=3))
    write_state(donor.state_dict(), tmp_path / "a.safetensors")
    plain = seeded_state(ModelSpec("vgg13_bn", image_size=32))
    seeded = seeded_state(DEEP)
    loaded = seeded_state(
        ModelSpec("vgg13_bn", image_size=32, init_from="vgg11_bn", weights=tmp_path / "a.safetensors")
    )
    same_seed = build_module(ModelSpec("vgg11_bn", image_size=32))

    module = build_module(DEEP)
    assert module.classifier[0].out_features == hidden_units
    ours = [name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for state, source in ((seeded, same_seed.state_dict()), (loaded, donor.state_dict())):
        given = {tensor.numpy().tobytes() for name, tensor in source.items() if name.endswith("weight")}
        taken = [name for name in ours if state[f"{name}.weight"].numpy().tobytes() in given]
        # conv1_1, conv2_1, conv3_1, conv3_2 of A, by their places in the Sequential of vgg13_bn, and the linear layers
        assert taken == ["features.0", "features.7", "features.14", "features.17", *ours[-3:]]
    assert not torch.equal(seeded["features.7.weight"], plain["features.7.weight"])
    untouched = "features.3.weight"
    assert torch.equal(seeded[untouched], plain[untouched])


def test_only_networks_whose_paper_says_so_start_from_another():
    with pytest.raises(UsageError, match="resnet18 takes no layers of vgg11"):
        construct(ModelSpec("resnet18", init_from="vgg11"))
    with pytest.raises(UsageError, match="vgg16 takes no layers of vgg13; it takes those of vgg11"):
        construct(ModelSpec("vgg16", init_from="vgg13"))
