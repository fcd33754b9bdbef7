import importlib
import inspect
import os
import shutil
import subprocess
import sys

import pytest
import torch

from deploykit.errors import UnknownName, UsageError
from deploykit.spec import ModelSpec, Preprocessing, TensorSpec
from deploykit.zoo.registry import (
    Card,
    build_module,
    cards,
    construct,
    find_card,
    input_spec,
    output_specs,
    preprocessing,
    source_files,
)

MINIATURES = [card.name for card in cards().values() if card.is_miniature]


def test_cards_and_factories_match_one_to_one():
    families = {card.factory.partition(":")[0] for card in cards().values()}
    made = set()
    for family in families:
        module = importlib.import_module(family)
        functions = inspect.getmembers(module, inspect.isfunction)
        made |= {
            f"{family}:{name}"
            for name, function in functions
            if function.__module__ == family
            and not name.startswith("_")
            and name not in {"convolution", "projection", "stage", "thinned"}  # parts of networks
        }
    assert made == {card.factory for card in cards().values()}
    assert all(card.factory.endswith(f":{name}") and card.name == name for name, card in cards().items())


@pytest.mark.parametrize("name", cards())
def test_a_module_keeps_the_promises_of_its_card(name):
    card = cards()[name]
    spec = ModelSpec(name)
    with torch.device("meta"):
        module = construct(spec)
        logits = module(torch.empty(input_spec(spec).at_batch(3)))
    (output,) = output_specs(spec)
    assert logits.shape == output.at_batch(3)
    assert output == TensorSpec("logits", ("batch", card.classes), "float32")
    assert not module.training
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    recipe = preprocessing(spec)
    assert recipe.crop == card.image_size <= recipe.resize
    assert len(recipe.mean) == len(recipe.std) == card.channels
    assert hash(card) is not None


@pytest.mark.parametrize("name", [card.name for card in cards().values() if card.twin])
def test_weights_come_with_accuracy_and_license(name):
    card = cards()[name]
    assert 56 < card.top1 < 84
    assert card.top1_source
    assert card.license
    assert card.arxiv


@pytest.mark.parametrize(
    "name",
    [
        "lenet5",
        "vgg11",
        "test_convnet",
        "test_alexnet",
        "test_googlenet",
        "test_inception",
        "test_inception_resnet",
        "test_xception",
    ],
)
def test_the_smallest_image_is_the_one_that_the_network_can_take(name):
    spec = ModelSpec(name)
    minimum = cards()[name].min_image_size
    module = construct(spec).eval()
    channels = cards()[name].channels
    assert module(torch.zeros(1, channels, minimum, minimum)).shape == (1, cards()[name].classes)
    with pytest.raises(RuntimeError):
        module(torch.zeros(1, channels, minimum - 1, minimum - 1))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet", "test_resnet", "test_mobilenet", "test_resnext"])
def test_networks_without_a_limit_take_a_single_pixel(name):
    assert cards()[name].min_image_size == 1
    assert construct(ModelSpec(name)).eval()(torch.zeros(1, 3, 1, 1)).shape == (1, cards()[name].classes)


def test_the_largest_image_of_lenet_is_the_one_that_it_can_take():
    module = construct(ModelSpec("lenet5"))
    assert module(torch.zeros(1, 1, 35, 35)).shape == (1, 10)
    with pytest.raises(RuntimeError):
        module(torch.zeros(1, 1, 36, 36))
    with pytest.raises(UsageError, match=r"36 pixels are too large for lenet5; the maximum is 35"):
        input_spec(ModelSpec("lenet5", image_size=36))


@pytest.mark.parametrize("size", [31, 1, 0, -224])
@pytest.mark.parametrize("ask", [input_spec, output_specs, preprocessing, build_module])
def test_images_too_small_are_refused_with_the_minimum(ask, size):
    with pytest.raises(UsageError, match=rf"images of {size} pixels are too small for vgg11; the minimum is 32"):
        ask(ModelSpec("vgg11", image_size=size))


def test_no_network_takes_no_pixels():
    with pytest.raises(UsageError, match=r"images of 0 pixels .* the minimum is 1"):
        input_spec(ModelSpec("resnet18", image_size=0))


def test_input_follows_the_image_size():
    assert input_spec(ModelSpec("resnet50")) == TensorSpec("images", ("batch", 3, 224, 224), "float32")
    assert input_spec(ModelSpec("resnet50", image_size=64)).shape == ("batch", 3, 64, 64)
    assert input_spec(ModelSpec("lenet5")).shape == ("batch", 1, 32, 32)


def test_preprocessing_follows_the_image_size():
    recipe = preprocessing(ModelSpec("mobilenet", image_size=112))
    assert recipe == Preprocessing(112, 128, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")


@pytest.mark.parametrize("width_mult", [0.0, -1.0, 17.0, float("nan"), float("inf")])
def test_width_multipliers_out_of_range_are_refused(width_mult):
    with pytest.raises(UsageError, match="is not above 0 and at most 16"):
        input_spec(ModelSpec("mobilenet", width_mult=width_mult))


def test_width_multiplier_only_where_the_card_has_it():
    with pytest.raises(UsageError, match="resnet50 has no width multiplier; networks that do: mobilenet"):
        build_module(ModelSpec("resnet50", width_mult=0.5))


def test_narrow_networks_keep_eight_channels():
    module = construct(ModelSpec("mobilenet", width_mult=0.01, image_size=32))
    assert {layer.out_channels for layer in module.modules() if isinstance(layer, torch.nn.Conv2d)} == {8}


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(UsageError, match=f"seed {seed} is outside"):
        build_module(ModelSpec("test_convnet", seed=seed))


@pytest.mark.parametrize("name", MINIATURES)
def test_a_seed_reproduces_and_another_differs(name):
    first, again, other = (build_module(ModelSpec(name, seed=seed)).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    *_, head = (key for key, tensor in first.items() if tensor.ndim == 2)
    assert not torch.equal(first[head], other[head])


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    build_module(ModelSpec("test_resnet", seed=5))
    assert torch.equal(torch.rand(4), expected)


def test_building_does_not_depend_on_the_global_generator_or_default_type():
    first = build_module(ModelSpec("test_resnet")).state_dict()
    torch.rand(7)
    torch.set_default_dtype(torch.float64)
    try:
        again = build_module(ModelSpec("test_resnet")).state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(again[key].dtype == first[key].dtype for key in first)


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(UnknownName, match=r"unknown model 'resnet51'; did you mean .*resnet50"):
        find_card("resnet51")


def test_miniatures_are_not_suggested():
    with pytest.raises(UnknownName) as caught:
        find_card("zzzzzz")
    assert "test_" not in str(caught.value)


def test_importing_the_registry_imports_no_framework():
    code = """
import sys
from deploykit.spec import ModelSpec
from deploykit.zoo import initialize, registry
import deploykit.weights
registry.cards()
registry.preprocessing(ModelSpec("resnet50"))
spec = registry.input_spec(ModelSpec("test_convnet"))
next(initialize.calibration_noise(spec, batches=1, batch=1, seed=0))
loaded = {"torch", "onnx", "onnxruntime", "tensorrt", "rich"} & set(sys.modules)
sys.exit(f"loaded {loaded}" if loaded else 0)
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


NETWORK = """
from torch import nn
KEYS = {{"factory": "{module}:network", "family": "tiny", "image_size": 8, "classes": 5, "params": 965, "macs": 960,
        "preprocessing": {{"resize": 8, "crop": 8}}}}
BROKEN = {{"factory": "{module}:network", "family": "tiny"}}
TYPO = {{**KEYS, "parameters": 1}}

def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 5))

def card():
    return KEYS
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution with the entry point `tinynet`, installed for real."""

    def install(target: str) -> None:
        module = f"tinynet_{tmp_path.name}"
        (tmp_path / f"{module}.py").write_text(NETWORK.format(module=module))
        info = tmp_path / "tinynet-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tinynet\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[deploykit.models]\ntinynet = {module}:{target}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    return install


@pytest.mark.parametrize("target", ["KEYS", "card"])
def test_an_entry_point_adds_a_network(installed, target):
    installed(target)
    card = find_card("tinynet")
    assert isinstance(card, Card)
    assert (card.name, card.classes, card.preprocessing.crop) == ("tinynet", 5, 8)
    assert build_module(ModelSpec("tinynet"))(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


def test_an_entry_point_is_among_the_nearest_names(installed):
    installed("KEYS")
    with pytest.raises(UnknownName, match="did you mean tinynet"):
        find_card("tinynets")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("BROKEN", "model tinynet: its card is not complete: 'preprocessing'"),
        ("TYPO", "model tinynet: unknown keys on its card: parameters"),
        ("__name__", "model tinynet: its entry point gives a str, not a card"),
        ("absent", "model tinynet: cannot import"),
    ],
)
def test_a_broken_entry_point_is_one_clear_line(installed, target, message):
    installed(target)
    with pytest.raises(UsageError, match=message):
        find_card("tinynet")


def test_a_built_in_network_has_no_sources_of_its_own():
    assert source_files(ModelSpec("resnet50")) == source_files(ModelSpec("test_resnet")) == ()
    with pytest.raises(UnknownName, match="unknown model 'resnet51'"):
        source_files(ModelSpec("resnet51"))


def test_the_source_of_a_single_module_is_its_file(installed, tmp_path):
    installed("KEYS")
    assert source_files(ModelSpec("tinynet")) == (tmp_path / f"tinynet_{tmp_path.name}.py",)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A card in one package, its factory deep in another, whose modules cannot be imported."""
    card = {"factory": f"net_{tmp_path.name}.blocks.deep:network", "family": "tiny", "params": 1, "macs": 1,
            "preprocessing": {"resize": 8, "crop": 8}}  # fmt: skip
    files = {
        f"cards_{tmp_path.name}.py": f"TINYNET = {card!r}",
        f"net_{tmp_path.name}/__init__.py": "raise SystemExit('imported')",
        f"net_{tmp_path.name}/blocks/deep.py": "import torch",
        f"net_{tmp_path.name}/widths.toml": "",
        f"net_{tmp_path.name}/README.md": "no source",
        "other.py": "no part of it",
        "tinynet-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tinynet\nVersion: 1.0\n",
        "tinynet-1.0.dist-info/entry_points.txt": f"[deploykit.models]\ntinynet = cards_{tmp_path.name}:TINYNET\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_sources_of_a_package_are_all_of_it_and_importing_it_is_not_needed(packages):
    root = packages / f"net_{packages.name}"
    expected = [
        packages / f"cards_{packages.name}.py", root / "__init__.py", root / "blocks/deep.py", root / "widths.toml"
    ]  # fmt: skip
    assert source_files(ModelSpec("tinynet")) == tuple(sorted(expected))


def test_sources_are_found_without_torch(packages):
    code = """
import sys
from deploykit.spec import ModelSpec
from deploykit.zoo.registry import source_files
source_files(ModelSpec("tinynet"))
print("torch" in sys.modules)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(packages), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_factory_that_is_not_installed_is_named(packages):
    shutil.rmtree(packages / f"net_{packages.name}")
    importlib.invalidate_caches()
    with pytest.raises(UsageError, match=f"model tinynet: there is no module 'net_{packages.name}'"):
        source_files(ModelSpec("tinynet"))
