"""Pictures whose resized form would be far larger than they are, and large ones in numbers."""

import numpy as np
import pytest
from PIL import Image

from deploykit.data import images as module
from deploykit.data.images import fitted, open_images
from deploykit.spec import Preprocessing

RECIPE = Preprocessing(crop=32, resize=40)


@pytest.mark.parametrize("size", [(64, 48), (31, 97), (300, 41), (3, 200)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_resizing_the_part_that_is_used_gives_the_same_picture(monkeypatch, size, interpolation):
    """To a rounding, but for what the wider filters take over the edge of the part."""
    random = np.random.default_rng(3)
    image = Image.fromarray(random.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    recipe = Preprocessing(crop=32, resize=40, interpolation=interpolation)
    whole = np.asarray(fitted(image, recipe), np.int16)
    monkeypatch.setattr(module, "LARGEST_RESIZED", 0)
    difference = np.abs(whole - np.asarray(fitted(image, recipe), np.int16))
    assert difference.max() <= 1 or interpolation != "bilinear"
    assert difference.mean() < 1


def test_a_thread_of_a_picture_is_not_unfolded(monkeypatch):
    made = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, size, *a, **k: made.append(size) or resize(self, size, *a, **k)
    )
    for size in ((2, 90_000), (90_000, 2)):
        assert fitted(Image.new("RGB", size), RECIPE).size == (32, 32)
    assert made == [(32, 32)] * 2


def test_large_images_are_not_kept(tmp_path, monkeypatch):
    for name in "abcd":
        Image.fromarray(np.random.default_rng(ord(name)).integers(0, 256, (20, 20, 3), np.uint8)).save(
            tmp_path / f"{name}.png"
        )
    images = open_images("calibration", RECIPE, channels=3, count=8, seed=0, origin=tmp_path)
    read, used = [], len(images.used)
    original = module.RawImage.read
    monkeypatch.setattr(module.RawImage, "read", lambda raw: read.append(raw.name) or original(raw))
    kept = list(images.batches(1))
    once = len(read)
    monkeypatch.setattr(module, "LARGEST_KEPT", 399)
    assert [batch.tobytes() for batch in images.batches(1)] == [batch.tobytes() for batch in kept]
    assert (once, len(read) - once) == (used, 8)
