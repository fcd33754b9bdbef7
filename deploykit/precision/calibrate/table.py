"""The calibration table: one range per activation of one graph, as strict JSON.

A table is input from outside (a file, another machine), and a wrong range ruins a network silently, so reading is
strict: this schema and no other key, finite float32 numbers, lo <= hi, a threshold above 0, and the digest of the graph
it belongs to.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from deploykit.codec import encode, read
from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.precision.calibrate.ranges import FLOAT32_MAX, Range

SCHEMA_VERSION = 2
RECALIBRATE = "leave the table out, and build makes one from the images of --data, or from the demo images"


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
        return json.dumps(encode(self), sort_keys=True, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "CalibrationTable":
        """Read a table. Raises UntrustedArtifact, naming the entry, for anything that is not exactly one."""
        table = read(cls, text, what="calibration table", version=SCHEMA_VERSION, hint=RECALIBRATE)
        for name in ("graph_digest", "data_digest"):
            if not re.fullmatch(r"[0-9a-f]{64}", getattr(table, name)):
                raise _malformed(f"{name} is {getattr(table, name)!r}, not a SHA-256")
        if table.images < 1:
            raise _malformed(f"images is {table.images!r}, not a positive whole number")
        if not table.ranges:
            raise _malformed("ranges has no entries")
        for name, entry in table.ranges.items():
            _require_sound(name, entry)
        return table

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


def _require_sound(name: str, found: Range) -> None:
    if not all(abs(number) <= FLOAT32_MAX for number in (found.lo, found.hi, found.threshold)):
        raise _malformed(f"the range of {name!r} holds a number that float32 cannot")
    if found.lo > found.hi:
        raise _malformed(f"the range of {name!r} is empty: lo {found.lo:g} > hi {found.hi:g}")
    if found.threshold == 0 and (found.lo, found.hi) != (0.0, 0.0):
        raise _malformed(f"the range of {name!r} has the threshold {found.threshold:g}, which is not above 0")


def _malformed(what: str) -> UntrustedArtifact:
    return UntrustedArtifact(f"the calibration table is malformed: {what}", hint=RECALIBRATE)
