"""Stamps save a hit the hashing of its files, in a store with a key.

A stamp says that a file with this SHA-256 looked like this (device, inode, size, times of change) when its checksum
held. It never outranks a checksum: it is believed under the HMAC of DEPLOYKIT_STORE_KEY only, for the digest that the
sealed manifest names, and for a day, because what a disk changes by itself shows in no stamp. Without a key there are
no stamps, and each process hashes a file once.
"""

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploykit.codec import encode
from deploykit.store.entry import Entry
from deploykit.store.files import Identity, Unfit, read_regular
from deploykit.store.manifest import MOST_BYTES, decode_sealed
from deploykit.store.seal import require_seal, sealed

HOLD = 24 * 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file's SHA-256 (hex), and what it looked like when it had that."""

    sha256: str
    identity: Identity


@dataclass(frozen=True, slots=True)
class Stamps:
    """The stamps of an entry's files by name; `hashed` is when they were hashed, seconds since 1970."""

    hashed: float
    stamps: Mapping[str, Stamp]


def write_stamps(path: Path, entry: Entry, identities: Mapping[str, Identity], secret: bytes | None) -> None:
    """Remember what the files of `entry` look like now that their checksums held; not in a store that is read-only."""
    if secret is None:
        return
    stamps = Stamps(time.time(), {name: Stamp(entry.files[name].sha256, each) for name, each in identities.items()})
    draft = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        draft.unlink(missing_ok=True)
        with draft.open("xb") as file:  # never through a link that lies there
            file.write(sealed(encode(stamps), secret))
        draft.replace(path)


def read_stamps(path: Path, secret: bytes | None) -> Mapping[str, Stamp]:
    """The stamps of an entry by the names of its files; empty where none can be believed."""
    if secret is None:
        return {}
    try:
        content = read_regular(path, most=MOST_BYTES)
        require_seal(content, secret)
        found = decode_sealed(Stamps, content)
    except (OSError, Unfit):
        return {}
    return found.stamps if 0 <= time.time() - found.hashed <= HOLD else {}
