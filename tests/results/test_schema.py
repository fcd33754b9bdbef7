"""The JSON schema is made from the result types, and the page that has it is current."""

import json
from pathlib import Path

from deploykit.results.schema import DOCUMENTS, json_schema

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "json-schema.json"


def test_the_page_is_current():
    assert json.loads(PAGE.read_text()) == json.loads(json.dumps(json_schema())), "make docs-pages writes it again"


def test_every_object_that_is_named_is_described():
    schema = json_schema()
    assert set(schema["properties"]) == set(DOCUMENTS)
    named = set(json.dumps(schema).split('"#/$defs/')[1:])
    assert {each.partition('"')[0] for each in named} == set(schema["$defs"])
    described = {name: each["description"] for name, each in schema["$defs"].items()}
    assert [name for name, text in described.items() if text.startswith(f"{name}(")] == []  # a dataclass makes that up


def test_a_row_has_the_fields_of_json_and_not_those_of_python():
    row = json_schema()["$defs"]["Row"]
    assert {"plan", "parity", "samples_ns", "blocks"} <= set(row["required"])
    assert "steps_ns" not in row["properties"]
    assert row["properties"]["latency_ms"] == {"anyOf": [{"$ref": "#/$defs/Latency"}, {"type": "null"}]}
    assert json_schema()["$defs"]["PlanCosts"]["required"] == ["without", "with", "all_sites"]
