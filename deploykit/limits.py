"""How much of a foreign file is believed: one limit for each way in which a file can be too much.

Each has a default that no sound file of a convolutional network comes near, and an environment variable for the one
that does. A limit is read when it is applied, so a variable that is set in a running process counts, too.
"""

import os
from dataclasses import dataclass
from typing import Final

from deploykit.errors import UsageError


@dataclass(frozen=True, slots=True)
class Limit:
    """A whole number above 0: `default`, or what the environment says under the name `variable`."""

    variable: str
    default: int
    what: str

    @property
    def value(self) -> int:
        """Raises UsageError for a variable that is no whole number above 0."""
        text = os.environ.get(self.variable, "")
        if not text:
            return self.default
        if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text)):
            raise UsageError(f"{self.variable} is {text!r}", hint="give a whole number above 0, or unset it")
        return int(text)

    @property
    def hint(self) -> str:
        """How to let more in."""
        return f"if the file is as it should be, set {self.variable} to allow more"


FILE_BYTES: Final = Limit("DEPLOYKIT_MAX_FILE_BYTES", 2**34, "bytes of a checkpoint, an archive or an engine")
TEXT_BYTES: Final = Limit("DEPLOYKIT_MAX_TEXT_BYTES", 64_000_000, "bytes of a table, a shard or a saved result (JSON)")
LIST_BYTES: Final = Limit("DEPLOYKIT_MAX_LIST_BYTES", 5_000_000, "bytes of a TOML file or of `classes.txt`")
PARTS: Final = Limit("DEPLOYKIT_MAX_PARTS", 250_000, "lists and objects in a JSON text")
NESTING: Final = Limit("DEPLOYKIT_MAX_NESTING", 64, "levels of brackets, and parts of a dotted key, in a TOML file")
ROWS: Final = Limit("DEPLOYKIT_MAX_ROWS", 500_000, "images of an archive, an idx file or a list")
HISTOGRAMS: Final = Limit("DEPLOYKIT_MAX_HISTOGRAMS", 10_000, "activations of a calibration shard")
ARRAY_BYTES: Final = Limit("DEPLOYKIT_MAX_ARRAY_BYTES", 8_000_000_000, "bytes of an archive's arrays, unpacked")
UNPACKING: Final = Limit("DEPLOYKIT_MAX_UNPACKING", 200, "bytes that one packed byte becomes, from 64 MB on")
MEMBERS: Final = Limit("DEPLOYKIT_MAX_MEMBERS", 50_000, "members of an archive, tensors of a .safetensors file")
IMAGE_BYTES: Final = Limit("DEPLOYKIT_MAX_IMAGE_BYTES", 1_000_000_000, "bytes of an image file")
IMAGE_PIXELS: Final = Limit("DEPLOYKIT_MAX_IMAGE_PIXELS", 100_000_000, "pixels of an image")

LIMITS: Final = (
    FILE_BYTES, TEXT_BYTES, PARTS, LIST_BYTES, NESTING, ROWS, HISTOGRAMS, ARRAY_BYTES, UNPACKING, MEMBERS, IMAGE_BYTES,
    IMAGE_PIXELS,
)  # fmt: skip
