"""INT8: where ranges come from, which layers have it, and what is done for its accuracy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.errors import UnknownName, UsageError
from deploykit.spec.types import Precision

LAYER_KINDS = ("pointwise", "depthwise", "spatial", "dense", "first", "last")
REST = ("fp32", "fp16")
POLICY_TERMS = (
    "all",
    "plan",
    *(f"no-{kind}" for kind in LAYER_KINDS),
    "min-channels=16",
    *(f"rest={precision}" for precision in REST),
)
REPAIRS = ("clip", "equalize", "bias")
CALIBRATION_METHODS = ("minmax", "percentile", "mse", "entropy")  # precision/calibrate/methods.py


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationPolicy:
    """Which layers with weights INT8 quantizes, and what the others compute in (`rest`, FP32 or FP16).

    Kinds of layer: `pointwise` (1x1 convolutions), `depthwise`, `spatial` (convolutions that are neither), `dense`
    (matrix products). `first` and `last` are the first and last layer with weights in graph order. A convolution other
    than depthwise with fewer than `min_channels` input or output channels stays in floating point, and so do the
    nodes in `exclude`. `auto` stands for a choice that is still to be made by the compiled plan.
    """

    pointwise: bool = True
    depthwise: bool = True
    spatial: bool = True
    dense: bool = True
    first: bool = True
    last: bool = True
    min_channels: int = 0
    exclude: tuple[str, ...] = ()
    rest: Precision = Precision.FP32
    auto: bool = False

    @classmethod
    def parse(cls, text: str, exclude: tuple[str, ...] = ()) -> "QuantizationPolicy":
        """`all`, `plan`, or terms with commas between: `no-pointwise`, `no-first`, `min-channels=16`, `rest=fp16`."""
        terms = [term.strip().lower() for term in text.split(",") if term.strip()]
        if terms == ["plan"]:
            return cls(exclude=exclude, auto=True)
        found: dict[str, Any] = {"exclude": exclude}
        for term in terms:
            name, _, value = term.partition("=")
            if term.removeprefix("no-") in LAYER_KINDS and term.startswith("no-"):
                found[term.removeprefix("no-")] = False
            elif name == "min-channels" and value.isdecimal():
                found["min_channels"] = int(value)
            elif name == "rest" and value in REST:
                found["rest"] = Precision(value)
            elif term != "all":
                raise UnknownName("term of an INT8 policy", term, POLICY_TERMS)
        return cls(**found)

    def __str__(self) -> str:
        if self.auto:
            return "plan"
        terms = [f"no-{kind}" for kind in LAYER_KINDS if not getattr(self, kind)]
        terms += [f"min-channels={self.min_channels}"] if self.min_channels else []
        terms += [f"rest={self.rest}"] if self.rest is not Precision.FP32 else []
        return ",".join([*terms, *(f"without {node}" for node in self.exclude)]) or "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What is done for INT8's accuracy beyond choosing ranges: each costs time when building, none when running.

    `clip` cuts each weight channel off where its squared error is least, `equalize` evens out the channels of layers
    that follow each other before anything is measured, `bias` takes the mean error out of the biases.
    """

    clip: bool = False
    equalize: bool = False
    bias: bool = False

    @classmethod
    def parse(cls, text: str) -> "Repair":
        """`none`, `all`, or names with commas between."""
        names = [part.strip().lower() for part in text.split(",") if part.strip()]
        if names == ["all"]:
            names = list(REPAIRS)
        for name in names:
            if name not in REPAIRS and names != ["none"]:
                raise UnknownName("repair", name, ("none", "all", *REPAIRS))
        return cls(**dict.fromkeys((name for name in names if name != "none"), True))

    def __str__(self) -> str:
        return ",".join(name for name in REPAIRS if getattr(self, name)) or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The source of INT8's ranges: `images` of the calibration set and a `method`, or a `table` made before.

    `percentile` is the share of all values, in percent, that the method of that name keeps.
    """

    images: int = 32
    method: str = "minmax"
    percentile: float = 99.99
    table: Path | None = None

    def __post_init__(self) -> None:
        if self.method not in CALIBRATION_METHODS:
            raise UnknownName("calibration method", self.method, CALIBRATION_METHODS)
        if not 50 < self.percentile <= 100:
            raise UsageError(f"the percentile is {self.percentile:g}", hint="give a number above 50, at most 100")
