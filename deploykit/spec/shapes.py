"""What a user says of a network's inputs: their shapes, and the numbers that may stand in them."""

import re
from dataclasses import dataclass
from typing import Literal

from deploykit.errors import UsageError

BATCH = "batch"
FREE = ("batch", "N", "n", "-1", "?")  # how a batch that stays free is written
MAX_SIZE = 9_999_999
DTYPES = ("float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
SHAPE_HINT = (
    "write channels,height,width of one image (3,224,224), or name=1x3x224x224 with the batch in front and batch or -1 "
    "where it stays free; a size may be a range, [224:320:640]"
)
RANGE_HINT = "write name=low:high, whole numbers from low up to but without high (ids=0:30000), or mask=false:true"
_SIZE = r"\d{1,7}|\[\d{1,7}:\d{1,7}:\d{1,7}\]"
_SHAPE = re.compile(
    rf"(?P<first>{_SIZE}|{'|'.join(map(re.escape, FREE))})(?P<rest>([,x]({_SIZE}))*)(:(?P<dtype>[a-z]+\d*))?"
)


@dataclass(frozen=True, slots=True)
class SizeRange:
    """A size that stays free: an engine takes `minimum` to `maximum` and is tuned for `optimum`."""

    minimum: int
    optimum: int
    maximum: int

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.optimum <= self.maximum <= MAX_SIZE:
            raise UsageError(f"{self} is not a range of sizes", hint="write [min:opt:max], such as [224:320:640]")

    def __str__(self) -> str:
        return f"[{self.minimum}:{self.optimum}:{self.maximum}]"


Size = int | SizeRange
End = Literal["minimum", "optimum", "maximum"]


@dataclass(frozen=True, slots=True)
class InputShape:
    """The shape of one input. `name` is "" where the network has one input only.

    `batch` is a number, `BATCH` where it stays free, or None where nothing is said of it; `sizes` are those behind it.
    `dtype` is "" where the network says it, or, for a module, where it is float32.
    """

    name: str
    batch: int | str | None
    sizes: tuple[Size, ...]
    dtype: str = ""

    def __str__(self) -> str:
        named = f"{self.name}=" if self.name else ""
        batch = () if self.batch is None else (self.batch,)
        return named + "x".join(map(str, (*batch, *self.sizes))) + (f":{self.dtype}" if self.dtype else "")


@dataclass(frozen=True, slots=True)
class InputRange:
    """The numbers that an input may hold: from `low` up to, but not including, `high`; `kind` as they were written."""

    name: str
    low: float
    high: float
    kind: Literal["whole", "real", "bool"]

    @property
    def dtype(self) -> str:
        """What a module's input is that nothing else is said of."""
        return {"whole": "int64", "real": "float32", "bool": "bool"}[self.kind]

    def __str__(self) -> str:
        return f"{self.name}={self.low:g}:{self.high:g}"


def parse_input_shape(text: str) -> InputShape:
    """`"3,224,224"` (or with x) is one image; `"name=1x3x[224:320:640]x224"`, `"ids=batchx16:int64"` name an input."""
    name, equals, shape = text.strip().rpartition("=")
    found = _SHAPE.fullmatch(shape.strip())
    if found is None or (equals and not name):
        raise UsageError(f"cannot read input shape {text!r}", hint=SHAPE_HINT)
    first = found["first"]
    rest = tuple(_size(text, part) for part in re.split("[,x]", found["rest"])[1:])
    dtype = found["dtype"] or ""
    if dtype and dtype not in DTYPES:
        raise UsageError(f"input shape {text!r}: unknown type {dtype!r}", hint=f"known: {', '.join(DTYPES)}")
    if first in FREE:
        return InputShape(name.strip(), BATCH, rest, dtype)
    leading = _size(text, first)
    if not name:
        return InputShape("", None, (leading, *rest), dtype)
    if isinstance(leading, SizeRange):
        raise UsageError(f"input shape {text!r}: the batch's range is that of --batch", hint="write batch in its place")
    return InputShape(name.strip(), leading, rest, dtype)


def parse_input_range(text: str) -> InputRange:
    """`"ids=0:30000"`, `"x=-1.0:1.0"` or `"mask=false:true"`."""
    name, equals, span = text.strip().rpartition("=")
    low, colon, high = (part.strip().lower() for part in span.partition(":"))
    if not (equals and name and colon):
        raise UsageError(f"cannot read input range {text!r}", hint=RANGE_HINT)
    if (low, high) == ("false", "true"):
        return InputRange(name, 0, 2, "bool")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise UsageError(f"cannot read input range {text!r}", hint=RANGE_HINT) from None
    if not (abs(ends[0]) <= 2**63 and abs(ends[1]) <= 2**63 and ends[0] < ends[1]):
        raise UsageError(f"input range {text!r} is empty", hint=RANGE_HINT)
    whole = all(re.fullmatch(r"-?\d+", part) for part in (low, high))
    return InputRange(name, *ends, "whole" if whole else "real")


def _size(text: str, part: str) -> Size:
    if part.startswith("["):
        return SizeRange(*map(int, part[1:-1].split(":")))
    if int(part) < 1:
        raise UsageError(f"cannot read input shape {text!r}", hint=SHAPE_HINT)
    return int(part)
