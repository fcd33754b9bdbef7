"""What `--json` prints: one strict JSON object. NaN and infinity do not exist in JSON; they become null."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deploykit.codec import encode

SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a command answers with `--json`; its fields are those of the JSON object."""

    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The text that `--json` prints."""
        return to_json(self)


def to_json(document: object) -> str:
    """One object, indented by two spaces, lists of numbers on one line. Paths are text, NumPy scalars numbers."""
    return _dump(_finite(encode(document)), "")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _dump(value: Any, indent: str) -> str:
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        items = (f"{deeper}{json.dumps(key)}: {_dump(item, deeper)}" for key, item in value.items())
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if _nested(value):
        return "[\n" + ",\n".join(deeper + _dump(item, deeper) for item in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)


def _nested(value: Any) -> bool:
    return isinstance(value, Sequence) and any(isinstance(item, (dict, list)) for item in value)
