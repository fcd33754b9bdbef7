"""How images become what a network takes: what its card, its file or the user says, or what is usual.

What is usual is ImageNet's mean and deviation, and pixels between -1 and 1 where images are gray. For a network of
one's own that is a guess, and one that costs accuracy without a word when it is wrong, so whoever is shown images by it
is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.spec import ImageAxes, Preprocessing, PreprocessRequest, Signature, TensorSpec
from deploykit.zoo import registry

Origin = Literal["card", "file", "given", "bytes", "assumed"]
FED_IMAGES = ("float16", "float32", "float64", "uint8")  # element types of inputs that images fill
ASSUMED = "how its images are normalized is not known, so {} assumed: set it with --preprocess"
USUAL = {3: "ImageNet's mean and deviation are", 1: "pixels between -1 and 1 are"}  # by channels
SAID = {
    "card": "the network's card",
    "file": "the file says so",
    "given": "--preprocess",
    "bytes": "the input takes bytes",
    "assumed": "assumed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparationFacts:
    """How images were prepared: `said` in words, and the rest where it was deploykit that prepared them."""

    said: str
    origin: Origin | None = None
    warning: str | None = None
    height: int | None = None
    width: int | None = None
    fit: str | None = None
    resize: int | None = None
    interpolation: str | None = None
    channel_order: str | None = None
    layout: str | None = None
    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Preparation:
    """A recipe and who says so. `noticed` is what the graph does to its input by itself."""

    recipe: Preprocessing
    origin: Origin
    noticed: str = ""

    @property
    def warning(self) -> str:
        """What is to be said of a recipe that nobody gave; "" where somebody did."""
        if self.origin != "assumed":
            return ""
        said = ASSUMED.format(USUAL[len(self.recipe.mean)])
        return f"{said}; {self.noticed}" if self.noticed else said

    def __str__(self) -> str:
        return describe_preprocessing(self.facts)

    @property
    def facts(self) -> PreparationFacts:
        """The recipe for a record."""
        recipe = self.recipe
        return PreparationFacts(
            said=str(recipe),
            origin=self.origin,
            warning=self.warning or None,
            height=recipe.height,
            width=recipe.width,
            fit=recipe.fit,
            resize=recipe.resize if recipe.fit == "crop" else None,
            interpolation=recipe.interpolation,
            channel_order=recipe.channel_order if len(recipe.mean) > 1 else None,
            layout=recipe.layout,
            scale=recipe.scale,
            mean=recipe.mean,
            std=recipe.std,
        )


def describe_preprocessing(found: PreparationFacts | None) -> str:
    """How images were prepared, who says so, and the warning where nobody did."""
    if found is None:
        return ""
    who = f" ({SAID[found.origin]})" if found.origin else ""
    return "\n".join(filter(None, (f"{found.said}{who}", found.warning)))


def image_axes(network: Signature) -> ImageAxes | None:
    """The axes of channels, height and width in the network's one input; None where it does not take images."""
    match network.inputs:
        case (TensorSpec(dtype=dtype) as spec,) if dtype in FED_IMAGES and network.model.range_of(spec.name) is None:
            asked = network.model.preprocess
            return ImageAxes.of(spec, asked.layout if asked else None)
        case _:
            return None


def require_inputs_of(network: Signature) -> None:
    """Raises UsageError for what is said of inputs that the network does not have: ranges, or a preparation."""
    model, inputs = network.model, network.inputs
    model.require_inputs([spec.name for spec in inputs])
    if model.preprocess is None or any(spec.open for spec in inputs) or takes_images(network):
        return
    raise UsageError(
        f"--preprocess: {model.name} takes {', '.join(map(str, inputs)) or 'nothing'}, which images do not fill",
        hint="leave it out",
    )


def takes_images(network: Signature) -> bool:
    return image_axes(network) is not None


def preparation_of(network: Signature) -> Preparation:
    """How images are prepared for a network that they fit.

    Raises UsageError where what the user says of it does not fit the input.
    """
    axes = image_axes(network)
    assert axes is not None  # noqa: S101 - the caller has asked takes_images
    base, origin = _unasked(network, axes)
    asked = network.model.preprocess
    if asked is None:
        return _noticed(base, origin, network)
    recipe = asked.applied(base)
    if asked.layout is not None and asked.layout != axes.layout:
        raise UsageError(
            f"{network.model.name} takes {network.inputs[0]}, which is not {asked.layout}", hint="leave layout out"
        )
    if origin == "bytes" and recipe.values != base.values:
        raise UsageError(
            f"{network.model.name} takes bytes ({network.inputs[0]}): --preprocess cannot make them {recipe.values}",
            hint="it normalizes by itself: leave mean, std and scale out",
        )
    return _noticed(recipe, "given" if asked.says_values or origin != "assumed" else origin, network)


def preprocessing_of(network: Signature) -> Preprocessing:
    """The recipe of `preparation_of`."""
    return preparation_of(network).recipe


def _unasked(network: Signature, axes: ImageAxes) -> tuple[Preprocessing, Origin]:
    """What holds where the user says nothing."""
    model = network.model
    if not (model.is_onnx or model.is_factory):
        said = axes.channels == registry.card_of(model).channels  # a card says nothing of another number of channels
        recipe = registry.preprocessing(model).at_size(axes.height, axes.width)  # which a range of sizes leaves free
        return recipe, "card" if said else "assumed"
    base = Preprocessing.without_card(channels=axes.channels, height=axes.height, width=axes.width)
    base = replace(base, layout=axes.layout)
    if network.inputs[0].dtype == "uint8":
        base = PreprocessRequest.parse("bytes").applied(base)
    if (noted := network.preprocess) is not None:
        try:
            return PreprocessRequest.parse(str(noted)).applied(base), "file"
        except UsageError as error:
            raise UntrustedArtifact(f"{model.name}: its note on preprocessing is malformed: {error.message}") from error
    return base, "bytes" if network.inputs[0].dtype == "uint8" else "assumed"


def _noticed(recipe: Preprocessing, origin: Origin, network: Signature) -> Preparation:
    return Preparation(recipe, origin, network.normalizes if origin == "assumed" else "")
