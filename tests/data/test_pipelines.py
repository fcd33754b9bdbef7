"""Pipelines from a file to a network's input, and the faults that are found in those whose steps nobody knows."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from torch import from_numpy
from torch.nn.functional import interpolate

from deploykit.data.dataset import RawImage
from deploykit.data.images import fitted, normalize
from deploykit.data.pipelines import STEPS, in_pixels, pillow_pipeline, reference_pipeline, torchvision_pipeline
from deploykit.data.preprocessing_faults import EQUAL, apart, explained, faults_of
from deploykit.errors import UsageError
from deploykit.spec import Preprocessing

CARD = Preprocessing(32, 36)
GREY = Preprocessing(28, 28, mean=(0.1307,), std=(0.3081,))
RECIPES = {
    "crop": CARD,
    "wide": Preprocessing.without_card(channels=3, height=24, width=40),
    "letterbox": replace(CARD, fit="letterbox"),
    "stretch": replace(CARD, fit="stretch"),
    "bgr": replace(CARD, channel_order="BGR"),
    "grey": GREY,
    "last": replace(CARD, layout="NHWC"),
    "bytes": replace(CARD, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Colorful, with detail that a resize has to average, and one of them lying on its side."""
    folder = tmp_path_factory.mktemp("detailed")
    random = np.random.default_rng(2)
    for number in range(4):
        coarse = random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((180, 150), Image.Resampling.BICUBIC), np.float32)
        detailed = smooth * 0.6 + random.uniform(0, 100, smooth.shape)
        image, exif = Image.fromarray(detailed.clip(0, 255).astype(np.uint8)), Image.Exif()
        if number == 0:
            exif[0x0112] = 6  # turn it by 90 degrees
        image.save(folder / f"{number}.png", exif=exif)
    return [RawImage(path.name, path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("name", RECIPES)
def test_the_pillow_pipeline_is_what_deploykit_feeds_networks(images, name):
    recipe = RECIPES[name]
    for raw in images:
        fed = normalize(fitted(raw.read(), recipe), recipe, len(recipe.mean))
        np.testing.assert_allclose(pillow_pipeline(recipe)(raw), fed, rtol=0, atol=1e-6 * np.abs(fed).max())
        difference = in_pixels(reference_pipeline(recipe)(raw) - fed, recipe)
        assert np.abs(difference).max() < 1e-4


@pytest.mark.parametrize("name", RECIPES)
def test_torchvision_is_within_a_rounding_to_bytes(images, name):
    pytest.importorskip("torchvision")
    recipe = RECIPES[name]
    pipeline, reference = torchvision_pipeline(recipe), reference_pipeline(recipe)
    found, expected = [pipeline(raw) for raw in images], [reference(raw) for raw in images]
    assert apart(found, expected, recipe) < 1.0
    for raw in images:  # PNG is decoded without loss, and turned upright by both
        np.testing.assert_array_equal(pipeline.decode(raw), reference.decode(raw))


def test_torchvision_does_not_resize_tensors_by_everything():
    pytest.importorskip("torchvision")
    with pytest.raises(UsageError, match="torchvision does not resize tensors by lanczos"):
        torchvision_pipeline(replace(CARD, interpolation="lanczos"))


def test_a_step_stands_in_for_another(images):
    reference = reference_pipeline(CARD)
    swapped = replace(reference, color=lambda pixels: pixels[..., ::-1])
    mixed = reference.with_step("color", swapped)
    np.testing.assert_array_equal(
        mixed(images[1]), reference.normalize(reference.resize(reference.decode(images[1]))[..., ::-1])
    )
    decoded = reference.decode(images[1])
    np.testing.assert_array_equal(reference.after("decode", decoded), reference(images[1]))
    assert STEPS == ("decode", "resize", "color", "normalize")


def prepared(raw, *, antialias=True, bgr=False, scale=255.0, mean=CARD.mean, std=CARD.std, upright=True, margin=36):
    """What a user's own function might do, on nothing of deploykit's but the file."""
    image = Image.open(raw.path)
    if upright and image.getexif().get(0x0112) == 6:
        image = image.transpose(Image.Transpose.ROTATE_270)
    short = min(image.size)
    width, height = (margin if length == short else int(margin * length / short) for length in image.size)
    if antialias:
        pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.float64)
    else:
        planes = from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None]
        found = interpolate(planes, (height, width), mode="bilinear", align_corners=False)[0]
        pixels = found.permute(1, 2, 0).numpy().astype(np.float64)
    left, top = round((width - 32) / 2), round((height - 32) / 2)
    pixels = pixels[top : top + 32, left : left + 32]
    pixels = pixels[..., ::-1] if bgr else pixels
    return ((pixels / scale - np.array(mean)) / np.array(std)).transpose(2, 0, 1)


NO_MEAN, NO_STD = (0.0,) * 3, (1.0,) * 3


@pytest.mark.parametrize(
    ("faults", "named"),
    [
        ({}, []),
        ({"bgr": True}, [("color", "BGR for RGB")]),
        ({"antialias": False}, [("resize", "bilinear without antialias")]),
        ({"mean": NO_MEAN, "std": NO_STD}, [("normalize", "missing: pixel / 255, neither mean nor deviation")]),
        (
            {"mean": NO_MEAN, "std": NO_STD, "scale": 1.0},
            [("normalize", "missing: pixels of 0 to 255 as they are")],
        ),
        ({"mean": (0.5,) * 3, "std": (0.5,) * 3}, [("normalize", "pixels between -1 and 1")]),
        ({"std": NO_STD}, [("normalize", "the mean alone, no deviation")]),
        ({"scale": 1.0}, [("normalize", "no division by 255 before the mean and the deviation")]),
        ({"upright": False}, [("decode", "the EXIF orientation is ignored")]),
        ({"margin": 32}, [("resize", "short side to 32, without the margin of 36")]),
    ],
)
def test_a_planted_fault_is_named(images, faults, named):
    found = [prepared(raw, **faults) for raw in images]
    assert [(fault.step, fault.said) for fault in explained(found, images, CARD)] == named


def test_two_faults_at_once_are_both_named(images):
    found = [prepared(raw, bgr=True, mean=NO_MEAN, std=NO_STD) for raw in images]
    assert {fault.step for fault in explained(found, images, CARD)} == {"color", "normalize"}


def test_what_no_usual_fault_explains_is_not_named(images):
    random = np.random.default_rng(0)
    found = [prepared(raw)[:, ::-1].copy() + random.normal(size=(3, 32, 32)) for raw in images]
    assert explained(found, images, CARD) == ()
    assert explained([np.full((3, 32, 32), np.nan)] * len(images), images, CARD) == ()


@pytest.mark.parametrize("name", RECIPES)
def test_no_fault_is_the_reference_itself(images, name):
    recipe = RECIPES[name]
    reference = [reference_pipeline(recipe)(raw) for raw in images]
    found = {
        fault.said: apart([fault.pipeline(raw) for raw in images], reference, recipe) for fault in faults_of(recipe)
    }
    assert min(found.values()) > EQUAL
