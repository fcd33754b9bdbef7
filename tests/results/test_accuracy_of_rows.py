"""Accuracy is joined to what it was measured of: one typed graph on one backend, or one network's weights."""

from dataclasses import replace

import pytest

from deploykit.bench.environment import fingerprint
from deploykit.parity.accuracy import Share
from deploykit.results.accuracy import AccuracyConditions, AccuracyEnvironment, AccuracyReport, AccuracyRow
from deploykit.results.row import Row

TOP1 = Share(9, 10)


def row(backend, precision="fp32", digest=None):
    return Row(model="net", batch=64, backend=backend, precision=precision, state="measured", typed_digest=digest)


@pytest.fixture(scope="module")
def report():
    conditions = AccuracyConditions(
        model="net", weights="given", weights_digest="w1", weights_notes=(), data="digits", preprocessing="",
        classes=10, network_classes=10, skipped=(), excluded=0, calibration="", batch=64, threads=2,
    )  # fmt: skip
    environment = AccuracyEnvironment(**fingerprint(threads=2, seed=0, tf32=False).facts(), conditions=conditions)
    lines = (
        AccuracyRow(row("torch"), TOP1),
        AccuracyRow(row("ort", digest="g1"), Share(8, 10)),
        AccuracyRow(row("ort", "int8", "g2"), Share(7, 10)),
        AccuracyRow(replace(row("trt", "int8", "g3"), state="built", reason="no GPU")),
    )
    return AccuracyReport(environment=environment, rows=lines)


@pytest.mark.parametrize(
    ("asked", "weights", "hits"),
    [
        (row("ort", digest="g1"), "w1", 8),
        (row("ort", digest="g1"), "w2", 8),  # the graph has its weights
        (row("ort", "int8", "g2"), None, 7),
        (row("ort", "int8", "g9"), "w1", None),  # calibrated on other images
        (row("trt", "fp32", "g1"), "w1", None),  # the same graph on another backend
        (row("ort", "fp16", "g1"), "w1", None),
        (row("torch"), "w1", 9),
        (row("torch"), "w2", None),
        (row("torch"), None, None),
        (row("torch:compile"), "w1", None),
        (row("torch", digest="g1"), "w1", None),
        (row("trt", "int8", "g3"), "w1", None),  # nothing was measured of it
    ],
)
def test_a_row_has_the_accuracy_of_the_same_artifact_and_of_no_other(report, asked, weights, hits):
    found = report.accuracy_of(asked, weights_digest=weights)
    assert (found.top1.hits if found else None) == hits
    assert found is None or found.data == "digits"


def test_weights_that_nobody_knows_are_not_the_same(report):
    unknown = replace(report.conditions, weights_digest=None)
    blind = replace(report, environment=replace(report.environment, conditions=unknown))
    assert blind.accuracy_of(row("torch"), weights_digest=None) is None
