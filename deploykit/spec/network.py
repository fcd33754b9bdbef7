"""One network, and what goes into it."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deploykit.errors import UsageError
from deploykit.spec.preprocessing import PreprocessRequest
from deploykit.spec.shapes import BATCH, End, InputRange, InputShape, Size, SizeRange

IMAGE_CHANNELS = (1, 3)

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: a dimension is a number, or a name such as `"batch"` where it is free.

    `ranges` has, by name, the sizes between which a free dimension other than the batch may lie.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str  # numpy's name: float32, float16, ...
    ranges: tuple[tuple[str, SizeRange], ...] = ()

    def at_batch(self, batch: int, end: End = "optimum") -> tuple[int, ...]:
        """The shape with every free dimension set: one that has a range to its `end`, the others to `batch`."""
        known = {name: getattr(sizes, end) for name, sizes in self.ranges}
        return tuple(known.get(size, batch) if isinstance(size, str) else size for size in self.shape)

    def fixed_at(self, end: End) -> "TensorSpec":
        """The same input with every range fixed at its `end`; the batch stays as it is."""
        known: dict[int | str, int] = {name: getattr(sizes, end) for name, sizes in self.ranges}
        return replace(self, shape=tuple(known.get(size, size) for size in self.shape), ranges=())

    @property
    def open(self) -> tuple[str, ...]:
        """Free dimensions behind the first of which nobody said what they may be."""
        known = {name for name, _ in self.ranges}
        return tuple(size for size in self.shape[1:] if isinstance(size, str) and size not in known)

    def __str__(self) -> str:
        known = {name: str(sizes) for name, sizes in self.ranges}
        sizes = (f"{size}{known.get(size, '')}" if isinstance(size, str) else str(size) for size in self.shape)
        return f"{self.name} {self.dtype}[{', '.join(sizes)}]"


@dataclass(frozen=True, slots=True)
class ImageAxes:
    """An input that images fill: one or three channels, and where they stand."""

    layout: str  # NCHW or NHWC
    channels: int
    height: int
    width: int

    @classmethod
    def of(cls, spec: TensorSpec, layout: str | None = None) -> "ImageAxes | None":
        """None where `spec` is not a batch of images.

        Without `layout`, channels are last where only the last axis can be them.
        """
        sizes = spec.at_batch(1)
        if len(sizes) != 4 or spec.open:
            return None
        _, first, middle, last = sizes
        if first in IMAGE_CHANNELS and layout != "NHWC":
            return cls("NCHW", first, middle, last)
        if last in IMAGE_CHANNELS and layout != "NCHW":
            return cls("NHWC", last, first, middle)
        return None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One network; None means "as its card says".

    `name` is a name of the zoo, the path of an `.onnx` file, or a factory `package.module:function`, which is called
    with `factory_args`. `input_shape` gives the shapes of its inputs, or (channels, height, width) of the images that
    are its only one; of an `.onnx` file it fixes sizes that are free there, or gives them a range. `image_size` is the
    side of a zoo network's square input, pixels, `num_classes` and `in_channels` change its last and first layers.
    `input_ranges` says which numbers may stand in inputs that are neither images nor real, `preprocess` how an image
    becomes an input.

    `weights` is a checkpoint, in which `weights_key` names the state dict to load; `published` marks torchvision's
    own. Without it a factory keeps the weights that it returns, unless `seeded` asks for random ones, and a network of
    the zoo has random ones from `seed`. With `init_from`, only the layers that the paper of the network takes over from
    that other one have the weights of the checkpoint (else seeded ones).

    `live` is the token of a module that Python code handed over (`modules.live`), whose class `name` names then.
    """

    name: str
    image_size: int | None = None
    width_mult: float | None = None
    weights: Path | None = None
    seed: int = 0
    input_shape: tuple[InputShape, ...] | tuple[Size, ...] | None = None
    factory_args: tuple[tuple[str, Scalar], ...] = ()
    init_from: str | None = None
    preprocess: PreprocessRequest | None = None
    input_ranges: tuple[InputRange, ...] = ()
    weights_key: str | None = None
    published: bool = False
    seeded: bool = False
    num_classes: int | None = None
    in_channels: int | None = None
    live: str = ""

    def __post_init__(self) -> None:
        self._check_weights()
        inside = ("weights", "image_size", "width_mult", "factory_args", "init_from", "num_classes", "in_channels")
        if self.is_onnx and (extra := self._given(*inside)):
            raise UsageError(f"{self.name} has its weights and its layers in it", hint=f"leave out {extra}")
        if self.is_factory and (extra := self._given("image_size", "width_mult", "init_from")):
            raise UsageError(
                f"{self.name} is not a network of the zoo",
                hint=f"leave out {extra}; it takes input_shape (--input-shape) and factory_args (--factory-args)",
            )
        if self.is_factory and not self.input_shape:
            raise UsageError(f"the input of {self.name} is not known", hint="give input_shape: --input-shape 3,224,224")
        if self.image_size is not None and self.input_shape:
            raise UsageError(
                "image_size (--image-size) and input_shape (--input-shape) both give the size",
                hint="leave one of them out",
            )
        for kind, names in (
            ("shape", [shape.name for shape in self.shapes]),
            ("range", [span.name for span in self.input_ranges]),
        ):
            if len(set(names)) < len(names):
                raise UsageError(f"two input {kind}s are given for one input", hint="name each input once")

    def _check_weights(self) -> None:
        if self.seeded and self.is_onnx:
            raise UsageError(f"{self.name} has its weights in it", hint="leave out --weights seeded")
        if self.weights_key is not None and self.weights is None:
            raise UsageError(
                "weights_key (--weights-key) selects a state dict of a checkpoint",
                hint="give the checkpoint: --weights FILE",
            )
        if self.is_factory and (extra := self._given("num_classes", "in_channels")):
            raise UsageError(
                f"{self.name} has its own arguments",
                hint=f"leave out {extra}; pass them with factory_args (--factory-args)",
            )

    @property
    def shapes(self) -> tuple[InputShape, ...]:
        """What is said of the inputs' shapes."""
        given = self.input_shape or ()
        named = tuple(shape for shape in given if isinstance(shape, InputShape))
        sizes = tuple(size for size in given if not isinstance(size, InputShape))
        return (*named, InputShape("", None, sizes)) if sizes else named

    def range_of(self, name: str) -> InputRange | None:
        """The numbers that the input `name` may hold, where that is said."""
        return next((span for span in self.input_ranges if span.name == name), None)

    def require_inputs(self, inputs: Collection[str]) -> None:
        """Raises UsageError for a range of an input that is not among the network's `inputs`."""
        for span in self.input_ranges:
            if span.name not in inputs:
                raise UsageError(
                    f"--input-range {span}: {self.name} has no input {span.name}", hint=f"it takes {', '.join(inputs)}"
                )

    @property
    def is_onnx(self) -> bool:
        """Whether it is the network of an `.onnx` file."""
        return self.name.lower().endswith(".onnx")

    @property
    def is_factory(self) -> bool:
        """Whether a function of the user's makes it, or Python code handed it over."""
        return ":" in self.name and not self.is_onnx

    @property
    def label(self) -> str:
        """A short name for tables and file names: `mobilenet-w0.5-160`."""
        stem = Path(self.name).stem if self.is_onnx else self.name.rpartition(":")[2]
        parts = [stem, *(f"{name}={value}" for name, value in self.factory_args)]
        if self.width_mult is not None:
            parts.append(f"w{self.width_mult:g}")
        if self.num_classes is not None:
            parts.append(f"{self.num_classes}classes")
        if self.in_channels is not None:
            parts.append(f"{self.in_channels}channels")
        if self.image_size is not None:
            parts.append(str(self.image_size))
        if not self.is_factory:
            parts.extend(str(shape).replace("=", "-") for shape in self.shapes)
        return "-".join(parts)

    def _given(self, *names: str) -> str:
        """Those of the fields that are not at their default, as the options of the command line."""
        return ", ".join(f"--{name.replace('_', '-')}" for name in names if getattr(self, name) not in (None, ()))


def tensor_spec(shape: InputShape, *, name: str, dtype: str) -> TensorSpec:
    """The input that `shape` describes; its batch is free unless `shape` fixes it."""
    image = ("height", "width") if len(shape.sizes) == 3 and not shape.name else ()
    names = {axis: image[axis - 1] if image and axis else f"{name}_{axis + 1}" for axis in range(len(shape.sizes))}
    sizes = tuple(names[axis] if isinstance(size, SizeRange) else size for axis, size in enumerate(shape.sizes))
    ranges = tuple((names[axis], size) for axis, size in enumerate(shape.sizes) if isinstance(size, SizeRange))
    return TensorSpec(name, (BATCH if shape.batch is None else shape.batch, *sizes), shape.dtype or dtype, ranges)


def parse_factory_args(text: str) -> tuple[tuple[str, Scalar], ...]:
    """A JSON object of plain values, `{"depth": 2}`, as sorted pairs."""
    hint = """write a JSON object of numbers, texts, true, false or null: '{"depth": 2}'"""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"cannot read factory arguments {text!r}: {error}", hint=hint) from error
    if not isinstance(found, Mapping) or any(isinstance(value, list | dict) for value in found.values()):
        raise UsageError(f"factory arguments {text!r} are not a JSON object of plain values", hint=hint)
    return tuple(sorted(found.items()))
