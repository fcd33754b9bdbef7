"""Names to networks: the cards of the zoo, and the module, input and preprocessing that a `ModelSpec` stands for.

`cards.toml` lists what deploykit ships. Another distribution adds networks through the entry-point group
`deploykit.models`, each named as the network and loading to a `Card`, to a mapping with a card's keys, or to a
function without arguments that returns either:

    [project.entry-points."deploykit.models"]
    tinynet = "tinynet.cards:TINYNET"      # TINYNET = {"factory": "tinynet.network:tinynet", "family": ..., ...}

Entry points are looked at only for names that are not built in. A factory is called without arguments, or with the
options (`width_mult=`) that its card lists and the user gives, and returns an `nn.Module` that maps images to logits.
A `ModelSpec` may also name a factory itself, `package.module:function`; its card holds what the spec says of it.
Importing this module imports no torch.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, lru_cache
from importlib import resources
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.errors import UsageError
from deploykit.modules.live import taken
from deploykit.plugins import entry_points
from deploykit.spec import ImageAxes, InputShape, ModelSpec, Preprocessing, SizeRange, TensorSpec, tensor_spec
from deploykit.spec.shapes import SHAPE_HINT
from deploykit.zoo.card import Card as Card
from deploykit.zoo.card import card_of_plugin, card_of_row
from deploykit.zoo.factory import call_factory, search_current_directory
from deploykit.zoo.misnamed import not_a_model
from deploykit.zoo.own import prepared, repeatable
from deploykit.zoo.probe import IMAGES, PROBED_BATCHES, probed_outputs, run_at
from deploykit.zoo.sources import files_behind

if TYPE_CHECKING:
    from torch import nn

ENTRY_POINTS = "deploykit.models"
MAX_SEED = 2**63 - 1
MAX_IMAGE_SIZE = 8192  # pixels; VGG-11's first activation of one such image takes 17 GB
MAX_WIDTH_MULT = 16.0
MAX_CLASSES = 1_000_000
MAX_CHANNELS = 1024
# Arguments of a card's function that have an option of their own, and how a message calls them.
OPTIONS = {
    "width_mult": "the width multiplier has",
    "num_classes": "the number of classes has",
    "in_channels": "the number of input channels has",
}


@cache
def cards() -> Mapping[str, Card]:
    """Every network that deploykit ships, by name, in the order of `cards.toml`."""
    table = tomllib.loads(resources.files("deploykit.zoo").joinpath("cards.toml").read_text("utf-8"))
    return {name: card_of_row(name, row) for name, row in table.items()}


def find_card(name: str) -> Card:
    """The card of a built-in network or of an installed entry point. Raises UnknownName with the nearest names."""
    return cards()[name] if name in cards() else card_of_plugin(_entry_points(name)[name])


def foreign_names() -> list[str]:
    """The networks that installed distributions add, sorted; whether their cards are sound, `find_card` tells."""
    return sorted(_entry_points())


@lru_cache(maxsize=64)
def card_of(spec: ModelSpec) -> Card:
    """The card of what `spec` asks for, once everything that it asks for is known to be possible.

    It is looked up once in a process, however many of its callers ask.

    Raises UnknownName, and UsageError for an image size, option or seed that the network does not take.
    """
    card = _factory_card(spec) if spec.is_factory else find_card(spec.name)
    for size in _sides(card, spec):
        _check_size(card, size)
    _check_options(card, spec)
    if spec.init_from is not None and spec.init_from not in card.init_from:
        able = ", ".join(card.init_from)
        raise UsageError(
            f"{card.name} takes no layers of {spec.init_from}", hint=f"it takes those of {able}" if able else ""
        )
    if not 0 <= spec.seed <= MAX_SEED:
        raise UsageError(f"seed {spec.seed} is outside 0 to {MAX_SEED}")
    return card


def source_files(spec: ModelSpec) -> tuple[Path, ...]:
    """The sources that a network from elsewhere is made of (see `zoo.sources`), sorted; none for a built-in one.

    None for a live module, either: its graph tells. Only a card's module is imported. Raises UnknownName, and
    UsageError where a module is not there.
    """
    if spec.name in cards() or spec.live:
        return ()
    if spec.is_factory:
        search_current_directory()
        modules = {spec.name.partition(":")[0]}
    else:
        entry = _entry_points(spec.name)[spec.name]
        modules = {entry.module, card_of_plugin(entry).factory.partition(":")[0]}
    try:
        return tuple(sorted(files_behind(modules)))
    except UsageError as error:
        raise UsageError(f"model {spec.name}: {error.message}", hint=error.hint) from error


def _entry_points(wanted: str | None = None) -> Mapping[str, EntryPoint]:
    """Those of other distributions by name. Raises UsageError, with what `wanted` may mean, when it is not one."""
    foreign = {name: entry for name, entry in entry_points(ENTRY_POINTS).items() if name not in cards()}
    if wanted is not None and wanted not in foreign:
        listed = [card.name for card in cards().values() if not card.is_miniature]
        raise not_a_model(wanted, [*listed, *foreign])
    return foreign


def _factory_card(spec: ModelSpec) -> Card:
    """What is known of a factory: the input that `spec` gives it, and how images without a card are shown."""
    images = [found for each in _factory_inputs(spec) if (found := ImageAxes.of(each)) is not None]
    axes = images[0] if images else ImageAxes("NCHW", 3, 1, 1)
    return Card(
        name=spec.name,
        factory=spec.name,
        family="",
        preprocessing=Preprocessing.without_card(channels=axes.channels, height=axes.height, width=axes.width),
        image_size=max(axes.height, axes.width),
        channels=axes.channels,
    )


def _factory_inputs(spec: ModelSpec) -> tuple[TensorSpec, ...]:
    """float32 unless the shape or the range of an input says another type."""
    unnamed = [shape for shape in spec.shapes if not shape.name]
    if unnamed and len(spec.shapes) > 1:
        raise UsageError(f"{spec.name} has several inputs, and {unnamed[0]} names none", hint=SHAPE_HINT)
    found = []
    for shape in spec.shapes:
        name = shape.name or IMAGES
        span = spec.range_of(name)
        found.append(tensor_spec(shape, name=name, dtype=span.dtype if span else "float32"))
    return tuple(found)


def input_specs(spec: ModelSpec) -> tuple[TensorSpec, ...]:
    """What the network takes: of the zoo one input, `images`, float32 (batch, channels, height, width).

    A factory's are those that `spec` names. Raises as `card_of`, and UsageError for a shape that is not an image's.
    """
    card = card_of(spec)
    found = _factory_inputs(spec) if spec.is_factory else (_image_spec(card, spec),)
    spec.require_inputs([each.name for each in found])
    return found


def input_spec(spec: ModelSpec) -> TensorSpec:
    """The one input of a network that has one. Raises as `input_specs`, and UsageError for one that has several."""
    found = input_specs(spec)
    if len(found) != 1:
        raise UsageError(f"{spec.name} takes {', '.join(map(str, found))}, and this takes one input")
    return found[0]


def _image_spec(card: Card, spec: ModelSpec) -> TensorSpec:
    size = _image_size(card, spec)
    channels = spec.in_channels or card.channels
    shape = spec.shapes[0] if spec.shapes else InputShape("", None, (channels, size, size))
    hint = f"give channels,height,width: {channels},{card.image_size},{card.image_size}"
    if len(spec.shapes) > 1 or shape.name not in ("", IMAGES) or len(shape.sizes) != 3 or shape.dtype:
        raise UsageError(f"{card.name} takes images, not {' and '.join(map(str, spec.shapes))}", hint=hint)
    if shape.sizes[0] != channels:
        other = f", or --in-channels {shape.sizes[0]}" if "in_channels" in card.options else ""
        raise UsageError(
            f"{card.name} takes images of {channels} channels, not {shape.sizes[0]}", hint=f"{hint}{other}"
        )
    return tensor_spec(replace(shape, name=""), name=IMAGES, dtype="float32")


def output_specs(spec: ModelSpec) -> tuple[TensorSpec, ...]:
    """The output `logits`: float32, (batch, classes). A factory is called, and run at two batch sizes to find out.

    What it returns is flattened and named as `deploykit.modules.outputs` says. Raises as `card_of`, and UsageError for
    a module that cannot be run on such images, or returns something other than tensors.
    """
    card = card_of(spec)
    if spec.is_factory:
        return probed_outputs(spec.name, own_module(spec)[0], input_specs(spec))
    return (TensorSpec("logits", ("batch", spec.num_classes or card.classes), "float32"),)


def preprocessing(spec: ModelSpec) -> Preprocessing:
    """How images become this network's input at the size that `spec` asks for."""
    card = card_of(spec)
    if (axes := ImageAxes.of(input_spec(spec))) is None:
        raise UsageError(f"{spec.name} takes {input_spec(spec)}, which is not an image")
    recipe = card.preprocessing.at_size(axes.height, axes.width)
    if axes.channels == card.channels:
        return recipe
    other = Preprocessing.without_card(channels=axes.channels, height=axes.height, width=axes.width)
    return replace(recipe, mean=other.mean, std=other.std)


def build_module(spec: ModelSpec, *, training: bool = False) -> "nn.Module":
    """The network with weights from `spec.seed`, float32. torch's global generator is left as it was.

    BatchNorm statistics are 0 and 1; `weights.seeded_module` estimates them. `spec.weights` is not read. With
    `training` as in `construct`.
    """
    from deploykit.zoo.initialize import initialize

    module, _ = own_module(spec, training=training)
    initialize(module, seed=spec.seed)
    return module


def own_module(spec: ModelSpec, *, training: bool = False) -> "tuple[nn.Module, tuple[str, ...]]":
    """The network as its constructor leaves it, and what was converted; what the constructor draws is from `spec.seed`.

    With `training` as in `construct`.
    """
    with repeatable(spec.seed):
        return _construct(spec, training=training)


def construct(spec: ModelSpec, *, training: bool = False) -> "nn.Module":
    """The network as its constructor leaves it, float32; draws from torch's global generator.

    In eval mode and without auxiliary heads; with `training`, in training mode and with them. A factory's network is
    taken out of its wrapper and has shapes for its lazy layers (`own.prepared`).
    """
    return _construct(spec, training=training)[0]


def _construct(spec: ModelSpec, *, training: bool) -> "tuple[nn.Module, tuple[str, ...]]":
    if spec.live:
        snapshot = taken(spec.live)
        return snapshot.module().train(training), snapshot.notes
    card = card_of(spec)
    options: dict[str, Any] = dict(spec.factory_args)
    for name in OPTIONS:
        if (value := getattr(spec, name)) is not None:
            options[name] = value
    if card.auxiliary:
        options["auxiliary"] = training
    if spec.is_factory:
        search_current_directory()
    made = call_factory(card.factory, options)
    module, notes = prepared(made, lambda lazy: run_at(lazy, input_specs(spec), PROBED_BATCHES[0]))
    return module.train(training), notes


def check_training_size(spec: ModelSpec) -> None:
    """Raises UsageError for images that the auxiliary heads cannot take, and as `card_of`."""
    card = card_of(spec)
    size, smallest, largest = _image_size(card, spec), card.min_training_size, card.max_training_size
    if size < smallest or (largest is not None and size > largest):
        takes = f"{smallest} or more" if largest is None else f"{smallest} to {largest}"
        raise UsageError(
            f"{card.name} cannot be trained on images of {size} pixels", hint=f"its auxiliary heads take {takes}"
        )


def _check_options(card: Card, spec: ModelSpec) -> None:
    """A factory's arguments are its own business; a network of the zoo takes those that its card lists."""
    if spec.is_factory:
        return
    if spec.width_mult is not None:
        if "width_mult" not in card.options:
            able = [other.name for other in cards().values() if "width_mult" in other.options]
            raise UsageError(f"{card.name} has no width multiplier", hint=f"networks that do: {', '.join(able)}")
        if not 0 < spec.width_mult <= MAX_WIDTH_MULT:
            raise UsageError(
                f"width multiplier {spec.width_mult} is not above 0 and at most {MAX_WIDTH_MULT:g}", hint="write 0.5"
            )
    for name, limit in (("num_classes", MAX_CLASSES), ("in_channels", MAX_CHANNELS)):
        value = getattr(spec, name)
        if value is not None and name not in card.options:
            raise UsageError(f"{card.name} takes no {_option(name)}", hint="leave it out")
        if value is not None and not 1 <= value <= limit:
            raise UsageError(f"{_option(name)} {value} is not a whole number from 1 to {limit}", hint="write 10")
    for name, _ in spec.factory_args:
        if name in OPTIONS:
            raise UsageError(f"{OPTIONS[name]} an option of its own", hint=f"give {_option(name)}")
        if name not in card.options:
            takes = ", ".join(card.options)
            raise UsageError(f"{card.name} takes no argument {name!r}", hint=f"it takes {takes}" if takes else "")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check_size(card: Card, size: int) -> None:
    smallest, largest = card.min_image_size, card.max_image_size or MAX_IMAGE_SIZE
    if size < max(smallest, 1):
        raise UsageError(f"images of {size} pixels are too small for {card.name}", hint=f"the minimum is {smallest}")
    if size > largest:
        raise UsageError(f"images of {size} pixels are too large for {card.name}", hint=f"the maximum is {largest}")


def _sides(card: Card, spec: ModelSpec) -> set[int]:
    """The smallest and the largest side of the images that are asked for."""
    shapes = [shape for shape in spec.shapes if len(shape.sizes) == 3]
    if not shapes:
        return {_image_size(card, spec)}
    if spec.is_factory:
        return {card.image_size}
    sides = [size for shape in shapes for size in shape.sizes[1:]]
    ends = [(size.minimum, size.maximum) if isinstance(size, SizeRange) else (size, size) for size in sides]
    return {min(low for low, _ in ends), max(high for _, high in ends)}


def _image_size(card: Card, spec: ModelSpec) -> int:
    return card.image_size if spec.image_size is None else spec.image_size
