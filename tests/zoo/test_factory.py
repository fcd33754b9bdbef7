"""A user's own factory, `package.module:function`, and everything that can be wrong with one."""

import os
import subprocess
import sys

import pytest
import torch

from deploykit.errors import UnknownName, UsageError
from deploykit.spec import InputShape, ModelSpec, TensorSpec, parse_factory_args, parse_input_shape
from deploykit.zoo.registry import build_module, card_of, input_spec, output_specs, preprocessing, source_files
from deploykit.zoo.sources import imported_names

NETWORK = """
import torch
from torch import nn

def tiny(width=4, classes=5):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))

def needy(width):
    return tiny(width)

def number():
    return 3

def failing():
    raise ValueError("no such depth")

class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = tiny()

class Two(Wrapped):
    def forward(self, images):
        return self.network(images), images.mean((2, 3))

class Listed(Two):
    def forward(self, images):
        return list(super().forward(images))

def leaving():
    raise SystemExit(0)

class Named(Wrapped):
    def forward(self, images):
        return {"logits": self.network(images)}

class Worded(Wrapped):
    def forward(self, images):
        return {"logits": self.network(images), "note": "fine"}

class PerImage(Wrapped):
    def forward(self, images):
        return list(self.network(images))

class OneImage(Wrapped):
    def forward(self, images):
        return self.network(images.reshape(1, 3, 8, 8))

class Pairs(Wrapped):
    def forward(self, images):
        return self.network(images).reshape(2, -1, 5)[:, :1].reshape(-1, 5) + images.reshape(2, -1)[:, :5]

MODULE = tiny()
NUMBER = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    """A module of its own in the current directory, which is not on the search path."""
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return name


def spec(factory: str, shape: str = "3,8,8", arguments: str = "{}") -> ModelSpec:
    return ModelSpec(factory, input_shape=(parse_input_shape(shape),), factory_args=parse_factory_args(arguments))


def test_a_factory_in_the_current_directory_is_found_and_built(module):
    model = spec(f"{module}:tiny", arguments='{"width": 6}')
    network = build_module(model)
    assert network[0].out_channels == 6
    assert not network.training
    assert input_spec(model) == TensorSpec("images", ("batch", 3, 8, 8), "float32")
    assert output_specs(model) == (TensorSpec("logits", ("batch", 5), "float32"),)
    assert (card_of(model).params, card_of(model).macs) == (None, None)


def test_images_need_not_be_square(module):
    model = spec(f"{module}:tiny", "3,8,12")
    assert input_spec(model).shape == ("batch", 3, 8, 12)
    assert output_specs(model)[0].shape == ("batch", 5)


@pytest.mark.parametrize("name", ["Two", "Listed"])
def test_a_class_is_a_factory_and_several_outputs_are_numbered(module, name):
    assert output_specs(spec(f"{module}:{name}")) == (
        TensorSpec("output_0", ("batch", 5), "float32"),
        TensorSpec("output_1", ("batch", 3), "float32"),
    )


def test_an_output_in_a_dictionary_has_its_key_for_a_name(module):
    assert output_specs(spec(f"{module}:Named")) == (TensorSpec("logits", ("batch", 5), "float32"),)


def test_seeded_weights_repeat_and_differ_by_seed(module):
    factory = f"{module}:tiny"
    first, again, other = (
        build_module(ModelSpec(factory, input_shape=(3, 8, 8), seed=seed))[0].weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("shape", "crop", "resize", "channels"),
    [("3,96,96", 96, 110, 3), ("1,96,96", 96, 110, 1), ("3,64,64", 64, 64, 3), ("1,28,28", 28, 28, 1)],
)
def test_photographs_are_shown_as_to_a_network_without_a_card(module, shape, crop, resize, channels):
    """The middle of a larger image; small ones, such as MNIST's, have no margin and are not cut."""
    recipe = preprocessing(spec(f"{module}:tiny", shape))
    assert (recipe.crop, recipe.resize, len(recipe.mean), len(recipe.std)) == (crop, resize, channels, channels)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("needy", "{}", r"needy cannot be called: missing a required argument: 'width'; it takes width"),
        ("tiny", '{"depth": 2}', r"unexpected keyword argument 'depth'; it takes width=4, classes=5; .*--factory-args"),
        ("number", "{}", r"number returned int, not a network; a factory returns a torch\.nn\.Module"),
        ("failing", "{}", r"failing failed: ValueError: no such depth"),
        ("leaving", "{}", r"leaving failed: SystemExit: 0"),
        ("MODULE", "{}", r"MODULE is a module, not a function"),
        ("NUMBER", "{}", r"NUMBER is of type int, not a function"),
    ],
)
def test_a_factory_that_makes_no_network_is_one_clear_line(module, function, arguments, message):
    with pytest.raises(UsageError, match=message):
        build_module(spec(f"{module}:{function}", arguments=arguments))


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        ("tiny", "4,8,8", r"cannot run on images of 4x8x8: .*; give the --input-shape it takes"),
        ("tiny", "3,2,2", r"cannot run on images of 3x2x2"),
        ("Worded", "3,8,8", r":Worded: the network returns a str at note; return tensors, in tuples, lists"),
        ("PerImage", "3,8,8", r"returns 2 tensors for 2 images and 3 for 3; return stacked tensors"),
        (
            "OneImage",
            "3,8,8",
            r"runs on 1 image of 3x8x8 and not on 2: RuntimeError: .*; take the batch from the input",
        ),
        ("Pairs", "3,8,8", r"runs on 2 images of 3x8x8 and not on 3: RuntimeError"),
    ],
)
def test_a_network_that_cannot_be_shown_images_is_one_clear_line(module, function, shape, message):
    with pytest.raises(UsageError, match=message):
        output_specs(spec(f"{module}:{function}", shape))


def test_an_unknown_function_comes_with_the_nearest(module):
    with pytest.raises(UnknownName, match=f"unknown function of {module} 'tinny'; did you mean tiny"):
        build_module(spec(f"{module}:tinny"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import missing_library", "ModuleNotFoundError: No module"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit: 0"),
    ],
)
def test_a_module_that_cannot_be_imported_says_why(tmp_path, monkeypatch, text, message):
    name = f"broken_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match=f"cannot import {name}: {message}"):
        build_module(spec(f"{name}:tiny"))


def test_the_source_of_a_factory_is_its_module_or_its_package(module, tmp_path):
    assert source_files(spec(f"{module}:tiny")) == (tmp_path / f"{module}.py",)
    package = tmp_path / f"package_{tmp_path.name}"
    (package / "blocks").mkdir(parents=True)
    for name in ("__init__.py", "blocks/deep.py"):
        (package / name).write_text("")
    found = source_files(spec(f"{package.name}.blocks.deep:network"))
    assert found == (package / "__init__.py", package / "blocks/deep.py")


def test_neighbors_that_a_factory_imports_are_sources_too(module, tmp_path):
    (tmp_path / "unrelated.py").write_text("")
    (tmp_path / f"blocks_{tmp_path.name}.py").write_text(f"def later():\n    import widths_{tmp_path.name}.deep")
    (tmp_path / f"widths_{tmp_path.name}").mkdir()
    for name in ("__init__.py", "deep.py"):
        (tmp_path / f"widths_{tmp_path.name}" / name).write_text("import torch, json")
    own = tmp_path / f"{module}.py"
    own.write_text(f"import timm\nfrom blocks_{tmp_path.name} import later\n" + own.read_text())
    found = source_files(spec(f"{module}:tiny"))
    names = [f"blocks_{tmp_path.name}.py", *(f"widths_{tmp_path.name}/{name}" for name in ("__init__.py", "deep.py"))]
    assert set(found) == {own, *(tmp_path / name for name in names)}
    assert {"timm", "torch"} <= imported_names(found)
    assert "json" not in imported_names(found)


def test_images_too_wide_are_refused(module):
    with pytest.raises(UsageError, match="images of 99999 pixels are too large"):
        input_spec(spec(f"{module}:tiny", "3,16,99999"))


def test_a_factory_whose_module_is_not_there_is_named(module):
    with pytest.raises(UsageError, match=r"model elsewhere\.net:tiny: there is no module 'elsewhere'"):
        source_files(spec("elsewhere.net:tiny"))


def test_the_current_directory_is_searched_for_factories_alone(tmp_path):
    (tmp_path / "timm.py").write_text("raise SystemExit('imported')")
    code = """
import sys
from deploykit.spec import ModelSpec
from deploykit.zoo.registry import construct
construct(ModelSpec("test_convnet"))
print(sys.argv[1] in sys.path)
"""
    command = [sys.executable, "-P", "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "net:tiny"}, r"the input of net:tiny is not known; give input_shape: --input-shape 3,224,224"),
        (
            {"name": "net:tiny", "input_shape": (3, 8, 8), "width_mult": 0.5, "image_size": 8},
            r"net:tiny is not a network of the zoo; leave out --image-size, --width-mult",
        ),
        (
            {"name": "resnet18", "image_size": 8, "input_shape": (3, 8, 8)},
            r"\(--input-shape\) both give the size",
        ),
        ({"name": "net.onnx", "factory_args": (("width", 1),)}, r"leave out --factory-args"),
        ({"name": "net.onnx", "init_from": "vgg11"}, r"leave out --init-from"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        ModelSpec(**options)


def test_a_zoo_network_takes_the_arguments_of_its_card_only():
    with pytest.raises(UsageError, match="resnet50 takes no argument 'depth'"):
        card_of(ModelSpec("resnet50", factory_args=(("depth", 2),)))
    with pytest.raises(UsageError, match="an option of its own; give --width-mult"):
        card_of(ModelSpec("mobilenet", factory_args=(("width_mult", 0.5),)))


@pytest.mark.parametrize(
    "text", ["0,8,8", "-3,8,8", "3,a,8", "", "3,99999999,8", "3,8x8,", "x=", "=3,8,8", "3x[8:16]x8", "x=1x0x3"]
)
def test_an_input_shape_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match=r"cannot read input shape .*channels,height,width"):
        parse_input_shape(text)


def test_an_input_shape_is_read_in_either_notation():
    assert parse_input_shape("3,224,192") == parse_input_shape("3x224x192") == InputShape("", None, (3, 224, 192))


@pytest.mark.parametrize("text", ["{", "[1]", "3", '{"a": [1]}', '{"a": {}}'])
def test_factory_arguments_that_are_no_object_of_plain_values_are_refused(text):
    with pytest.raises(UsageError, match=r"factory arguments .*JSON object"):
        parse_factory_args(text)


def test_factory_arguments_do_not_depend_on_their_order():
    assert parse_factory_args('{"b": null, "a": 1.5}') == parse_factory_args('{"a": 1.5, "b": null}')


def test_labels_are_short_and_say_what_was_changed():
    assert spec("package.net:tiny", arguments='{"width": 6}').label == "tiny-width=6"
    assert ModelSpec("mobilenet", width_mult=0.5, image_size=160).label == "mobilenet-w0.5-160"
