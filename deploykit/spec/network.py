"""One network, what goes into it and how an image becomes that."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deploykit.errors import UsageError

CROP_SHARE = 0.875  # 224 of 256: the part of a resized photograph that a network without a card is shown
UNCUT = 64  # pixels
GREY = (0.5,)

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: a dimension is a number, or a name such as `"batch"` where it is free."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str  # numpy's name: float32, float16, ...

    def at_batch(self, batch: int) -> tuple[int, ...]:
        """The shape with every free dimension set to `batch`."""
        return tuple(batch if isinstance(size, str) else size for size in self.shape)


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

    @property
    def title(self) -> str:
        """The label, and what its weights are."""
        return f"{self.label} ({self.provenance})" if self.provenance else self.label

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
