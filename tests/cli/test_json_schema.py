"""What the commands print with --json is what the schema says, field by field."""

import json

import pytest

from deploykit.results.schema import json_schema

SCHEMA = json_schema()
KINDS = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "null": type(None)}


def faults(found, schema, where="$"):
    """What of `found` is not as `schema` says, for the keywords that our schema uses."""
    if "$ref" in schema:
        return faults(found, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], where)
    if "anyOf" in schema:
        several = [faults(found, each, where) for each in schema["anyOf"]]
        return min(several, key=len)
    if "enum" in schema:
        return [] if found in schema["enum"] else [f"{where} is {found!r}"]
    match schema.get("type"):
        case "object":
            return object_faults(found, schema, where)
        case "array":
            return array_faults(found, schema, where)
        case None:
            return []
        case kinds:
            wanted = [KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds)]
            fits = any(isinstance(found, each) and (each is bool or type(found) is not bool) for each in wanted)
            return [] if fits else [f"{where} is {found!r}, not {kinds}"]


def object_faults(found, schema, where):
    if not isinstance(found, dict):
        return [f"{where} is no object"]
    rest, known = schema["additionalProperties"], schema.get("properties", {})
    missing = [f"{where} lacks {name}" for name in schema.get("required", ()) if name not in found]
    extra = [f"{where} has {name}" for name in found if rest is False and name not in known]
    parts = [fault for name in found if name in known for fault in faults(found[name], known[name], f"{where}.{name}")]
    others = [fault for name in found if rest for fault in faults(found[name], rest, f"{where}.{name}")]
    return [*missing, *extra, *parts, *others]


def array_faults(found, schema, where):
    if not isinstance(found, list):
        return [f"{where} is no list"]
    each = schema.get("prefixItems") or [schema["items"]] * len(found)
    if len(each) != len(found):
        return [f"{where} has {len(found)} items"]
    return [fault for index, item in enumerate(found) for fault in faults(item, each[index], f"{where}[{index}]")]


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("export", ["export", "lenet5", "--no-check"]),
        ("export", ["export", "lenet5"]),
        ("build", ["build", "lenet5", "--precision", "int8", "--backend", "trt-rtx", "--target", "sm_89"]),
        ("build", ["build", "lenet5", "--precision", "fp16", "--target", "sm_89"]),
        ("inspect", ["inspect", "lenet5", "--precision", "int8", "--target", "l4", "--diff", "fp16"]),
        ("verify", ["verify", "lenet5", "--backends", "torch,ort,trt-rtx", "--precision", "fp32,int8"]),
        ("bench", ["bench", "lenet5", "--backends", "ort", "--precision", "fp32", "--max-seconds", "2"]),
        ("calibrate", ["calibrate", "lenet5"]),
        ("summary", ["summary", "mobilenet"]),
    ],
)
def test_a_document_is_as_the_schema_says(run, kind, arguments):
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert faults(json.loads(done.stdout), SCHEMA["properties"][kind]) == []


def test_what_the_schema_does_not_know_is_noticed(run):
    found = json.loads(run("export", "lenet5", "--no-check", "--json").stdout)
    schema = SCHEMA["properties"]["export"]
    assert faults({**found, "more": 1}, schema) == ["$ has more"]
    assert faults({**found, "nodes": "12"}, schema) == ["$.nodes is '12', not integer"]
