"""How an image comes to an input's size: cut, stretched or fitted in, square or not, in either layout."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from deploykit.data.images import fitted, normalize, open_images
from deploykit.spec import Preprocessing

WIDE = Preprocessing.without_card(channels=3, height=32, width=64)  # no margin at this size


def halves(size: tuple[int, int]) -> Image.Image:
    """White on the left half, black on the right."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(200, 100), (300, 100), (100, 100), (64, 32), (33, 90)])
@pytest.mark.parametrize("margin", [0, 8])
def test_a_cut_fills_inputs_that_are_not_square_and_keeps_the_ratio(size, margin):
    image = Image.fromarray(np.tile(np.arange(size[0], dtype=np.uint8)[None, :, None], (size[1], 1, 3)))
    found = np.asarray(fitted(image, replace(WIDE, resize=WIDE.resize + margin)))
    assert found.shape == (32, 64, 3)
    share = max(64 / size[0], 32 / size[1]) * (WIDE.resize + margin) / WIDE.resize
    across = int(found[16, 62, 0]) - int(found[16, 1, 0])
    assert across == pytest.approx(61 / share, abs=2.5)  # pixels of the image that the input shows


def test_a_cut_of_torchvision_s_sizes_is_torchvision_s(tmp_path):
    transforms = pytest.importorskip("torchvision.transforms")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 200, 3), dtype=np.uint8))
    theirs = transforms.CenterCrop((32, 64))(transforms.Resize(36)(image))
    recipe = replace(WIDE, resize=36)
    np.testing.assert_array_equal(np.asarray(fitted(image, recipe)), np.asarray(theirs))


def test_letterbox_shows_all_of_it_between_grey_bars():
    found = np.asarray(fitted(halves((50, 100)), replace(WIDE, fit="letterbox", pad=114)))
    assert found.shape == (32, 64, 3)
    assert (found[:, :24] == 114).all()
    assert (found[:, 40:] == 114).all()
    assert (found[:, 25:30] == 255).all()
    assert (found[:, 34:39] == 0).all()


def test_stretch_shows_all_of_it_at_any_ratio():
    found = np.asarray(fitted(halves((50, 100)), replace(WIDE, fit="stretch")))
    assert (found[:, :30] == 255).all()
    assert (found[:, 34:] == 0).all()


@pytest.mark.parametrize(("order", "first"), [("RGB", 10), ("BGR", 30)])
def test_layout_scale_and_order(order, first):
    image = Image.new("RGB", (64, 32), (10, 20, 30))
    recipe = replace(WIDE, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3, channel_order=order)
    planes = normalize(image, recipe, 3)
    assert (planes.shape, planes[0, 0, 0]) == ((3, 32, 64), first)
    last = normalize(image, replace(recipe, layout="NHWC"), 3)
    np.testing.assert_array_equal(last, planes.transpose(1, 2, 0))


@pytest.mark.parametrize("fit", ["crop", "stretch", "letterbox"])
def test_crops_of_the_demo_images_have_the_input_s_shape(fit):
    images = open_images("test", replace(WIDE, fit=fit), channels=3, count=3, seed=0)
    (batch,) = images.batches(3)
    assert batch.shape == (3, 3, 32, 64)
    assert batch.std() > 0.1
