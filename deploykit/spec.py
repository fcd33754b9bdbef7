"""What the user asks for, as frozen values. Nothing here imports a framework."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from deploykit.errors import UnknownName, UsageError

MAX_BATCH = 65_536
CROP_SHARE = 0.875  # 224 of 256: the part of a resized photograph that a network without a card is shown
UNCUT = 64  # pixels
GREY = (0.5,)

Scalar = str | int | float | bool | None

# The rewrites of deploykit/graph, in the order they run. The first group costs nothing wherever it applies; the second
# trades bytes, kernels and multiply-accumulates against each other, so it is priced or asked for.
SAFE_FUSIONS = (
    "remove_no_ops",
    "fold_pad",
    "split_batchnorm",
    "fold_batchnorm",
    "fold_scale",
    "fold_affine_forward",
)
PRICED_FUSIONS = (
    "compose_convolutions",
    "merge_depthwise_pointwise",
    "exchange_pool",
    "merge_siblings",
    "dilate_pointwise",
)

LAYER_KINDS = ("pointwise", "depthwise", "spatial", "dense", "first", "last")
REST = ("fp32", "fp16")
POLICY_TERMS = (
    "all",
    "plan",
    *(f"no-{kind}" for kind in LAYER_KINDS),
    "min-channels=16",
    *(f"rest={precision}" for precision in REST),
)
REPAIRS = ("clip", "equalise", "bias")
CALIBRATION_METHODS = ("minmax", "percentile", "mse", "entropy")  # precision/calibrate/methods.py


class Precision(StrEnum):
    """The type that a typed graph computes its convolutions and matrix products in."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"

    @classmethod
    def parse(cls, text: str) -> "Precision":
        try:
            return cls(text.strip().lower())
        except ValueError:
            raise UnknownName("precision", text, [member.value for member in cls]) from None


@dataclass(frozen=True, slots=True)
class BatchRange:
    """The batches an engine accepts, images: it is tuned for `optimum` and takes `minimum` to `maximum`."""

    minimum: int = 1
    optimum: int = 8
    maximum: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.optimum <= self.maximum <= MAX_BATCH:
            raise UsageError(
                f"batch {self} is not a range of whole numbers with 1 <= min <= opt <= max <= {MAX_BATCH}",
                hint="write one number (8) or min:opt:max (1:8:32)",
            )

    @classmethod
    def parse(cls, text: str) -> "BatchRange":
        """`"8"` is 1:8:8, `"1:8:32"` is itself."""
        parts = text.split(":")
        if len(parts) not in (1, 3) or not all(re.fullmatch(r"-?\d+", part) for part in parts):
            raise UsageError(f"cannot read batch {text!r}", hint="write one number (8) or min:opt:max (1:8:32)")
        numbers = [int(part) for part in parts]
        return cls(*numbers) if len(numbers) == 3 else cls(min(1, numbers[0]), numbers[0], numbers[0])

    def __str__(self) -> str:
        return f"{self.minimum}:{self.optimum}:{self.maximum}"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: a dimension is a number, or a name such as `"batch"` where it is free."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str  # numpy's name: float32, float16, ...

    def at_batch(self, batch: int) -> tuple[int, ...]:
        """The shape with every free dimension set to `batch`."""
        return tuple(batch if isinstance(size, str) else size for size in self.shape)


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A CUDA compute capability, `sm_89` for 8.9."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> "Target":
        found = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", text.strip().lower())
        if found is None:
            raise UsageError(f"unknown target {text!r}", hint="write a compute capability such as sm_89")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"sm_{self.major}{self.minor}"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a photograph becomes a network's input: resize the short side, cut, scale to [0, 1], normalise.

    `resize` and `crop` in pixels; `mean` and `std` per channel on the [0, 1] scale, as many as the input has channels
    (one: the image is converted to grey first), in the order of the channels.
    """

    crop: int
    resize: int
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"  # or "bicubic"
    channel_order: str = "RGB"  # or "BGR"

    @classmethod
    def without_card(cls, *, channels: int, size: int) -> "Preprocessing":
        """What a network of which nothing else is known is shown: ImageNet's statistics, or [-1, 1] for grey images.

        Inputs of `UNCUT` pixels or fewer, the size of MNIST's and CIFAR's, are resized only: there is no margin to cut.
        """
        resize = size if size <= UNCUT else round(size / CROP_SHARE)
        return cls(size, resize) if channels == 3 else cls(size, resize, mean=GREY, std=GREY)

    def at_size(self, crop: int) -> "Preprocessing":
        """The same recipe for another input size, the resize scaled along."""
        return replace(self, crop=crop, resize=round(self.resize * crop / self.crop))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One network; None means "as its card says".

    `name` is a name of the zoo, the path of an `.onnx` file, or a factory `package.module:function`, which is called
    with `factory_args` and takes images of `input_shape` (channels, height, width). `image_size` is the side of a zoo
    network's square input, pixels. `weights` is a checkpoint (None: seeded weights), `seed` the seed of those weights.
    With `init_from`, only the layers that the paper of the network takes over from that other one have its weights
    (from the checkpoint `weights`, else seeded ones).
    """

    name: str
    image_size: int | None = None
    width_mult: float | None = None
    weights: Path | None = None
    seed: int = 0
    input_shape: tuple[int, int, int] | None = None
    factory_args: tuple[tuple[str, Scalar], ...] = ()
    init_from: str | None = None

    def __post_init__(self) -> None:
        if self.is_onnx and (
            extra := self._given("weights", "image_size", "width_mult", "input_shape", "factory_args", "init_from")
        ):
            raise UsageError(f"{self.name} has its weights and its size in it", hint=f"leave out {extra}")
        if self.is_factory and (extra := self._given("image_size", "width_mult", "init_from")):
            raise UsageError(
                f"{self.name} is no network of the zoo", hint=f"leave out {extra}; it has --input-shape, --factory-args"
            )
        if self.is_factory and self.input_shape is None:
            raise UsageError(f"the input of {self.name} is not known", hint="give it: --input-shape 3,224,224")
        if not (self.is_factory or self.is_onnx) and self.input_shape is not None:
            raise UsageError(f"{self.name} knows its channels", hint="give --image-size, not --input-shape")

    @property
    def is_onnx(self) -> bool:
        return self.name.endswith(".onnx")

    @property
    def is_factory(self) -> bool:
        return ":" in self.name and not self.is_onnx

    @property
    def label(self) -> str:
        """A short name for tables and file names: `mobilenet-w0.5-160`."""
        stem = Path(self.name).stem if self.is_onnx else self.name.rpartition(":")[2]
        parts = [stem, *(f"{name}={value}" for name, value in self.factory_args)]
        if self.width_mult is not None:
            parts.append(f"w{self.width_mult:g}")
        if self.image_size is not None:
            parts.append(str(self.image_size))
        return "-".join(parts)

    @property
    def random_weights(self) -> bool:
        """Nothing, or not all, comes from a checkpoint."""
        return not self.is_onnx and (self.weights is None or self.init_from is not None)

    @property
    def provenance(self) -> str:
        """What its weights are, for a table's header; an `.onnx` file brings its own."""
        if self.is_onnx:
            return ""
        said = self.weights.name if self.weights else f"random weights, seed {self.seed}"
        return f"layers of {self.init_from} taken over, {said}" if self.init_from else said

    def _given(self, *names: str) -> str:
        """Those of the fields that are not at their default, as the options of the command line."""
        return ", ".join(f"--{name.replace('_', '-')}" for name in names if getattr(self, name) not in (None, ()))


def parse_input_shape(text: str) -> tuple[int, int, int]:
    """`"3,224,224"` or `"3x224x224"`: channels, height, width."""
    if not re.fullmatch(r"[1-9]\d{0,4}([,x][1-9]\d{0,4}){2}", text.strip()):
        raise UsageError(
            f"cannot read input shape {text!r}", hint="write channels,height,width of one image: 3,224,224"
        )
    channels, height, width = map(int, re.split("[,x]", text))
    return channels, height, width


def parse_factory_args(text: str) -> tuple[tuple[str, Scalar], ...]:
    """A JSON object of plain values, `{"depth": 2}`, as sorted pairs."""
    hint = """write a JSON object of numbers, texts, true, false or null: '{"depth": 2}'"""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"cannot read factory arguments {text!r}: {error}", hint=hint) from error
    if not isinstance(found, Mapping) or any(isinstance(value, list | dict) for value in found.values()):
        raise UsageError(f"factory arguments {text!r} are no object of plain values", hint=hint)
    return tuple(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Fusions:
    """Which rewrites a graph gets: `names` in the order they run, all sites of each but those in `without`.

    A site is written `fusion@node`. `auto` stands for a choice that is still to be made by price.
    """

    names: tuple[str, ...] = SAFE_FUSIONS
    without: tuple[str, ...] = ()
    auto: bool = False

    @classmethod
    def parse(cls, text: str) -> "Fusions":
        """`none` (not even BatchNorm), `safe`, `auto`, or names with commas between, `safe` among them."""
        parts = [part.strip() for part in text.split(",") if part.strip()]
        alone = {"none": cls(()), "auto": cls((*SAFE_FUSIONS, *PRICED_FUSIONS), auto=True)}
        if len(parts) == 1 and parts[0] in alone:
            return alone[parts[0]]
        wanted = {name for part in parts for name in (SAFE_FUSIONS if part == "safe" else (part,))}
        known = (*SAFE_FUSIONS, *PRICED_FUSIONS)
        for name in parts:
            if name != "safe" and name not in known:
                raise UnknownName("fusion", name, ("none", "safe", "auto", *known))
        if not wanted:
            raise UsageError(f"--fuse {text!r} names no fusion", hint="write none, safe, auto or names of fusions")
        return cls(tuple(name for name in known if name in wanted))

    def sites_without(self, name: str) -> frozenset[str]:
        """The nodes at which the fusion `name` is left out."""
        prefix = f"{name}@"
        return frozenset(site.removeprefix(prefix) for site in self.without if site.startswith(prefix))

    def __str__(self) -> str:
        if self.auto:
            return "auto"
        named = "safe" if self.names == SAFE_FUSIONS else ",".join(self.names) or "none"
        return f"{named} without {', '.join(self.without)}" if self.without else named


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderOptions:
    """What TensorRT's builder is told beyond the graph; None leaves a setting to TensorRT.

    `max_aux_streams` (0 to 7) lets branches run beside each other on so many further streams; 0 is deploykit's default,
    for what that costs in memory was measured, and what it gains needs a GPU (docs/decisions/builder-options.md).
    `optimization_level` (0 to 5) is how long kernels are searched for. `workspace_bytes` limits the builder's scratch
    memory; an engine that needs more is refused.
    """

    max_aux_streams: int | None = 0
    optimization_level: int | None = None
    workspace_bytes: int | None = None

    def __post_init__(self) -> None:
        limits = {"max_aux_streams": (0, 7), "optimization_level": (0, 5), "workspace_bytes": (1, 2**40)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"{name} is {value}", hint=f"give a whole number from {low} to {high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantisationPolicy:
    """Which weighted layers INT8 quantises, and what the others compute in (`rest`, FP32 or FP16).

    Kinds of layer: `pointwise` (1x1 convolutions), `depthwise`, `spatial` (all other convolutions), `dense` (matrix
    products). `first` and `last` are the weighted layers nearest to the images and to the answer. A convolution other
    than depthwise with fewer than `min_channels` input or output channels is left, and so are the nodes in `leave`.
    `auto` stands for a choice that is still to be made by the compiled plan.
    """

    pointwise: bool = True
    depthwise: bool = True
    spatial: bool = True
    dense: bool = True
    first: bool = True
    last: bool = True
    min_channels: int = 0
    leave: tuple[str, ...] = ()
    rest: Precision = Precision.FP32
    auto: bool = False

    @classmethod
    def parse(cls, text: str, leave: tuple[str, ...] = ()) -> "QuantisationPolicy":
        """`all`, `plan`, or terms with commas between: `no-pointwise`, `no-first`, `min-channels=16`, `rest=fp16`."""
        terms = [term.strip().lower() for term in text.split(",") if term.strip()]
        if terms == ["plan"]:
            return cls(leave=leave, auto=True)
        found: dict[str, Any] = {"leave": leave}
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
        return ",".join([*terms, *(f"without {node}" for node in self.leave)]) or "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What is done for INT8's accuracy beyond choosing ranges: each costs time when building, none when running.

    `clip` cuts each weight channel off where its squared error is least, `equalise` evens out the channels of layers
    that follow each other before anything is measured, `bias` takes the mean error out of the biases.
    """

    clip: bool = False
    equalise: bool = False
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
    """Where INT8's ranges come from: `images` of the calibration set, cut off by `method`, or a `table` made before.

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


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """One engine: a network, the precision of its typed graph, and what the compiler may assume.

    `keep_io` leaves the graph's inputs and outputs in float32 whatever the precision inside. `tf32` lets FP32
    matrix products round their operands to TF32, TensorRT's default; deploykit's is off, so that FP32 means FP32.
    `data` is the calibration image folder (None: the demo photographs).
    """

    model: ModelSpec
    precision: Precision = Precision.FP32
    batch: BatchRange = BatchRange()
    targets: tuple[Target, ...] = (Target(8, 9),)
    keep_io: bool = True
    tf32: bool = False
    data: Path | None = None
    calibration: Calibration = Calibration()
    policy: QuantisationPolicy = QuantisationPolicy()
    repair: Repair = Repair()
    fusions: Fusions = Fusions()
    options: BuilderOptions = BuilderOptions()

    def with_precision(self, precision: Precision) -> "BuildSpec":
        return replace(self, precision=precision)
