import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import pytest

from deploykit.codec import NOT_IN_JSON, decode, encode, json_name, read
from deploykit.errors import UntrustedArtifact, UsageError


class Color(StrEnum):
    RED = "red"


class Ends(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True)
class Leaf:
    name: str
    ends: Ends | None = None
    kind: Literal["a", "b"] = "a"

    def __post_init__(self):
        if self.name == "bad":
            raise UsageError("a leaf is not called bad")


@dataclass(frozen=True)
class Tree:
    JSON_PROPERTIES: ClassVar[Mapping[str, str]] = {"count": "number"}

    leaves: tuple[Leaf, ...]
    by_name: Mapping[str, Leaf]
    path: Path
    color: Color
    share: float
    pair: tuple[int, str]
    size: int | str
    with_it: bool = field(default=False, metadata=json_name("with"))
    scratch: object = field(default=None, metadata=NOT_IN_JSON)
    notes: list[str] = field(default_factory=list)

    @property
    def number(self) -> int:
        return len(self.leaves)


@dataclass(frozen=True)
class Text:
    text: str

    def __json__(self) -> str:
        return f"<{self.text}>"


TREE = Tree(
    leaves=(Leaf("x", Ends(0.5, 2)), Leaf("y", kind="b")),
    by_name={"x": Leaf("x")},
    path=Path("a/b"),
    color=Color.RED,
    share=0.25,
    pair=(1, "one"),
    size="batch",
    notes=["n"],
)
JSON = {
    "leaves": [{"name": "x", "ends": [0.5, 2], "kind": "a"}, {"name": "y", "ends": None, "kind": "b"}],
    "by_name": {"x": {"name": "x", "ends": None, "kind": "a"}},
    "path": "a/b",
    "color": "red",
    "share": 0.25,
    "pair": [1, "one"],
    "size": "batch",
    "with": False,
    "notes": ["n"],
    "count": 2,
}


def decoded(content):
    return decode(Tree, content, what="tree", hint="plant it again")


def test_what_is_encoded_comes_back_as_it_was():
    assert encode(TREE) == JSON
    assert decoded(json.loads(json.dumps(encode(TREE)))) == TREE
    assert isinstance(decoded(JSON).leaves[0].ends, Ends)


def test_properties_of_json_may_be_left_out_of_what_is_read():
    assert decoded({name: value for name, value in JSON.items() if name != "count"}) == TREE


def test_a_value_that_says_how_it_is_written_is_written_so():
    assert encode({"x": (Text("y"), np.float32(0.5), np.array([1, 2]))}) == {"x": ["<y>", 0.5, [1, 2]]}
    assert math.isnan(encode(math.nan))


def test_what_has_no_json_form_is_refused():
    with pytest.raises(TypeError, match="has no JSON form"):
        encode({"x": object()})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"share": True}, "share is True, not a number"),
        ({"share": "0.5"}, "share is '0.5', not a number"),
        ({"share": 10**400}, "share: int too large"),
        ({"path": 1}, "path is 1, not a path"),
        ({"with": 0}, "with is 0, not true or false"),
        ({"with_it": True}, "keys missing or unknown: with_it"),
        ({"scratch": None}, "keys missing or unknown: scratch"),
        ({"color": "blue"}, "color: 'blue' is not a valid Color"),
        ({"leaves": {}}, "leaves is {}, not a list"),
        ({"leaves": [{"name": "x", "ends": None, "kind": "c"}]}, "leaves[0].kind is 'c', not one of ('a', 'b')"),
        ({"leaves": [{"name": "x", "ends": [1], "kind": "a"}]}, "leaves[0].ends is [1], not a list of 2"),
        ({"leaves": [{"name": "x", "ends": [1, "2"], "kind": "a"}]}, "leaves[0].ends[1] is '2', not a number"),
        ({"leaves": [{"name": "x", "ends": None}]}, "leaves[0]: keys missing or unknown: kind"),
        ({"leaves": [{"name": "bad", "ends": None, "kind": "a"}]}, "leaves[0]: a leaf is not called bad"),
        ({"by_name": []}, "by_name is [], not an object"),
        ({"pair": [1]}, "pair is [1], not a list of 2"),
        ({"size": None}, "size is None, not a whole number or size is None, not text"),
        ({"notes": [1]}, "notes[0] is 1, not text"),
        ({"more": 1}, "keys missing or unknown: more"),
    ],
)
def test_anything_else_is_refused_with_its_place(change, said):
    with pytest.raises(UntrustedArtifact) as caught:
        decoded({**JSON, **change})
    assert caught.value.message == f"the tree is malformed: {said}" or said in caught.value.message
    assert caught.value.exit_code == 5
    assert caught.value.hint == "plant it again"


def test_a_missing_field_is_named():
    with pytest.raises(UntrustedArtifact, match="keys missing or unknown: path"):
        decoded({name: value for name, value in JSON.items() if name != "path"})


@dataclass(frozen=True)
class File:
    schema_version: int
    x: float


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "it is not an object"),
        ('{"schema_version": 2, "schema_version": 2}', "a key occurs twice"),
        ('{"schema_version": 1, "x": 1}', "its schema_version is 1, not 2"),
        ('{"schema_version": true, "x": 1}', "its schema_version is True, not 2"),
        ('{"schema_version": 2, "x": NaN}', "NaN is not a number"),
    ],
)
def test_text_that_is_no_strict_json_of_the_version_is_refused(text, said):
    with pytest.raises(UntrustedArtifact, match=said):
        read(File, text, what="file", version=2, hint="")


def test_text_of_the_version_is_read():
    assert read(File, '{"schema_version": 2, "x": 1}', what="file", version=2, hint="") == File(2, 1.0)
