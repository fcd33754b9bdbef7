"""Preprocessed images: the right pixels, the same ones every time, and never one image on both sides."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploykit.data import dataset as dataset_module
from deploykit.data.dataset import demo_images
from deploykit.data.images import assert_disjoint, open_images
from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.spec import Preprocessing

RECIPE = Preprocessing(crop=32, resize=40)
GREY = Preprocessing(crop=28, resize=28, mean=(0.1307,), std=(0.3081,))


def random_image(seed, size=(64, 48)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Eight images, two of them in a subfolder."""
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for index in range(8):
        name = f"more/{index}.PNG" if index > 5 else f"{index}.png"
        random_image(index, (64 + index, 48)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def opened(folder=None, role="calibration", recipe=RECIPE, *, channels=3, count=4, seed=0):
    return open_images(role, recipe, channels=channels, count=count, seed=seed, origin=folder)


def names(images):
    return tuple(raw.name for raw in images.used)


def array(images, batch=3):
    return np.concatenate(list(images.batches(batch)))


# Pixels


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (333, 111), (40, 40), (500, 375)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_folder_s_images_are_what_torchvision_makes_of_them(tmp_path, size, interpolation):
    transforms = pytest.importorskip("torchvision.transforms")
    random_image(0, size).save(tmp_path / "a.png")
    ours = array(opened(tmp_path, recipe=replace(RECIPE, interpolation=interpolation), count=1))[0]
    theirs = transforms.Compose(
        [
            transforms.Resize(RECIPE.resize, transforms.InterpolationMode(interpolation)),
            transforms.CenterCrop(RECIPE.crop),
            transforms.ToTensor(),
            transforms.Normalize(RECIPE.mean, RECIPE.std),
        ]
    )(random_image(0, size))
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=5e-7)


def test_channels_come_in_the_order_of_the_recipe(tmp_path):
    random_image(0, (40, 40)).save(tmp_path / "a.png")
    plain = replace(RECIPE, mean=(0.0,) * 3, std=(1.0,) * 3)
    rgb, bgr = (
        array(opened(tmp_path, recipe=replace(plain, channel_order=order), count=1)) for order in ("RGB", "BGR")
    )
    np.testing.assert_array_equal(bgr, rgb[:, ::-1])
    assert not np.array_equal(bgr, rgb)


def test_one_channel_is_luma(tmp_path):
    random_image(0, (28, 28)).save(tmp_path / "a.png")
    ours = array(opened(tmp_path, recipe=GREY, channels=1, count=1))
    red, green, blue = np.moveaxis(np.asarray(random_image(0, (28, 28)), np.float64), -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert ours.shape == (1, 1, 28, 28)
    assert np.abs((ours[0, 0] * 0.3081 + 0.1307) * 255 - luma).max() < 0.51  # one rounding to a grey level


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, resize=8), replace(RECIPE, crop=100, resize=100)])
@pytest.mark.parametrize("from_folder", [True, False])
def test_batches_are_float32_of_the_input_s_shape(folder, recipe, from_folder):
    batches = list(opened(folder if from_folder else None, recipe=recipe, count=7).batches(3))
    assert [batch.shape for batch in batches] == [(n, 3, recipe.crop, recipe.crop) for n in (3, 3, 1)]
    assert {batch.dtype for batch in batches} == {np.dtype(np.float32)}
    assert all(np.isfinite(batch).all() and batch.std() > 0.1 for batch in batches)


def test_batches_are_streamed(folder, monkeypatch):
    images = opened(folder, count=4)
    assert len(images.used) == 4  # sound images are known now
    read = []
    monkeypatch.setattr(dataset_module, "read_image", lambda path: read.append(path) or random_image(0))
    batches = images.batches(1)
    assert read == []
    next(batches)
    assert len(read) == 1


# Sameness


@pytest.mark.parametrize("from_folder", [True, False])
def test_the_same_request_gives_the_same_inputs_whatever_the_batch(folder, from_folder):
    where = folder if from_folder else None
    first, second = opened(where, count=11), opened(where, count=11)
    np.testing.assert_array_equal(array(first, 4), array(second, 11))
    assert (first.digest, first.used, len(first)) == (second.digest, second.used, 11)


def test_another_process_gives_the_same_inputs():
    code = """
import hashlib, numpy
from deploykit.data.images import open_images
from deploykit.spec import Preprocessing
images = open_images("test", Preprocessing(crop=32, resize=40), channels=3, count=3, seed=5)
print(images.digest, hashlib.sha256(next(images.batches(3)).tobytes()).hexdigest())
"""
    runs = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(runs) == 1


def test_the_digest_follows_everything_that_changes_the_inputs(folder):
    seen = [opened(folder).digest]
    seen += [opened(folder, **change).digest for change in ({"count": 3}, {"seed": 1}, {"role": "test"})]
    seen += [opened(folder, recipe=replace(RECIPE, crop=31)).digest, opened().digest]
    used = opened(folder).used[0].path
    random_image(99, Image.open(used).size).save(used)
    seen.append(opened(folder).digest)
    assert len(set(seen)) == len(seen)


def test_seeds_cut_different_crops():
    assert not np.array_equal(array(opened(seed=1)), array(opened(seed=2)))


def test_a_digest_and_opening_decode_no_more_than_one_image(folder, monkeypatch):
    decoded, read = [], dataset_module.read_image
    monkeypatch.setattr(dataset_module, "read_image", lambda path: decoded.append(path) or read(path))
    assert opened(folder).digest
    assert len(decoded) == 1


# Which images


def test_each_image_of_a_folder_is_used_once_before_crops_follow(folder):
    images = opened(folder, count=10)
    assert len(set(names(images))) == 4
    inputs = array(images)
    assert len(np.unique(inputs.reshape(10, -1), axis=0)) == 10


def test_the_two_roles_of_a_folder_share_it_without_overlap(folder):
    calibration, test = opened(folder), opened(folder, role="test")
    assert not set(names(calibration)) & set(names(test))
    assert len(set(names(calibration)) | set(names(test))) == 8
    assert_disjoint(calibration, test)


def test_the_split_does_not_depend_on_the_seed(folder):
    used = {frozenset(names(opened(folder, seed=seed))) for seed in range(5)}
    assert len(used) == 1


@pytest.mark.parametrize("suffix", [".png", ".bmp"])  # bitmaps of one shape all have one size
def test_a_copy_stays_on_the_side_of_its_original(tmp_path, suffix):
    for index in range(4):
        random_image(index).save(tmp_path / f"{index}{suffix}")
        shutil.copy(tmp_path / f"{index}{suffix}", tmp_path / f"copy of {index}{suffix}")
    calibration, test = opened(tmp_path, count=8), opened(tmp_path, role="test", count=8)
    assert len(set(names(calibration))) == len(set(names(test))) == 4
    assert_disjoint(calibration, test)


def test_one_image_serves_one_role_but_not_both(tmp_path):
    random_image(0).save(tmp_path / "only.png")
    calibration, test = opened(tmp_path), opened(tmp_path, role="test")
    with pytest.raises(UsageError, match=r"only\.png would serve for test and, as only\.png, for calibration; give"):
        assert_disjoint(calibration, test)


def test_demo_roles_share_no_image():
    calibration, test = opened(count=50), opened(role="test", count=50)
    assert_disjoint(calibration, test)
    assert {"china", "motorcycle_left", "motorcycle_right"} <= set(names(calibration))
    assert {"flower", "chelsea"} <= set(names(test))
    assert calibration.skipped == test.skipped == ()


def test_demo_images_state_where_they_come_from():
    found = demo_images()
    assert len(found) == 11
    assert all(item.license and item.source and item.path.is_file() for item in found)


def test_the_demo_images_are_found_without_importing_their_packages():
    code = "import sys; from deploykit.data.dataset import demo_images as demo; demo(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"skimage", "sklearn", "torch", "onnx"} & set(loaded)


# Origins other than folders


@pytest.mark.parametrize("table", ["image", "photograph"])  # the second is its old name
def test_a_recipe_names_files_and_roles(folder, tmp_path, table):
    recipe = tmp_path / "recipe.toml"
    rows = [
        f'[[{table}]]\nfile = "photos/{index}.png"\nrole = "{role}"'
        for index, role in ((0, "test"), (1, "calibration"))
    ]
    recipe.write_text("\n".join([*rows, f'[[{table}]]\nfile = "photos/gone.png"']))
    for role, name in (("test", "photos/0.png"), ("calibration", "photos/1.png")):
        images = opened(recipe, role=role, count=2)
        assert names(images) == (name,)
        assert [str(item) for item in images.skipped] == [f"photos/gone.png: {tmp_path} does not provide it here"]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[[image", UntrustedArtifact, "is not valid TOML"),
        ("other = 1", UntrustedArtifact, r"has no \[\[image\]\] tables"),
        ('[[image]]\nname = "a"', UntrustedArtifact, "an image has name; write strings; required: file"),
        ('[[image]]\nfile = "a"\nrole = "train"', UntrustedArtifact, "unknown role 'train'"),
        ('[[image]]\nfile = "a"\npackage = "os.path"', UntrustedArtifact, "'os.path' is not a top-level package"),
        ('[[image]]\nfile = "a.png"', UsageError, "has no usable image, the first: a.png"),
    ],
)
def test_a_recipe_that_is_none_is_refused(tmp_path, text, error, message):
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(error, match=message):
        opened(tmp_path / "recipe.toml")


def test_an_archive_gives_the_images_of_its_pixels(folder, tmp_path):
    """The same images as files and as an array: the same inputs, whoever gets them."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), dtype=np.uint8)
    np.savez(tmp_path / "pixels.npz", images=pixels)
    parts = [opened(tmp_path / "pixels.npz", role=role, count=3) for role in ("calibration", "test")]
    assert sorted(name for images in parts for name in names(images)) == [f"pixels.npz[{index}]" for index in range(6)]
    (tmp_path / "files").mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "files" / f"{index}.png")
    files = [opened(tmp_path / "files", role=role, count=3) for role in ("calibration", "test")]
    ours, theirs = (np.concatenate([array(images) for images in both]) for both in (parts, files))
    assert {image.tobytes() for image in ours} == {image.tobytes() for image in theirs}


def test_copies_in_an_archive_stay_on_one_side(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 48, 64), dtype=np.uint8)
    np.savez(tmp_path / "pixels.npz", images=np.concatenate([pixels, pixels]))
    sides = [opened(tmp_path / "pixels.npz", role=role, count=8) for role in ("calibration", "test")]
    assert_disjoint(*sides)
    assert sum(len(images.used) for images in sides) == 8


# What is wrong with them


def spoil(path):
    path.write_bytes(b"x" * path.stat().st_size)  # its size, and so its role, stays


def test_a_broken_image_is_named_and_the_next_one_takes_its_place(folder):
    first, second, third, _ = names(opened(folder, count=4))
    spoil(folder / first)
    images = opened(folder, count=2)
    assert names(images) == (second, third)
    assert [item.name for item in images.skipped] == [first]
    assert str(images.skipped[0]).startswith(f"{first}: cannot read image {folder / first}")


def test_crops_make_up_for_broken_images_that_nothing_replaces(folder):
    first, second, third, fourth = names(opened(folder, count=4))
    spoil(folder / first)
    spoil(folder / third)
    images = opened(folder, count=4)
    assert names(images) == (second, fourth)
    assert len(images.skipped) == 2
    assert len(np.unique(array(images).reshape(4, -1), axis=0)) == 4


def test_a_folder_of_broken_images_is_refused_at_once(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(name.encode() * 100)
    with pytest.raises(UsageError, match="for calibration can be read; the first: cannot read image"):
        opened(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".hidden.png").write_text("")
    with pytest.raises(UsageError, match=r"has no image; looked for .*\.png"):
        opened(tmp_path)


@pytest.mark.parametrize(("name", "message"), [("absent", "does not exist"), ("file", "is not a folder")])
def test_a_wrong_folder_is_refused(tmp_path, name, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=message):
        opened(tmp_path / name)


def test_a_dangling_link_is_skipped_and_named(folder):
    (folder / "link.png").symlink_to(folder / "gone.png")
    both = [opened(folder, role=role, count=9) for role in ("calibration", "test")]
    assert [item.name for images in both for item in images.skipped] == ["link.png"]
    assert len({images.digest for images in both}) == 2
    assert len({name for images in both for name in names(images)}) == 8


@pytest.mark.parametrize("role", ["calibration", "test"])
def test_a_dangling_link_that_only_stands_in_does_not_stop_a_digest(folder, role):
    before = opened(folder, role=role, count=1).digest
    for index in range(4):
        (folder / f"link{index}.png").symlink_to(folder / "gone.png")
    found = opened(folder, role=role, count=1)
    assert len(found.digest) == len(before) == 64
    assert next(found.batches(1)).shape == (1, 3, 32, 32)


def test_absent_demo_packages_are_named_with_the_fix(monkeypatch):
    monkeypatch.setattr(dataset_module, "find_spec", lambda name: None)
    for call in (demo_images, opened):
        with pytest.raises(UsageError, match=r'not installed; pip install "deploykit\[demo\]", or give a folder'):
            call()


def test_one_demo_package_is_enough(monkeypatch):
    find_spec = dataset_module.find_spec
    monkeypatch.setattr(dataset_module, "find_spec", lambda name: None if name == "skimage" else find_spec(name))
    images = opened(count=3)
    assert set(names(images)) == {"china"}
    assert len(images.skipped) == 9
    assert str(images.skipped[0]) == "astronaut: skimage does not provide it here"


def test_a_demo_image_of_another_version_is_not_used(monkeypatch):
    digest = dataset_module.RawImage.digest.fget
    changed = property(lambda raw: "0" if raw.path.stem == "coffee" else digest(raw))
    monkeypatch.setattr(dataset_module.RawImage, "digest", changed)
    assert "coffee" not in [item.name for item in demo_images()]
    assert [item.name for item in opened().skipped] == ["coffee"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"role": "train"}, "unknown role 'train'"),
        ({"count": 0}, "0 images"),
        ({"channels": 4}, "of 4 channels"),
        ({"channels": 1}, "are not for 1 channels"),
        ({"recipe": replace(RECIPE, interpolation="cubic")}, "unknown interpolation 'cubic'"),
        ({"recipe": replace(RECIPE, channel_order="GBR")}, "unknown channel order 'GBR'"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        opened(**change)


def test_a_batch_of_none_is_refused(folder):
    with pytest.raises(UsageError, match="a batch of 0 images"):
        list(opened(folder).batches(0))


def test_the_manifest_in_the_calibration_folder_is_the_package_s():
    root = Path(__file__).parents[2]
    assert (root / "calibration" / "demo.toml").resolve() == root / "deploykit" / "data" / "demo.toml"
