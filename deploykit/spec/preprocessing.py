"""How an image becomes what a network takes, and what a user says of that."""

import difflib
import re
from dataclasses import dataclass, fields, replace

from deploykit.errors import UnknownName, UsageError

CROP_SHARE = 0.875  # 224 of 256: the part of a resized image that a network without a card is shown
UNCUT = 64  # pixels
WHITE = 255.0
GREY = (0.5,)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FITS = ("crop", "stretch", "letterbox")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "area")
CHANNEL_ORDERS = ("RGB", "BGR")
LAYOUTS = ("NCHW", "NHWC")
PRESETS: dict[str, tuple[tuple[float, ...], tuple[float, ...], float]] = {
    "imagenet": (*IMAGENET, WHITE),
    "unit": ((0.0,), (1.0,), WHITE),
    "minus-one-one": ((0.5,), (0.5,), WHITE),
    "bytes": ((0.0,), (1.0,), 1.0),
}
KEYS = ("mean", "std", "scale", "order", "layout", "resize", "interpolation", "pad")
SYNTAX = f"write {', '.join(PRESETS)}, or key=value of {', '.join(KEYS)}, with commas between: " + (
    "mean=0.485/0.456/0.406,std=0.229/0.224/0.225,scale=255,order=bgr,resize=letterbox (pixels are divided by scale)"
)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an image becomes a network's input: brought to size, scaled, normalized.

    `crop` is the input's side, or its (height, width), pixels. `fit` says how an image comes to it:

    - `crop`: scale the image, keeping its aspect ratio, so that its short side is `resize` pixels (more for non-square
      inputs), then cut the center;
    - `stretch`: scale to the input whatever the aspect ratio;
    - `letterbox`: scale, keeping the aspect ratio, until all of the image fits, and fill up with gray `pad`.

    An input is (pixel / scale - mean) / std: `scale` divides. `mean` and `std` are per channel, as many as the input
    has channels (one: the image is converted to gray first), in the order of the channels.
    """

    crop: int | tuple[int, int]
    resize: int
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]
    interpolation: str = "bilinear"
    channel_order: str = "RGB"
    fit: str = "crop"
    scale: float = WHITE
    pad: int = 114
    layout: str = "NCHW"

    @classmethod
    def without_card(cls, *, channels: int, height: int, width: int) -> "Preprocessing":
        """What a network of which nothing else is known is shown: ImageNet's statistics, or [-1, 1] for gray images.

        Inputs of `UNCUT` pixels or fewer, the size of MNIST's and CIFAR's, are resized only: there is no margin to cut.
        """
        short = min(height, width)
        resize = short if short <= UNCUT else round(short / CROP_SHARE)
        crop = height if height == width else (height, width)
        return cls(crop, resize) if channels == 3 else cls(crop, resize, mean=GREY, std=GREY)

    @property
    def height(self) -> int:
        """The input's height, pixels."""
        return self.crop if isinstance(self.crop, int) else self.crop[0]

    @property
    def width(self) -> int:
        """The input's width, pixels."""
        return self.crop if isinstance(self.crop, int) else self.crop[1]

    def at_size(self, height: int, width: int) -> "Preprocessing":
        """The same recipe for another input size, the resize scaled along."""
        before, after = min(self.height, self.width), min(height, width)
        crop = height if height == width else (height, width)
        return replace(self, crop=crop, resize=round(self.resize * after / before))

    def __str__(self) -> str:
        size = f"{self.width} by {self.height} pixels"
        said = {
            "crop": f"short side to {self.resize}, middle of {size}",
            "stretch": f"stretched to {size}",
            "letterbox": f"fitted into {size}, filled up with {self.pad}",
        }[self.fit]
        colors = "gray" if len(self.mean) == 1 else self.channel_order
        last = ", channels last" if self.layout == "NHWC" else ""
        return f"{said} ({self.interpolation}), {colors}{last}, {self.values}"

    @property
    def values(self) -> str:
        """What a pixel becomes, in words."""
        pixel = "pixel" if self.scale == 1 else f"pixel / {self.scale:g}"
        if set(self.mean) == {0.0} and set(self.std) == {1.0}:
            return "pixels of 0 to 255 as they are" if self.scale == 1 else pixel
        return f"({pixel} - {_listed(self.mean)}) / {_listed(self.std)}"


@dataclass(frozen=True, slots=True)
class PreprocessRequest:
    """What a user says of the preprocessing; None leaves a part to the network's card, or to what is usual."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    scale: float | None = None
    channel_order: str | None = None
    layout: str | None = None
    fit: str | None = None
    resize: int | None = None
    interpolation: str | None = None
    pad: int | None = None

    @property
    def says_values(self) -> bool:
        """Whether it settles what a pixel becomes."""
        return self.mean is not None

    @classmethod
    def parse(cls, text: str) -> "PreprocessRequest":
        """A preset and `key=value` pairs with commas or semicolons between; lists have `/` (or commas) between.

        `mean` and `std` count on the scale 0 to 1 (pixel / 255) unless one of their numbers is above 1: then on 0 to
        255. `scale=N` says what the pixel is divided by first.
        """
        said = _pairs(text)
        unknown = next((key for key in said if key not in (*KEYS, "preset")), None)
        if unknown is not None:
            raise UnknownName("key of --preprocess", unknown, (*PRESETS, *KEYS))
        mean, std, scale = _values(text, said)
        resize = said.get("resize", "").lower()
        if resize and resize not in FITS and not re.fullmatch(r"[1-9]\d{0,3}", resize):
            raise UnknownName(
                "resize of --preprocess", resize, (*FITS, "a number of pixels for the short side, up to 9999")
            )
        pad = said.get("pad")
        if pad is not None and not (pad.isdecimal() and int(pad) <= WHITE):
            raise UsageError(f"--preprocess pad={pad}", hint="give a gray value from 0 to 255")
        return cls(
            mean=mean,
            std=std,
            scale=scale,
            channel_order=_one_of(said.get("order"), CHANNEL_ORDERS, "order"),
            layout=_one_of(said.get("layout"), LAYOUTS, "layout"),
            fit="crop" if resize.isdecimal() else resize or None,
            resize=int(resize) if resize.isdecimal() else None,
            interpolation=_one_of(said.get("interpolation"), INTERPOLATIONS, "interpolation"),
            pad=None if pad is None else int(pad),
        )

    def filling(self, short: int) -> "PreprocessRequest":
        """The same for an input whose short side has `short` pixels: `resize`, where it is given, is that at least."""
        return self if self.resize is None else replace(self, resize=max(self.resize, short))

    def applied(self, base: Preprocessing) -> Preprocessing:
        """`base` with what is asked for. Raises UsageError for values of another number of channels than it has."""
        channels = len(base.mean)
        given = {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}
        for name in ("mean", "std"):
            if name not in given:
                continue
            if len(numbers := given[name]) == 1:
                given[name] = numbers * channels
            elif len(numbers) != channels:
                raise UsageError(
                    f"--preprocess gives {len(numbers)} numbers for {name}, the network's images have {channels} "
                    f"channel{'' if channels == 1 else 's'}",
                    hint="give one for each channel, or one for all",
                )
        short = min(base.height, base.width)
        if self.resize is not None and self.resize < short:
            raise UsageError(
                f"--preprocess resize={self.resize} is smaller than the input's {short} pixels",
                hint="give at least that, or resize=letterbox or stretch",
            )
        return replace(base, **given)


def _listed(numbers: tuple[float, ...]) -> str:
    return "/".join(f"{number:g}" for number in (numbers if len(set(numbers)) > 1 else numbers[:1]))


def _pairs(text: str) -> dict[str, str]:
    """Key -> value; a number without a key goes on with the list before it."""
    said: dict[str, str] = {}
    last = ""
    for part in filter(None, (piece.strip().strip("[]()") for piece in re.split("[,;]", text))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if equals:
            last, said_value = key.lower(), value.strip("[]()")
        elif part.lower() in PRESETS:
            last, said_value = "preset", part.lower()
        elif last in ("mean", "std") and _is_number(part):
            said[last] += f"/{part}"
            continue
        else:
            near = difflib.get_close_matches(part.lower(), PRESETS, n=1)
            raise UsageError(
                f"cannot read --preprocess {text!r}: {part!r} is neither a preset nor key=value",
                hint=f"did you mean {near[0]}?" if near else SYNTAX,
            )
        if last in said:
            raise UsageError(f"--preprocess {text!r} gives {last} twice", hint=SYNTAX)
        said[last] = said_value
    if not said:
        raise UsageError("--preprocess is empty", hint=SYNTAX)
    return said


def _values(text: str, said: dict[str, str]) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, float | None]:
    if "preset" in said:
        if both := [key for key in ("mean", "std", "scale") if key in said]:
            raise UsageError(f"--preprocess {text!r}: {said['preset']} already says {both[0]}", hint="leave one out")
        return PRESETS[said["preset"]]
    mean, std, scale = (_numbers(key, said.get(key)) for key in ("mean", "std", "scale"))
    if mean is None and std is None and scale is None:
        return None, None, None
    mean, std = mean or (0.0,), std or (1.0,)
    if scale is None:
        scale = (1.0,) if max(map(abs, (*mean, *std))) > 1 else (WHITE,)
    if min(std) <= 0 or len(scale) != 1 or scale[0] <= 0:
        raise UsageError(f"--preprocess {text!r} divides by 0 or less", hint="std and scale are above 0")
    return mean, std, scale[0]


def _numbers(key: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split("/") if part.strip()]
    if not parts or not all(map(_is_number, parts)):
        raise UsageError(f"--preprocess {key}={text} is not a list of numbers", hint=SYNTAX)
    return tuple(map(float, parts))


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", text.strip(), re.IGNORECASE) is not None


def _one_of(value: str | None, known: tuple[str, ...], key: str) -> str | None:
    if value is None:
        return None
    found = next((name for name in known if name.lower() == value.lower()), None)
    if found is None:
        raise UnknownName(f"{key} of --preprocess", value, [name.lower() for name in known])
    return found
