"""How images become what a network takes: what its card, its file or the user says, or what is usual.

What is usual is ImageNet's mean and deviation, and pixels between -1 and 1 where images are grey. For a network of
one's own that is a guess, and one that costs accuracy without a word when it is wrong, so whoever is shown images by it
is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.report.outcome import describe_preprocessing
from deploykit.spec import ImageAxes, Preprocessing, PreprocessRequest, TensorSpec
from deploykit.workflow.values import Exported
from deploykit.zoo import registry

Origin = Literal["card", "file", "given", "bytes", "assumed"]
FED_IMAGES = ("float16", "float32", "float64", "uint8")  # element types of inputs that images fill
ASSUMED = "nothing says how its images are prepared, so {} assumed: say it by --preprocess"
USUAL = {3: "ImageNet's mean and deviation are", 1: "pixels between -1 and 1 are"}  # by channels


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
        return describe_preprocessing(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        recipe = self.recipe
        return {
            "said": str(recipe),
            "origin": self.origin,
            "warning": self.warning or None,
            "height": recipe.height,
            "width": recipe.width,
            "fit": recipe.fit,
            "resize": recipe.resize if recipe.fit == "crop" else None,
            "interpolation": recipe.interpolation,
            "channel_order": recipe.channel_order if len(recipe.mean) > 1 else None,
            "layout": recipe.layout,
            "scale": recipe.scale,
            "mean": list(recipe.mean),
            "std": list(recipe.std),
        }


def image_axes(exported: Exported) -> ImageAxes | None:
    """Where channels, height and width stand in the network's one input; None where images do not fill it."""
    match exported.inputs:
        case (TensorSpec(dtype=dtype) as spec,) if dtype in FED_IMAGES and exported.model.range_of(spec.name) is None:
            asked = exported.model.preprocess
            return ImageAxes.of(spec, asked.layout if asked else None)
        case _:
            return None


def require_inputs_of(exported: Exported) -> None:
    """Raises UsageError for what is said of inputs that the network does not have: ranges, or a preparation."""
    model, inputs = exported.model, exported.inputs
    model.require_inputs([spec.name for spec in inputs])
    if model.preprocess is None or any(spec.open for spec in inputs) or photographs_fit(exported):
        return
    raise UsageError(
        f"--preprocess: {model.name} takes {', '.join(map(str, inputs)) or 'nothing'}, which images do not fill",
        hint="leave it out",
    )


def photographs_fit(exported: Exported) -> bool:
    return image_axes(exported) is not None


def preparation_of(exported: Exported) -> Preparation:
    """How images are prepared for a network that they fit.

    Raises UsageError where what the user says of it does not fit the input.
    """
    axes = image_axes(exported)
    assert axes is not None  # noqa: S101 - the caller has asked photographs_fit
    base, origin = _unasked(exported, axes)
    asked = exported.model.preprocess
    if asked is None:
        return _noticed(base, origin, exported)
    recipe = asked.applied(base)
    if asked.layout is not None and asked.layout != axes.layout:
        raise UsageError(f"{exported.model.name} takes {exported.inputs[0]}, which is not {asked.layout}")
    if origin == "bytes" and recipe.values != base.values:
        raise UsageError(
            f"{exported.model.name} takes bytes ({exported.inputs[0]}): --preprocess cannot make them {recipe.values}",
            hint="it normalizes by itself: leave mean, std and scale out",
        )
    return _noticed(recipe, "given" if asked.says_values or origin != "assumed" else origin, exported)


def preprocessing_of(exported: Exported) -> Preprocessing:
    """The recipe of `preparation_of`."""
    return preparation_of(exported).recipe


def _unasked(exported: Exported, axes: ImageAxes) -> tuple[Preprocessing, Origin]:
    """What holds where the user says nothing."""
    model = exported.model
    if not (model.is_onnx or model.is_factory):
        said = axes.channels == registry.card_of(model).channels  # a card says nothing of another number of channels
        recipe = registry.preprocessing(model).at_size(axes.height, axes.width)  # which a range of sizes leaves free
        return recipe, "card" if said else "assumed"
    base = Preprocessing.without_card(channels=axes.channels, height=axes.height, width=axes.width)
    base = replace(base, layout=axes.layout)
    if exported.inputs[0].dtype == "uint8":
        base = PreprocessRequest.parse("bytes").applied(base)
    if (noted := exported.facts.get("preprocess")) is not None:
        try:
            return PreprocessRequest.parse(str(noted)).applied(base), "file"
        except UsageError as error:
            raise UntrustedArtifact(f"{model.name}: its note on preprocessing is malformed: {error.message}") from error
    return base, "bytes" if exported.inputs[0].dtype == "uint8" else "assumed"


def _noticed(recipe: Preprocessing, origin: Origin, exported: Exported) -> Preparation:
    return Preparation(recipe, origin, str(exported.facts.get("normalizes", "")) if origin == "assumed" else "")
