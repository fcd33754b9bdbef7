"""Names to networks: the cards of the zoo, and the module, input and preprocessing that a `ModelSpec` stands for.

`cards.toml` lists what deploykit ships. Another distribution adds networks through the entry-point group
`deploykit.models`, each named as the network and loading to a `Card`, to a mapping with a card's keys, or to a
function without arguments that returns either:

    [project.entry-points."deploykit.models"]
    tinynet = "tinynet.cards:TINYNET"      # TINYNET = {"factory": "tinynet.network:tinynet", "family": ..., ...}

Entry points are looked at only for names that are not built in. A factory is called without arguments, or with the
options (`width_mult=`) that its card lists and the user gives, and returns an `nn.Module` that maps images to logits.
Importing this module imports no torch.
"""

import importlib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.errors import UnknownName, UsageError
from deploykit.spec import ModelSpec, Preprocessing, TensorSpec

if TYPE_CHECKING:
    from torch import nn

ENTRY_POINTS = "deploykit.models"
MAX_SEED = 2**63 - 1
MAX_IMAGE_SIZE = 8192  # pixels; VGG-11's first activation of one such image takes 17 GB
MAX_WIDTH_MULT = 16.0
SOURCE_SUFFIXES = (".py", ".toml")
LISTS = ("options", "auxiliary", "init_from", "deviations")  # keys of a card that hold several texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is known about a network before it is built.

    `image_size` is the side of the square input, pixels; from `min_image_size` to `max_image_size` (None: no limit)
    the network works. `params` counts trainable parameters, `macs` the multiply-accumulates of convolutions and
    linear layers for one image at `image_size`, both without auxiliary heads and with no options given. `top1` is the
    published ImageNet accuracy in percent of the weights or paper that `top1_source` names, `licence` that of those
    weights. `twin` names the network of another library whose checkpoints fit: `torchvision:resnet50`.

    `options` are the factory's keyword arguments that may be given. `auxiliary` names the submodules that only
    training has: such a factory takes `auxiliary: bool`, and without them its `state_dict` has none of their tensors.
    In training a module with auxiliary heads returns `zoo.training.WithAuxiliary`; `auxiliary_weight` and
    `label_smoothing` belong to the paper's loss. `init_from` lists the networks whose layers may initialise this one's
    (`VGG.initialise_from`).
    """

    name: str
    factory: str  # "package.module:function"
    family: str
    preprocessing: Preprocessing
    params: int
    macs: int
    image_size: int = 224
    min_image_size: int = 1
    max_image_size: int | None = None
    channels: int = 3
    classes: int = 1000
    paper: str = ""
    arxiv: str = ""
    year: int | None = None
    top1: float | None = None
    top1_source: str = ""
    licence: str = ""
    twin: str = ""
    options: tuple[str, ...] = ()
    auxiliary: tuple[str, ...] = ()
    auxiliary_weight: float = 0.0
    label_smoothing: float = 0.0
    init_from: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()

    @property
    def is_miniature(self) -> bool:
        """A network for tests, not worth listing."""
        return self.family == "miniature"


@cache
def cards() -> Mapping[str, Card]:
    """Every network that deploykit ships, by name, in the order of `cards.toml`."""
    table = tomllib.loads(resources.files("deploykit.zoo").joinpath("cards.toml").read_text("utf-8"))
    return {name: _card(name, row) for name, row in table.items()}


def find_card(name: str) -> Card:
    """The card of a built-in network or of an installed entry point. Raises UnknownName with the nearest names."""
    return cards()[name] if name in cards() else _foreign_card(_entry_point(name))


def source_files(name: str) -> tuple[Path, ...]:
    """The sources that a network from another distribution is made of, sorted; none for a built-in one.

    They are the `*.py` and `*.toml` of the packages (or the single modules) that its card and its factory lie in. Only
    the card's module is imported. Raises UnknownName, and UsageError where one of the two is not there.
    """
    if name in cards():
        return ()
    entry = _entry_point(name)
    card = _foreign_card(entry)
    modules = {entry.module, card.factory.partition(":")[0]}
    return tuple(sorted({file for module in modules for file in _package_files(name, module.partition(".")[0])}))


def _package_files(name: str, package: str) -> Iterator[Path]:
    found = find_spec(package)
    if found is None:
        raise UsageError(f"model {name}: there is no module {package!r}", hint="install what its card names")
    if found.submodule_search_locations is None:
        yield from (Path(found.origin),) if found.origin and found.has_location else ()
    for folder in found.submodule_search_locations or ():
        yield from (path for path in Path(folder).rglob("*") if path.suffix in SOURCE_SUFFIXES and path.is_file())


def _entry_point(name: str) -> metadata.EntryPoint:
    foreign = {entry.name: entry for entry in metadata.entry_points(group=ENTRY_POINTS)}
    if name not in foreign:
        listed = [card.name for card in cards().values() if not card.is_miniature]
        raise UnknownName("model", name, [*listed, *foreign])
    return foreign[name]


def _foreign_card(entry: metadata.EntryPoint) -> Card:
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"model {entry.name}: cannot import {entry.value}: {error}") from error
    if callable(found):
        found = found()
    return found if isinstance(found, Card) else _card(entry.name, found)


def input_spec(spec: ModelSpec) -> TensorSpec:
    """The input `images`: float32, (batch, channels, size, size).

    Raises UnknownName, and UsageError for an image size, option or seed that the network does not take.
    """
    card = _checked(spec)
    size = _image_size(card, spec)
    return TensorSpec("images", ("batch", card.channels, size, size), "float32")


def output_spec(spec: ModelSpec) -> TensorSpec:
    """The output `logits`: float32, (batch, classes)."""
    return TensorSpec("logits", ("batch", _checked(spec).classes), "float32")


def preprocessing(spec: ModelSpec) -> Preprocessing:
    """How photographs become this network's input at the size that `spec` asks for."""
    card = _checked(spec)
    return card.preprocessing.at_size(_image_size(card, spec))


def build_module(spec: ModelSpec) -> "nn.Module":
    """The network with weights from `spec.seed`, float32, in eval mode. torch's global generator is left as it was.

    BatchNorm statistics are 0 and 1; `weights.seeded_state` estimates them. `spec.weights` is not read.
    """
    import torch

    from deploykit.zoo.initialise import initialise

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.seed)
        module = construct(spec)
    initialise(module, seed=spec.seed)
    return module


def construct(spec: ModelSpec, *, training: bool = False) -> "nn.Module":
    """The network as its constructor leaves it, float32; draws from torch's global generator.

    In eval mode and without auxiliary heads; with `training`, in training mode and with them.
    """
    card = _checked(spec)
    options: dict[str, Any] = {} if spec.width_mult is None else {"width_mult": spec.width_mult}
    if card.auxiliary:
        options["auxiliary"] = training
    module: nn.Module = _factory(card)(**options)
    return module.float().train(training)


def _factory(card: Card) -> Callable[..., Any]:
    module, _, function = card.factory.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"model {card.name}: cannot import {card.factory}: {error}") from error
    return found


def _checked(spec: ModelSpec) -> Card:
    """The card of `spec`, once everything that `spec` asks for is known to be possible."""
    card = find_card(spec.name)
    _check_size(card, _image_size(card, spec))
    if spec.width_mult is not None:
        if "width_mult" not in card.options:
            able = [other.name for other in cards().values() if "width_mult" in other.options]
            raise UsageError(f"{card.name} has no width multiplier", hint=f"networks that do: {', '.join(able)}")
        if not 0 < spec.width_mult <= MAX_WIDTH_MULT:
            raise UsageError(
                f"width multiplier {spec.width_mult} is not above 0 and at most {MAX_WIDTH_MULT:g}", hint="write 0.5"
            )
    if not 0 <= spec.seed <= MAX_SEED:
        raise UsageError(f"seed {spec.seed} is outside 0 to {MAX_SEED}")
    return card


def _check_size(card: Card, size: int) -> None:
    smallest, largest = card.min_image_size, card.max_image_size or MAX_IMAGE_SIZE
    if size < max(smallest, 1):
        raise UsageError(f"images of {size} pixels are too small for {card.name}", hint=f"the minimum is {smallest}")
    if size > largest:
        raise UsageError(f"images of {size} pixels are too large for {card.name}", hint=f"the maximum is {largest}")


def _image_size(card: Card, spec: ModelSpec) -> int:
    return card.image_size if spec.image_size is None else spec.image_size


def _card(name: str, row: object) -> Card:
    """A row as a card. Raises UsageError naming the keys that are missing, unknown or of the wrong type."""
    if not isinstance(row, Mapping):
        raise UsageError(f"model {name}: its entry point gives a {type(row).__name__}, not a card")
    keys = {field.name for field in fields(Card)}
    if unknown := sorted(set(row) - keys):
        raise UsageError(f"model {name}: unknown keys on its card: {', '.join(unknown)}")
    try:
        lists = {key: tuple(row.get(key, ())) for key in LISTS}
        return Card(**{"name": name, **row, **lists, "preprocessing": _preprocessing(row["preprocessing"])})
    except (AttributeError, KeyError, TypeError) as error:
        raise UsageError(f"model {name}: its card is not complete: {error}") from error


def _preprocessing(row: Mapping[str, Any]) -> Preprocessing:
    """Arrays come out of TOML as lists; a card is hashable."""
    frozen: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return Preprocessing(**frozen)
