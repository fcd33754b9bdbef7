"""The manifest of an entry: what was asked, by which versions, which files, measured facts; typed, and sealed.

What does not decode is reported by an exception that says why, and never reaches a caller half-read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from deploykit.codec import decode, encode, parse
from deploykit.errors import UntrustedArtifact
from deploykit.store.files import Unfit, read_regular
from deploykit.store.seal import require_seal, sealed

SCHEMA_VERSION = 2
MOST_BYTES = 64_000_000  # of a manifest; the facts of the largest network take a hundredth
WITHOUT_SEAL = b'{\n "schema_version": 1,'  # how a manifest of schema 1 begins
KIND = re.compile(r"[a-z][a-z0-9-]{0,63}")
KEY = re.compile(r"[0-9a-f]{16,64}")
DIGEST = re.compile(r"[0-9a-f]{64}")
FILE_NAME = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
QUOTED = 80  # characters of what a manifest says that a message repeats
AGAIN = "it is made again"

T = TypeVar("T")


class Outdated(Unfit):
    """A manifest of an older schema."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a manifest says of a file: its SHA-256 (hex) and its size in bytes."""

    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        if not DIGEST.fullmatch(self.sha256):
            raise ValueError(f"{self.sha256[:QUOTED]!r} is not a SHA-256")
        if self.bytes < 0:
            raise ValueError(f"a file cannot have {self.bytes} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An entry as it is written. `request` and `facts` are JSON values, `created` is an ISO time with its zone."""

    kind: str
    key: str
    request: Mapping[str, Any]
    versions: Mapping[str, str]
    facts: Any
    created: str
    files: Mapping[str, FileRecord]
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(f"its schema_version is {self.schema_version}, not {SCHEMA_VERSION}")
        if not (KIND.fullmatch(self.kind) and KEY.fullmatch(self.key)):
            raise ValueError(f"{self.kind[:QUOTED]!r} {self.key[:QUOTED]!r} are not a kind and a hexadecimal key")
        if odd := [name for name in self.files if not FILE_NAME.fullmatch(name)]:
            raise ValueError(f"{odd[0][:QUOTED]!r} is not a plain file name")
        if datetime.fromisoformat(self.created).tzinfo is None:
            raise ValueError("its time has no zone")


def write_manifest(manifest: Manifest, secret: bytes | None) -> bytes:
    """The bytes of its file."""
    return sealed(encode(manifest), secret)


def read_manifest(path: Path, secret: bytes | None) -> Manifest:
    """The manifest at `path`.

    Raises Unfit for a file that is no regular one of ours, that fails its seal or that is no manifest: Outdated for an
    older deploykit's, OtherSeal where it is only not sealed with `secret`. Raises OSError where it cannot be read.
    """
    content = read_regular(path, most=MOST_BYTES)
    if content.startswith(WITHOUT_SEAL):
        raise Outdated("was written by an older deploykit")
    require_seal(content, secret)
    return decode_sealed(Manifest, content)


def decode_sealed(wanted: type[T], content: bytes) -> T:
    """The value in a file whose seal holds. Raises Unfit where it is none."""
    try:
        found = parse(content, what="manifest", hint=AGAIN, constants=True)
        if not isinstance(found, dict):
            raise Unfit("is not an object")
        return decode(wanted, {name: each for name, each in found.items() if name != "seal"}, what="manifest", hint="")
    except UntrustedArtifact as error:
        raise Unfit(error.message.removeprefix("the manifest ")) from error
