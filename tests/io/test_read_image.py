"""Photographs: turned, in RGB, or refused in one line."""

import numpy as np
import pytest
from PIL import Image

from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.io.loader import read_image

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tiff", ".webp", ".gif", ".jpg"])
def test_every_format_becomes_rgb(tmp_path, suffix):
    Image.fromarray(PIXELS).save(tmp_path / f"photo{suffix}", lossless=True)
    image = read_image(tmp_path / f"photo{suffix}")
    assert (image.mode, image.size) == ("RGB", (30, 20))
    if suffix not in (".gif", ".jpg"):
        np.testing.assert_array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    Image.fromarray(PIXELS).convert(mode).save(tmp_path / "photo.tiff")
    assert read_image(tmp_path / "photo.tiff").mode == "RGB"


def test_sixteen_bits_of_grey_keep_their_brightness(tmp_path):
    grey = (PIXELS[..., 0].astype(np.uint16) << 8) + 17
    Image.fromarray(grey).save(tmp_path / "photo.png")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "photo.png")), PIXELS[..., :1].repeat(3, axis=2))


def test_the_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise
    Image.fromarray(PIXELS).save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "photo.png")), np.rot90(PIXELS, -1))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_a_truncated_image_is_refused(tmp_path, suffix, share):
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(PIXELS).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(UntrustedArtifact, match="cannot read image") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_an_image_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.new("1", (20_000, 6_000)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(UntrustedArtifact, match="20000 x 6000 pixels, more than 100000000"):
        read_image(tmp_path / "bomb.png")


def test_the_limit_itself_passes(tmp_path, monkeypatch):
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    monkeypatch.setenv("DEPLOYKIT_MAX_IMAGE_PIXELS", "600")
    assert read_image(tmp_path / "photo.png").size == (30, 20)
    monkeypatch.setenv("DEPLOYKIT_MAX_IMAGE_PIXELS", "599")
    with pytest.raises(UntrustedArtifact, match="more than 599"):
        read_image(tmp_path / "photo.png")


def test_a_far_larger_bomb_is_refused_too(tmp_path):
    Image.new("1", (100_000, 10_000)).save(tmp_path / "bomb.png")
    with pytest.raises(UntrustedArtifact, match="pixels"):
        read_image(tmp_path / "bomb.png")


def test_floating_point_values_are_refused(tmp_path):
    Image.fromarray(PIXELS[..., 0].astype(np.float32)).save(tmp_path / "photo.tiff")
    with pytest.raises(UntrustedArtifact, match="floating-point"):
        read_image(tmp_path / "photo.tiff")


def test_a_format_that_needs_another_program_is_no_image(tmp_path):
    (tmp_path / "photo.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(UntrustedArtifact, match="cannot read image"):
        read_image(tmp_path / "photo.eps")


def test_a_missing_image_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="there is no image"):
        read_image(tmp_path / "photo.png")
