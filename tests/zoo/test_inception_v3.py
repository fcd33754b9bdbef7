"""Inception v3 against torchvision's, its auxiliary head, and the sizes it exports at."""

import copy

import numpy as np
import onnxruntime
import pytest
import torch
import torchvision
from families import assert_smallest_image, scaled
from safetensors.torch import save_file
from torch import nn

from deploykit.export import export_module
from deploykit.graph import optimize, serialize
from deploykit.graph.rewrite import module_scope
from deploykit.spec import ModelSpec
from deploykit.weights import load_module, seeded_state
from deploykit.zoo.inception_v3 import inception_v3
from deploykit.zoo.registry import cards, construct, input_spec
from deploykit.zoo.training import WithAuxiliary

HEAD = "AuxLogits"


@pytest.fixture(scope="module")
def twin():
    """torchvision's network, with seeded weights."""
    torch.manual_seed(0)
    return scaled(torchvision.models.inception_v3(weights=None, init_weights=False))


def test_torchvisions_checkpoint_gives_its_logits(twin, tmp_path):
    save_file(twin.state_dict(), tmp_path / "weights.safetensors")  # with the head's tensors, as published
    ours = load_module(ModelSpec("inception_v3"), tmp_path / "weights.safetensors")
    images = torch.randn(2, 3, 299, 299, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, logits = twin(images), ours(images)
    assert (expected[0] - expected[1]).abs().max() > 0.1
    assert (logits - expected).abs().max() <= 1e-5


def test_training_gives_torchvisions_logits_of_both_classifiers(twin):
    theirs, ours = copy.deepcopy(twin).train(), construct(ModelSpec("inception_v3"), training=True)
    ours.load_state_dict(theirs.state_dict())
    theirs.dropout.eval()
    ours.dropout.eval()
    images = torch.randn(2, 3, 299, 299, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, outputs = theirs(images), ours(images)
    assert isinstance(outputs, WithAuxiliary)
    (head,) = outputs.auxiliary
    assert (outputs.logits - expected.logits).abs().max() <= 1e-5
    assert (head - expected.aux_logits).abs().max() <= 1e-5
    assert not torch.allclose(head, outputs.logits, atol=0.1)


def test_parameters_are_registered_under_the_same_names_in_the_same_order():
    with torch.device("meta"):
        theirs, ours = torchvision.models.inception_v3(weights=None, init_weights=False), inception_v3()
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]
    assert [(key, value.shape) for key, value in ours.state_dict().items()] == [
        (key, value.shape) for key, value in theirs.state_dict().items()
    ]
    assert [layer.eps for layer in ours.modules() if isinstance(layer, nn.BatchNorm2d)] == [0.001] * 96
    assert sum(parameter.numel() for parameter in ours.parameters()) == 27_161_264


def test_without_the_head_there_are_none_of_its_tensors_and_training_gives_logits_alone():
    with torch.device("meta"):
        module = inception_v3(auxiliary=False).train()
        outputs = module(torch.empty(2, 3, 299, 299))
    assert outputs.shape == (2, 1000)
    assert not [name for name in module.state_dict() if name.startswith(HEAD)]
    assert cards()["inception_v3"].auxiliary == (HEAD,)


def test_the_head_takes_what_the_canonical_size_leaves_it_and_no_less():
    with torch.device("meta"):
        module = inception_v3().train()
        assert module(torch.empty(2, 3, 299, 299)).auxiliary[0].shape == (2, 1000)
        with pytest.raises(RuntimeError, match=r"\(4 x 4\)\. Kernel size: \(5 x 5\)"):
            module(torch.empty(2, 3, 298, 298))
        assert module.eval()(torch.empty(2, 3, 298, 298)).shape == (2, 1000)


GRIDS = {
    "maxpool2": (192, 35),
    "Mixed_5b": (256, 35),
    "Mixed_5c": (288, 35),
    "Mixed_5d": (288, 35),
    "Mixed_6a": (768, 17),
    "Mixed_6b": (768, 17),
    "Mixed_6e": (768, 17),
    "Mixed_7a": (1280, 8),
    "Mixed_7b": (2048, 8),
    "Mixed_7c": (2048, 8),
}


def test_grids_and_channels_of_the_stages():
    found = {}
    with torch.device("meta"):
        module = inception_v3(auxiliary=False).eval()
        for name in GRIDS:
            module.get_submodule(name).register_forward_hook(
                lambda _, __, output, name=name: found.update({name: output.shape})
            )
        module(torch.empty(1, 3, 299, 299))
    assert found == {name: (1, channels, side, side) for name, (channels, side) in GRIDS.items()}


def test_the_smallest_image_is_the_one_that_the_network_can_take():
    assert_smallest_image("inception_v3", 75)


@pytest.mark.full
@pytest.mark.parametrize("size", [75, 171])
def test_other_sizes_export_without_the_head_and_with_a_free_batch(size):
    spec = ModelSpec("inception_v3", image_size=size)
    module = inception_v3().eval()  # the head is there
    module.load_state_dict(seeded_state(spec), strict=False)
    images = input_spec(spec)
    graph = export_module(module, images)
    scopes = {module_scope(node).partition(".")[0] for node in graph.graph}
    assert {"Mixed_6e", "Mixed_7a", "fc"} <= scopes
    assert HEAD not in scopes
    assert not [name for name in graph.graph.initializers if name.startswith(HEAD)]
    optimize(graph)
    assert sum(node.op_type == "Conv" for node in graph.graph) == 94
    session = onnxruntime.InferenceSession(serialize(graph), providers=["CPUExecutionProvider"])
    exact = module.double()
    for batch in (1, 3):
        x = np.random.default_rng(batch).standard_normal(images.at_batch(batch)).astype(np.float32)
        with torch.no_grad():
            wanted = exact(torch.from_numpy(x).double()).numpy()
        (got,) = session.run(None, {"images": x})
        assert got.shape == wanted.shape == (batch, 1000)
        assert np.linalg.norm(got - wanted) < 2e-5 * np.linalg.norm(wanted)
