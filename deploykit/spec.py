"""What the user asks for, as frozen values. Nothing here imports a framework."""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from deploykit.errors import UnknownName, UsageError

MAX_BATCH = 65_536


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

    def at_size(self, crop: int) -> "Preprocessing":
        """The same recipe for another input size, the resize scaled along."""
        return replace(self, crop=crop, resize=round(self.resize * crop / self.crop))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One network. `name` is a zoo name or the path of an `.onnx` file; None means "as its card says".

    `image_size` is the side of the square input in pixels, `weights` a checkpoint (None: seeded weights),
    `seed` the seed of those weights.
    """

    name: str
    image_size: int | None = None
    width_mult: float | None = None
    weights: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        given = {"--weights": self.weights, "--image-size": self.image_size, "--width-mult": self.width_mult}
        if self.is_onnx and (extra := [option for option, value in given.items() if value is not None]):
            raise UsageError(f"{self.name} has its weights and its size in it", hint=f"leave out {', '.join(extra)}")

    @property
    def is_onnx(self) -> bool:
        return self.name.endswith(".onnx")

    @property
    def label(self) -> str:
        """A short name for tables and file names: `mobilenet-w0.5-160`."""
        parts = [Path(self.name).stem if self.is_onnx else self.name]
        if self.width_mult is not None:
            parts.append(f"w{self.width_mult:g}")
        if self.image_size is not None:
            parts.append(str(self.image_size))
        return "-".join(parts)


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """One engine: a network, the precision of its typed graph, and what the compiler may assume.

    `keep_io` leaves the graph's inputs and outputs in float32 whatever the precision inside. `tf32` lets FP32
    matrix products round their operands to TF32, TensorRT's default; deploykit's is off, so that FP32 means FP32.
    `data` is the calibration image folder (None: the demo photographs), `calibration_images` how many to use.
    """

    model: ModelSpec
    precision: Precision = Precision.FP32
    batch: BatchRange = BatchRange()
    targets: tuple[Target, ...] = (Target(8, 9),)
    keep_io: bool = True
    tf32: bool = False
    data: Path | None = None
    calibration_images: int = 32

    def with_precision(self, precision: Precision) -> "BuildSpec":
        return replace(self, precision=precision)
