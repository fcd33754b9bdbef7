"""Accuracy of rows whose answers are known: shares, flips, the gate, and rows that break."""

from dataclasses import replace

import numpy as np
import pytest
from answering import BIAS, WEIGHTS, write_network

from deploykit.bench import BenchSettings
from deploykit.errors import GateFailed, UsageError
from deploykit.results.failure import exit_code
from deploykit.spec import BatchRange, BuildSpec, Calibration, Fusions, ModelSpec, Precision
from deploykit.workflow.evaluate import EvaluationRequest, evaluate

IMAGES = 21  # not a multiple of the batch
QUICK = BenchSettings(threads=1)


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    """Prepared images, the class that the network gives each, and the archive; every third label is wrong."""
    random = np.random.default_rng(7)
    images = (random.standard_normal((IMAGES, 3, 1, 1)) + 0.1 * random.standard_normal((IMAGES, 3, 16, 16))) * 2
    images = images.astype(np.float32)
    scores = images.mean(axis=(2, 3)) @ WEIGHTS.T + BIAS
    truth = scores.argmax(axis=1)
    labels = np.where(np.arange(IMAGES) % 3 == 0, scores.argmin(axis=1), truth)
    path = tmp_path_factory.mktemp("labeled") / "images.npz"
    np.savez(path, images=images, labels=labels)
    return path, scores, labels


@pytest.fixture
def ask(answering, labeled, tmp_path):
    network = write_network(tmp_path / "network.onnx")

    def make(*backends, precisions=(Precision.FP32,), **more):
        spec = BuildSpec(ModelSpec(str(network)), batch=BatchRange(1, 4, 8))
        return EvaluationRequest(
            spec=spec, labeled=labeled[0], backends=backends, precisions=precisions, settings=QUICK, **more
        )

    return make


def test_shares_are_those_of_the_answers_by_hand(workspace, ask, labeled):
    _, scores, labels = labeled
    (row,) = evaluate(workspace, ask("exact")).rows
    ranks = (-scores).argsort(axis=1)
    assert (row.top1.n, row.top1.hits) == (IMAGES, int((ranks[:, 0] == labels).sum())) == (IMAGES, 14)
    assert row.top5.hits == int((ranks[:, :5] == labels[:, None]).any(axis=1).sum())
    assert row.flips is None  # the first row is what others are held to


def test_flips_are_counted_against_the_first_row(workspace, ask, labeled):
    _, scores, labels = labeled
    first, stuck = evaluate(workspace, ask("exact", "stuck")).rows
    said = np.repeat(scores[::4].argmax(axis=1), 4)[:IMAGES]  # the first of each batch of four speaks for all
    right, still = scores.argmax(axis=1) == labels, said == labels
    assert first.top1.hits == right.sum()
    assert (stuck.flips.lost, stuck.flips.gained) == (int((right & ~still).sum()), int((~right & still).sum()))
    assert stuck.flips.drop == pytest.approx(100 * (right.sum() - still.sum()) / IMAGES)


def test_a_drop_beyond_what_is_allowed_closes_the_gate(workspace, ask):
    rows = evaluate(workspace, ask("exact", "stuck", max_drop=1.0)).rows
    assert not rows[0].row.parity
    assert "points of top-1 lost, limit: at most 1" in rows[1].row.parity.reason
    assert exit_code([line.row for line in rows]) == 3


def test_a_gate_that_nothing_was_held_to_is_not_passed(workspace, ask):
    alone = evaluate(workspace, ask("exact", max_drop=1.0))
    assert isinstance(alone.failure, GateFailed)
    assert "--max-drop could not be checked" in str(alone.failure)
    assert evaluate(workspace, ask("exact")).failure is None


def test_a_row_that_breaks_costs_no_other_row(workspace, ask):
    crashed, exact = evaluate(workspace, ask("crashing", "exact")).rows
    assert (crashed.row.state, crashed.top1) == ("failed", None)
    assert "the device has left" in crashed.row.reason
    assert exact.top1.hits == 14
    assert exact.flips is None  # the first that ran is the first


def test_images_that_int8_was_calibrated_on_are_left_out_for_every_row(workspace, ask, labeled):
    assert evaluate(workspace, ask("exact", limit=10)).rows[0].top1.n == 10
    request = ask("null", precisions=(Precision.FP32, Precision.INT8))
    spec = replace(request.spec, data=labeled[0], calibration=Calibration(images=5))
    left = evaluate(workspace, replace(request, spec=spec))
    assert [line.top1.n for line in left.rows] == [IMAGES - 5] * 2
    assert left.conditions.excluded == 5
    elsewhere = evaluate(workspace, request)  # calibrated on the demo images, none of which is here
    assert [line.top1.n for line in elsewhere.rows] == [IMAGES] * 2
    assert elsewhere.conditions.excluded == 0


def test_no_rewrite_is_chosen_while_accuracy_is_told(ask):
    asked = ask("exact")
    spec = replace(asked.spec, fusions=Fusions.parse("auto"))
    with pytest.raises(UsageError, match="evaluate does not take fusions"):
        replace(asked, spec=spec)
