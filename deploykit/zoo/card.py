"""Cards: what is known about a network before it is built, from a row of `cards.toml` or from a plug-in.

Importing this module imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import EntryPoint
from typing import Any

from deploykit.codec import decode, encode
from deploykit.errors import DeploykitError, UsageError
from deploykit.plugins import PluginFault, call, fix_of, load
from deploykit.spec import Preprocessing

LISTS = ("options", "auxiliary", "init_from", "deviations")  # keys of a card that hold several texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is known about a network before it is built.

    `image_size` is the side of the square input, pixels; from `min_image_size` to `max_image_size` (None: no limit)
    the network works, from `min_training_size` to `max_training_size` with its auxiliary heads. `params` counts
    trainable parameters, `macs` the multiply-accumulates of convolutions and linear layers for one image at
    `image_size`, both without auxiliary heads and with no options given; None where nobody counted. `top1` is the
    published ImageNet accuracy in percent of the weights or paper that `top1_source` names, `license` that of those
    weights. `twin` names the network of another library whose checkpoints fit: `torchvision:resnet50`.

    `options` are the factory's keyword arguments that may be given. `auxiliary` names the submodules that only
    training has: such a factory takes `auxiliary: bool`, and without them its `state_dict` has none of their tensors.
    In training a module with auxiliary heads returns `zoo.training.WithAuxiliary`; `auxiliary_weight` and
    `label_smoothing` belong to the paper's loss. `init_from` lists the networks whose layers may initialize this one's
    (`VGG.initialize_from`).
    """

    name: str
    factory: str  # "package.module:function"
    family: str
    preprocessing: Preprocessing
    params: int | None = None
    macs: int | None = None
    image_size: int = 224
    min_image_size: int = 1
    max_image_size: int | None = None
    min_training_size: int = 1
    max_training_size: int | None = None
    channels: int = 3
    classes: int = 1000
    paper: str = ""
    arxiv: str = ""
    year: int | None = None
    top1: float | None = None
    top1_source: str = ""
    license: str = ""
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


def card_of_row(name: str, row: object) -> Card:
    """A row as a card. Raises UsageError naming the keys that are missing, unknown or of the wrong type."""
    if not isinstance(row, Mapping):
        raise UsageError(f"model {name}: its entry point gives a {type(row).__name__}, not a card")
    keys = {field.name for field in fields(Card)}
    if unknown := sorted(map(str, set(row) - keys)):
        raise UsageError(f"model {name}: unknown keys on its card: {', '.join(unknown)}")
    try:
        lists = {key: _texts(key, row.get(key, ())) for key in LISTS}
        return Card(**{"name": name, **row, **lists, "preprocessing": _preprocessing(row["preprocessing"])})
    except (AttributeError, KeyError, TypeError) as error:
        raise UsageError(f"model {name}: its card is not complete: {error}") from error


def card_of_plugin(point: EntryPoint) -> Card:
    """The card that an entry point names. Raises UsageError, naming its package, for whatever is wrong with it."""
    try:
        found = load(point)
        if callable(found):
            found = call(point, found)
    except PluginFault as error:
        raise UsageError(f"model {point.name}: {error}", hint=error.fix) from error
    try:
        return _checked(point.name, found if isinstance(found, Card) else card_of_row(point.name, found))
    except DeploykitError as error:
        raise UsageError(error.message, hint=fix_of(point)) from error


def _checked(name: str, card: Card) -> Card:
    """A card whose every value has its type. Raises DeploykitError."""
    try:
        content = encode(card)
    except (TypeError, RecursionError) as error:
        raise UsageError(f"model {name}: its card is malformed: {error}") from error
    return decode(Card, content, what=f"card of model {name}", hint="")


def _texts(key: str, found: Any) -> tuple[str, ...]:
    if isinstance(found, str):
        raise TypeError(f"{key} is a text, not a list of texts")
    return tuple(found)


def _preprocessing(row: Mapping[str, Any]) -> Preprocessing:
    """Arrays come out of TOML as lists; a card is hashable."""
    frozen: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return Preprocessing(**frozen)
