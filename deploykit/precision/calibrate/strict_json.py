"""Reading what deploykit wrote and somebody may have touched: JSON of one schema, and nothing else."""

import json
from collections.abc import Set as AbstractSet
from typing import Any

from deploykit.errors import UntrustedArtifact

FLOAT32_MAX = 3.4028234663852886e38
LARGEST_FILE = 256_000_000  # bytes: thousands of activations take a tenth of it


def read_object(text: str | bytes, *, what: str, version: int, keys: AbstractSet[str], hint: str) -> dict[str, Any]:
    """An object with just these `keys`, among them `schema_version`, which is `version`.

    Raises UntrustedArtifact, saying what is wrong with the `what`, for anything else.
    """

    def malformed(fault: str) -> UntrustedArtifact:
        return UntrustedArtifact(f"the {what} is malformed: {fault}", hint=hint)

    if len(text) > LARGEST_FILE:
        raise malformed(f"it has {len(text)} bytes")
    try:
        content = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise UntrustedArtifact(f"the {what} is not JSON: {error}", hint=hint) from None
    if not isinstance(content, dict):
        raise malformed("it is not an object")
    if content.get("schema_version") != version or isinstance(content["schema_version"], bool):
        raise malformed(f"its schema_version is {content.get('schema_version')!r}, not {version}")
    if content.keys() != keys:
        raise malformed(f"keys missing or unknown: {', '.join(sorted(content.keys() ^ keys))}")
    return content


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key occurs twice")
    return content


def _no_constants(text: str) -> object:
    raise ValueError(f"{text} is not a number")
