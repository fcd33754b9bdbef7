"""Frozen dataclasses as JSON and back: what the store keeps, what `--json` prints, and what a file of ours holds.

`encode` writes every field under its own name. A class may say otherwise: by the metadata of a field (`NOT_IN_JSON`,
`json_name`), and by

    JSON_PROPERTIES    properties that JSON has beside the fields, see `shown`
    __json__()         another value, which is written in its place

and the way back: `from_json(value)` of a class with `__json__` takes that other value; `hidden(properties)` of a class
with properties gives the fields that JSON does not have, by name.

`decode` is strict, because what it reads may have been touched: no field is missing or unknown, every value has the
type that its field declares, and a fault says where it lies. A `document` was printed with `--json`, perhaps by an
older deploykit: there null is a number that was NaN or infinite, and a missing field has its default. `parse` takes
JSON text with neither a key that occurs twice nor NaN. msgspec 0.22 was considered in its place: it passes over unknown
fields of a dataclass, and renames none.
"""

from __future__ import annotations

import inspect
import json
import math
import reprlib
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from deploykit import limits
from deploykit.errors import DeploykitError, UntrustedArtifact

HIDDEN = "hidden from JSON"
NOT_IN_JSON = {"json": HIDDEN}  # metadata of a dataclass field that JSON does not have
LISTED = 20  # keys that a fault lists
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 60
SCALARS: tuple[type, ...] = (str, int, float, bool)

T = TypeVar("T")


class Malformed(ValueError):
    """A JSON value that is not what was declared; the text says where and what."""


def json_name(name: str) -> Mapping[str, str]:
    """Metadata of a dataclass field that JSON has under another name, such as a keyword of Python."""
    return {"json": name}


def shown(*names: str, **renamed: str) -> Mapping[str, str]:
    """Properties that JSON has beside the fields: under their own names, or JSON's name = the property's."""
    return {name: name for name in names} | renamed


def encode(value: object) -> Any:
    """`value` as dictionaries, lists, text, numbers, booleans and None. NaN and infinities stay as they are.

    Raises TypeError for anything else.
    """
    if (converted := getattr(value, "__json__", None)) is not None and not isinstance(value, type):
        return encode(converted())
    if is_dataclass(value) and not isinstance(value, type):
        found = {name: encode(getattr(value, each.name)) for name, each in json_fields(type(value)).items()}
        return found | {name: encode(getattr(value, each)) for name, each in json_properties(type(value)).items()}
    if isinstance(value, Enum):
        return value.value
    if value is None or type(value) in SCALARS:
        return value
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # a NumPy scalar or array
        return encode(value.tolist())
    raise TypeError(f"{type(value).__name__} {value!r} has no JSON form")


@cache
def json_fields(cls: type) -> dict[str, Field[Any]]:
    """The fields that JSON has of a dataclass, by JSON's name."""
    named = {each.metadata.get("json", each.name): each for each in fields(cls)}
    return {name: each for name, each in named.items() if name != HIDDEN}


def json_properties(cls: type) -> Mapping[str, str]:
    """The properties that JSON has beside the fields: JSON's name -> the property's."""
    return cast("Mapping[str, str]", getattr(cls, "JSON_PROPERTIES", {}))


def written_as(cls: type) -> Any:
    """The type of what a class with `__json__` is written as."""
    return inspect.get_annotations(cls.__json__, eval_str=True)["return"]  # type: ignore[attr-defined]


@cache
def property_type(cls: type, name: str) -> Any:
    """The type of a property."""
    return inspect.get_annotations(getattr(cls, name).fget, eval_str=True)["return"]


@cache
def type_hints(cls: type) -> dict[str, Any]:
    """The types of a class's fields, resolved."""
    return get_type_hints(cls)


def parse(text: str | bytes, *, what: str, hint: str, constants: bool = False) -> object:
    """Strict JSON text. Raises UntrustedArtifact for text that is too long or is not JSON, a key twice.

    NaN and infinities are not JSON either, unless `constants` lets them in.
    """
    if len(text) > limits.TEXT_BYTES.value:
        raise UntrustedArtifact(f"the {what} is malformed: it has {len(text)} bytes", hint=hint)
    opened = text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")
    if opened > limits.PARTS.value:
        raise UntrustedArtifact(f"the {what} is malformed: it has {opened} lists and objects", hint=hint)
    try:
        constant = None if constants else _no_constants
        return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise UntrustedArtifact(f"the {what} is not JSON: {error}", hint=hint) from None


def decode(wanted: type[T], found: object, *, what: str, hint: str, document: bool = False) -> T:
    """The `wanted` value that `encode` made `found` of. Raises UntrustedArtifact, naming the place, for anything else.

    What a class checks when it is made, it checks here too.
    """
    try:
        return cast("T", _Decoder(document).decoded(wanted, found, ""))
    except Malformed as error:
        raise UntrustedArtifact(f"the {what} is malformed: {error}", hint=hint) from None
    except RecursionError:
        raise UntrustedArtifact(f"the {what} is malformed: it is nested too deep", hint=hint) from None


def read(wanted: type[T], text: str | bytes, *, what: str, version: int, hint: str) -> T:
    """`parse` and `decode` of one object, whose `schema_version` is `version`."""
    content = parse(text, what=what, hint=hint)
    if not isinstance(content, dict):
        raise UntrustedArtifact(f"the {what} is malformed: it is not an object", hint=hint)
    if content.get("schema_version") != version or isinstance(content["schema_version"], bool):
        said = f"its schema_version is {content.get('schema_version')!r}, not {version}"
        raise UntrustedArtifact(f"the {what} is malformed: {said}", hint=hint)
    return decode(wanted, content, what=what, hint=hint)


@dataclass(frozen=True, slots=True)
class _Decoder:
    document: bool

    def decoded(self, wanted: Any, found: object, where: str) -> object:
        if type(found) is wanted and wanted in SCALARS:
            return found
        if wanted is Any or wanted is object:
            return found
        if wanted is None or wanted is type(None):
            return None if found is None else _wrong("nothing", found, where)
        origin = get_origin(wanted)
        if origin in (Union, types.UnionType):
            return self.one_of(get_args(wanted), found, where)
        if origin is Literal:
            return found if found in get_args(wanted) else _wrong(f"one of {get_args(wanted)}", found, where)
        if origin is not None:
            return self.collection(origin, get_args(wanted), found, where)
        if hasattr(wanted, "from_json") and hasattr(wanted, "__json__"):
            return _made(wanted.from_json, self.decoded(written_as(wanted), found, where), where)
        if is_dataclass(wanted):
            return self.instance(cast("type", wanted), found, where)
        if issubclass(wanted, Enum):
            return _made(wanted, found, where)
        if issubclass(wanted, tuple):  # a NamedTuple
            inner = tuple(type_hints(wanted).values())
            return wanted(*cast("tuple[object, ...]", self.collection(tuple, inner, found, where)))
        return self.scalar(wanted, found, where)

    def scalar(self, wanted: type, found: object, where: str) -> object:
        if wanted is float and type(found) is int:
            return _made(float, found, where)
        if wanted is float and found is None and self.document:
            return math.nan
        if wanted is Path and isinstance(found, str):
            return Path(found)
        if type(found) is not wanted:
            names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
            _wrong(names.get(wanted, wanted.__name__), found, where)
        return found

    def collection(self, origin: Any, inner: tuple[Any, ...], found: object, where: str) -> object:
        if issubclass(origin, Mapping):
            if not isinstance(found, dict):
                _wrong("an object", found, where)
            return {
                _made(inner[0], key, where): self.decoded(inner[1], each, _at(where, key))
                for key, each in found.items()
            }
        if not isinstance(found, list):
            _wrong("a list", found, where)
        if inner[1:] == (...,) and inner[0] in SCALARS and all(type(each) is inner[0] for each in found):
            return tuple(found)
        if not issubclass(origin, tuple) or inner[1:] == (...,):
            made = [self.decoded(inner[0], each, f"{where}[{index}]") for index, each in enumerate(found)]
            return tuple(made) if origin in (tuple, Sequence) or issubclass(origin, tuple) else origin(made)
        if len(found) != len(inner):
            _wrong(f"a list of {len(inner)}", found, where)
        pairs = zip(inner, found, strict=True)
        return tuple(self.decoded(each, item, f"{where}[{index}]") for index, (each, item) in enumerate(pairs))

    def instance(self, wanted: type, found: object, where: str) -> object:
        if not isinstance(found, dict):
            _wrong("an object", found, where)
        known, hints = json_fields(wanted), type_hints(wanted)
        content = {name: each for name, each in found.items() if name not in json_properties(wanted)}
        if content.keys() != known.keys():
            optional = {name for name, each in known.items() if self.document and _has_default(each)}
            if odd := sorted((content.keys() ^ known.keys()) - (optional - content.keys())):
                raise Malformed(f"{where + ': ' if where else ''}keys missing or unknown: {', '.join(odd[:LISTED])}")
        made = {
            known[name].name: self.decoded(hints[known[name].name], each, _at(where, name))
            for name, each in content.items()
        }
        if hidden := getattr(wanted, "hidden", None):
            made |= cast("dict[str, object]", _made(hidden, self.properties(wanted, found, where), where))
        return _made(lambda options: wanted(**options), made, where)

    def properties(self, wanted: type, found: Mapping[str, object], where: str) -> dict[str, object]:
        """The properties of a class that `found` has, by JSON's name."""
        return {
            name: self.decoded(property_type(wanted, each), found[name], _at(where, name))
            for name, each in json_properties(wanted).items()
            if name in found
        }

    def one_of(self, choices: Sequence[Any], found: object, where: str) -> object:
        """The first of the types that takes the value; the fault is that of the only one that could have been meant."""
        if found is None and type(None) in choices:
            return None
        faults = []
        for each in choices:
            try:
                return self.decoded(each, found, where)
            except Malformed as error:
                if each is not type(None):
                    faults.append(error)
        raise faults[0] if len(faults) == 1 else Malformed(" or ".join(dict.fromkeys(map(str, faults))))


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _made(make: Callable[[Any], object], found: object, where: str) -> object:
    """What a constructor makes; what it refuses is malformed."""
    try:
        return make(found)
    except Malformed:
        raise
    except (ValueError, TypeError, OverflowError, DeploykitError) as error:
        raise Malformed(f"{where}: {error}" if where else str(error)) from None


def _wrong(wanted: str, found: object, where: str) -> NoReturn:
    raise Malformed(f"{where or 'it'} is {SHORT.repr(found)}, not {wanted}")


def _at(where: str, name: object) -> str:
    return f"{where}.{name}" if where else str(name)


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key occurs twice")
    return content


def _no_constants(text: str) -> object:
    raise ValueError(f"{text} is not a number")
