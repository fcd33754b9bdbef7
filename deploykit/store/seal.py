"""The seal of a manifest: a checksum over its own bytes, and an HMAC where DEPLOYKIT_STORE_KEY is set.

A sealed file is one JSON object, whose first member is the seal of all that is behind it:

    {
     "seal": {"hmac_sha256": null, "sha256": "1f0c..."},
     "schema_version": 2,
     ...

The seal is compared with the bytes that it has to be before anything is parsed, so a bit that changes anywhere in the
file is noticed. The checksum covers the HMAC, too. It protects from broken disks; whoever may write to the store can
compute it, but not the HMAC, unless he has the key.
"""

import hashlib
import hmac
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from deploykit.errors import StoreFailed
from deploykit.store.files import Unfit

KEY_VARIABLE = "DEPLOYKIT_STORE_KEY"
SHORTEST_KEY = 16  # bytes
HEAD = re.compile(rb'\{\n "seal": \{"hmac_sha256": (?:null|"([0-9a-f]{64})"), "sha256": "[0-9a-f]{64}"\},\n')
OPENING = b"{\n"


class OtherSeal(Unfit):
    """A file that is whole, and that the key of this process did not seal."""


def store_key() -> bytes | None:
    """The key in DEPLOYKIT_STORE_KEY; None where it is not set or empty. Raises StoreFailed for a short one."""
    key = os.fsencode(os.environ.get(KEY_VARIABLE, "")).strip()
    if key and len(key) < SHORTEST_KEY:
        raise StoreFailed(
            f"{KEY_VARIABLE} has {len(key)} bytes, fewer than {SHORTEST_KEY}",
            hint="set it to the output of `openssl rand -hex 32`",
        )
    return key or None


def sealed(content: Mapping[str, Any], key: bytes | None) -> bytes:
    """`content`, which is not empty, as the bytes of a file."""
    rest = json.dumps(content, indent=1).encode().removeprefix(OPENING)
    return head(_mac(rest, key) if key else None, rest) + rest


def require_seal(found: bytes, key: bytes | None) -> None:
    """Raises Unfit for bytes that have no seal or not this one; OtherSeal where only the HMAC is not that of `key`.

    Without a key an HMAC is not looked at: the checksum holds, and that is all there is to know.
    """
    match = HEAD.match(found)
    if match is None:
        raise Unfit("has no seal")
    mac, rest = match[1], found[match.end() :]
    if not hmac.compare_digest(head(mac.decode() if mac else None, rest), match[0]):
        raise Unfit("fails its checksum")
    if key and not hmac.compare_digest(mac or b"", _mac(rest, key).encode()):
        raise OtherSeal(f"is not sealed with {KEY_VARIABLE}")


def head(mac: str | None, rest: bytes) -> bytes:
    """The opening of a sealed file, over all that is behind it and over the HMAC (hex) of that."""
    checksum = hashlib.sha256((mac or "").encode() + rest).hexdigest()
    return f'{{\n "seal": {{"hmac_sha256": {json.dumps(mac)}, "sha256": "{checksum}"}},\n'.encode()


def _mac(rest: bytes, key: bytes) -> str:
    return hmac.new(key, rest, hashlib.sha256).hexdigest()
