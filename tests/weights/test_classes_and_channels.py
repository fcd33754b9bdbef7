"""Any number of classes and input channels, asked for or read off a checkpoint."""

import pytest
import torch

from deploykit.errors import CheckpointMismatch, UsageError
from deploykit.spec import ModelSpec
from deploykit.weights_file import load_checkpoint
from deploykit.zoo.factory import call_factory
from deploykit.zoo.registry import build_module, card_of, cards, construct, input_spec, output_specs, preprocessing


@pytest.mark.parametrize("name", list(cards()))
def test_every_network_has_any_number_of_classes_and_channels(name):
    """Auxiliary heads too; and as many parameters more or fewer as the two layers have."""
    card = cards()[name]
    size = card.image_size
    with torch.device("meta"):
        images = torch.empty(2, 5, size, size)
        assert construct(ModelSpec(name, num_classes=7, in_channels=5))(images).shape == (2, 7)
        for head in card.auxiliary[:1]:
            options = {"num_classes": 7, "in_channels": 5, "auxiliary": True}
            found = call_factory(card.factory, options).train()(images)
            assert [scores.shape for scores in (found.logits, *found.auxiliary)] == [(2, 7)] * (1 + len(card.auxiliary))
            assert head
    spec = ModelSpec(name, num_classes=7, in_channels=5)
    assert input_spec(spec).shape == ("batch", 5, size, size)
    assert output_specs(spec)[0].shape == ("batch", 7)


def test_grey_images_have_one_mean():
    recipe = preprocessing(ModelSpec("resnet18", in_channels=1))
    assert (recipe.mean, recipe.std) == ((0.5,), (0.5,))
    assert len(preprocessing(ModelSpec("resnet18")).mean) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_classes": 0}, r"--num-classes 0 is not a whole number from 1"),
        ({"in_channels": 5000}, r"--in-channels 5000 is not"),
        (
            {"factory_args": (("num_classes", 3),)},
            r"classes has an option of its own; give --num-classes",
        ),
    ],
)
def test_numbers_that_cannot_be_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        card_of(ModelSpec("resnet18", **given))


@pytest.mark.parametrize("model", [{"name": "net:make", "input_shape": (3, 8, 8)}, {"name": "net.onnx"}])
def test_networks_of_the_user_s_own_have_none(model):
    with pytest.raises(UsageError, match="leave out --num-classes"):
        ModelSpec(**model, num_classes=10)


@pytest.mark.parametrize(
    ("name", "head", "first"),
    [
        ("test_resnet", "fc.weight", "conv1.weight"),
        ("test_mobilenet", "classifier.weight", "conv_stem.weight"),
        ("lenet5_1998", "output.bitmaps", "c1.weight"),
    ],
)
def test_they_are_read_off_the_checkpoint(name, head, first, tmp_path):
    trained = build_module(ModelSpec(name, num_classes=4, in_channels=2))
    torch.save(
        {"state_dict": {f"model.{key}": value for key, value in trained.state_dict().items()}}, tmp_path / "a.ckpt"
    )
    loaded = load_checkpoint(ModelSpec(name), tmp_path / "a.ckpt")
    assert (loaded.model.num_classes, loaded.model.in_channels) == (4, 2)
    assert loaded.origin.notes == (f"4 classes, from {head}", f"2 input channels, from {first}")
    size = cards()[name].image_size
    with torch.no_grad():
        assert torch.equal(loaded.module(torch.ones(1, 2, size, size)), trained(torch.ones(1, 2, size, size)))


@pytest.mark.parametrize(("option", "what"), [("num_classes", "4 classes"), ("in_channels", "2 input channels")])
def test_an_option_that_says_otherwise_is_refused(option, what, tmp_path):
    torch.save(build_module(ModelSpec("test_resnet", num_classes=4, in_channels=2)).state_dict(), tmp_path / "a.pth")
    model = ModelSpec("test_resnet", weights=tmp_path / "a.pth", **{option: 5})
    with pytest.raises(CheckpointMismatch, match=f"has {what} .*, not 5; leave out --{option.replace('_', '-')}"):
        load_checkpoint(model, tmp_path / "a.pth")


def test_a_head_that_disagrees_with_itself_is_a_misfit(tmp_path):
    state = build_module(ModelSpec("test_resnet", num_classes=4)).state_dict()
    torch.save({**state, "fc.bias": torch.zeros(5)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointMismatch, match=r"2 misshapen \(fc\.weight is 4x16 instead of 10x16, fc\.bias is 5"):
        load_checkpoint(ModelSpec("test_resnet"), tmp_path / "a.pth")
