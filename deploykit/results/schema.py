"""The JSON schema of what `--json` prints, made from the result types themselves.

Run as `python -m deploykit.results.schema` it prints the schema of every document but those of `list` and `doctor`.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from deploykit.codec import json_fields, json_properties, property_type, type_hints, written_as
from deploykit.results.accuracy import AccuracyReport
from deploykit.results.build import BuildResult, ExportResult, UndecidedResult
from deploykit.results.calibration import CalibrationResult, ShardResult
from deploykit.results.comparison import Report
from deploykit.results.document import to_json
from deploykit.results.from_bytes import BytesReport
from deploykit.results.gate import GateReport
from deploykit.results.inspection import Inspection
from deploykit.results.network import NetworkDocument
from deploykit.results.predictions import PredictionResult
from deploykit.results.sensitivity import Sensitivity
from deploykit.results.store import StoreCheck, StoreListing, StoreRemoval

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOCUMENTS: Mapping[str, type] = {
    "bench": Report,
    "verify": Report,
    "verify --from-bytes": BytesReport,
    "evaluate": AccuracyReport,
    "predict": PredictionResult,
    "export": ExportResult,
    "build": BuildResult,
    "build --precision best, undecided": UndecidedResult,
    "calibrate": CalibrationResult,
    "calibrate --shard": ShardResult,
    "calibrate --sensitivity": Sensitivity,
    "inspect": Inspection,
    "compare": GateReport,
    "summary": NetworkDocument,
    "store ls": StoreListing,
    "store verify": StoreCheck,
    "store prune": StoreRemoval,
    "store clear": StoreRemoval,
}
SCALARS: Mapping[Any, dict[str, Any]] = {
    str: {"type": "string"},
    Path: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": ["number", "null"]},  # NaN and infinities are null
    type(None): {"type": "null"},
}


def json_schema() -> dict[str, Any]:
    """The schema of every document: commands in `properties`, the objects that they are made of in `$defs`."""
    definitions: dict[str, Any] = {}
    commands = {command: _of(kind, definitions) for command, kind in DOCUMENTS.items()}
    return {
        "$schema": DIALECT,
        "title": "What deploykit's commands print with --json, by command",
        "type": "object",
        "properties": commands,
        "$defs": dict(sorted(definitions.items())),
    }


def _of(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind is Any or kind is object:
        return {}
    if kind in SCALARS or kind is None:
        return SCALARS[type(None) if kind is None else kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(each, definitions) for each in inner]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(inner[1], definitions)}
    if origin is not None and issubclass(origin, Sequence):
        return _list(inner, definitions)
    return _named(kind, definitions)


def _list(inner: tuple[Any, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    if inner[1:] in ((), (...,)):
        return {"type": "array", "items": _of(inner[0], definitions)}
    items = [_of(each, definitions) for each in inner]
    return {"type": "array", "prefixItems": items, "minItems": len(inner), "maxItems": len(inner)}


def _named(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    if hasattr(kind, "__json__"):
        return _of(written_as(kind), definitions)
    if issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    if issubclass(kind, tuple):  # a NamedTuple
        return _list(tuple(type_hints(kind).values()), definitions)
    if not is_dataclass(kind):
        raise TypeError(f"{kind} has no JSON form")
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}  # so that a type may hold itself
        definitions[kind.__name__] = _object(kind, definitions)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = type_hints(kind)
    found = {name: _of(hints[each.name], definitions) for name, each in json_fields(kind).items()}
    for name, each in json_properties(kind).items():
        found[name] = _of(property_type(kind, each), definitions)
    described = {"description": inspect.cleandoc(kind.__doc__)} if kind.__doc__ else {}
    return {**described, "type": "object", "properties": found, "required": list(found), "additionalProperties": False}


if __name__ == "__main__":
    sys.stdout.write(to_json(json_schema()) + "\n")
