"""The table survives its JSON, and nothing that is not exactly a table is read."""

import json
import pickle

import pytest

from deploykit.errors import UntrustedArtifact, UsageError
from deploykit.precision.calibrate.ranges import Range
from deploykit.precision.calibrate.table import CalibrationTable

TABLE = CalibrationTable(
    graph_digest="a" * 64,
    data_digest="b" * 64,
    method="minmax",
    images=32,
    preprocessing="resize 256, crop 224",
    ranges={"images": Range(-2.117904, 2.64), "conv1": Range(0.0, 0.1 + 0.2)},
)


def changed(**entries):
    return json.dumps({**json.loads(TABLE.to_json()), **entries})


def with_range(**entry):
    return changed(ranges={"conv1": {"lo": 0.0, "hi": 1.0, "threshold": 1.0, **entry}})


def test_reads_back_exactly_and_writes_the_same_text():
    again = CalibrationTable.from_json(TABLE.to_json())
    assert again == TABLE
    assert again.to_json() == TABLE.to_json()
    assert pickle.loads(pickle.dumps(TABLE)) == TABLE


def test_cannot_be_changed():
    with pytest.raises(TypeError):
        TABLE.ranges["conv1"] = Range(0, 0)


def test_is_refused_for_another_graph():
    TABLE.require_graph("a" * 64)
    with pytest.raises(
        UsageError,
        match=r"belongs to graph aaaaaaaaaaaa, this one is cccccccccccc.*leave the table out, and build makes one",
    ):
        TABLE.require_graph("c" * 64)


def test_names_a_value_it_lacks():
    assert TABLE.range_of("conv1").lo == 0
    with pytest.raises(UsageError, match="no range for 'conv2'"):
        TABLE.range_of("conv2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not an object"),
        ('{"schema_version": 2, "schema_version": 2}', "a key occurs twice"),
        (changed(schema_version=1), "schema_version is 1, not 2"),
        (changed(schema_version=True), "schema_version is True"),
        (changed(extra=1), "keys missing or unknown: extra"),
        ('{"schema_version": 2}', "keys missing or unknown: data_digest"),
        (changed(graph_digest="../etc"), "graph_digest is '../etc', not a SHA-256"),
        (changed(data_digest=5), "data_digest is 5"),
        (changed(method=None), "method is None, not text"),
        (changed(images=0), "images is 0"),
        (changed(images=1.5), "images is 1.5"),
        (changed(images=True), "images is True"),
        (changed(ranges={}), "ranges has no entries"),
        (changed(ranges=[1]), "ranges is [1], not an object"),
        (changed(ranges={"conv1": [0, 1]}), "ranges.conv1 is [0, 1], not an object"),
        (with_range(scale=1), "ranges.conv1: keys missing or unknown: scale"),
        (with_range(lo=2), "the range of 'conv1' is empty: lo 2 > hi 1"),
        (with_range(lo="0"), "ranges.conv1.lo is '0', not a number"),
        (with_range(lo=True), "ranges.conv1.lo is True, not a number"),
        (with_range(hi=float("nan")), "NaN is not a number"),
        (with_range(hi=float("inf")), "Infinity is not a number"),
        (with_range(hi=1e39), "holds a number that float32 cannot"),
        (with_range(hi=10**400), "ranges.conv1.hi: int too large"),
        (with_range().replace("1.0}", "1e999}"), "holds a number that float32 cannot"),
        (with_range(threshold=0), "has the threshold 0, which is not above 0"),
        (with_range(threshold=-1), "ranges.conv1: the threshold -1 is not above 0"),
    ],
)
def test_refuses_everything_else(text, said):
    with pytest.raises(UntrustedArtifact, match="calibration table") as caught:
        CalibrationTable.from_json(text)
    assert said in caught.value.message
    assert caught.value.exit_code == 5
