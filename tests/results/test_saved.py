"""What `--json` prints comes back as the value that it was printed of, and nothing else comes in."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from made_up_results import accuracy, parity, plan, row, table

from deploykit.bench import PerBatch, TimedBlock
from deploykit.errors import UntrustedArtifact
from deploykit.parity import GateMissed, Undecided
from deploykit.parity.accuracy import Flips, Predictions
from deploykit.results.document import to_json
from deploykit.results.saved import kind_of, read_results


def back(results):
    return read_results(results.to_json(), what="result x.json")


def touched(results, change):
    content = json.loads(results.to_json())
    change(content)
    return json.dumps(content)


def test_a_table_comes_back_as_it_was():
    device = (TimedBlock(0, (9, 1, 2), (8, 1, 1)), TimedBlock(1, (9, 3), (8, 2)))
    report = table(
        row("torch", ms=40, parity=parity(96)),
        row("trt", state="built", plan=plan(), parity=parity(40)),
        row("ort", "fp16", blocks=device),
        row("ort", "int8", state="failed", parity=GateMissed("overflow")),
        row("ort", "fp32", parity=Undecided("no images")),
        row(mode="forward", per_batch_ms=PerBatch(2.5, 0.5, 3, 2), burn_in_ns=(9,), steps_ns=(1, 2, 3)),
    )
    assert back(report) == report
    assert kind_of(report) == "bench"


def test_accuracies_come_back_with_what_flipped():
    labels = np.arange(20) % 4
    first = Predictions(labels, labels, np.zeros(20, np.int64))
    wrong = np.where(np.arange(20) < 3, 3 - labels, labels)
    report = accuracy([True] * 20, [number >= 3 for number in range(20)])
    flips = Flips.between(first, Predictions(labels, wrong, (wrong != labels).astype(np.int64)))
    report = replace(report, rows=(report.rows[0], replace(report.rows[1], flips=flips)))
    assert back(report) == report
    assert back(report).rows[1].flips.swaps == flips.swaps
    assert kind_of(report) == "evaluate"


def test_null_is_a_number_that_was_none_and_nothing_where_nothing_may_stand():
    report = table(row(ms=10, parity=parity(math.inf), cold_ms=math.nan), seconds=math.nan)
    found = back(report)
    assert math.isnan(found.conditions.seconds)
    assert math.isnan(found.rows[0].parity.worst.total.sqnr_db)
    assert found.rows[0].cold_ms is None
    assert found.to_json() == report.to_json()


def test_a_field_that_an_older_deploykit_did_not_write_has_its_default():
    text = touched(table(row(ms=1)), lambda content: content["rows"][0].pop("images_per_second"))
    assert read_results(text, what="result").rows[0].images_per_second is None


def cut_blocks(content):
    content["rows"][0]["samples_ns"].pop()
    content["rows"][0]["blocks"][0]["runs"] += 5


def negative(content):
    content["rows"][0]["samples_ns"][3] = -5


def no_outputs(content):
    content["rows"][0]["parity"]["outputs"] = []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.update(schema_version=1), "has schema_version 1, not 2; print it again"),
        (lambda content: content.update(schema_version=True), "has schema_version True, not 2"),
        (lambda content: content.pop("schema_version"), "is not of bench, verify, evaluate, inspect, build"),
        (lambda content: content.pop("rows"), "is not of bench"),
        (lambda content: content.update(more=1), "keys missing or unknown: more"),
        (lambda content: content["rows"][0].pop("model"), "rows[0]: keys missing or unknown: model"),
        (lambda content: content["rows"][0].update(batch="8"), "rows[0].batch is '8', not a whole number"),
        (lambda content: content["rows"][0].update(state="fast"), "rows[0].state is 'fast', not one of"),
        (lambda content: content["rows"][0].update(state="built"), "a row that is built carries no latency"),
        (lambda content: content["rows"][0].update(plan={"kernels": 5}), "rows[0].plan"),
        (cut_blocks, "samples cannot be 12 blocks"),
        (negative, "a sample is below 0"),
        (no_outputs, "no output was compared"),
    ],
)
def test_anything_else_is_refused_in_one_line_with_its_place(change, said):
    with pytest.raises(UntrustedArtifact) as caught:
        read_results(touched(table(row(ms=1, parity=parity(40))), change), what="result x.json")
    assert str(caught.value).startswith("the result x.json ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "NaN", '{"schema_version": NaN}', "null", '{"a": 1, "a": 2}', "\0" * 9]
)
def test_what_is_no_json_of_ours_is_refused(text):
    with pytest.raises(UntrustedArtifact, match="the result x"):
        read_results(text, what="result x")


def test_a_document_that_was_cut_short_is_refused_wherever_the_cut_is():
    text = table(row(ms=1, parity=parity(40))).to_json()
    for end in range(0, len(text) - 1, len(text) // 40):
        with pytest.raises(UntrustedArtifact):
            read_results(text[:end], what="result")


@pytest.mark.parametrize("right", ["zz", "ff", "ffffff00", ""])
def test_images_that_were_right_are_as_many_as_the_hits(right):
    def change(content):
        content["rows"][0]["right"] = right

    with pytest.raises(UntrustedArtifact, match="right does not say which 20 of 20 images are"):
        read_results(touched(accuracy([True] * 20), change), what="result")


def test_json_of_what_came_back_is_the_same_text():
    report = table(row(ms=3, parity=parity(40.0)), row("trt", state="built", plan=plan()))
    assert to_json(back(report)) == report.to_json()
