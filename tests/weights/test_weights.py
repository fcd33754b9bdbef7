import hashlib
import warnings
from functools import partial

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from deploykit.errors import CheckpointMismatch, UnknownName
from deploykit.modules.state import write_state
from deploykit.spec import ModelSpec
from deploykit.weights import load_module, seeded_state
from deploykit.zoo.registry import build_module, cards, construct

TWINS = {card.name: card.twin for card in cards().values() if card.twin}
MODEL = ModelSpec("test_convnet")


def twin(name: str) -> nn.Module:
    library, _, theirs = TWINS[name].partition(":")
    make = {"torchvision": partial(torchvision.models.get_model, weights=None), "timm": timm.create_model}[library]
    with warnings.catch_warnings(action="ignore"):  # torchvision's GoogLeNet and Inception v3 warn of their slow start
        return make(theirs).eval()


@pytest.fixture
def checkpoint(tmp_path):
    """Writes a state dict of test_convnet, changed as the test says."""

    def write(suffix: str = ".safetensors", **changes: torch.Tensor | None):
        state = {**build_module(MODEL).state_dict(), **changes}
        state = {name: tensor for name, tensor in state.items() if tensor is not None}
        path = tmp_path / f"weights{suffix}"
        save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
        return path

    return write


@pytest.mark.parametrize("name", TWINS)
def test_names_and_shapes_are_the_twins(name):
    with torch.device("meta"):
        ours, theirs = construct(ModelSpec(name), training=True).state_dict(), twin(name).state_dict()
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: tensor.shape for key, tensor in theirs.items()}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet18", 64), ("resnet50", 64), ("mobilenet", 64), pytest.param("vgg11_bn", 32, marks=pytest.mark.full)],
)
def test_a_twins_checkpoint_gives_its_logits_bit_for_bit(name, size, suffix, tmp_path):
    torch.manual_seed(0)
    theirs = twin(name)
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            nn.init.normal_(layer.weight, 1, 0.1)
            nn.init.normal_(layer.bias, 0, 0.1)
    path = tmp_path / f"weights{suffix}"
    torch.save(theirs.state_dict(), path) if suffix == ".pth" else save_file(theirs.state_dict(), path)
    ours = load_module(ModelSpec(name, image_size=size), path)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected, logits = theirs(images), ours(images)
    assert expected.std() > 0
    assert torch.equal(logits, expected)


def test_loading_draws_no_random_numbers_and_keeps_eval_mode(checkpoint):
    path = checkpoint()
    before = torch.get_rng_state()
    module = load_module(MODEL, path)
    assert torch.equal(torch.get_rng_state(), before)
    assert not module.training


def test_the_file_may_go_away_after_loading(checkpoint):
    path = checkpoint(".pth")
    module = load_module(MODEL, path)
    path.write_bytes(b"\0" * path.stat().st_size)
    assert torch.equal(module.features[0].weight, build_module(MODEL).features[0].weight)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_training_scripts_wrappers_and_prefixes_are_taken_off(wrapper, tmp_path):
    state = build_module(MODEL).state_dict()
    path = tmp_path / "last.pth"
    torch.save({wrapper: {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    assert torch.equal(load_module(MODEL, path).classifier.weight, state["classifier.weight"])


def test_num_batches_tracked_may_be_absent(checkpoint):
    load_module(MODEL, checkpoint(**{"features.1.num_batches_tracked": None, "features.5.num_batches_tracked": None}))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_become_float32(checkpoint, dtype):
    weight = build_module(MODEL).classifier.weight.detach().to(dtype)
    loaded = load_module(MODEL, checkpoint(**{"classifier.weight": weight})).classifier.weight
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, weight.float())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classifier.bias": None}, r"weights\.safetensors does not fit test_convnet: 1 missing \(classifier\.bias\)"),
        ({"head.weight": torch.zeros(2)}, r"test_convnet: 1 extra \(head\.weight\)"),
        (
            {"classifier.weight": torch.zeros(1000, 256)},
            r"1 misshapen \(classifier\.weight is 1000x256 instead of 10x256\)",
        ),
        ({"classifier.bias": torch.zeros(10, dtype=torch.int8)}, r"1 not float \(classifier\.bias is int8\)"),
        ({"classifier.bias": torch.zeros(10, dtype=torch.complex64)}, r"1 not float \(classifier\.bias is complex64\)"),
        ({"features.1.running_var": None}, r"1 missing \(features\.1\.running_var\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(checkpoint, changes, message):
    path = checkpoint(".safetensors" if "complex" not in message else ".pth", **changes)
    with pytest.raises(CheckpointMismatch, match=message.replace("weights\\.safetensors", str(path))) as caught:
        load_module(MODEL, path)
    assert caught.value.exit_code == 2


def test_only_the_first_names_are_listed_with_the_count_and_the_twin(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    expected = r"102 missing \(conv1\.weight, bn1\.weight, bn1\.bias, \.\.\.\); 1 extra \(x\); .* of torchvision"
    with pytest.raises(CheckpointMismatch, match=expected):
        load_module(ModelSpec("resnet18"), path)


def test_weights_of_another_width_do_not_fit(tmp_path):
    path = tmp_path / "half.safetensors"
    write_state(build_module(ModelSpec("mobilenet", width_mult=0.5)).state_dict(), path)
    load_module(ModelSpec("mobilenet", width_mult=0.5), path)
    with pytest.raises(CheckpointMismatch, match=r"misshapen .*conv_stem\.weight is 16x3x3x3 instead of 32x3x3x3"):
        load_module(ModelSpec("mobilenet"), path)


def test_unknown_models_are_told_before_the_file_is_opened(tmp_path):
    with pytest.raises(UnknownName, match="resnet50"):
        load_module(ModelSpec("resnet51"), tmp_path / "absent.safetensors")


@pytest.mark.parametrize("name", ["test_convnet", "test_resnet", "test_mobilenet"])
def test_a_seeded_state_survives_the_file_bit_for_bit(name, tmp_path):
    model = ModelSpec(name, seed=5)
    state = seeded_state(model)
    write_state(state, tmp_path / "seeded.safetensors")
    loaded = load_module(model, tmp_path / "seeded.safetensors").state_dict()
    assert state.keys() == loaded.keys()
    assert all(torch.equal(state[key], loaded[key]) for key in state)


def test_seeded_states_repeat_and_write_the_same_bytes(tmp_path):
    digests = []
    for attempt in range(2):
        path = tmp_path / f"{attempt}.safetensors"
        write_state(seeded_state(ModelSpec("test_resnet", seed=1)), path)
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_seeded_states_differ_by_seed_and_have_statistics():
    first, other = (seeded_state(ModelSpec("test_resnet", seed=seed)) for seed in (0, 1))
    assert not torch.equal(first["fc.weight"], other["fc.weight"])
    assert not torch.equal(first["layer2.1.bn2.running_var"], torch.ones(16))


@pytest.mark.parametrize(
    ("name", "value"),
    [("bn1.weight", float("nan")), ("bn1.bias", float("inf")), ("bn1.running_var", -1.0)],
)
def test_values_that_no_network_computes_with_are_named(tmp_path, name, value):
    state = build_module(ModelSpec("test_resnet")).state_dict()
    state[name][3] = value
    write_state(state, tmp_path / "broken.safetensors")
    with pytest.raises(CheckpointMismatch, match=f"1 with NaN, infinity or a negative variance .{name}"):
        load_module(ModelSpec("test_resnet"), tmp_path / "broken.safetensors")
