"""Networks with timm's state dicts: its checkpoint at the network's own size gives its logits."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from deploykit.spec import ModelSpec
from deploykit.weights import load_module
from deploykit.zoo.initialize import calibration_noise, estimate_batchnorm, initialize
from deploykit.zoo.registry import construct, input_spec

TWINS = {
    "inception_v4": "inception_v4",
    "inception_resnet_v2": "inception_resnet_v2",
    "xception": "legacy_xception",
}
each = pytest.mark.parametrize(("name", "twin"), TWINS.items())


@pytest.mark.full
@each
def test_a_twins_checkpoint_gives_its_logits_bit_for_bit(name, twin, tmp_path):
    model = ModelSpec(name)
    theirs = timm.create_model(twin).eval()
    initialize(theirs, seed=1)
    images = torch.from_numpy(next(calibration_noise(input_spec(model), batches=1, batch=2, seed=3)))
    estimate_batchnorm(theirs, [images])
    save_file(theirs.state_dict(), tmp_path / "twin.safetensors")
    ours = load_module(model, tmp_path / "twin.safetensors")
    with torch.no_grad():
        expected, logits = theirs(images), ours(images)
    assert (expected[0] - expected[1]).norm() > 0.3 * expected.norm()
    assert torch.equal(logits, expected)


@each
def test_tensors_are_registered_in_the_twins_order(name, twin):
    with torch.device("meta"):
        ours, theirs = construct(ModelSpec(name)), timm.create_model(twin)
    assert list(ours.state_dict()) == list(theirs.state_dict())
