"""The calibration table: one range per activation of one graph, as strict JSON.

A table is input from outside (a file, another machine), and a wrong range ruins a network silently, so reading is
strict: this schema and no other key, finite float32 numbers, lo <= hi, a threshold above 0, and the digest of the graph
it belongs to.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.precision.calibrate.ranges import Range
from deploykit.precision.calibrate.strict_json import FLOAT32_MAX, read_object

SCHEMA_VERSION = 2
FIELDS = {"schema_version", "graph_digest", "data_digest", "method", "images", "preprocessing", "ranges"}
RECALIBRATE = "build again: the table is made anew from the images of --data, or from the demo photographs"


@dataclass(frozen=True, slots=True)
class CalibrationTable:
    """`graph_digest`: SHA-256 (hex) of the optimized float graph, serialized; `data_digest`: of the images.

    `method` is the observer's name, `images` how many it saw, `preprocessing` how they were prepared, in words.
    """

    graph_digest: str
    data_digest: str
    method: str
    images: int
    ranges: Mapping[str, Range]
    preprocessing: str = ""
    schema_version: int = field(default=SCHEMA_VERSION)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranges", MappingProxyType(dict(self.ranges)))

    def __reduce__(self) -> tuple[object, ...]:  # a read-only view of a dict cannot be pickled
        return CalibrationTable.from_json, (self.to_json(),)

    def to_json(self) -> str:
        """Canonical text: sorted keys, numbers that read back exactly."""
        content: dict[str, Any] = {name: getattr(self, name) for name in FIELDS - {"ranges"}}
        content["ranges"] = {name: asdict(found) for name, found in self.ranges.items()}
        return json.dumps(content, sort_keys=True, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "CalibrationTable":
        """Read a table. Raises UntrustedArtifact, naming the entry, for anything that is not exactly one."""
        content = read_object(text, what="calibration table", version=SCHEMA_VERSION, keys=FIELDS, hint=RECALIBRATE)
        for name in ("method", "preprocessing"):
            if not isinstance(content[name], str):
                raise _malformed(f"{name} is {content[name]!r}, not text")
        for name in ("graph_digest", "data_digest"):
            if not isinstance(content[name], str) or not re.fullmatch(r"[0-9a-f]{64}", content[name]):
                raise _malformed(f"{name} is {content[name]!r}, not a SHA-256")
        if type(content["images"]) is not int or content["images"] < 1:
            raise _malformed(f"images is {content['images']!r}, not a positive whole number")
        if not isinstance(content["ranges"], dict) or not content["ranges"]:
            raise _malformed("ranges is not an object with entries")
        ranges = {name: _range(name, entry) for name, entry in content["ranges"].items()}
        return cls(**{**content, "ranges": ranges})

    def require_graph(self, digest: str) -> None:
        """Raises UsageError unless the table was collected on the graph with this digest."""
        if digest != self.graph_digest:
            raise UsageError(
                f"the calibration table belongs to graph {self.graph_digest[:12]}, this one is {digest[:12]}",
                hint=f"weights, size or export changed since: {RECALIBRATE}",
            )

    def range_of(self, value: str) -> Range:
        """Raises UsageError when the table has no entry for this value."""
        if value not in self.ranges:
            raise UsageError(f"the calibration table has no range for {value!r}", hint=RECALIBRATE)
        return self.ranges[value]


def _range(name: str, entry: object) -> Range:
    if not isinstance(entry, dict) or entry.keys() != {"lo", "hi", "threshold"}:
        raise _malformed(f"the range of {name!r} is not an object with lo, hi and threshold")
    lo, hi, threshold = (_number(name, entry[end]) for end in ("lo", "hi", "threshold"))
    if lo > hi:
        raise _malformed(f"the range of {name!r} is empty: lo {lo:g} > hi {hi:g}")
    if threshold < 0 or (threshold == 0 and (lo, hi) != (0.0, 0.0)):
        raise _malformed(f"the range of {name!r} has the threshold {threshold:g}, which scales nothing")
    return Range(lo, hi, threshold)


def _number(name: str, value: object) -> float:
    if type(value) not in (int, float):
        raise _malformed(f"the range of {name!r} holds {value!r}, not a number")
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    if not abs(number) <= FLOAT32_MAX:
        raise _malformed(f"the range of {name!r} holds a number that float32 cannot")
    return number


def _malformed(what: str) -> UntrustedArtifact:
    return UntrustedArtifact(f"the calibration table is malformed: {what}", hint=RECALIBRATE)
