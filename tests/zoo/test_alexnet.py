"""AlexNet as one tower (torchvision's) and as printed in 2012, with its response normalization."""

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from deploykit.export import export_module
from deploykit.graph import optimize
from deploykit.spec import ModelSpec, Preprocessing
from deploykit.weights import load_module
from deploykit.zoo.alexnet import LocalResponseNorm
from deploykit.zoo.registry import build_module, construct, input_spec, preprocessing

PRINTED = ModelSpec("alexnet_2012")


def test_the_twins_weights_give_its_logits(tmp_path):
    torch.manual_seed(0)
    theirs = torchvision.models.alexnet(weights=None).eval()
    save_file(theirs.state_dict(), tmp_path / "alexnet.safetensors")
    ours = load_module(ModelSpec("alexnet"), tmp_path / "alexnet.safetensors")
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected, logits = theirs(images), ours(images)
    assert expected.std() > 0
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


def test_dropout_stands_where_the_twin_and_where_the_paper_has_it():
    with torch.device("meta"):
        ours, theirs = construct(ModelSpec("alexnet")), torchvision.models.alexnet(weights=None)
        as_printed = construct(PRINTED)
    assert [type(layer) for layer in ours.classifier] == [type(layer) for layer in theirs.classifier]
    printed = [type(layer).__name__ for layer in as_printed.classifier]
    assert printed == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    dropouts = [layer.p for module in (ours, as_printed) for layer in module.classifier if hasattr(layer, "p")]
    assert dropouts == [0.5] * 4


# Output maps, channels a filter reads, kernel, stride, groups: figure 2 and section 3.5.
CONVOLUTIONS = [(96, 3, 11, 4, 1), (256, 48, 5, 1, 2), (384, 256, 3, 1, 1), (384, 192, 3, 1, 2), (256, 192, 3, 1, 2)]


def test_the_convolutions_are_those_of_figure_2():
    with torch.device("meta"):
        features = construct(PRINTED).features
    layers = [layer for layer in features if isinstance(layer, nn.Conv2d)]
    found = [(*layer.weight.shape[:3], layer.stride[0], layer.groups) for layer in layers]
    assert found == CONVOLUTIONS


def test_the_layers_stand_in_the_order_of_section_3_5():
    with torch.device("meta"):
        features = construct(PRINTED).features
    kinds = [type(layer).__name__ for layer in features]
    normalized = ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    assert kinds == [*normalized, *normalized, *["Conv2d", "ReLU"] * 3, "MaxPool2d"]
    pools = [layer for layer in features if isinstance(layer, nn.MaxPool2d)]
    assert [(pool.kernel_size, pool.stride) for pool in pools] == [(3, 2)] * 3  # they overlap


def test_maps_have_the_sizes_of_figure_2():
    with torch.device("meta"):
        module, sizes = construct(PRINTED), []
        for layer in module.features:
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
                layer.register_forward_hook(lambda _, __, output: sizes.append(output.shape[-1]))
        module(torch.empty(1, 3, 227, 227))
    assert sizes == [55, 27, 27, 13, 13, 13, 13, 6]


def response_normalized(maps, *, size=5, alpha=1e-4, beta=0.75, k=2.0):
    """Section 3.3, map by map."""
    result, count = torch.empty_like(maps), maps.shape[1]
    for index in range(count):
        near = maps[:, max(0, index - size // 2) : min(count, index + size // 2 + 1)]
        result[:, index] = maps[:, index] / (k + alpha * near.square().sum(1)) ** beta
    return result


@pytest.mark.parametrize("count", [1, 3, 5, 96])
@pytest.mark.parametrize("scale", [0.1, 100.0])
def test_response_normalization_is_the_papers(count, scale):
    torch.manual_seed(0)
    maps = torch.randn(2, count, 4, 6, dtype=torch.float64) * scale
    torch.testing.assert_close(LocalResponseNorm()(maps), response_normalized(maps), rtol=1e-13, atol=0)


def test_torchs_layer_divides_alpha_by_its_size():
    torch.manual_seed(0)
    maps = torch.randn(2, 9, 4, 4, dtype=torch.float64) * 100
    theirs = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    torch.testing.assert_close(LocalResponseNorm()(maps), theirs(maps), rtol=1e-13, atol=0)


def test_response_normalization_survives_float16_where_squares_overflow():
    torch.manual_seed(0)
    maps = (torch.randn(1, 96, 8, 8) * 1000).half()  # up to 4000; a float16 square ends at 256
    exact = response_normalized(maps.double())
    halves = LocalResponseNorm()(maps).double()
    assert maps.square().isinf().any()
    assert halves.isfinite().all()
    assert ((halves - exact).norm() / exact.norm()).item() < 2e-3


def test_response_normalization_exports_without_5d_poolings_and_with_a_free_batch():
    layer = nn.Sequential(nn.Conv2d(3, 8, 3), LocalResponseNorm()).eval()
    model = export_module(layer, input_spec(ModelSpec("resnet18", image_size=8)), output_names=("maps",))
    optimize(model)
    operators = {node.op_type for node in model.graph}
    assert operators == {"Conv", "Mul", "Pad", "Slice", "Add", "Pow", "Div"}
    assert model.graph.outputs[0].shape[0] == "batch"


def test_pixels_keep_their_256_values_so_that_the_normalization_bites():
    recipe = preprocessing(PRINTED)
    assert recipe == Preprocessing(227, 256, recipe.mean, recipe.std)
    assert (1 / recipe.std[0]) == pytest.approx(255, rel=1e-6)
    module, damped = build_module(PRINTED), []
    norm = module.features[2]
    norm.register_forward_hook(lambda _, inputs, output: damped.append((output.sum() / inputs[0].sum()).item()))
    with torch.no_grad():
        module(torch.randn(1, 3, 227, 227) * 60)
    assert damped[0] < 0.8 * 2.0**-0.75  # 2^-0.75 is what k alone does


def test_images_from_227_to_258_pixels_leave_6x6_maps():
    with torch.device("meta"):
        module = construct(PRINTED).features
        sizes = {size: module(torch.empty(1, 3, size, size)).shape[-1] for size in (226, 227, 258, 259)}
    assert sizes == {226: 5, 227: 6, 258: 6, 259: 7}


def test_the_smallest_image_of_one_tower_has_63_pixels():
    module = construct(ModelSpec("alexnet", image_size=63))
    assert module(torch.zeros(1, 3, 63, 63)).shape == (1, 1000)
    with pytest.raises(RuntimeError):
        module(torch.zeros(1, 3, 62, 62))
