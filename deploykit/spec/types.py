"""Numeric types, batches and devices."""

import re
from dataclasses import dataclass
from enum import StrEnum

from deploykit.errors import UnknownName, UsageError

MAX_BATCH = 65_536
PRECISION_HINTS = {
    **dict.fromkeys(("half", "float16", "f16", "16"), "write fp16"),
    **dict.fromkeys(("float", "float32", "f32", "single", "full", "32"), "write fp32"),
    **dict.fromkeys(("i8", "uint8", "int", "8", "ptq"), "write int8"),
    **dict.fromkeys(("tf32",), "give --precision fp32 --tf32"),
    **dict.fromkeys(
        ("bf16", "bfloat16"), "deploykit builds no BF16 engines: use fp16, with --keep-fp32 for layers that overflow"
    ),
    **dict.fromkeys(("fp8", "float8", "e4m3"), "deploykit builds no FP8 engines: its 8-bit type is int8"),
    **dict.fromkeys(("int4", "fp4", "nvfp4"), "deploykit builds no 4-bit engines: its smallest type is int8"),
    **dict.fromkeys(
        ("mixed", "amp", "auto", "all"), "give fp16, with --keep-fp32 for parts, or `build --precision best`"
    ),
}


class Precision(StrEnum):
    """The type that a typed graph computes its convolutions and matrix products in."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"

    @classmethod
    def parse(cls, text: str) -> "Precision":
        """`"fp16"` in either case. Raises UnknownName, with the fix for what people write in its place."""
        asked = text.strip().lower()
        try:
            return cls(asked)
        except ValueError:
            several = "one is taken here; verify and bench take several" if "," in asked else ""
            raise UnknownName(
                "precision", text, [member.value for member in cls], fix=several or PRECISION_HINTS.get(asked, "")
            ) from None


@dataclass(frozen=True, slots=True)
class BatchRange:
    """The batches an engine accepts, images: it is tuned for `optimum` and takes `minimum` to `maximum`.

    One that nobody `asked` for gives way to the batch that a network fixes.
    """

    minimum: int = 1
    optimum: int = 8
    maximum: int = 8
    asked: bool = True

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
        low, best, high = numbers if len(numbers) == 3 else (min(1, numbers[0]), numbers[0], numbers[0])
        return cls(low, best, high)

    def __str__(self) -> str:
        return f"{self.minimum}:{self.optimum}:{self.maximum}"


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A CUDA compute capability, `sm_89` for 8.9."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> "Target":
        """`"sm_89"`, `"8.9"` or `"compute_89"`. Raises UsageError."""
        found = re.fullmatch(r"(?:(?:sm|compute)_?)?(\d{1,2})\.?(\d)[af]?", text.strip().lower())
        if found is None:
            raise UsageError(f"unknown target {text!r}", hint="write a compute capability such as sm_89")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"sm_{self.major}{self.minor}"

    def __json__(self) -> str:
        return str(self)

    @classmethod
    def from_json(cls, text: str) -> "Target":
        """Raises UsageError."""
        return cls.parse(text)
